"""AdamW against its definition, one number at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shell.local_service.errors import UserError
from shell.local_service.optimizer import AdamParams, adam_step, start_state

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


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": -1},
        {"learning_rate": math.inf},
        {"beta1": 1.0},
        {"beta2": -0.1},
        {"eps": -1},
        {"weight_decay": math.nan},
        {"grad_clip_norm": math.nan},
    ],
)
def test_parameters_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"adam_params.{next(iter(wrong))}"):
        AdamParams(**wrong).check()
