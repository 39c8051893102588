"""Adapters: where they start, which matrices they touch, and their gradient."""

import numpy as np
import pytest

from shell.local_service.lora import Adapter, merge, pull_back, start_parameters
from shell.local_service.model import TRAINABLE, base_weights


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
