"""Render conversations to tokens once, before training: on all cores of this machine, or on a Ray cluster.

python recipes/prepare.py --dataset chats.jsonl --model-name Qwen/Qwen3-8B
python recipes/prepare.py --dataset s3://bucket/chats.parquet --ray auto --prepared-dir /shared/prepared
"""

import sys

from shell.command import main

if __name__ == "__main__":
    sys.exit(main("prepare"))
