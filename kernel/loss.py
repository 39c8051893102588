"""Mean loss and bits per byte of a batch, from one pass over its flat arrays.

nll, in nats per token, depends on the tokenizer. bpb, in bits per byte, does not: it counts the trained targets
that are text, by a table of each id's bytes, which is exact where a cut splits a character.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


class LossSums(NamedTuple):
    """The sums over a set of targets."""

    nats: float = 0.0  # sum of -logprob * weight
    weight: float = 0.0  # sum of weight
    text_nats: float = 0.0  # sum of -logprob over the trained text
    n_text_bytes: int = 0  # UTF-8 bytes of the trained text
    n_loss_tokens: int = 0  # targets with weight > 0

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood in nats; nan where nothing has weight."""
        return self.nats / self.weight if self.weight else math.nan

    @property
    def bpb(self) -> float:
        """Bits per byte of trained text; nan where there is none."""
        return self.text_nats / (math.log(2) * self.n_text_bytes) if self.n_text_bytes else math.nan


def sum_loss(logprobs: Float32, targets: Int64, weights: Float32, n_bytes: Int32) -> LossSums:
    """The sums of a batch, in float64.

    Args:
        logprobs: float32[N], the log-probability of each target, in nats.
        targets: int64[N], ids below V.
        weights: float32[N].
        n_bytes: int32[V], the UTF-8 length of each id's own bytes; 0 for control tokens.

    Raises:
        ValueError: arrays of different lengths, or a target outside the table.

    >>> logprobs, weights = np.array([-9, -1, -2, -3], np.float32), np.array([0, 1, 1, 1], np.float32)
    >>> sums = sum_loss(logprobs, np.array([2, 1, 2, 0]), weights, n_bytes=np.array([0, 4, 2], np.int32))
    >>> sums
    LossSums(nats=6.0, weight=3.0, text_nats=3.0, n_text_bytes=6, n_loss_tokens=3)
    >>> sums.nll, round(sums.bpb, 4)
    (2.0, 0.7213)
    """
    if not logprobs.shape == targets.shape == weights.shape:
        raise ValueError(f"expected equal lengths, got {logprobs.shape}, {targets.shape}, {weights.shape}")
    if targets.size and not (targets.min() >= 0 and targets.max() < len(n_bytes)):
        raise ValueError(f"expected targets in [0, {len(n_bytes)}), got {targets.min()} to {targets.max()}")
    return LossSums(*_add_up(logprobs, targets, weights, n_bytes))


def tokens_of(examples: Int64, offsets: Int64) -> NDArray[np.bool_]:
    """Which tokens of a batch belong to some of its examples: bool[N]."""
    chosen = np.zeros(len(offsets) - 1, np.bool_)
    chosen[examples] = True
    return np.repeat(chosen, np.diff(offsets))


def mean_nll(logprobs: Float32, weights: Float32) -> float:
    """Mean negative log-likelihood in nats: -sum(logprobs * weights) / sum(weights), or nan without weight."""
    return sum_loss(logprobs, np.zeros(logprobs.shape, np.int64), weights, np.zeros(1, np.int32)).nll


@numba.njit(cache=True, nogil=True)
def _add_up(
    logprobs: Float32, targets: Int64, weights: Float32, n_bytes: Int32
) -> tuple[float, float, float, int, int]:
    nats = weight = text_nats = 0.0
    n_text_bytes = n_loss_tokens = 0
    for i in range(len(targets)):
        if weights[i] == 0:
            continue
        nats -= np.float64(logprobs[i]) * weights[i]
        weight += weights[i]
        if weights[i] > 0:
            n_loss_tokens += 1
            length = n_bytes[targets[i]]
            if length > 0:
                text_nats -= logprobs[i]
                n_text_bytes += length
    return nats, weight, text_nats, n_text_bytes, n_loss_tokens
