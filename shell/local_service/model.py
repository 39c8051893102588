"""The language model in the box: a tiny causal transformer in numpy, with its gradients written out.

Two layers of sliding-window attention and a squared-ReLU MLP over a fixed token code. It is sized to learn visibly in
a minute on one core, not to be good. What is unusual, and why:

- **Any tokenizer's ids** (0 to 262,143) at the price of 1,024 logits. An id is a pair, `id = 512 * hi + lo`, and
  `p(id) = p(hi | h) * p(lo | h, hi)`: a proper distribution. `lo` is scored against `h` seen through fixed signs that
  belong to `hi`, so that every `hi` has its own view of the same matrix.
- **Frozen codes** instead of an embedding table: a token's code is `signs[hi] * code[lo]`, nearly orthogonal for all
  ids. A position reads its own code, the code before it and the sum of all codes so far over the square root of their
  number (rolled by one and two places, so that the three do not mix up): unbounded context at linear cost, and nothing
  to differentiate.
- **Examples lie one behind the other** in one flat array, with attention over a sliding window (attention.py): time
  and memory are linear in the number of tokens, and up to rounding an example does not depend on its neighbours.

The base weights are a function of the base model's name alone. Everything is float32 unless the weights are float64
(the gradient tests). Nothing here is random, and with one BLAS thread the same call gives the same bits.
"""

import hashlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from shell.local_service.arrays import Floats, Ints, Weights
from shell.local_service.attention import WINDOW, attend, attend_backward, visibility

SPLIT = 512  # an id is hi * SPLIT + lo
N_IDS = SPLIT * SPLIT
WIDTH = 128
HIDDEN = 256
N_LAYERS = 2
GAIN = 3.0  # how loudly the last hidden state speaks to the unembedding: the pace at which its adapters learn
TILE = 1024  # positions whose logits are held at once
GROUP = 1024  # tokens of whole examples that go through the layers together

TRAINABLE = {
    f"{layer}.{name}": shape
    for layer in range(N_LAYERS)
    for name, shape in {
        "qkv": (WIDTH, 3 * WIDTH),
        "out": (WIDTH, WIDTH),
        "up": (WIDTH, HIDDEN),
        "down": (HIDDEN, WIDTH),
    }.items()
} | {"unembed.hi": (WIDTH, SPLIT), "unembed.lo": (WIDTH, SPLIT)}


@lru_cache(maxsize=4)
def base_weights(name: str) -> Weights:
    """The frozen weights of a base model, drawn from a generator seeded by its name.

    >>> bool(np.array_equal(base_weights("a")["0.up"], base_weights("a")["0.up"]))
    True
    >>> bool(np.array_equal(base_weights("a")["0.up"], base_weights("b")["0.up"]))
    False
    """
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little"))
    weights = {key: rng.standard_normal(shape) / np.sqrt(shape[0]) for key, shape in TRAINABLE.items()}
    weights["signs"] = rng.choice([-1.0, 1.0], (SPLIT, WIDTH))
    weights["code"] = rng.standard_normal((SPLIT, WIDTH))
    weights["constant"] = rng.choice([-1.0, 1.0], WIDTH)  # added to the last hidden state: a bias that adapters can use
    weights["unembed.hi"] *= 0.1
    weights["unembed.lo"] *= 0.1
    # Low ids are common ones in every BPE vocabulary: start from Zipf's law over hi, not from a flat distribution.
    weights["prior"] = -np.log1p(np.arange(SPLIT))
    return {key: value.astype(np.float32) for key, value in weights.items()}


class LossAndGradient(NamedTuple):
    """The loss of a batch, each target's logprob in the batch's flat order, and the gradient by weight name."""

    loss: float
    logprobs: Floats
    gradient: Weights | None


def loss_and_gradient(
    weights: Weights, inputs: Ints, targets: Ints, loss_weights: Floats, offsets: Ints, *, backward: bool
) -> LossAndGradient:
    """Tinker's cross-entropy, sum(-logprob * weight), over examples that lie one behind the other.

    Args:
        weights: base weights, with whatever adapters there are already added in.
        inputs: int[N] input tokens of all examples.
        targets: int[N] the token that each position should predict.
        loss_weights: float[N] the weight of each target.
        offsets: int[B+1] example b is [offsets[b]:offsets[b+1]], never empty.
        backward: whether to compute the gradient too.
    """
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
    """The final hidden states of one sequence, float[T, WIDTH]; row t predicts the token after tokens[t].

    With `last`, only that many rows from the end, computed from the positions that the layers can see from there.
    """
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
    """Runs of whole examples of about GROUP tokens each, so that memory does not grow with the batch."""
    groups, first = [], 0
    for last in range(1, len(offsets)):
        if last + 1 == len(offsets) or offsets[last + 1] - offsets[first] > GROUP:
            groups.append((first, last))
            first = last
    return groups


