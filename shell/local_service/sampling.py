"""Tokens out of the model, and scores of a prompt.

Every next token is drawn from the whole distribution over all ids, so that temperature, top-k and top-p mean what they
say (half of a factorised id cannot be tempered alone). Logprobs are always the model's own, before temperature and
cuts. A step reads only the positions that the layers can see, so its cost hardly grows with what was written already.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from shell.local_service.arrays import Floats, Ints, Weights
from shell.local_service.model import hidden_states, next_logprobs


class Rule(NamedTuple):
    """How the next token is chosen: at temperature 0 the likeliest, of equals the lowest id.

    top_k < 0 and top_p = 1 cut nothing.
    """

    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0


class Top(NamedTuple):
    """The k likeliest ids at each position, likeliest first: int[n, k] and float[n, k]."""

    ids: Ints
    logprobs: Floats


class Continuation(NamedTuple):
    """What was sampled, and why it ended: at a stop token, which it includes, or at the length asked for."""

    tokens: Ints
    logprobs: Floats
    top: Top
    stopped: bool


def sample(
    weights: Weights,
    prompt: Ints,
    rng: np.random.Generator,
    *,
    max_tokens: int,
    rule: Rule,
    stop: Collection[int] = (),
    n_top: int = 0,
) -> Continuation:
    """Continue a prompt, a token at a time.

    Args:
        prompt: int[T], T >= 1.
        rng: one draw is taken for each token, so a seed fixes the continuation.
        n_top: how many of the likeliest ids to report at each position.
    """
    tokens, stopped = prompt, False
    logprobs: list[float] = []
    tops: list[Top] = []
    while not stopped and len(logprobs) < max_tokens:
        next_ = next_logprobs(weights, hidden_states(weights, tokens, last=1)[0])
        token = choose(next_, rule, rng.random())
        tokens = np.append(tokens, token)
        logprobs.append(next_[token])
        tops.append(likeliest(next_, n_top))
        stopped = token in stop
    return Continuation(tokens[len(prompt) :], np.array(logprobs, np.float32), stack(tops, n_top), stopped)


def choose(logprobs: Floats, rule: Rule, draw: float) -> int:
    """The id that a uniform draw from [0, 1) picks under a rule.

    >>> logprobs = np.log(np.array([0.1, 0.6, 0.3]))
    >>> [choose(logprobs, Rule(), draw) for draw in (0.0, 0.5, 0.9)]
    [0, 1, 2]
    >>> [choose(logprobs, Rule(top_k=2), draw) for draw in (0.6, 0.7)], choose(logprobs, Rule(temperature=0), 0.9)
    ([1, 2], 1)
    """
    if rule.temperature == 0:
        return int(np.argmax(logprobs))
    scaled = logprobs.astype(np.float64) / rule.temperature
    order = np.argsort(-scaled, kind="stable") if rule.top_k > 0 or rule.top_p < 1 else np.arange(len(scaled))
    if rule.top_k > 0:
        order = order[: rule.top_k]
    mass = np.cumsum(np.exp(scaled[order] - scaled.max()))
    if rule.top_p < 1:
        mass = mass[: int(np.searchsorted(mass, rule.top_p * mass[-1])) + 1]
    return int(order[min(np.searchsorted(mass, draw * mass[-1], "right"), len(mass) - 1)])


def likeliest(logprobs: Floats, k: int) -> Top:
    """The k likeliest ids of one distribution, likeliest first."""
    if k == 0:
        return Top(np.zeros(0, np.int32), np.zeros(0, np.float32))
    ids = np.argpartition(-logprobs, k - 1)[:k]
    ids = ids[np.lexsort((ids, -logprobs[ids]))]
    return Top(ids.astype(np.int32), logprobs[ids].astype(np.float32))


def stack(tops: list[Top], k: int) -> Top:
    """Positions' tops one below the other."""
    ids = np.concatenate([top.ids for top in tops]) if tops else np.zeros(0, np.int32)
    logprobs = np.concatenate([top.logprobs for top in tops]) if tops else np.zeros(0, np.float32)
    return Top(ids.reshape(-1, k) if k else ids, logprobs.reshape(-1, k) if k else logprobs)
