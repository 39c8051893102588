"""A shard file: the tokens and weights of neighbouring rows, with a checksum per row.

    header   magic, format, the cache's key, the shard's number, its rows, its words
    index    int64[rows + 1, 4], per row: where its words start; its checksum; its number of examples; its state.
             The last entry says where the words end
    words    int32[W], per row: the lengths of its examples, then their tokens, each with its weight (0 or 1) in the
             sign bit; in a row of other weights that bit says if it is trained, and the weights follow as float32

A state of -1: the row is not cached. Any other is twice the tokens the row had before its prompt was shortened (0: it
was not), plus 1 if anything in it is trained, plus 2**62 where weights follow. Not cached are rows that cannot be used,
whose error names their location, and rows with images, whose files may change: they are rendered whenever they are
needed.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from kernel.ragged_batches import Examples, take
from kernel.shuffle import mix64
from shell.datums.render_rows import Rendered

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]

FORMAT = 2
NOT_CACHED = -1
FRACTIONS = 1 << 62
"""added to the state of a row with weights other than 0 and 1"""
HEADER = np.dtype(
    [("magic", "S8"), ("format", "<i8"), ("key", "S32"), ("number", "<i8"), ("n_rows", "<i8"), ("n_words", "<i8")]
)


def write_shard(rendered: Rendered, n_rows: int, first: int, key: str, number: int) -> bytes:
    """The bytes of a shard, the same for the same arguments; `first` is the number of its first row in the source."""
    states = np.zeros(n_rows, np.int64)
    for row, n_before in rendered.shortened.items():
        states[row] = 2 * n_before
    states[_rows_with(rendered.examples, (rendered.examples.weights != 0) & (rendered.examples.weights != 1))] |= (
        FRACTIONS
    )
    states[_unfit(rendered)] = NOT_CACHED
    examples = take(rendered.examples, states[rendered.examples.rows] != NOT_CACHED)
    firsts = np.searchsorted(examples.rows, np.arange(n_rows + 1))
    index, words = _pack(examples.tokens, examples.weights, examples.offsets, firsts, states, first)
    header = header_of(key, number, n_rows, len(words))
    return header + index.astype("<i8").tobytes() + words.astype("<i4").tobytes()


def header_of(key: str, number: int, n_rows: int, n_words: int) -> bytes:
    return np.array((b"tinsmith", FORMAT, key.encode(), number, n_rows, n_words), HEADER).tobytes()


def words_in(header: bytes, n_bytes: int, key: str, number: int, n_rows: int) -> int | None:
    """The words of a shard file of `n_bytes`; None: it is another shard, or was cut or extended."""
    if len(header) != HEADER.itemsize:
        return None
    n_words = int(np.frombuffer(header, HEADER)["n_words"][0])
    is_whole = n_bytes == HEADER.itemsize + 32 * (n_rows + 1) + 4 * n_words
    return n_words if is_whole and header == header_of(key, number, n_rows, n_words) else None


def _unfit(rendered: Rendered) -> list[int]:
    """The rows that are not cached."""
    examples = rendered.examples
    with_images = [int(examples.rows[media.example]) for media in examples.media]
    odd = (examples.tokens < 0) | ~np.isfinite(examples.weights)
    return [*rendered.rejected, *with_images, *_rows_with(examples, odd)]


def _rows_with(examples: Examples, positions: NDArray[np.bool_]) -> list[int]:
    """The rows of the positions of a mask."""
    within = np.searchsorted(examples.offsets, np.flatnonzero(positions), side="right") - 1
    return np.unique(examples.rows[within]).tolist()  # type: ignore[no-any-return]


@numba.njit(cache=True, nogil=True)
def _pack(
    tokens: Int32, weights: Float32, offsets: Int64, firsts: Int64, states: Int64, first: int
) -> tuple[Int64, Int32]:
    """The index and the words of rows whose examples are firsts[row] to firsts[row + 1]."""
    n_rows = len(states)
    index = np.zeros((n_rows + 1, 4), np.int64)
    n_words = len(tokens) + len(offsets) - 1
    for row in range(n_rows):
        if states[row] >= FRACTIONS:
            n_words += offsets[firsts[row + 1]] - offsets[firsts[row]]
    words, bits = np.empty(n_words, np.int32), weights.view(np.int32)
    at = 0
    for row in range(n_rows):
        n_examples, begin = firsts[row + 1] - firsts[row], at
        index[row, 0], index[row, 2] = at, n_examples
        at += n_examples
        is_trained = 0
        for k in range(n_examples):
            b = firsts[row] + k
            words[begin + k] = offsets[b + 1] - offsets[b]
            for i in range(offsets[b], offsets[b + 1]):
                on = weights[i] != 0
                is_trained |= on
                words[at] = tokens[i] | (np.int32(-(2**31)) if on else np.int32(0))
                at += 1
        if states[row] >= FRACTIONS:
            for i in range(offsets[firsts[row]], offsets[firsts[row + 1]]):
                words[at] = bits[i]
                at += 1
        index[row, 3] = states[row] if states[row] < 0 else states[row] | is_trained
        index[row, 1] = row_checksum(first + row, index[row, 3], n_examples, words[begin:at])
    index[n_rows, 0] = at
    return index, words


@numba.njit(cache=True, nogil=True)
def row_checksum(row: int, state: int, n_examples: int, words: Int32) -> np.int64:
    """A checksum of a row: any one word that changes, and any two that swap, change it; that of zeros is not zero."""
    total = np.uint64(0x9E3779B97F4A7C15)
    for i in range(len(words)):
        total += np.uint64(np.uint32(words[i])) * np.uint64(2 * i + 1)
    total = mix64(total) + np.uint64(len(words))
    total = mix64(total) + np.uint64(n_examples)
    total = mix64(total) + np.uint64(np.int64(state))
    return np.int64(mix64(mix64(total) + np.uint64(row)))


_BODY = HEADER.itemsize
_COUNTED = 1 << 20
"""rows that are counted together"""


class Found(IntEnum):
    """How a row was found."""

    CACHED = 0
    NOT_CACHED = 1
    MISSING = 2
    """its shard is not there yet"""
    DAMAGED = 3


class CachedExamples(NamedTuple):
    examples: Examples
    """of those that are CACHED, numbered by their positions among the rows that were asked for"""
    found: Int64
    """int64[B], a `Found` per row"""
    n_before: Int64
    """int64[B], the tokens it had before its prompt was shortened; 0 where it was not"""


class Shards(NamedTuple):
    """Shards as the compiled loops see them."""

    table: Int64
    """int64[C, 4], per shard: its address (0: it is not in memory), its file descriptor plus one (0: none), its rows,
    its words; all 0 where it is not there"""
    n_shard: int
    """rows of every shard but the last"""


class RowCounts(NamedTuple):
    """Counts of rows."""

    n_rows: int = 0
    n_split: int = 0
    """rows of more than one example"""
    n_examples: int = 0
    n_trained: int = 0
    """rows in which something is trained"""
    n_bad: int = 0
    """rows that cannot be used"""

    def plus(self, *others: int) -> "RowCounts":
        """The sums with other counts."""
        return RowCounts(*map(sum, zip(self, others, strict=True)))


def read_rows(rows: Int64, shards: Shards) -> CachedExamples:
    """The examples of rows, int64[B] numbers in the source, in this order; `shards` must stay mapped or open."""
    table, n_shard = shards
    found, n_examples, n_tokens = _look_up(rows, n_shard, table)
    tokens, weights = np.empty(n_tokens, np.int32), np.empty(n_tokens, np.float32)
    offsets, numbers = np.zeros(n_examples + 1, np.int64), np.empty(n_examples, np.int64)
    n_before = _copy(rows, n_shard, table, found, tokens, weights, offsets, numbers)
    return CachedExamples(Examples(tokens, weights, offsets, numbers), found[:, 0], n_before)


def count(rows: Int64, shards: Shards) -> tuple[RowCounts, Int64]:
    """Counts of the rows that are cached, and the positions in `rows` of those that are not, rising."""
    table, n_shard = shards
    n_examples, states = np.zeros(len(table) * n_shard, np.int32), np.full(len(table) * n_shard, -1, np.int8)
    for number, shard in enumerate(table):
        index = np.empty((int(shard[2]), 4), np.int64)
        if _read(shard, _BODY, index):
            own = slice(number * n_shard, number * n_shard + len(index))
            n_examples[own], states[own] = index[:, 2], np.where(index[:, 3] < 0, -1, index[:, 3] & 1)
    counts, others = np.zeros(4, np.int64), [np.zeros(0, np.int64)]
    for start in range(0, len(rows), _COUNTED):
        some = rows[start : start + _COUNTED]
        is_cached, n = states[some] >= 0, n_examples[some]
        counts += is_cached.sum(), (n[is_cached] > 1).sum(), n[is_cached].sum(), (states[some] > 0).sum()
        others.append(start + np.flatnonzero(~is_cached))
    return RowCounts(*counts.tolist()), np.concatenate(others)


_memcpy: Any = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))
_pread: Any = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))


@numba.njit(cache=True, nogil=True)
def _read(shard: Int64, offset: int, into: Any) -> bool:
    """Fills an array from a shard; False where there is none, it ends before that, or it cannot be read."""
    n = into.size * into.itemsize
    if shard[0] != 0:
        _memcpy(into.ctypes.data, shard[0] + offset, n)
        return True
    return bool(shard[1] != 0 and _pread(shard[1] - 1, into.ctypes.data, n, offset) == n)


@numba.njit(cache=True, nogil=True)
def _look_up(rows: Int64, n_shard: int, table: Int64) -> tuple[Int64, int, int]:
    """Per row int64[B, 6] (found, examples, tokens, start, checksum, state), then the sums of examples and tokens."""
    found = np.zeros((len(rows), 6), np.int64)
    n_all_examples = n_all_tokens = 0
    entry = np.empty((2, 4), np.int64)
    for i in range(len(rows)):
        shard, row = table[rows[i] // n_shard], rows[i] % n_shard
        if shard[0] == 0 and shard[1] == 0:
            found[i, 0] = 2
            continue
        found[i, 0] = 3
        if row >= shard[2] or not _read(shard, _BODY + 32 * row, entry):
            continue
        start, stop, n_examples, state = entry[0, 0], entry[1, 0], entry[0, 2], entry[0, 3]
        if start < 0 or stop < start or stop > shard[3] or n_examples < 0 or n_examples > stop - start:
            continue
        if state < 0 and (state != NOT_CACHED or stop > start):
            continue
        n_tokens = stop - start - n_examples
        if state >= FRACTIONS:
            if n_tokens % 2:
                continue
            n_tokens //= 2
        found[i, 0], found[i, 1], found[i, 2] = state < 0, n_examples, n_tokens
        found[i, 3], found[i, 4], found[i, 5] = start, entry[0, 1], state
        n_all_examples += n_examples
        n_all_tokens += n_tokens
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
    """Copies the rows found, and marks in `found` those whose checksum is wrong; gives their tokens before."""
    n_before = np.zeros(len(rows), np.int64)
    buffer = np.empty(4096, np.int32)
    to, b = 0, 0
    for i in range(len(rows)):
        if found[i, 0] > 1:
            continue
        n_examples, n_tokens, start, state = found[i, 1], found[i, 2], found[i, 3], found[i, 5]
        shard, n = table[rows[i] // n_shard], n_examples + n_tokens
        if state >= FRACTIONS:
            n += n_tokens
        if len(buffer) < n:
            buffer = np.empty(2 * n, np.int32)
        words = buffer[:n]
        if n > 0 and not _read(shard, _BODY + 32 * (shard[2] + 1) + 4 * start, words):
            words[:] = -1
        if row_checksum(rows[i], state, n_examples, words) != found[i, 4]:
            found[i, 0] = 3
        n_before[i] = (max(state, 0) & (FRACTIONS - 1)) >> 1
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
        if state >= FRACTIONS:
            to_weights[:] = own[n_tokens:].view(np.float32)
        to += n_tokens
    offsets[b] = to
    return n_before
