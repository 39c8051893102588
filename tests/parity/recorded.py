"""The recorded answers of the reference: a file a family, a question with its answer on each line.

`tests.parity.record` writes them, `tests.parity.test_recorded` compares them with ours. A line is a question of
`tests.parity.oracle` and its "answer", in which "trained" holds the spans [start, end) of weight 1 instead of weights.
The first line is what was asked, and with which tokenizer.
"""

import hashlib
import json
import lzma
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.parity.ours import TOKENIZER_FILE

FOLDER = Path(__file__).with_name("recorded")
FAMILIES = tuple(sorted(path.name.partition(".")[0] for path in FOLDER.glob("*.jsonl.xz")))


@cache
def read(family: str) -> list[dict[str, Any]]:
    """The questions of a family with their answers. Fails when the tokenizer is another than they were asked with."""
    lines = lzma.decompress((FOLDER / f"{family}.jsonl.xz").read_bytes()).decode().rstrip("\n").split("\n")
    assert json.loads(lines[0])["tokenizer"] == digest(), "the sample tokenizer has changed: record the answers anew"
    return [json.loads(line) for line in lines[1:]]


def write(family: str, reference: str, asked: Iterable[dict[str, Any]]) -> None:
    head = {"reference": reference, "tokenizer": digest()}
    lines = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in (head, *asked)]
    packed = lzma.compress("".join(line + "\n" for line in lines).encode(), preset=9 | lzma.PRESET_EXTREME)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{family}.jsonl.xz").write_bytes(packed)


def digest() -> str:
    """Of the tokenizer that both sides read."""
    return hashlib.sha256(TOKENIZER_FILE.read_bytes()).hexdigest()


def spans(weights: Sequence[float]) -> list[list[int]]:
    """Where weights are 1. They must be 0 elsewhere.

    >>> spans([0, 1, 1, 0, 1])
    [[1, 3], [4, 5]]
    """
    assert set(weights) <= {0, 1}
    out = []
    for weight, run in groupby(range(len(weights)), key=weights.__getitem__):
        where = list(run)
        out += [[where[0], where[-1] + 1]] if weight else []
    return out


def weights(trained: Iterable[Sequence[int]], n: int) -> list[float]:
    """n weights, 1 in the spans.

    >>> weights([[1, 3], [4, 5]], 5)
    [0.0, 1.0, 1.0, 0.0, 1.0]
    """
    out = [0.0] * n
    for start, end in trained:
        out[start:end] = [1.0] * (end - start)
    return out
