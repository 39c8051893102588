"""Shuffled orders of rows: the row at a position, as a function of the number of rows and a seed.

- `hf` is the order of `datasets.Dataset.shuffle`: numpy's permutation of a seeded PCG64. It costs 8 bytes per row and
  shuffle, and is meant for sets that fit in memory.
- `cipher` needs no memory, and works out one position without the others. The rows are laid on the smallest even square
  that holds them, a Feistel network shuffles the square, and a position that lands beyond the last row walks on until
  it is inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). At most about 4 sqrt(n) fields of a
  square are unused, so in a large set hardly any position walks. The round function is the finaliser of splitmix64:
  well mixed, but no cryptography. On an odd square every round would be an even permutation, and half of all orders
  out of reach.
"""

import math
from collections.abc import Callable
from functools import lru_cache

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


def shuffled_rows(order: str, positions: Int64, n_rows: int, *, seed: int = 0) -> Int64:
    """The rows at some positions of a shuffled set.

    Args:
        order: a name of `ORDERS`.
        positions: int64[B], each in [0, n_rows).
        n_rows: rows of the set.
        seed: >= 0.

    Returns:
        int64[B], each in [0, n_rows).

    Raises:
        InputError: no such order.
        IndexError: a position outside the set.

    >>> shuffled_rows("hf", np.arange(4), 10).tolist()
    [4, 6, 2, 7]
    >>> sorted(shuffled_rows("cipher", np.arange(7), 7, seed=3).tolist())
    [0, 1, 2, 3, 4, 5, 6]
    """
    if order not in ORDERS:
        raise unknown("order", order, ORDERS, at="$.order")
    positions = np.ascontiguousarray(positions, np.int64)
    if positions.size and not (positions.min() >= 0 and positions.max() < n_rows):
        raise IndexError(f"expected each position in [0, {n_rows}), got {positions.min()} to {positions.max()}")
    return ORDERS[order](n_rows, seed, positions)


@lru_cache(maxsize=4)
def hf_permutation(n: int, seed: int) -> Int64:
    """The order of n rows after `datasets.Dataset.shuffle(seed)`.

    Returns:
        int64[n], read-only, as it is cached.

    >>> hf_permutation(10, 0).tolist()
    [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    """
    permutation = np.random.default_rng(seed).permutation(n)
    permutation.flags.writeable = False
    return permutation


def _hf_rows(n: int, seed: int, positions: Int64) -> Int64:
    return hf_permutation(n, seed)[positions]


def _cipher_rows(n: int, seed: int, positions: Int64) -> Int64:
    return _encrypt(positions, np.uint64(n), _side(n), _round_keys(np.uint64(seed & _MASK)))


def _side(n: int) -> np.uint64:
    """The side of the smallest even square with at least n fields."""
    side = math.isqrt(max(n - 1, 0)) + 1
    return np.uint64(side + side % 2)


@numba.njit(cache=True, nogil=True)
def mix64(x: np.uint64) -> np.uint64:
    """Spreads every bit over all 64: the finaliser of splitmix64."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _round_keys(seed: np.uint64) -> UInt64:
    keys = np.empty(_N_ROUNDS, np.uint64)
    for i in range(_N_ROUNDS):
        seed += _WEYL
        keys[i] = mix64(seed)
    return keys


@numba.njit(cache=True, nogil=True)
def _encrypt(positions: Int64, n: np.uint64, side: np.uint64, keys: UInt64) -> Int64:
    rows = np.empty(len(positions), np.int64)
    for i in range(len(positions)):
        x = np.uint64(positions[i])
        while True:
            left, right = x // side, x % side
            for key in keys:
                left, right = right, (left + mix64(right + key) % side) % side
            x = left * side + right
            if x < n:
                break
        rows[i] = x
    return rows


ORDERS: dict[str, Callable[[int, int, Int64], Int64]] = {"hf": _hf_rows, "cipher": _cipher_rows}
"""(n, seed, positions) -> the row at each position"""
