"""Look at examples as the model will see them, before anything is paid for.

python recipes/show.py --dataset chats.jsonl --renderer-name qwen3 --tokenizer tokenizer.json
python recipes/show.py --dataset chats.jsonl --model-name Qwen/Qwen3-8B --format json
"""

import sys

from shell.command import main

if __name__ == "__main__":
    sys.exit(main("show"))
