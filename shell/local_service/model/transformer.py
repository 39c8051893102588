"""A tiny causal transformer of two layers, with its gradients; it learns visibly in a minute on one core."""

import hashlib
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from shell.local_service.model import Floats, Ints, Weights

# Any tokenizer's ids at the price of 1,024 logits: an id is hi * SPLIT + lo, and p(id) = p(hi | h) * p(lo | h, hi).
# `lo` is scored against h times fixed signs per `hi`, so that every `hi` has its own view of the same matrix.
SPLIT = 512
N_IDS = SPLIT * SPLIT
WIDTH = 128
N_HEADS = 4
WINDOW = 32  # positions that a query sees
HIDDEN = 256
N_LAYERS = 2
GAIN = 3.0  # scale of the last hidden state before the unembedding: sets how fast its adapters learn
TILE = 1024  # positions whose logits are held at once
GROUP = 1024  # tokens of whole examples that go through the layers together, so that memory is bounded

_LAYER = {"qkv": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}
TRAINABLE = {f"{layer}.{name}": shape for layer in range(N_LAYERS) for name, shape in _LAYER.items()}
TRAINABLE |= {"unembed.hi": (WIDTH, SPLIT), "unembed.lo": (WIDTH, SPLIT)}


@lru_cache(maxsize=4)
def base_weights(name: str) -> Weights:
    """The frozen weights of a base model: a function of its name."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little"))
    weights = {key: rng.standard_normal(shape) / np.sqrt(shape[0]) for key, shape in TRAINABLE.items()}
    weights["signs"] = rng.choice([-1.0, 1.0], (SPLIT, WIDTH))
    weights["code"] = rng.standard_normal((SPLIT, WIDTH))
    weights["constant"] = rng.choice([-1.0, 1.0], WIDTH)  # added to the last hidden state: a bias that adapters can use
    weights["unembed.hi"] *= 0.1
    weights["unembed.lo"] *= 0.1
    # Low ids are common in every BPE vocabulary: start from Zipf's law over hi, not from a flat distribution.
    weights["prior"] = -np.log1p(np.arange(SPLIT))
    return {key: value.astype(np.float32) for key, value in weights.items()}


class Examples(NamedTuple):
    """Concatenated examples: example b is [offsets[b]:offsets[b+1]], never empty."""

    inputs: Ints
    targets: Ints
    weights: Floats
    offsets: Ints


class LossAndGradient(NamedTuple):
    """The loss of a batch, the logprob of each target in flat order, and the gradient by weight name."""

    loss: float
    logprobs: Floats
    gradient: Weights | None


def loss_and_gradient(
    weights: Weights, inputs: Ints, targets: Ints, loss_weights: Floats, offsets: Ints, *, backward: bool
) -> LossAndGradient:
    """Tinker's cross-entropy, sum(-logprob * weight), over concatenated examples; `weights` include the adapters."""
    logprobs = np.empty(len(inputs), weights["code"].dtype)
    gradient = {key: np.zeros_like(weights[key]) for key in TRAINABLE} if backward else None
    for first, last in _groups(offsets):
        span = slice(offsets[first], offsets[last])
        starts = offsets[first:last] - offsets[first]
        stream, tape = _layers(weights, _codes(weights, inputs[span], starts), starts, keep=backward)
        logprobs[span], d_stream = _head(weights, stream, targets[span], loss_weights[span], gradient)
        if gradient is not None:
            _layers_backward(weights, tape, d_stream, gradient)
    loss = -float(np.dot(logprobs.astype(np.float64), loss_weights.astype(np.float64)))
    return LossAndGradient(loss, logprobs, gradient)


def hidden_states(weights: Weights, tokens: Ints, last: int | None = None) -> Floats:
    """The final hidden states, or only the `last` ones: float[T, WIDTH]; row t predicts the token after tokens[t]."""
    start = np.zeros(1, np.int64)
    stream = _codes(weights, tokens, start)
    if last is not None:
        stream = stream[-(last + N_LAYERS * (WINDOW - 1)) :]
    stream, _ = _layers(weights, stream, start, keep=False)
    hidden: Floats = GAIN * _normalize(stream)[0] + weights["constant"]
    return hidden if last is None else hidden[-last:]


