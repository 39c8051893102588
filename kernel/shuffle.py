"""Orders of rows: the row at a position, as a function of the number of rows and a seed.

`hf` is numpy's permutation of a seeded PCG64, as in `datasets.Dataset.shuffle`. `cipher` needs no memory: a Feistel
network shuffles the smallest even square that holds the rows, and a position beyond the last row is shuffled again
(Black and Rogaway, 2002). On an odd square every round would be an even permutation: half of all orders out of reach.
`file` leaves rows as they are, in every epoch.
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
    """The order of n rows after `datasets.Dataset.shuffle(seed)`: int64[n], read-only, as it is cached.

    >>> hf_permutation(10, 0).tolist()
    [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    """
    permutation = np.random.default_rng(seed).permutation(n)
    permutation.flags.writeable = False
    return permutation


def _hf_rows(n: int, seed: int, positions: Int64) -> Int64:
    return hf_permutation(n, seed)[positions]


def _cipher_rows(n: int, seed: int, positions: Int64) -> Int64:
    side = math.isqrt(max(n - 1, 0)) + 1
    side += side % 2  # the smallest even square with at least n fields
    return _encrypt(positions, np.uint64(n), np.uint64(side), _round_keys(np.uint64(seed & (2**64 - 1))))


@numba.njit(cache=True, nogil=True)
def mix64(x: np.uint64) -> np.uint64:
    """The finaliser of splitmix64: spreads every bit over all 64."""
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


ORDERS: dict[str, Callable[[int, int, Int64], Int64]] = {
    "hf": _hf_rows,
    "cipher": _cipher_rows,
    "file": lambda _n, _seed, positions: positions,
}
"""(n, seed, positions) -> the row at each position"""
