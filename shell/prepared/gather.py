"""Rows gathered out of mapped chunks, in one pass over their words and into one allocation.

The chunks of a store are told to the compiled loops by their addresses, so that a batch of rows from a thousand files
is one call. Nothing is read outside a chunk, whatever its index says, and every row's sum is checked while its words
are copied: what has been damaged since the store was opened is noticed before it is trained.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernel.script import Examples
from shell.prepared.chunk import HEADER, row_sum

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

_BODY = HEADER.itemsize


class Found(IntEnum):
    """How a row was found."""

    KEPT = 0
    NOT_KEPT = 1
    MISSING = 2
    """its chunk is not there yet"""
    DAMAGED = 3


class Gathered(NamedTuple):
    """What a store has of some rows."""

    examples: Examples
    """of those that are KEPT, numbered by their places among the rows asked for"""
    found: Int64
    """int64[B], a `Found` for each row asked for"""
    before: Int64
    """int64[B], the tokens it had before its prompt was shortened; 0 where it was not"""


class Chunks(NamedTuple):
    """Chunks in memory, as the loops see them."""

    table: Int64
    """int64[C, 3], of each: its address (0: it is not there), its rows, its words"""
    n_chunk: int
    """rows of every chunk but the last"""


def gather(rows: Int64, chunks: Chunks) -> Gathered:
    """The examples of some rows, in the order in which they are asked for.

    Args:
        rows: int64[B], numbers in the source.
        chunks: must stay mapped while this runs.
    """
    table, n_chunk = chunks
    found, n_examples, n_tokens = _look_up(rows, n_chunk, table)
    tokens, weights = np.empty(n_tokens, np.int32), np.empty(n_tokens, np.float32)
    offsets, numbers = np.zeros(n_examples + 1, np.int64), np.empty(n_examples, np.int64)
    before = _copy(rows, n_chunk, table, found, tokens, weights, offsets, numbers)
    return Gathered(Examples(tokens, weights, offsets, numbers), found[:, 0], before)


class Counts(NamedTuple):
    """What a store says of rows without looking at their words."""

    n_rows: int
    n_examples: int
    n_split: int
    """rows of more than one example"""
    n_trained: int
    """rows in which something is trained"""


def count(rows: Int64, chunks: Chunks) -> tuple[Counts, Int64]:
    """The counts of the rows that are kept, and which places of `rows` hold one that is not, rising.

    Args:
        rows, chunks: as in `gather`.
    """
    counts, odd = _count(rows, chunks.n_chunk, chunks.table)
    return Counts(*counts.tolist()), odd


def _as_pointer(typing_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba's form
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), code


_pointer: Any = intrinsic(_as_pointer)
_array_at: Any = carray


@numba.njit(cache=True, nogil=True)
def _index_of(at: int, n_rows: int) -> Any:
    return _array_at(_pointer(at + _BODY), (n_rows + 1, 4), np.int64)


@numba.njit(cache=True, nogil=True)
def _words_of(at: int, n_rows: int, n_words: int) -> Any:
    return _array_at(_pointer(at + _BODY + 32 * (n_rows + 1)), n_words, np.int32)


@numba.njit(cache=True, nogil=True)
def _look_up(rows: Int64, n_chunk: int, table: Int64) -> tuple[Int64, int, int]:
    """How each row is found, with its examples and tokens; and their totals. Int64[B, 3]."""
    found = np.zeros((len(rows), 3), np.int64)
    n_all_examples = n_all_tokens = 0
    for i in range(len(rows)):
        chunk, row = rows[i] // n_chunk, rows[i] % n_chunk
        at, n_rows, n_words = table[chunk, 0], table[chunk, 1], table[chunk, 2]
        if at == 0:
            found[i, 0] = 2
            continue
        found[i, 0] = 3
        if row >= n_rows:
            continue
        index = _index_of(at, n_rows)
        start, stop, n_examples = index[row, 0], index[row + 1, 0], index[row, 2]
        if start < 0 or stop < start or stop > n_words or n_examples < 0 or n_examples > stop - start:
            continue
        if index[row, 3] < 0:
            found[i, 0] = 1
            continue
        found[i, 0], found[i, 1], found[i, 2] = 0, n_examples, stop - start - n_examples
        n_all_examples += n_examples
        n_all_tokens += stop - start - n_examples
    return found, n_all_examples, n_all_tokens


@numba.njit(cache=True, nogil=True)
def _copy(
    rows: Int64,
    n_chunk: int,
    table: Int64,
    found: Int64,
    tokens: Int32,
    weights: Float32,
    offsets: Int64,
    numbers: Int64,
) -> Int64:
    """Copies the rows found, marks in `found` those whose sum is not theirs, and gives their tokens before."""
    before = np.zeros(len(rows), np.int64)
    to, b = 0, 0
    for i in range(len(rows)):
        if found[i, 0] != 0:
            continue
        chunk, row, n_examples, n_tokens = rows[i] // n_chunk, rows[i] % n_chunk, found[i, 1], found[i, 2]
        at, n_rows, n_words = table[chunk, 0], table[chunk, 1], table[chunk, 2]
        index = _index_of(at, n_rows)
        start = index[row, 0]
        words = _words_of(at, n_rows, n_words)[start : start + n_examples + n_tokens]
        if row_sum(rows[i], index[row, 3], n_examples, words) != index[row, 1]:
            found[i, 0] = 3
        before[i] = index[row, 3] >> 1
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


@numba.njit(cache=True, nogil=True)
def _count(rows: Int64, n_chunk: int, table: Int64) -> tuple[Int64, Int64]:
    counts, odd = np.zeros(4, np.int64), np.empty(len(rows), np.int64)
    n_odd = 0
    for i in range(len(rows)):
        chunk, row = rows[i] // n_chunk, rows[i] % n_chunk
        at, n_rows = table[chunk, 0], table[chunk, 1]
        index = _index_of(at, n_rows)
        if at == 0 or row >= n_rows or index[row, 3] < 0:
            odd[n_odd] = i
            n_odd += 1
            continue
        counts[0] += 1
        counts[1] += index[row, 2]
        counts[2] += index[row, 2] > 1
        counts[3] += index[row, 3] & 1
    return counts, odd[:n_odd].copy()
