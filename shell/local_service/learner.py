"""A model being trained, as a value: what each request makes of it is a new one, never a change to the old.

The engine keeps the new value only when the database has it too, so a request that fails, or a process that dies,
leaves the model exactly as it was.
"""

from functools import cached_property
from typing import cast

import msgspec
import numpy as np

from shell.local_service.arrays import Floats, Weights
from shell.local_service.lora import Adapter, merge, pull_back, start_parameters
from shell.local_service.model import LossAndGradient, base_weights, loss_and_gradient
from shell.local_service.optimizer import AdamParams, AdamState, adam_step, start_state
from shell.local_service.wire import Examples


class Learner(msgspec.Struct, frozen=True, kw_only=True, dict=True, eq=False):
    """Base model, adapter, its parameters, the optimizer's state, and the gradient summed since the last step."""

    base_model: str
    adapter: Adapter
    parameters: Floats
    adam: AdamState
    gradient: Floats | None = None

    @cached_property
    def weights(self) -> Weights:
        """The full matrices with the adapters merged in."""
        return merge(base_weights(self.base_model), self.adapter, self.parameters)


def new_learner(base_model: str, adapter: Adapter) -> Learner:
    """A model before its first step."""
    return Learner(
        base_model=base_model,
        adapter=adapter,
        parameters=start_parameters(adapter),
        adam=start_state(adapter.size),
    )


def learn(learner: Learner, examples: Examples, *, forward_only: bool) -> tuple[Learner, LossAndGradient]:
    """The learner with the gradient of some examples added to its sum (unless forward_only), and their loss.

    Raises:
        FloatingPointError: the loss or the gradient is not finite.
    """
    found = loss_and_gradient(learner.weights, *examples, backward=not forward_only)
    if not np.isfinite(found.loss):
        raise FloatingPointError
    if found.gradient is None:
        return learner, found
    gradient = pull_back(found.gradient, learner.adapter, learner.parameters)
    if learner.gradient is not None:
        gradient += learner.gradient
    if not np.isfinite(gradient).all():
        raise FloatingPointError
    return msgspec.structs.replace(learner, gradient=gradient), found


def step(learner: Learner, params: AdamParams) -> tuple[Learner, float]:
    """The learner after one optimizer step on the summed gradient (zero if there is none), and the gradient's norm.

    Raises:
        FloatingPointError: the step would leave numbers that are not finite.
    """
    gradient = np.zeros_like(learner.parameters) if learner.gradient is None else learner.gradient
    parameters, adam, norm = adam_step(learner.parameters, gradient, learner.adam, params)
    if not (np.isfinite(norm) and np.isfinite(parameters).all() and np.isfinite(adam.square).all()):
        raise FloatingPointError
    return msgspec.structs.replace(learner, parameters=parameters, adam=adam, gradient=None), norm


def pack(learner: Learner) -> bytes:
    """Parameters and optimizer state as bytes; base model, adapter and summed gradient are kept beside them."""
    n_steps = np.int64(learner.adam.n_steps).tobytes()
    return n_steps + b"".join(part.tobytes() for part in (learner.parameters, learner.adam.mean, learner.adam.square))


def unpack(base_model: str, adapter: Adapter, packed: bytes, gradient: bytes | None = None) -> Learner:
    """The learner that was packed."""
    floats = np.frombuffer(packed, np.float32, offset=8).reshape(3, adapter.size)
    n_steps = int(np.frombuffer(packed, np.int64, count=1)[0])
    return Learner(
        base_model=base_model,
        adapter=adapter,
        parameters=cast(Floats, floats[0]),
        adam=AdamState(n_steps, floats[1], floats[2]),
        gradient=None if gradient is None else np.frombuffer(gradient, np.float32),
    )


def without_optimizer(learner: Learner) -> Learner:
    """The same parameters with a fresh optimizer and no gradient."""
    return msgspec.structs.replace(learner, adam=start_state(learner.adapter.size), gradient=None)
