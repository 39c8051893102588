"""A shard file: the tokens and weights of neighbouring rows, with a checksum per row.

    header   magic, format, the cache's key, the shard's number, its rows, its words
    index    int64[rows + 1, 4], per row: where its words start; its checksum; its number of examples; its state.
             The last entry says where the words end
    words    int32[W], per row: the lengths of its examples, then their tokens, each with its weight (0 or 1) in the
             sign bit

A state of -1: the row is not cached. Any other is twice the tokens the row had before its prompt was shortened (0: it
was not), plus 1 if anything in it is trained. Not cached are rows that cannot be used, whose error names their
location, and rows with images, whose files may change: they are rendered whenever they are needed.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.examples import take
from kernel.shuffle import mix64
from shell.datums.render_rows import Rendered

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]

FORMAT = 2
NOT_CACHED = -1
HEADER = np.dtype(
    [("magic", "S8"), ("format", "<i8"), ("key", "S32"), ("number", "<i8"), ("n_rows", "<i8"), ("n_words", "<i8")]
)


def write_shard(rendered: Rendered, n_rows: int, first: int, key: str, number: int) -> bytes:
    """The bytes of a shard: the same for the same arguments, to the bit.

    Args:
        rendered: rows, numbered from 0.
        first: the number of the first of them in the source.
        key: the cache's, 32 characters.
        number: the shard's.
    """
    states = np.zeros(n_rows, np.int64)
    for row, n_before in rendered.shortened.items():
        states[row] = 2 * n_before
    states[_unfit(rendered)] = NOT_CACHED
    examples = take(rendered.examples, states[rendered.examples.rows] != NOT_CACHED)
    firsts = np.searchsorted(examples.rows, np.arange(n_rows + 1))
    index, words = _pack(examples.tokens, examples.weights, examples.offsets, firsts, states, first)
    header = header_of(key, number, n_rows, len(words))
    return header + index.astype("<i8").tobytes() + words.astype("<i4").tobytes()


def header_of(key: str, number: int, n_rows: int, n_words: int) -> bytes:
    """The header of a shard."""
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
    odd = (examples.tokens < 0) | ((examples.weights != 0) & (examples.weights != 1))
    within = np.searchsorted(examples.offsets, np.flatnonzero(odd), side="right") - 1
    with_images = [int(examples.rows[media.example]) for media in examples.media]
    return [*rendered.rejected, *with_images, *examples.rows[within].tolist()]


@numba.njit(cache=True, nogil=True)
def _pack(
    tokens: Int32, weights: NDArray[np.float32], offsets: Int64, firsts: Int64, states: Int64, first: int
) -> tuple[Int64, Int32]:
    """The index and the words of rows whose examples are firsts[row] to firsts[row + 1]."""
    n_rows = len(states)
    index = np.zeros((n_rows + 1, 4), np.int64)
    words = np.empty(len(tokens) + len(offsets) - 1, np.int32)
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