# The layers: token codes, then attention and MLP as residual branches over root-mean-square normalised input.


class _Kept(NamedTuple):
    """What one layer's backward pass needs from its forward pass."""

    attention_input: Floats
    attention_scale: Floats
    qkv: Floats
    attention: Floats
    mixed: Floats
    mlp_input: Floats
    mlp_scale: Floats
    positive: Floats


def _layers(weights: Weights, stream: Floats, starts: Ints, *, keep: bool) -> tuple[Floats, list[_Kept]]:
    visible = visibility(starts, len(stream), stream.dtype)
    tape = []
    for layer in range(N_LAYERS):
        normal, scale = _normalize(stream)
        qkv = normal @ weights[f"{layer}.qkv"]
        attention, mixed = attend(qkv, visible)
        stream = stream + mixed @ weights[f"{layer}.out"]
        normal2, scale2 = _normalize(stream)
        positive = np.maximum(normal2 @ weights[f"{layer}.up"], 0)
        stream = stream + (positive * positive) @ weights[f"{layer}.down"]
        if keep:
            tape.append(_Kept(normal, scale, qkv, attention, mixed, normal2, scale2, positive))
    return stream, tape


def _layers_backward(weights: Weights, tape: list[_Kept], d_stream: Floats, gradient: Weights) -> None:
    for layer in reversed(range(N_LAYERS)):
        kept = tape[layer]
        gradient[f"{layer}.down"] += (kept.positive * kept.positive).T @ d_stream
        d_up = (d_stream @ weights[f"{layer}.down"].T) * (2 * kept.positive)
        gradient[f"{layer}.up"] += kept.mlp_input.T @ d_up
        d_stream = d_stream + _normalize_backward(d_up @ weights[f"{layer}.up"].T, kept.mlp_input, kept.mlp_scale)
        gradient[f"{layer}.out"] += kept.mixed.T @ d_stream
        d_qkv = attend_backward(d_stream @ weights[f"{layer}.out"].T, kept.qkv, kept.attention)
        gradient[f"{layer}.qkv"] += kept.attention_input.T @ d_qkv
        if layer:  # below the first layer there is nothing to train
            d_normal = d_qkv @ weights[f"{layer}.qkv"].T
            d_stream = d_stream + _normalize_backward(d_normal, kept.attention_input, kept.attention_scale)


def _codes(weights: Weights, tokens: Ints, starts: Ints) -> Floats:
    own = weights["signs"][tokens // SPLIT] * weights["code"][tokens % SPLIT]
    before = np.zeros_like(own)
    before[1:] = np.roll(own[:-1], 1, axis=1)
    before[starts] = 0
    so_far = np.empty_like(own)
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        count = np.arange(1, end - start + 1, dtype=own.dtype)
        so_far[start:end] = np.roll(np.cumsum(own[start:end], axis=0), 2, axis=1) / np.sqrt(count)[:, None]
    return 2 * own + (before + so_far) / 2


# The head: logprobs of the targets and, if asked, what the loss says about the stream and the unembedding.


def _head(
    weights: Weights, stream: Floats, targets: Ints, loss_weights: Floats, gradient: Weights | None
) -> tuple[Floats, Floats]:
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
    hidden: Floats,
    name: str,
    bias: Floats | None,
    choice: Ints,
    weight: Floats,
    weights: Weights,
    gradient: Weights | None,
) -> tuple[Floats, Floats]:
    """The logprob of one choice among SPLIT for each row; adds to gradient[name]; returns (logprobs, d_hidden)."""
    rows = np.arange(len(hidden))
    scores = hidden @ weights[name]
    if bias is not None:
        scores += bias
    scores -= scores.max(axis=1, keepdims=True)
    chosen = scores[rows, choice]
    np.exp(scores, out=scores)
    total = scores.sum(axis=1)
    logprobs = chosen - np.log(total)
    if gradient is None:
        return logprobs, hidden
    scores *= (weight / total)[:, None]
    scores[rows, choice] -= weight
    gradient[name] += hidden.T @ scores
    return logprobs, scores @ weights[name].T


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
