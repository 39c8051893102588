"""The language model: its gradient, that it is a distribution, what may change what, and that it learns."""

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shell.local_service.model.learner import AdamParams, Adapter, learn, merge, new_learner, start_parameters, step
from shell.local_service.model.transformer import (
    N_IDS,
    TRAINABLE,
    WINDOW,
    Examples,
    base_weights,
    hidden_states,
    loss_and_gradient,
    next_logprobs,
)

Array = np.ndarray[Any, Any]


@cache
def trained_like(name: str = "a model") -> dict[str, Array]:
    """Base weights with adapters that do something."""
    adapter = Adapter(rank=4)
    rng = np.random.default_rng(0)
    return merge(base_weights(name), adapter, start_parameters(adapter) + rng.normal(0, 0.05, adapter.size))


def batch(lengths: list[int], seed: int = 0, n_ids: int = 5000) -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    offsets = np.cumsum([0, *lengths])
    return rng.integers(0, n_ids, n), rng.integers(0, n_ids, n), rng.random(n), offsets


def logprobs(weights: dict[str, Array], tokens: Array, targets: Array, offsets: Array) -> Array:
    return loss_and_gradient(weights, tokens, targets, np.ones(len(tokens)), offsets, backward=False).logprobs


@pytest.mark.parametrize("name", TRAINABLE)
def test_the_gradient_is_the_slope_of_the_loss(name: str) -> None:
    weights = {key: value.astype(np.float64) for key, value in trained_like().items()}
    inputs, targets, loss_weights, offsets = batch([5, 2 * WINDOW + 3, 1, WINDOW])
    found = loss_and_gradient(weights, inputs, targets, loss_weights, offsets, backward=True)
    direction = np.random.default_rng(1).standard_normal(weights[name].shape)

    def loss(step: float) -> float:
        moved = weights | {name: weights[name] + step * direction}
        return loss_and_gradient(moved, inputs, targets, loss_weights, offsets, backward=False).loss

    assert found.gradient is not None
    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert float((found.gradient[name] * direction).sum()) == pytest.approx(slope, rel=1e-5)


def test_the_loss_is_the_weighted_sum_of_negative_logprobs() -> None:
    inputs, targets, loss_weights, offsets = batch([7, 9])
    found = loss_and_gradient(trained_like(), inputs, targets, loss_weights, offsets, backward=False)
    assert found.loss == pytest.approx(-(found.logprobs * loss_weights).sum(), rel=1e-6)
    assert (found.logprobs < 0).all()


def test_the_next_token_has_a_proper_distribution_that_the_loss_reads() -> None:
    weights, tokens = trained_like(), np.arange(40) * 31
    states = hidden_states(weights, tokens)
    targets = np.array([3, 700, 5000, N_IDS - 1] * 10)
    expected = logprobs(weights, tokens, targets, np.array([0, 40]))
    for t in (0, 17, 39):
        distribution = next_logprobs(weights, states[t])
        assert np.exp(distribution.astype(np.float64)).sum() == pytest.approx(1, abs=1e-4)
        assert distribution[targets[t]] == pytest.approx(expected[t], abs=1e-4)


@settings(max_examples=20)
@given(length=st.integers(2, 100), data=st.data(), new=st.integers(0, N_IDS - 1))
def test_a_token_changes_what_comes_after_it_and_nothing_before(length: int, data: st.DataObject, new: int) -> None:
    position = data.draw(st.integers(0, length - 1))
    tokens, targets, _, offsets = batch([length], seed=length)
    changed = tokens.copy()
    changed[position] = new if new != tokens[position] else (new + 1) % N_IDS
    before, after = (logprobs(trained_like(), row, targets, offsets) for row in (tokens, changed))
    np.testing.assert_array_equal(before[:position], after[:position])
    assert (before[position:] != after[position:]).all()


@settings(max_examples=10)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=5))
def test_an_example_does_not_see_its_neighbours(lengths: list[int]) -> None:
    tokens, targets, _, offsets = batch(lengths)
    together = logprobs(trained_like(), tokens, targets, offsets)
    for start, end in pairwise(offsets):
        alone = logprobs(trained_like(), tokens[start:end], targets[start:end], np.array([0, end - start]))
        np.testing.assert_allclose(together[start:end], alone, atol=1e-4)


def test_the_last_state_alone_is_the_last_of_all() -> None:
    tokens = np.arange(300) * 17
    np.testing.assert_allclose(
        hidden_states(trained_like(), tokens, last=2), hidden_states(trained_like(), tokens)[-2:], atol=1e-4
    )


def test_the_base_depends_on_the_name_alone() -> None:
    base_weights.cache_clear()
    first = base_weights("one")
    base_weights.cache_clear()
    again, other = base_weights("one"), base_weights("two")
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not any(np.array_equal(first[key], other[key]) for key in TRAINABLE)


def test_it_learns_what_follows_from_what() -> None:
    successor = np.random.default_rng(0).permutation(4000)[:60]  # ids far apart; the next one depends on the last alone
    learner, losses = new_learner("m", Adapter(rank=16)), []
    for seed in range(60):
        positions = (np.random.default_rng(seed).integers(0, 60, 8)[:, None] + 7 * np.arange(21)) % 60
        inputs, targets = successor[positions[:, :-1]].ravel(), successor[positions[:, 1:]].ravel()
        examples = Examples(inputs, targets, np.full(160, 1 / 160, np.float32), np.arange(0, 161, 20))
        learner, found = learn(learner, examples, forward_only=False)
        learner, _ = step(learner, AdamParams(learning_rate=0.01, eps=1e-8))
        losses.append(found.loss)
    assert losses[0] > np.log(60)
    assert losses[-1] < np.log(60) / 4  # knowing the ids alone, and not their order, gives log(60)
