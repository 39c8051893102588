"""Supervised fine-tuning on chat data, the basic way.

    python recipes/sl_basic.py --log-path /tmp/run                      # in the box: no key, no network
    TINKER_API_KEY=... python recipes/sl_basic.py --log-path /tmp/run   # no_robots on a model of Tinker's

Every knob is a flag (`--help`), a `key=value` in tinker-cookbook's spelling, or a line of `--config FILE`.
"""

import sys

from shell.settings.cli import Resolved, main
from shell.settings.config import Config


def train(resolved: Resolved[Config]) -> int:
    """Train, or go on training, in the folder that `--log-path` names."""
    from shell.train import train

    return train(resolved)


if __name__ == "__main__":
    sys.exit(main(train))
