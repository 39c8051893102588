"""Supervised fine-tuning on chat data, the basic way.

    python recipes/sl_basic.py --log-path /tmp/run                      # local: no key, no network
    TINKER_API_KEY=... python recipes/sl_basic.py --log-path /tmp/run   # no_robots on a model of Tinker

Every setting is a flag (`--help`, `--help-all`), a `key=value` in tinker-cookbook's spelling, or in `--config FILE`.
"""

import sys

from shell.command import main

if __name__ == "__main__":
    sys.exit(main("train"))
