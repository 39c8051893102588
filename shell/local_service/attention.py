"""Causal sliding-window attention over examples that lie one behind the other in one flat array, with its gradient.

Positions are cut into blocks of WINDOW; a block's queries look at the keys of its own block and of the one before, and
a mask by distance and by where the example starts leaves each query the last WINDOW positions of its own example,
wherever that lies in the array. So ragged examples need no padding, and the work is a few batched matrix products.
There are no position embeddings: each head falls off with distance at a slope of its own (as in ALiBi).
"""

from typing import Any

import numpy as np

from shell.local_service.arrays import Floats, Ints

N_HEADS = 4
WINDOW = 32


def visibility(starts: Ints, n: int, dtype: Any) -> Floats:
    """What to add to attention scores: a slope by distance for each head, -inf where a query must not look.

    Args:
        starts: int[B] where each example starts, the first at 0.
        n: number of positions.
        dtype: the scores' dtype.

    Returns:
        float[blocks, N_HEADS, WINDOW, 2 * WINDOW]; key column j of block b is position (b - 1) * WINDOW + j.
    """
    n_blocks = -(-n // WINDOW)
    distance = WINDOW + np.arange(WINDOW)[:, None] - np.arange(2 * WINDOW)
    slopes = 2.0 ** -np.arange(1, N_HEADS + 1)
    bias = np.where((distance >= 0) & (distance < WINDOW), -slopes[:, None, None] * distance, -np.inf).astype(dtype)
    own_start = np.repeat(starts, np.diff(starts, append=n_blocks * WINDOW)).reshape(n_blocks, WINDOW, 1)
    key = (np.arange(n_blocks)[:, None] - 1) * WINDOW + np.arange(2 * WINDOW)
    return np.where((key[:, None, :] >= own_start)[:, None], bias, np.array(-np.inf, dtype))


def attend(qkv: Floats, visible: Floats) -> tuple[Floats, Floats]:
    """Mix each position's values.

    Args:
        qkv: float[N, 3 * width] queries, keys and values side by side, each a row of heads.
        visible: what visibility() said for these N positions.

    Returns:
        The attention, as attend_backward() wants it back, and the mixed values, float[N, width].
    """
    queries, keys, values = _blocks(qkv)
    scores = queries @ keys.swapaxes(-1, -2)
    scores *= queries.shape[-1] ** -0.5
    scores += visible
    scores -= scores.max(axis=-1, keepdims=True)
    attention = np.exp(scores, out=scores)
    attention /= attention.sum(axis=-1, keepdims=True)
    mixed = (attention @ values).swapaxes(1, 2).reshape(-1, qkv.shape[1] // 3)[: len(qkv)]
    return attention, mixed


def attend_backward(d_mixed: Floats, qkv: Floats, attention: Floats) -> Floats:
    """The gradient of qkv, from that of the mixed values."""
    queries, keys, values = _blocks(qkv)
    n_blocks = len(queries)
    padded = np.zeros((n_blocks * WINDOW, d_mixed.shape[1]), qkv.dtype)
    padded[: len(qkv)] = d_mixed
    d_out = padded.reshape(n_blocks, WINDOW, N_HEADS, -1).swapaxes(1, 2)
    d_scores = d_out @ values.swapaxes(-1, -2)
    d_scores -= (d_scores * attention).sum(axis=-1, keepdims=True)
    d_scores *= attention
    d_scores *= queries.shape[-1] ** -0.5
    d_qkv = np.zeros((n_blocks + 1, WINDOW, 3, N_HEADS, queries.shape[-1]), qkv.dtype)
    d_qkv[1:, :, 0] = (d_scores @ keys).swapaxes(1, 2)
    for place, d_pairs in ((1, d_scores.swapaxes(-1, -2) @ queries), (2, attention.swapaxes(-1, -2) @ d_out)):
        d_qkv[:-1, :, place] += d_pairs[:, :, :WINDOW].swapaxes(1, 2)
        d_qkv[1:, :, place] += d_pairs[:, :, WINDOW:].swapaxes(1, 2)
    return d_qkv[1:].reshape(-1, qkv.shape[1])[: len(qkv)]


def _blocks(qkv: Floats) -> tuple[Floats, Floats, Floats]:
    """Queries [blocks, heads, WINDOW, d], keys and values [blocks, heads, 2 * WINDOW, d]: views, neighbours overlap."""
    n_blocks = -(-len(qkv) // WINDOW)
    heads = qkv.reshape(len(qkv), 3, N_HEADS, -1)
    padded = np.zeros(((n_blocks + 1) * WINDOW, *heads.shape[1:]), qkv.dtype)
    padded[WINDOW : WINDOW + len(qkv)] = heads
    step = padded.strides[0]
    pairs = np.lib.stride_tricks.as_strided(
        padded, (n_blocks, 2 * WINDOW, *padded.shape[1:]), (WINDOW * step, step, *padded.strides[1:])
    ).swapaxes(1, 3)  # [blocks, heads, 3, 2 * WINDOW, d]
    return pairs[:, :, 0, WINDOW:], pairs[:, :, 1], pairs[:, :, 2]
