"""AdamW over one flat vector of parameters, with Tinker's parameters and PyTorch's formulas (`torch.optim.AdamW`).

The gradient is first scaled down to `grad_clip_norm` if it is longer (0 means never), weight decay is decoupled and
scaled by the learning rate, and both averages are corrected for their start at zero.
"""

import math
from typing import NamedTuple

import msgspec
import numpy as np

from shell.local_service.arrays import Floats
from shell.local_service.errors import UserError


class AdamParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step's parameters, named and defaulted as in the SDK."""

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    grad_clip_norm: float = 0.0

    def check(self) -> None:
        """Refuse what no step can be taken with.

        Raises:
            UserError: which parameter is out of its range.
        """
        for name, good, range_ in (
            ("learning_rate", 0 <= self.learning_rate < math.inf, ">= 0"),
            ("beta1", 0 <= self.beta1 < 1, "in [0, 1)"),
            ("beta2", 0 <= self.beta2 < 1, "in [0, 1)"),
            ("eps", 0 <= self.eps < math.inf, ">= 0"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, ">= 0"),
            ("grad_clip_norm", self.grad_clip_norm < math.inf, "finite"),
        ):
            if not good:
                raise UserError(f"expected {name} {range_}, got {getattr(self, name)} - at adam_params.{name}")


class AdamState(NamedTuple):
    """How many steps were taken and the running means of the gradient and of its square."""

    n_steps: int
    mean: Floats
    square: Floats


def start_state(size: int) -> AdamState:
    """The state before the first step."""
    return AdamState(0, np.zeros(size, np.float32), np.zeros(size, np.float32))


def adam_step(
    parameters: Floats, gradient: Floats, state: AdamState, params: AdamParams
) -> tuple[Floats, AdamState, float]:
    """One AdamW step; its inputs are left as they are.

    Returns:
        The new parameters, the new state, and the gradient's norm before clipping.

    >>> one = np.ones(1, np.float32)
    >>> new, state, norm = adam_step(one, 3 * one, start_state(1), AdamParams(learning_rate=0.5))
    >>> float(new[0]), state.n_steps, norm
    (0.5, 1, 3.0)
    """
    norm = float(np.sqrt(np.square(gradient, dtype=np.float64).sum()))
    if 0 < params.grad_clip_norm < norm:
        gradient = gradient * np.float32(params.grad_clip_norm / norm)
    n_steps = state.n_steps + 1
    mean = state.mean * np.float32(params.beta1) + gradient * np.float32(1 - params.beta1)
    square = state.square * np.float32(params.beta2) + np.square(gradient) * np.float32(1 - params.beta2)
    step = mean / np.float32(1 - params.beta1**n_steps)
    step /= np.sqrt(square / np.float32(1 - params.beta2**n_steps)) + np.float32(params.eps)
    step += np.float32(params.weight_decay) * parameters
    return parameters - np.float32(params.learning_rate) * step, AdamState(n_steps, mean, square), norm
