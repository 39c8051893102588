"""Sampling of tokens and likeliest ids; logprobs are the model's own, before temperature, top-k and top-p."""

from collections.abc import Container
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from shell.local_service.model import Floats, Ints, Weights
from shell.local_service.model.transformer import hidden_states, next_logprobs


class Rule(NamedTuple):
    """How the next token is chosen: at temperature 0 the likeliest; top_k < 0 and top_p = 1 cut nothing."""

    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0


class Top(NamedTuple):
    """The k likeliest ids at a position, likeliest first: int[k] and float[k]."""

    ids: Ints
    logprobs: Floats


class Continuation(NamedTuple):
    """Sampled tokens; `stopped` if they end with a stop token, else they have the length asked for."""

    tokens: Ints
    logprobs: Floats
    tops: list[Top]
    stopped: bool


def sample(
    weights: Weights, prompt: Ints, rng: Generator, rule: Rule, max_tokens: int, stop: Container[int] = (), k: int = 0
) -> Continuation:
    """Continue a prompt, int[T >= 1], with the k likeliest ids per position; one draw per token."""
    tokens, stopped = prompt, False
    logprobs: list[float] = []
    tops: list[Top] = []
    while not stopped and len(logprobs) < max_tokens:
        next_ = next_logprobs(weights, hidden_states(weights, tokens, last=1)[0])
        token = choose(next_, rule, rng.random())
        tokens = np.append(tokens, token)
        logprobs.append(next_[token])
        if k:
            tops.append(likeliest(next_, k))
        stopped = token in stop
    return Continuation(tokens[len(prompt) :], np.array(logprobs, np.float32), tops, stopped)


def choose(logprobs: Floats, rule: Rule, draw: float) -> int:
    """The id that a uniform draw from [0, 1) gives under a rule."""
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
    ids = np.argpartition(-logprobs, k - 1)[:k]
    ids = ids[np.lexsort((ids, -logprobs[ids]))]
    return Top(ids.astype(np.int32), logprobs[ids].astype(np.float32))
