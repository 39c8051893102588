"""Made-up conversations, as many as wanted and no two alike, where no file of real ones is at hand.

Each is a walk over the pairs of neighbouring words in the sample of the box, so a language keeps to itself and words
are as common as in text. English ones walk over its ASCII messages alone.
"""

import json
import random
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from shell.data.load_dataset import SAMPLE
from shell.data.rows import Row

_WORD = re.compile(r"[\u3040-\u9fff\uac00-\ud7af\u0e00-\u0e7f]{1,3}|\w+ ?|[^\w\s]+ ?|\s+")


def made_rows(n: int, english: bool = False, seed: int = 0, sample: Path = SAMPLE / "train.jsonl") -> list[Row]:
    """n conversations of one to three turns, about 200 tokens each.

    Touches: the sample in the box.
    """
    said = [
        m["content"] for line in sample.read_text(encoding="utf-8").splitlines() for m in json.loads(line)["messages"]
    ]
    texts = [_WORD.findall(text) for text in said if text.isascii() or not english]
    follows = defaultdict[str, list[str]](list)
    for words in texts:
        for word, then in pairwise(words):
            follows[word].append(then)
    rng = random.Random(seed)
    starts = [words[0] for words in texts if words]

    def text(n_words: int) -> str:
        words = [rng.choice(starts)]
        for _ in range(n_words):
            then = follows.get(words[-1])
            words.append(rng.choice(then) if then and rng.random() > 0.02 else rng.choice(starts))
        return "".join(words)

    def turns(n_turns: int) -> list[dict[str, str]]:
        pairs = [(("user", rng.randint(5, 60)), ("assistant", rng.randint(10, 160))) for _ in range(n_turns)]
        return [{"role": role, "content": text(size)} for pair in pairs for role, size in pair]

    return [{"messages": turns(rng.randint(1, 3))} for _ in range(n)]
