"""A file of the store: the tokens and weights of neighbouring rows, each with its place and a sum over it.

    header   what it is: the store's key, its number, its sizes, a digest of all that follows
    index    int64[rows + 1, 4], of each row: where its part of the words starts; its sum; how many examples it has; its
             state. The last says where the words end
    words    int32[W], of each row: the lengths of its examples, then their tokens, each with its weight (0 or 1) in
             the sign bit

A state of -1 says that the row is not kept; another is twice the tokens the row had before its prompt was shortened (0:
it was not), plus 1 if anything in it is trained. The weight costs no space and no second look-up, and both are restored
exactly. A row is found with one look into the index and one at its words: two pages, however large the store.

Not kept are rows that a file of tokens cannot speak for: those that cannot be used, whose error names their place, and
those with images, whose files may change. They are read, rendered and encoded whenever they are asked for.
"""

import hashlib
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.errors import InputError, expected
from kernel.examples import take
from kernel.shuffle import mix64
from shell.datums.render_rows import Rendered

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]

FORMAT = 1
MAGIC = b"tinsmith"
NOT_KEPT = -1
HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("format", "<i8"),
        ("key", "S32"),
        ("number", "<i8"),
        ("n_rows", "<i8"),
        ("n_examples", "<i8"),
        ("n_words", "<i8"),
        ("digest", "S32"),
        ("unused", "V16"),
    ]
)


class Sizes(NamedTuple):
    """How much a shard holds."""

    n_rows: int
    n_examples: int
    n_words: int

    @property
    def n_bytes(self) -> int:
        """Of the whole file."""
        return HEADER.itemsize + 32 * (self.n_rows + 1) + 4 * self.n_words


def write_shard(rendered: Rendered, n_rows: int, first: int, key: str, number: int) -> bytes:
    """The bytes of a shard.

    Args:
        rendered: rows, numbered from 0.
        n_rows: how many.
        first: the number of the first of them in the source.
        key: the store's, 32 characters.
        number: the shard's.

    Returns:
        The same for the same arguments, to the bit.
    """
    states = np.zeros(n_rows, np.int64)
    for row, n_before in rendered.shortened.items():
        states[row] = 2 * n_before
    states[_unfit(rendered)] = NOT_KEPT
    examples = take(rendered.examples, states[rendered.examples.rows] != NOT_KEPT)
    firsts = np.searchsorted(examples.rows, np.arange(n_rows + 1))
    index, words = _lay(examples.tokens, examples.weights, examples.offsets, firsts, states, first)
    body = index.astype("<i8").tobytes() + words.astype("<i4").tobytes()
    header = np.zeros((), HEADER)
    header["magic"], header["format"], header["key"], header["number"] = MAGIC, FORMAT, key.encode(), number
    for name, value in Sizes(n_rows, len(examples.rows), len(words))._asdict().items():
        header[name] = value
    header["digest"] = digest_of(body).encode()
    return header.tobytes() + body


def read_sizes(head: bytes, key: str, number: int) -> tuple[Sizes, str]:
    """The sizes and the digest that a shard's first bytes claim.

    Raises:
        InputError: they are not the header of that shard of that store.
    """
    if len(head) < HEADER.itemsize:
        raise expected("a shard", "a file too short for one")
    header = np.frombuffer(head[: HEADER.itemsize], HEADER)[0]
    wanted = (MAGIC, FORMAT, key.encode(), number)
    if tuple(header[name] for name in ("magic", "format", "key", "number")) != wanted:
        raise expected(f"shard {number} of the store {key}", "another file")
    sizes = Sizes(*(int(header[name]) for name in Sizes._fields))
    if min(sizes) < 0:
        raise expected("a shard", "one of a negative size")
    return sizes, header["digest"].decode(errors="replace")


def check_shard(content: bytes, key: str, number: int) -> Sizes:
    """The sizes of a whole shard, every byte of which has been looked at.

    Raises:
        InputError: it is damaged, or another shard.
    """
    sizes, digest = read_sizes(content, key, number)
    if len(content) != sizes.n_bytes or digest_of(content[HEADER.itemsize :]) != digest:
        raise expected("a whole shard", "one that is damaged")
    return sizes


def is_shard(content: bytes, key: str, number: int) -> bool:
    """Whether these are the bytes of that shard, undamaged."""
    try:
        check_shard(content, key, number)
    except InputError:
        return False
    return True


def digest_of(body: bytes) -> str:
    """32 characters that change with any byte."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _unfit(rendered: Rendered) -> list[int]:
    """The rows that are not kept."""
    examples = rendered.examples
    odd = (examples.tokens < 0) | ((examples.weights != 0) & (examples.weights != 1))
    within = np.searchsorted(examples.offsets, np.flatnonzero(odd), side="right") - 1
    pictured = [int(examples.rows[media.example]) for media in examples.media]
    return [*rendered.rejected, *pictured, *examples.rows[within].tolist()]


@numba.njit(cache=True, nogil=True)
def _lay(
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
        index[row, 1] = row_sum(first + row, index[row, 3], n_examples, words[begin:at])
    index[n_rows, 0] = at
    return index, words


@numba.njit(cache=True, nogil=True)
def row_sum(row: int, state: int, n_examples: int, words: Int32) -> np.int64:
    """A sum over what is said of a row: any one word that changes, and any two that change places, change it."""
    total = np.uint64(0)
    for i in range(len(words)):
        total += np.uint64(np.uint32(words[i])) * np.uint64(2 * i + 1)
    total = mix64(total) + np.uint64(len(words))
    total = mix64(total) + np.uint64(n_examples)
    total = mix64(total) + np.uint64(np.int64(state))
    return np.int64(mix64(mix64(total) + np.uint64(row)))
