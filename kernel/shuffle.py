"""Which row stands at place i of epoch e: an order is a question with one answer, not a state to carry along.

An order is one shuffle used twice, as the `datasets` library's users do it: the rows are shuffled once by the seed, the
first `n_test` of them are held out, and each epoch shuffles what remains by seed + epoch. Both shuffles here are
bijections of 0..n-1 that depend on n and a seed alone, so resuming at any step is asking again.

- `hf` gives exactly the rows `datasets.Dataset.shuffle` gives: numpy's permutation of a seeded PCG64. It costs 8 bytes
  a row and shuffle, and is meant for sets that fit in memory.
- `cipher` needs no memory and no look at the other places. The rows are laid on the smallest even square that holds
  them, a Feistel network shuffles the square, and a place that lands beyond the last row walks on until it is inside
  (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). A square wastes about 4 sqrt(n) of its fields at
  most, so in a large set hardly anything walks. The round function is the finaliser of splitmix64: well mixed, no
  cryptography. On an odd square every round would be an even permutation, and half of all orders out of reach.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.errors import unknown

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

_N_ROUNDS = 8
_WEYL = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MASK = 2**64 - 1


class Order(NamedTuple):
    """A shuffle of n rows by a seed, asked from either side. A new order is a new row of `ORDERS`."""

    rows: Callable[[int, int, Int64], Int64]
    """(n, seed, places) -> the row at each place"""
    places: Callable[[int, int, Int64], Int64]
    """(n, seed, rows) -> the place of each row"""


def shuffled_rows(order: str, places: Int64, n_rows: int, *, seed: int = 0, epoch: int = 0, n_test: int = 0) -> Int64:
    """The rows that stand at the given places of an epoch.

    Args:
        order: a name of `ORDERS`.
        places: int64[B], each in [0, n_rows - n_test).
        n_rows: rows of the whole set, the held out included.
        seed: >= 0; the set is shuffled by it, and epoch e again by seed + e. 0 is tinker-cookbook's.
        epoch: >= 0.
        n_test: rows held out, see `holdout_rows`.

    Returns:
        int64[B], each in [0, n_rows), none of them held out.

    Raises:
        InputError: no such order.
        IndexError: a place outside the epoch.

    >>> shuffled_rows("hf", np.arange(4), 10, epoch=0).tolist()
    [3, 9, 2, 0]
    >>> trained = shuffled_rows("cipher", np.arange(7), 10, epoch=3, n_test=3)
    >>> sorted([*trained.tolist(), *holdout_rows("cipher", 10, 3).tolist()])
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    shuffle = _order(order)
    n_train = n_rows - n_test
    within = shuffle.rows(n_train, seed + epoch, _inside(places, n_train, "place"))
    return shuffle.rows(n_rows, seed, within + n_test)


def positions_of(order: str, rows: Int64, n_rows: int, *, seed: int = 0, epoch: int = 0, n_test: int = 0) -> Int64:
    """The places of an epoch at which the given rows stand: the inverse of `shuffled_rows`, with its arguments.

    Returns:
        int64[B], each in [0, n_rows - n_test).

    Raises:
        InputError: no such order.
        IndexError: a row outside the set, or one that is held out.

    >>> rows = shuffled_rows("cipher", np.array([5, 0]), 10**12, epoch=2)
    >>> positions_of("cipher", rows, 10**12, epoch=2).tolist()
    [5, 0]
    """
    shuffle = _order(order)
    n_train = n_rows - n_test
    within = shuffle.places(n_rows, seed, _inside(rows, n_rows, "row")) - n_test
    return shuffle.places(n_train, seed + epoch, _inside(within, n_train, "place"))


def holdout_rows(order: str, n_rows: int, n_test: int, *, seed: int = 0) -> Int64:
    """The rows that no epoch visits: the first `n_test` of the set shuffled by its seed.

    Returns:
        int64[n_test].

    Raises:
        InputError: no such order.

    >>> holdout_rows("hf", 10, 3).tolist()
    [4, 6, 2]
    """
    return _order(order).rows(n_rows, seed, np.arange(n_test))


@lru_cache(maxsize=4)
def hf_permutation(n: int, seed: int) -> Int64:
    """The rows of n in the order `datasets.Dataset.shuffle(seed)` puts them.

    Returns:
        int64[n], read-only (it is shared by all who ask).

    >>> hf_permutation(10, 0).tolist()
    [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    """
    permutation = np.random.default_rng(seed).permutation(n)
    permutation.flags.writeable = False
    return permutation


def _hf_rows(n: int, seed: int, places: Int64) -> Int64:
    return hf_permutation(n, seed)[places]


def _hf_places(n: int, seed: int, rows: Int64) -> Int64:
    inverse = np.empty(n, np.int64)
    inverse[hf_permutation(n, seed)] = np.arange(n)
    return inverse[rows]


def _cipher_rows(n: int, seed: int, places: Int64) -> Int64:
    return _encrypt(places, np.uint64(n), _side(n), _round_keys(np.uint64(seed & _MASK)))


def _cipher_places(n: int, seed: int, rows: Int64) -> Int64:
    return _decrypt(rows, np.uint64(n), _side(n), _round_keys(np.uint64(seed & _MASK)))


def _side(n: int) -> np.uint64:
    """The side of the smallest even square with at least n fields."""
    side = math.isqrt(max(n - 1, 0)) + 1
    return np.uint64(side + side % 2)


@numba.njit(cache=True, nogil=True)
def _mix(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _round_keys(seed: np.uint64) -> UInt64:
    keys = np.empty(_N_ROUNDS, np.uint64)
    for i in range(_N_ROUNDS):
        seed += _WEYL
        keys[i] = _mix(seed)
    return keys


@numba.njit(cache=True, nogil=True)
def _encrypt(places: Int64, n: np.uint64, side: np.uint64, keys: UInt64) -> Int64:
    rows = np.empty(len(places), np.int64)
    for i in range(len(places)):
        x = np.uint64(places[i])
        while True:
            left, right = x // side, x % side
            for key in keys:
                left, right = right, (left + _mix(right + key) % side) % side
            x = left * side + right
            if x < n:
                break
        rows[i] = x
    return rows


@numba.njit(cache=True, nogil=True)
def _decrypt(rows: Int64, n: np.uint64, side: np.uint64, keys: UInt64) -> Int64:
    places = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        x = np.uint64(rows[i])
        while True:
            left, right = x // side, x % side
            for key in keys[::-1]:
                left, right = (right + side - _mix(left + key) % side) % side, left
            x = left * side + right
            if x < n:
                break
        places[i] = x
    return places


def _order(name: str) -> Order:
    if name not in ORDERS:
        raise unknown("order", name, ORDERS, at="$.order")
    return ORDERS[name]


def _inside(values: Int64, n: int, what: str) -> Int64:
    values = np.ascontiguousarray(values, np.int64)
    if values.size and not (values.min() >= 0 and values.max() < n):
        raise IndexError(f"expected each {what} in [0, {n}), got {values.min()} to {values.max()}")
    return values


ORDERS = {"hf": Order(_hf_rows, _hf_places), "cipher": Order(_cipher_rows, _cipher_places)}
