"""Ragged batches: lists of ids, and examples of tokens and weights; taken, joined and reordered."""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.datum import Media

Ints = NDArray[np.int64]


class Ragged(NamedTuple):
    """Lists of ids, one after the other: list i is `ids[offsets[i]:offsets[i + 1]]`. int32[N], int64[n + 1]."""

    ids: NDArray[np.int32]
    offsets: Ints


class Examples(NamedTuple):
    """Tokens with their weights, ragged: int32[T], float32[T], int64[B + 1]; `rows` int64[B] as in the program.

    The positions of an image hold token 0 and weight 0.
    """

    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: Ints
    rows: Ints
    media: tuple[Media, ...] = ()


def take(examples: Examples, mask: NDArray[np.bool_]) -> Examples:
    """Some of the examples, by a mask bool[B]; all of them are handed back as they are.

    >>> pair = Examples(np.arange(3, dtype=np.int32), np.ones(3, np.float32), np.array([0, 1, 3]), np.array([4, 5]))
    >>> take(pair, np.array([False, True])).tokens, take(pair, np.array([False, True])).rows
    (array([1, 2], dtype=int32), array([5]))
    """
    return examples if mask.all() else reorder(examples, np.flatnonzero(mask))


def concat(parts: Sequence[Examples]) -> Examples:
    """At least one batch of examples, one after the other.

    >>> one = Examples(np.arange(3, dtype=np.int32), np.ones(3, np.float32), np.array([0, 1, 3]), np.array([4, 5]))
    >>> concat([one, one]).offsets, concat([one, one]).rows
    (array([0, 1, 3, 4, 6]), array([4, 5, 4, 5]))
    """
    before = np.cumsum([0, *(len(part.rows) for part in parts)]).tolist()
    return Examples(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.weights for part in parts]),
        _concat_offsets([part.offsets for part in parts]),
        np.concatenate([part.rows for part in parts]),
        tuple(m._replace(example=m.example + n) for part, n in zip(parts, before, strict=False) for m in part.media),
    )


def reorder(examples: Examples, order: Ints) -> Examples:
    """The examples of these numbers, int64[b], in this order; each at most once."""
    offsets = _taken_offsets(examples.offsets, order)
    tokens, weights = (_gather(values, examples.offsets, order, offsets) for values in examples[:2])
    now_at = dict(zip(order.tolist(), range(len(order)), strict=True)) if examples.media else {}
    media = sorted(m._replace(example=now_at[m.example]) for m in examples.media if m.example in now_at)
    return Examples(tokens, weights, offsets, examples.rows[order], tuple(media))


def concat_ragged(parts: Sequence[Ragged]) -> Ragged:
    """The lists of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    ids = np.concatenate([np.zeros(0, np.int32), *(part.ids for part in parts)])
    return Ragged(ids, _concat_offsets([part.offsets for part in parts]))


def take_ragged(lists: Ragged, which: Ints) -> Ragged:
    """The lists of these numbers, int64[m], in that order, each as often as it is named."""
    offsets = _taken_offsets(lists.offsets, which)
    return Ragged(_gather(lists.ids, lists.offsets, which, offsets), offsets)


def _concat_offsets(parts: Sequence[Ints]) -> Ints:
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), *map(np.diff, parts)]))


def _taken_offsets(offsets: Ints, which: Ints) -> Ints:
    taken = np.zeros(len(which) + 1, np.int64)
    np.cumsum(np.diff(offsets)[which], out=taken[1:])
    return taken


@numba.njit(cache=True, nogil=True)
def _gather(values, starts, which, offsets):  # type: ignore[no-untyped-def]  # of int32 or float32
    out = np.empty(offsets[len(which)], values.dtype)
    for i in range(len(which)):
        own, room = values[starts[which[i]] :], out[offsets[i] : offsets[i + 1]]
        for j in range(len(room)):
            room[j] = own[j]
    return out
