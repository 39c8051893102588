"""Adapters: their start, which matrices they change, their gradient. AdamW against its definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shell.local_service.model.learner import (
    AdamParams,
    Adapter,
    adam_step,
    merge,
    pull_back,
    start_parameters,
    start_state,
)
from shell.local_service.model.transformer import TRAINABLE, base_weights


def test_training_starts_at_the_base_model() -> None:
    adapter = Adapter(rank=3, seed=5)
    base = base_weights("m")
    merged = merge(base, adapter, start_parameters(adapter))
    assert all(np.array_equal(merged[name], base[name]) for name in base)


def test_the_seed_decides_where_the_parameters_start() -> None:
    assert np.array_equal(start_parameters(Adapter(rank=3, seed=1)), start_parameters(Adapter(rank=3, seed=1)))
    assert not np.array_equal(start_parameters(Adapter(rank=3, seed=1)), start_parameters(Adapter(rank=3, seed=2)))


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("train_mlp", {"0.up", "0.down", "1.up", "1.down"}),
        ("train_attn", {"0.qkv", "0.out", "1.qkv", "1.out"}),
        ("train_unembed", {"unembed.hi", "unembed.lo"}),
    ],
)
def test_only_the_parts_asked_for_are_adapted(part: str, names: set[str]) -> None:
    flags = dict.fromkeys(("train_mlp", "train_attn", "train_unembed"), False) | {part: True}
    adapter = Adapter(rank=2, **flags)
    base = base_weights("m")
    merged = merge(base, adapter, np.ones(adapter.size, np.float32))
    assert {name for name in TRAINABLE if not np.array_equal(merged[name], base[name])} == names


def test_the_factors_gradient_is_the_slope_through_the_merge() -> None:
    adapter = Adapter(rank=2)
    rng = np.random.default_rng(0)
    base = {name: value.astype(np.float64) for name, value in base_weights("m").items()}
    parameters, direction = rng.standard_normal((2, adapter.size))
    gradient = {name: rng.standard_normal(shape) for name, shape in TRAINABLE.items()}

    def objective(step: float) -> float:
        merged = merge(base, adapter, parameters + step * direction)
        return sum(float((merged[name] * gradient[name]).sum()) for name in TRAINABLE)

    slope = (objective(1e-4) - objective(-1e-4)) / 2e-4
    assert float(pull_back(gradient, adapter, parameters) @ direction) == pytest.approx(slope, rel=1e-6)


finite = st.floats(-5, 5, width=32)


def naive(start: float, gradients: list[float], params: AdamParams) -> float:
    value, mean, square = start, 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        if 0 < params.grad_clip_norm < abs(gradient):
            gradient *= params.grad_clip_norm / abs(gradient)
        value -= params.learning_rate * params.weight_decay * value
        mean = params.beta1 * mean + (1 - params.beta1) * gradient
        square = params.beta2 * square + (1 - params.beta2) * gradient**2
        corrected = math.sqrt(square / (1 - params.beta2**t)) + params.eps
        value -= params.learning_rate * (mean / (1 - params.beta1**t)) / corrected
    return value


@given(
    finite,
    st.lists(finite.filter(lambda x: x == 0 or abs(x) > 1e-3), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([0.0, 0.5]),
)
def test_a_run_of_steps_is_adamw(start: float, gradients: list[float], weight_decay: float, clip: float) -> None:
    params = AdamParams(learning_rate=0.01, eps=1e-8, weight_decay=weight_decay, grad_clip_norm=clip)
    value, state = np.array([start], np.float32), start_state(1)
    for gradient in gradients:
        value, state, norm = adam_step(value, np.array([gradient], np.float32), state, params)
        assert norm == pytest.approx(abs(gradient))
    assert float(value[0]) == pytest.approx(naive(start, gradients, params), abs=1e-4)


def test_clipping_scales_the_whole_gradient_to_the_norm() -> None:
    gradient = np.array([3.0, 4.0], np.float32)
    _, state, norm = adam_step(np.zeros(2, np.float32), gradient, start_state(2), AdamParams(grad_clip_norm=1, beta1=0))
    assert norm == pytest.approx(5)
    np.testing.assert_allclose(state.mean, [0.6, 0.8], rtol=1e-6)
