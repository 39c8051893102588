"""Tokens and weights to datums: cut each example to length, shift it by one, reduce its weights.

A batch is ragged and flat: one allocation, no padding, examples are views. Positions of an image hold token 0 and
weight 0; a cut never falls inside one, and none ends an example, since nothing would be predicted from it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.enums import Reduction as Reduction
from kernel.errors import expected, unknown

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]


class Media(NamedTuple):
    """A non-text span: `length` positions of one example from `start` on; `key` names what is there."""

    example: int
    start: int
    length: int
    key: str


class Datums(NamedTuple):
    """A batch of datums: example b is [offsets[b]:offsets[b + 1]] of the first three arrays."""

    inputs: Int32
    targets: Int64
    weights: Float32
    offsets: Int64
    media: tuple[Media, ...] = ()

    @property
    def n_examples(self) -> int:
        return len(self.offsets) - 1

    def example(self, b: int) -> tuple[Int32, Int64, Float32]:
        """Inputs, targets and weights of one example, as views."""
        own = slice(self.offsets[b], self.offsets[b + 1])
        return self.inputs[own], self.targets[own], self.weights[own]


def build_datums(
    tokens: Int32,
    weights: Float32,
    offsets: Int64,
    *,
    max_length: int | None,
    reduction: Reduction = Reduction.MEAN,
    units: Int64 | None = None,
    media: Sequence[Media] = (),
    places: Sequence[str] | None = None,
) -> Datums:
    """Datums of a batch of examples.

    Args:
        tokens: int32[T], all examples one after the other.
        weights: float32[T], how much each token is trained: 0, or 1 times the factors of its row, message and part.
        offsets: int64[B + 1], example b is [offsets[b]:offsets[b + 1]].
        max_length: >= 2, the most tokens an example may keep, non-text positions counted. The rest is cut off at the
            right; the inputs are one shorter. None cuts nothing.
        reduction: "mean" divides an example's weights by the sum of those it keeps as a datum, where that is positive;
            "none" leaves them.
        units: int64[B], any numbers: examples of the same number came from one row, and "mean" divides them by their
            common sum. None makes each example its own unit.
        media: the non-text spans, which must not overlap.
        places: where each unit comes from, by its number, for errors.

    Returns:
        `Datums` of B examples, each one token shorter than what `n_kept` returns.

    Raises:
        InputError: max_length < 2, an unknown reduction, an example of which fewer than 2 tokens remain.
        ValueError: arrays or spans that do not fit each other.

    >>> tokens, weights = np.array([5, 6, 7, 8, 9], np.int32), np.array([0, 1, 1, 0, 1], np.float32)
    >>> datums = build_datums(tokens, weights, np.array([0, 3, 5]), max_length=None)
    >>> datums.inputs, datums.targets
    (array([5, 6, 8], dtype=int32), array([6, 7, 9]))
    >>> datums.weights, datums.offsets
    (array([0.5, 0.5, 1. ], dtype=float32), array([0, 2, 3]))
    """
    if reduction not in list(Reduction):
        raise unknown("reduction", reduction, list(Reduction), at="$.reduction")
    tokens = np.ascontiguousarray(tokens, np.int32)
    weights = np.ascontiguousarray(weights, np.float32)
    offsets = np.ascontiguousarray(offsets, np.int64)
    _check_ragged(tokens, weights, offsets)
    _check_media(tokens, weights, offsets, media)

    kept = n_kept(offsets, max_length, media)
    short = kept < 2
    if short.any():
        b = int(np.argmax(short))
        full = offsets[b + 1] - offsets[b]
        came = f"{kept[b]}" if kept[b] == full else f"{kept[b]} of {full} after the cut"
        at = f"example {b}" if places is None else places[b if units is None else int(units[b])]
        raise expected("at least 2 tokens that end in text", came, at)

    out = _build(tokens, weights, offsets, kept, _numbered(units, len(kept)), reduction == "mean")
    return Datums(*out, tuple(m for m in media if m.start < kept[m.example]))


def n_kept(offsets: Int64, max_length: int | None, media: Sequence[Media] = ()) -> Int64:
    """How many tokens of each example the cut keeps; an example was truncated where this is less than it had.

    Args:
        offsets, max_length, media: as in `build_datums`.

    Returns:
        int64[B].

    Raises:
        InputError: max_length < 2.

    >>> n_kept(np.array([0, 3, 12, 20]), 6, [Media(1, 4, 5, "cat.png"), Media(2, 6, 1, "dog.png")])
    array([3, 4, 6])
    """
    if max_length is not None and max_length < 2:
        raise expected("max_length >= 2", str(max_length), at="$.max_length")
    full = offsets[1:] - offsets[:-1]
    kept = full if max_length is None else np.minimum(full, max_length)
    for example, start, length, _ in sorted(media, reverse=True) if media else ():
        if start < kept[example] <= start + length:
            kept[example] = start
    return kept


def _check_ragged(tokens: Int32, weights: Float32, offsets: Int64) -> None:
    if tokens.shape != weights.shape or tokens.ndim != 1:
        raise ValueError(f"expected as many weights as tokens, got {weights.shape} and {tokens.shape}")
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(tokens) or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"expected offsets that rise from 0 to {len(tokens)}, got {offsets}")


def _check_media(tokens: Int32, weights: Float32, offsets: Int64, media: Sequence[Media]) -> None:
    for span in media:
        begin = offsets[span.example] + span.start
        own = slice(begin, begin + span.length)
        inside = span.start >= 0 and span.length >= 1 and own.stop <= offsets[span.example + 1]
        if not inside or tokens[own].any() or weights[own].any():
            raise ValueError(f"expected a span of token 0 and weight 0 inside its example, got {span}")


def _numbered(units: Int64 | None, n: int) -> Int64:
    """int64[n]: the units renumbered from 0 without a gap."""
    if units is None or n == 0:
        return np.arange(n)
    numbers, rises = _numbered_runs(np.ascontiguousarray(units, np.int64))
    return numbers if rises else np.unique(units, return_inverse=True)[1]


@numba.njit(cache=True, nogil=True)
def _numbered_runs(units: Int64) -> tuple[Int64, bool]:
    """Runs of equal units numbered from 0, and whether units never fall, so that a run is all of its unit."""
    numbers, rises = np.zeros(len(units), np.int64), True
    for b in range(1, len(units)):
        numbers[b] = numbers[b - 1] + (units[b] != units[b - 1])
        rises &= units[b] >= units[b - 1]
    return numbers, rises


@numba.njit(cache=True, nogil=True)
def _build(
    tokens: Int32, weights: Float32, starts: Int64, kept: Int64, units: Int64, mean: bool
) -> tuple[Int32, Int64, Float32, Int64]:
    """Datums of kept - 1 positions each: three views of one buffer, and the offsets."""
    offsets = np.zeros(len(kept) + 1, np.int64)
    for b in range(len(kept)):
        offsets[b + 1] = offsets[b] + kept[b] - 1
    n = offsets[-1]
    buffer = np.empty(16 * n, np.uint8)
    targets, inputs = buffer[: 8 * n].view(np.int64), buffer[8 * n : 12 * n].view(np.int32)
    shifted = buffer[12 * n :].view(np.float32)
    divisors = _divisors(weights, starts, kept, units, mean)
    for b in range(len(kept)):
        lo, hi, start = offsets[b], offsets[b + 1], starts[b]
        own, own_weights, divisor = tokens[start:], weights[start:], divisors[b]
        to_inputs, to_targets, to_weights = inputs[lo:hi], targets[lo:hi], shifted[lo:hi]
        for i in range(hi - lo):
            to_inputs[i] = own[i]
            to_targets[i] = own[i + 1]
            to_weights[i] = own_weights[i + 1] / divisor
    return inputs, targets, shifted, offsets


@numba.njit(cache=True, nogil=True)
def _divisors(weights: Float32, starts: Int64, kept: Int64, units: Int64, mean: bool) -> Float32:
    """float32[B]: the sum of what each example's unit keeps, where that is positive and asked for, else 1."""
    divisors = np.ones(len(kept), np.float32)
    if not mean:
        return divisors
    totals = np.zeros(len(kept))
    for b in range(len(kept)):
        totals[units[b]] += _sum(weights[starts[b] + 1 : starts[b] + kept[b]])
    for b in range(len(kept)):
        total = np.float32(totals[units[b]])
        if total > 0:
            divisors[b] = total
    return divisors


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def _sum(weights: Float32) -> float:
    """In double precision and in any order, so that it vectorises; exact where all weights are 0 and 1."""
    total = 0.0
    for i in range(len(weights)):
        total += weights[i]
    return total
