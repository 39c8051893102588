"""Look at examples as the model will see them, before anything is paid for.

python recipes/show.py --dataset chats.jsonl --renderer-name qwen3 --tokenizer tokenizer.json
python recipes/show.py --dataset chats.jsonl --model-name Qwen/Qwen3-8B --format json
"""

import sys

from shell.settings.cli import Resolved, main
from shell.settings.config import ShowConfig


def run(resolved: Resolved[ShowConfig]) -> int:
    """Print the first rows, trained tokens marked, or every datum as JSON."""
    from shell.show import show

    return show(resolved.config)


if __name__ == "__main__":
    sys.exit(main(run, config_type=ShowConfig))