def next_logprobs(weights: Weights, hidden: Floats) -> Floats:
    """The whole distribution over ids that one hidden state predicts: float[N_IDS] logprobs."""
    hi = _log_softmax(hidden @ weights["unembed.hi"] + weights["prior"])
    lo = _log_softmax((hidden * weights["signs"]) @ weights["unembed.lo"])
    return (hi[:, None] + lo).reshape(-1)


def _groups(offsets: Ints) -> list[tuple[int, int]]:
    """Ranges of whole examples of about GROUP tokens each."""
    groups, first = [], 0
    for last in range(1, len(offsets)):
        if last + 1 == len(offsets) or offsets[last + 1] - offsets[first] > GROUP:
            groups.append((first, last))
            first = last
    return groups


class _Activations(NamedTuple):
    attention_input: Floats
    attention_scale: Floats
    qkv: Floats
    attention: Floats
    mixed: Floats
    mlp_input: Floats
    mlp_scale: Floats
    positive: Floats


def _layers(weights: Weights, stream: Floats, starts: Ints, *, keep: bool) -> tuple[Floats, list[_Activations]]:
    visible = _visibility(starts, len(stream), stream.dtype)
    tape = []
    for layer in range(N_LAYERS):
        normal, scale = _normalize(stream)
        qkv = normal @ weights[f"{layer}.qkv"]
        attention, mixed = _attend(qkv, visible)
        stream = stream + mixed @ weights[f"{layer}.out"]
        normal2, scale2 = _normalize(stream)
        positive = np.maximum(normal2 @ weights[f"{layer}.up"], 0)
        stream = stream + (positive * positive) @ weights[f"{layer}.down"]
        if keep:
            tape.append(_Activations(normal, scale, qkv, attention, mixed, normal2, scale2, positive))
    return stream, tape


def _layers_backward(weights: Weights, tape: list[_Activations], d_stream: Floats, gradient: Weights) -> None:
    for layer in reversed(range(N_LAYERS)):
        kept = tape[layer]
        gradient[f"{layer}.down"] += (kept.positive * kept.positive).T @ d_stream
        d_up = (d_stream @ weights[f"{layer}.down"].T) * (2 * kept.positive)
        gradient[f"{layer}.up"] += kept.mlp_input.T @ d_up
        d_stream = d_stream + _normalize_backward(d_up @ weights[f"{layer}.up"].T, kept.mlp_input, kept.mlp_scale)
        gradient[f"{layer}.out"] += kept.mixed.T @ d_stream
        d_qkv = _attend_backward(d_stream @ weights[f"{layer}.out"].T, kept.qkv, kept.attention)
        gradient[f"{layer}.qkv"] += kept.attention_input.T @ d_qkv
        if layer:  # below the first layer there is nothing to train
            d_normal = d_qkv @ weights[f"{layer}.qkv"].T
            d_stream = d_stream + _normalize_backward(d_normal, kept.attention_input, kept.attention_scale)


# Attention: positions are cut into blocks of WINDOW; queries see the keys of their own block and of the one before,
# masked by example and distance, so ragged examples need no padding. Scores fall with distance per head (ALiBi).


