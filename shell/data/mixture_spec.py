"""The text of `--dataset`: one source, or several separated by commas, each with its share of the mixture.

    a.jsonl,b.jsonl                  every row is as likely as any other
    a.jsonl=0.7,no_robots=0.3        weights, of any unit: 7 and 3 are the same
    a.jsonl=5000rows,b.jsonl         5000 rows of a, all of b

A path may hold commas and equals signs: if a file of that name exists, it is meant. So `a=1.jsonl=2` is the file
`a=1.jsonl` with the weight 2, unless there is a file `a=1.jsonl=2`.
"""

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from kernel.errors import expected, problem

_COUNT = re.compile(r"(\d[\d_]*)rows?")
_WEIGHT = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_SHARE = re.compile(r"=[^=,]*$")
_ENDINGS = re.compile(r"(\.(jsonl?|ndjson|parquet|gz|zst|bz2|xz))+$")


class Share(NamedTuple):
    """One source of a mixture. Weight and number of rows are never both given."""

    dataset: str
    """a name, a path, or `hf:REPO`"""
    weight: float | None = None
    n_rows: int | None = None
    """rows to take"""

    def __str__(self) -> str:
        share = f"={self.weight:g}" if self.weight is not None else f"={self.n_rows}rows" if self.n_rows else ""
        return self.dataset + share


def exists(path: str) -> bool:
    """Whether there is a file of that name."""
    return os.path.exists(os.path.expanduser(path))


def read_shares(text: str, exists: Callable[[str], bool] = exists) -> tuple[Share, ...]:
    """The sources that a text names, in its order.

    >>> read_shares("a.jsonl=0.7,no_robots=0.3", exists=lambda _: False)
    (Share(dataset='a.jsonl', weight=0.7, n_rows=None), Share(dataset='no_robots', weight=0.3, n_rows=None))
    >>> read_shares("a,b.jsonl=50rows", exists={"a,b.jsonl"}.__contains__)
    (Share(dataset='a,b.jsonl', weight=None, n_rows=50),)
    """
    shares, pieces = [], text.split(",")
    while pieces:
        tries = [(",".join(pieces[:n]), n) for n in range(len(pieces), 1, -1)]
        whole, n = next((one for one in tries if exists(one[0]) or exists(_SHARE.sub("", one[0]))), (pieces[0], 1))
        shares.append(_share(whole.strip(), exists))
        pieces = pieces[n:]
    _check(shares, text)
    return tuple(shares)


def names(shares: tuple[Share, ...]) -> tuple[str, ...]:
    """The names of the sources in metrics: the last part of each, or all of it if two would be alike.

    >>> names((Share("data/a.jsonl"), Share("hf:some/set"), Share("sample")))
    ('a', 'set', 'sample')
    >>> names((Share("x/train.jsonl"), Share("y/train.jsonl")))
    ('x/train.jsonl', 'y/train.jsonl')
    """
    short = [_ENDINGS.sub("", os.path.basename(share.dataset.removeprefix("hf:").rstrip("/"))) for share in shares]
    whole = [share.dataset for share in shares]
    return tuple(a if a and short.count(a) == 1 else b for a, b in zip(short, whole, strict=True))


def _share(text: str, exists: Callable[[str], bool]) -> Share:
    if not text:
        raise problem("there is nothing between two commas", at="--dataset")
    dataset, equals, share = text.rpartition("=")
    if not equals or exists(text):
        return Share(text)
    if count := _COUNT.fullmatch(share):
        return Share(dataset, n_rows=int(count[1]))
    if _WEIGHT.fullmatch(share):
        return Share(dataset, weight=float(share))
    wanted = "a weight such as 0.7 or a count such as 5000rows (or a file of the whole name)"
    raise expected(wanted, repr(share), at=f"--dataset {text}")


def _check(shares: list[Share], text: str) -> None:
    weighted = [share.weight is not None for share in shares]
    if any(weighted) and not all(weighted):
        bare = shares[weighted.index(False)]
        raise problem(f"{bare} has no weight, but other sources have one", at=f"--dataset {text}")
    for i, share in enumerate(shares):
        if share.dataset in [other.dataset for other in shares[:i]]:
            raise problem(f"{share.dataset} is named twice", at=f"--dataset {text}")
