"""Render conversations to tokens once, before training: on all cores of this machine, or on a Ray cluster.

python recipes/prepare.py --dataset chats.jsonl --model-name Qwen/Qwen3-8B
python recipes/prepare.py --dataset s3://bucket/chats.parquet --ray auto --prepared-dir /shared/prepared
"""

import sys

from shell.prepare import PrepareConfig
from shell.settings.cli import Resolved, main


def run(resolved: Resolved[PrepareConfig]) -> int:
    """Build the token cache that runs with the same data and renderer train from."""
    from shell.prepare import prepare
    from shell.run_dir.progress_display import row_progress

    prepare(resolved.config, row_progress())
    return 0


if __name__ == "__main__":
    sys.exit(main(run, config_type=PrepareConfig))
