"""Rows gathered out of shards, in one pass over their words and into one allocation.

Shards are told to the compiled loops by their addresses, or by the descriptors of their files, so that a batch of rows
from a thousand files is one call. Nothing is read outside a shard, whatever its index says, and every row's sum is
checked while its words are copied: what has been damaged since the store was opened is noticed before it is trained.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernel.examples import Examples
from shell.token_cache.shard import HEADER, row_sum

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

_BODY = HEADER.itemsize
COUNTED = 1 << 20
"""rows that are counted together"""


class Found(IntEnum):
    """How a row was found."""

    KEPT = 0
    NOT_KEPT = 1
    MISSING = 2
    """its shard is not there yet"""
    DAMAGED = 3


class Gathered(NamedTuple):
    """What a store has of some rows."""

    examples: Examples
    """of those that are KEPT, numbered by their places among the rows asked for"""
    found: Int64
    """int64[B], a `Found` for each row asked for"""
    before: Int64
    """int64[B], the tokens it had before its prompt was shortened; 0 where it was not"""


class Shards(NamedTuple):
    """Shards as the loops see them."""

    table: Int64
    """int64[C, 4], of each: its address (0: it is not in memory), its rows, its words, and one more than the descriptor
    of its file (0: there is none); all 0 where it is not there"""
    n_shard: int
    """rows of every shard but the last"""


def gather(rows: Int64, shards: Shards) -> Gathered:
    """The examples of some rows, in the order in which they are asked for.

    Args:
        rows: int64[B], numbers in the source.
        shards: must stay mapped, or open, while this runs.
    """
    table, n_shard = shards
    found, n_examples, n_tokens = _look_up(rows, n_shard, table)
    tokens, weights = np.empty(n_tokens, np.int32), np.empty(n_tokens, np.float32)
    offsets, numbers = np.zeros(n_examples + 1, np.int64), np.empty(n_examples, np.int64)
    before = _copy(rows, n_shard, table, found, tokens, weights, offsets, numbers)
    return Gathered(Examples(tokens, weights, offsets, numbers), found[:, 0], before)


class Counts(NamedTuple):
    """What a store says of rows without looking at their words."""

    n_rows: int
    n_examples: int
    n_split: int
    """rows of more than one example"""
    n_trained: int
    """rows in which something is trained"""


def count(rows: Int64, shards: Shards) -> tuple[Counts, Int64]:
    """The counts of the rows that are kept, and which places of `rows` hold one that is not, rising.

    Args:
        rows, shards: as in `gather`.
    """
    table, n_shard = shards
    n_examples, states = np.zeros(len(table) * n_shard, np.int32), np.full(len(table) * n_shard, -1, np.int8)
    for number, (at, n_rows, _, file) in enumerate(table.tolist()):
        index = _read_index(at, file, n_rows)
        own = slice(number * n_shard, number * n_shard + len(index))
        n_examples[own], states[own] = index[:, 2], np.where(index[:, 3] < 0, -1, index[:, 3] & 1)
    counts, odd = np.zeros(4, np.int64), [np.zeros(0, np.int64)]
    for start in range(0, len(rows), COUNTED):
        some = rows[start : start + COUNTED]
        is_kept, n = states[some] >= 0, n_examples[some]
        counts += is_kept.sum(), n[is_kept].sum(), (n[is_kept] > 1).sum(), (states[some] > 0).sum()
        odd.append(start + np.flatnonzero(~is_kept))
    return Counts(*counts.tolist()), np.concatenate(odd)


def _as_pointer(typing_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba's form
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), code


_pointer: Any = intrinsic(_as_pointer)
_array_at: Any = carray
_pread: Any = types.ExternalFunction("pread", types.intp(types.intc, types.voidptr, types.uintp, types.int64))


@numba.njit(cache=True, nogil=True)
def _index_of(at: int, n_rows: int) -> Any:
    return _array_at(_pointer(at + _BODY), (n_rows + 1, 4), np.int64)


@numba.njit(cache=True, nogil=True)
def _words_of(at: int, n_rows: int, n_words: int) -> Any:
    return _array_at(_pointer(at + _BODY + 32 * (n_rows + 1)), n_words, np.int32)


@numba.njit(cache=True, nogil=True)
def _read(file: int, offset: int, into: Any) -> bool:
    """Fills an array from a file; False where it ends before that, or cannot be read."""
    n = into.size * into.itemsize
    return bool(_pread(file - 1, _pointer(into.ctypes.data), n, offset) == n)


@numba.njit(cache=True, nogil=True)
def _read_index(at: int, file: int, n_rows: int) -> Int64:
    """The index of a shard, but for its end; empty where there is no shard, or it cannot be read."""
    index = np.empty((n_rows, 4), np.int64)
    if at != 0:
        index[:] = _index_of(at, n_rows)[:n_rows]
    elif file == 0 or not _read(file, _BODY, index):
        return index[:0]
    return index


@numba.njit(cache=True, nogil=True)
def _look_up(rows: Int64, n_shard: int, table: Int64) -> tuple[Int64, int, int]:
    """How each row is found: int64[B, 6] (found, examples, tokens, start, sum, state); all examples, all tokens."""
    found = np.zeros((len(rows), 6), np.int64)
    n_all_examples = n_all_tokens = 0
    entry = np.empty((2, 4), np.int64)
    for i in range(len(rows)):
        shard, row = rows[i] // n_shard, rows[i] % n_shard
        at, n_rows, n_words, file = table[shard, 0], table[shard, 1], table[shard, 2], table[shard, 3]
        if at == 0 and file == 0:
            found[i, 0] = 2
            continue
        found[i, 0] = 3
        if row >= n_rows:
            continue
        if at != 0:
            entry[:] = _index_of(at, n_rows)[row : row + 2]
        elif not _read(file, _BODY + 32 * row, entry):
            continue
        start, stop, n_examples = entry[0, 0], entry[1, 0], entry[0, 2]
        if start < 0 or stop < start or stop > n_words or n_examples < 0 or n_examples > stop - start:
            continue
        if entry[0, 3] < 0:
            found[i, 0] = 1
            continue
        found[i, 0], found[i, 1], found[i, 2] = 0, n_examples, stop - start - n_examples
        found[i, 3], found[i, 4], found[i, 5] = start, entry[0, 1], entry[0, 3]
        n_all_examples += n_examples
        n_all_tokens += stop - start - n_examples
    return found, n_all_examples, n_all_tokens


@numba.njit(cache=True, nogil=True)
def _copy(
    rows: Int64,
    n_shard: int,
    table: Int64,
    found: Int64,
    tokens: Int32,
    weights: Float32,
    offsets: Int64,
    numbers: Int64,
) -> Int64:
    """Copies the rows found, marks in `found` those whose sum is not theirs, and gives their tokens before."""
    before = np.zeros(len(rows), np.int64)
    room = np.empty(0, np.int32)  # for the words of a row whose shard is not in memory
    to, b = 0, 0
    for i in range(len(rows)):
        if found[i, 0] != 0:
            continue
        n_examples, n_tokens, start, state = found[i, 1], found[i, 2], found[i, 3], found[i, 5]
        shard, n = rows[i] // n_shard, n_examples + n_tokens
        at, n_rows, n_words, file = table[shard, 0], table[shard, 1], table[shard, 2], table[shard, 3]
        if at != 0:
            words = _words_of(at, n_rows, n_words)[start : start + n]
        else:
            if len(room) < n:
                room = np.empty(2 * n, np.int32)
            words = room[:n]
            if not _read(file, _BODY + 32 * (n_rows + 1) + 4 * start, words):
                words[:] = -1
        if row_sum(rows[i], state, n_examples, words) != found[i, 4]:
            found[i, 0] = 3
        before[i] = state >> 1
        end = to
        for k in range(n_examples):
            offsets[b] = end
            numbers[b] = i
            end += words[k]
            b += 1
        own, to_tokens, to_weights = words[n_examples:], tokens[to : to + n_tokens], weights[to : to + n_tokens]
        for j in range(n_tokens):
            to_tokens[j] = own[j] & 0x7FFFFFFF
            to_weights[j] = np.float32(np.uint32(own[j]) >> np.uint32(31))
        to += n_tokens
    offsets[b] = to
    return before
