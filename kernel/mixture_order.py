"""Mixtures: which row of which source is at each position of several sources trained as one.

Positions are those of `datasets.interleave_datasets(probabilities=..., seed=...)`: each draws a source by weight, which
gives its next row. Rows are held out before that, as in tinker-cookbook 0.6.1, so none is on both sides.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.enums import MixStopping
from kernel.errors import expected, unknown
from kernel.shuffle import hf_permutation

Int64 = NDArray[np.int64]

MOST_DRAWS = 2**28  # most positions of a mixture: a small weight on a large source would need any number of them
_BLOCK = 1_000_000


class MixedRows(NamedTuple):
    """Rows of several sources in one order."""

    sources: Int64  # int64[N], the number of each row's source
    rows: Int64  # int64[N], the number of each row in its source


class Mixture(NamedTuple):
    """The rows to train on, in the order before the epochs shuffle them, and the held-out rows."""

    train: MixedRows
    test: MixedRows


def mix(
    sizes: Sequence[int],
    weights: Sequence[float] | None = None,
    *,
    counts: Sequence[int | None] | None = None,
    strategy: MixStopping = MixStopping.ALL_EXHAUSTED,
    seed: int = 0,
    n_test: int = 0,
) -> Mixture:
    """A mixture of sources, after rows of them are held out.

    Args:
        sizes: rows of each source, >= 1.
        weights: of each source, > 0, in any unit; None: each row is as likely as any other.
        counts: how many rows of each source are taken to train on, chosen by the seed; None: all. Not with weights.
        strategy: when the drawing ends.
        seed: >= 0.
        n_test: rows to hold out, of all sources together: by weight, or by count, and each source keeps a row.

    Raises:
        InputError: more rows are asked for than there are, a weight that is not > 0, or a mixture that is too long.

    >>> mixture = mix([3, 2], [0.7, 0.3], strategy="first_exhausted")
    >>> list(zip(mixture.train.sources.tolist(), mixture.train.rows.tolist()))
    [(0, 0), (0, 1), (0, 2)]
    >>> mixture = mix([3, 2], counts=[1, None], strategy="all_exhausted_without_replacement", n_test=1)
    >>> len(mixture.train.rows), len(mixture.test.rows)
    (2, 1)
    """
    _check(sizes, weights, counts, strategy)
    taken = [n if count is None else count for n, count in zip(sizes, counts or [None] * len(sizes), strict=True)]
    kept: list[Int64 | None] = [None] * len(sizes)
    held: list[Int64] = [np.empty(0, np.int64)] * len(sizes)
    if n_test:
        is_plain, shares = weights is None and counts is None, weights or [float(n) for n in taken]
        least = [1 if count is None else count for count in counts or [None] * len(sizes)]
        n_held, seeds = _held_counts(sizes, None if is_plain else shares, least, n_test, seed)
        for s, n in enumerate(n_held):
            order = hf_permutation(sizes[s], seeds[s])
            held[s], kept[s] = order[:n], order[n:]
    if counts is not None:
        for s, count in enumerate(counts):
            if count is not None:
                rows = kept[s]
                kept[s] = (hf_permutation(sizes[s], seed) if rows is None else rows)[:count]
    left = [n if rows is None else len(rows) for n, rows in zip(sizes, kept, strict=True)]
    sources, rows = interleave(left, weights or [float(n) for n in left], strategy, seed)
    for s, chosen in enumerate(kept):
        if chosen is not None:
            of_source = sources == s
            rows[of_source] = chosen[rows[of_source]]
    return Mixture(MixedRows(sources, rows), _held_out(held, seed))


def interleave(sizes: Sequence[int], weights: Sequence[float], strategy: MixStopping, seed: int) -> MixedRows:
    """The rows of `datasets.interleave_datasets`, by weight. Raises: InputError (more than `MOST_DRAWS` positions)."""
    total = sum(weights)
    probabilities = [weight / total for weight in weights]
    needed = [size / share if share else np.inf for size, share in zip(sizes, probabilities, strict=True)]
    n_likely = (min if strategy == "first_exhausted" else max)(needed)
    if n_likely > MOST_DRAWS:
        s = int(np.argmax(needed))
        raise expected(
            f"a mixture of at most {MOST_DRAWS:,} rows",
            f"a weight of {weights[s]:g} in {total:g} for {sizes[s]:,} rows",
            at="--dataset (--mix-stopping first_exhausted ends with the first source)",
        )
    rng = np.random.default_rng(seed)
    n_drawn, done = np.zeros(len(sizes), np.int64), False
    of, stops_at_any = np.array(sizes, np.int64), strategy == "first_exhausted"
    parts = []
    while not done:
        draws = rng.choice(len(sizes), size=min(_BLOCK, int(n_likely) + 1000), p=probabilities)
        sources, rows, done = _walk(draws, of, n_drawn, stops_at_any, strategy != "all_exhausted_without_replacement")
        parts.append((sources, rows))
    return MixedRows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@numba.njit(cache=True, nogil=True)
def _walk(draws: Int64, sizes: Int64, n_drawn: Int64, stops_at_any: bool, repeats: bool) -> tuple[Int64, Int64, bool]:
    """The rows of a block of draws, and whether the mixture ends in it. `n_drawn` is carried from block to block."""
    sources, rows = np.empty(len(draws), np.int64), np.empty(len(draws), np.int64)
    n, n_left = 0, (n_drawn < sizes).sum()
    for s in draws:
        if repeats or n_drawn[s] < sizes[s]:
            sources[n], rows[n] = s, n_drawn[s] % sizes[s]
            n += 1
        n_drawn[s] += 1
        if n_drawn[s] == sizes[s]:
            n_left -= 1
            if stops_at_any or n_left == 0:
                return sources[:n], rows[:n], True
    return sources[:n], rows[:n], False


def _held_counts(
    sizes: Sequence[int], weights: Sequence[float] | None, n_kept: Sequence[int], n_test: int, seed: int
) -> tuple[list[int], list[int]]:
    """How many rows of each source are held out, and the seed by which each source is shuffled for it."""
    room = np.array(sizes, np.int64) - n_kept
    if n_test > room.sum():
        wanted = f"test_size <= {room.sum()} rows, which leaves the sources their own"
        raise expected(wanted, f"{n_test}", at="--test-size")
    rng = np.random.default_rng(seed)
    left, counts = np.array(sizes, np.int64), [0] * len(sizes)
    for _ in range(n_test):
        chances = np.where(room > 0, left if weights is None else weights, 0.0)
        s = int(rng.choice(len(sizes), p=chances / chances.sum()))
        counts[s] += 1
        room[s] -= 1
        left[s] -= 1
    return counts, [int(rng.integers(0, 2**32)) for _ in sizes]


def _held_out(held: Sequence[Int64], seed: int) -> MixedRows:
    sources = np.repeat(np.arange(len(held)), [len(rows) for rows in held])
    order = hf_permutation(len(sources), seed)
    return MixedRows(sources[order], np.concatenate(held)[order])


def _check(
    sizes: Sequence[int], weights: Sequence[float] | None, counts: Sequence[int | None] | None, strategy: str
) -> None:
    if strategy not in list(MixStopping):
        raise unknown("strategy", strategy, list(MixStopping), at="--mix-stopping")
    for weight in weights or ():
        if not 0 < weight < np.inf:
            raise expected("a weight > 0", f"{weight:g}", at="--dataset")
    if weights is not None and counts is not None:
        raise expected("weights or counts of rows", "both", at="--dataset")
    for size, count in zip(sizes, counts or (), strict=False):
        if count is not None and not 0 < count <= size:
            raise expected(f"a count of 1 to {size} rows", f"{count}", at="--dataset")