def _visibility(starts: Ints, n: int, dtype: Any) -> Floats:
    """What is added to scores, [blocks, N_HEADS, WINDOW, 2 * WINDOW]; key j of block b is at (b - 1) * WINDOW + j."""
    n_blocks = -(-n // WINDOW)
    distance = WINDOW + np.arange(WINDOW)[:, None] - np.arange(2 * WINDOW)
    slopes = 2.0 ** -np.arange(1, N_HEADS + 1)
    bias = np.where((distance >= 0) & (distance < WINDOW), -slopes[:, None, None] * distance, -np.inf).astype(dtype)
    own_start = np.repeat(starts, np.diff(starts, append=n_blocks * WINDOW)).reshape(n_blocks, WINDOW, 1)
    key = (np.arange(n_blocks)[:, None] - 1) * WINDOW + np.arange(2 * WINDOW)
    return np.where((key[:, None, :] >= own_start)[:, None], bias, np.array(-np.inf, dtype))


def _attend(qkv: Floats, visible: Floats) -> tuple[Floats, Floats]:
    """The attention, for _attend_backward(), and the mixed values float[N, width] of qkv float[N, 3 * width]."""
    queries, keys, values = _blocks(qkv)
    scores = queries @ keys.swapaxes(-1, -2)
    scores *= queries.shape[-1] ** -0.5
    scores += visible
    scores -= scores.max(axis=-1, keepdims=True)
    attention = np.exp(scores, out=scores)
    attention /= attention.sum(axis=-1, keepdims=True)
    mixed = (attention @ values).swapaxes(1, 2).reshape(-1, qkv.shape[1] // 3)[: len(qkv)]
    return attention, mixed


def _attend_backward(d_mixed: Floats, qkv: Floats, attention: Floats) -> Floats:
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
    for part, d_pairs in ((1, d_scores.swapaxes(-1, -2) @ queries), (2, attention.swapaxes(-1, -2) @ d_out)):
        d_qkv[:-1, :, part] += d_pairs[:, :, :WINDOW].swapaxes(1, 2)
        d_qkv[1:, :, part] += d_pairs[:, :, WINDOW:].swapaxes(1, 2)
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


def _codes(weights: Weights, tokens: Ints, starts: Ints) -> Floats:
    """Frozen codes instead of embeddings: a position's own, the previous one (rolled by 1), the scaled sum (by 2)."""
    own = weights["signs"][tokens // SPLIT] * weights["code"][tokens % SPLIT]
    previous = np.zeros_like(own)
    previous[1:] = np.roll(own[:-1], 1, axis=1)
    previous[starts] = 0
    so_far = np.empty_like(own)
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        count = np.arange(1, end - start + 1, dtype=own.dtype)
        so_far[start:end] = np.roll(np.cumsum(own[start:end], axis=0), 2, axis=1) / np.sqrt(count)[:, None]
    return 2 * own + (previous + so_far) / 2


def _head(
    weights: Weights, stream: Floats, targets: Ints, loss_weights: Floats, gradient: Weights | None
) -> tuple[Floats, Floats]:
    """The logprobs of the targets and, with `gradient`, the gradient of the stream; adds that of the unembedding."""
    logprobs, d_stream = np.empty(len(stream), stream.dtype), np.empty_like(stream)
    for start in range(0, len(stream), TILE):
        tile = slice(start, start + TILE)
        normal, scale = _normalize(stream[tile])
        hidden = GAIN * normal + weights["constant"]
        hi, lo = targets[tile] // SPLIT, targets[tile] % SPLIT
        signs = weights["signs"][hi]
        weight = loss_weights[tile].astype(stream.dtype)
        logprob_hi, d_hidden = _choose(hidden, "unembed.hi", weights["prior"], hi, weight, weights, gradient)
        logprob_lo, d_signed = _choose(hidden * signs, "unembed.lo", None, lo, weight, weights, gradient)
        logprobs[tile] = logprob_hi + logprob_lo
        if gradient is not None:
            d_stream[tile] = _normalize_backward(GAIN * (d_hidden + d_signed * signs), normal, scale)
    return logprobs, d_stream


def _choose(
    hidden: Floats, key: str, bias: Floats | None, ids: Ints, weight: Floats, weights: Weights, gradient: Weights | None
) -> tuple[Floats, Floats]:
    """The logprob of one of SPLIT choices per row, and the gradient of hidden; adds to gradient[key]."""
    rows = np.arange(len(hidden))
    scores = hidden @ weights[key]
    if bias is not None:
        scores += bias
    scores -= scores.max(axis=1, keepdims=True)
    chosen = scores[rows, ids]
    np.exp(scores, out=scores)
    total = scores.sum(axis=1)
    logprobs = chosen - np.log(total)
    if gradient is None:
        return logprobs, hidden
    scores *= (weight / total)[:, None]
    scores[rows, ids] -= weight
    gradient[key] += hidden.T @ scores
    return logprobs, scores @ weights[key].T


def _normalize(x: Floats) -> tuple[Floats, Floats]:
    scale = 1 / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 1e-6)
    return x * scale, scale


def _normalize_backward(d_normal: Floats, normal: Floats, scale: Floats) -> Floats:
    d_x: Floats = scale * (d_normal - normal * (d_normal * normal).mean(axis=1, keepdims=True))
    return d_x


def _log_softmax(scores: Floats) -> Floats:
    scores = scores - scores.max(axis=-1, keepdims=True)
    logprobs: Floats = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return logprobs
