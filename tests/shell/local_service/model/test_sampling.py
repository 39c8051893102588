"""Sampling: what may be drawn under a rule, that a seed fixes the draw, and why a sample ends."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shell.local_service.model.sampling import Rule, choose, likeliest, sample
from shell.local_service.model.transformer import base_weights, hidden_states, next_logprobs

draws = st.floats(0, 1, exclude_max=True)
distributions = st.lists(st.floats(0.01, 1), min_size=1, max_size=8).map(
    lambda weights: np.log(np.array(weights) / sum(weights))
)


@given(distributions, draws, st.integers(1, 8))
def test_top_k_draws_from_the_k_likeliest(logprobs: Any, draw: float, k: int) -> None:
    token = choose(logprobs, Rule(top_k=k), draw)
    assert (logprobs > logprobs[token]).sum() < k


@given(distributions, draws, st.floats(0.01, 1))
def test_top_p_draws_from_the_fewest_that_reach_p(logprobs: Any, draw: float, p: float) -> None:
    token = choose(logprobs, Rule(top_p=p), draw)
    likelier = np.exp(logprobs[logprobs > logprobs[token]]).sum()
    assert likelier < p + 1e-9


@settings(max_examples=20)
@given(distributions)
def test_draws_are_as_frequent_as_in_the_distribution(logprobs: Any) -> None:
    grid = (np.arange(1000) + 0.5) / 1000
    counts = np.bincount([choose(logprobs, Rule(), draw) for draw in grid], minlength=len(logprobs))
    np.testing.assert_allclose(counts / 1000, np.exp(logprobs), atol=0.002)


@given(distributions, st.floats(1e-6, 1, exclude_max=True))
def test_a_low_temperature_becomes_greedy(logprobs: Any, draw: float) -> None:
    greedy = choose(logprobs, Rule(temperature=0), draw)
    assert logprobs[greedy] == logprobs.max()
    cold = choose(logprobs, Rule(temperature=1e-4), draw)
    assert logprobs[cold] > logprobs.max() - 0.01


@given(distributions, st.integers(1, 8))
def test_the_likeliest_come_in_order(logprobs: Any, k: int) -> None:
    top = likeliest(logprobs, min(k, len(logprobs)))
    assert list(top.logprobs) == sorted(logprobs.astype(np.float32), reverse=True)[: len(top.ids)]


def test_a_seed_fixes_the_sample_and_its_logprobs_are_the_models() -> None:
    weights, prompt = base_weights("m"), np.array([5, 900, 77])
    one, same, other = (
        sample(weights, prompt, np.random.default_rng(seed), max_tokens=6, rule=Rule(temperature=0.7))
        for seed in (1, 1, 2)
    )
    assert one.tokens.tolist() == same.tokens.tolist() != other.tokens.tolist()
    states = hidden_states(weights, np.concatenate([prompt, one.tokens]))
    expected = [next_logprobs(weights, states[2 + t])[token] for t, token in enumerate(one.tokens)]
    np.testing.assert_allclose(one.logprobs, expected, atol=1e-4)


def test_a_stop_token_ends_the_sample_and_stays_in_it() -> None:
    weights, prompt, greedy = base_weights("m"), np.array([5]), Rule(temperature=0)
    free = sample(weights, prompt, np.random.default_rng(0), max_tokens=3, rule=greedy)
    stopped = sample(weights, prompt, np.random.default_rng(0), max_tokens=3, rule=greedy, stop={int(free.tokens[0])})
    assert not free.stopped
    assert len(free.tokens) == 3
    assert stopped.stopped
    assert stopped.tokens.tolist() == free.tokens[:1].tolist()
