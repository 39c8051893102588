"""A model in training, as a value: low-rank adapters over a frozen base, and AdamW.

Each adapted matrix W becomes W + (ALPHA / rank) * down @ up; `down` is drawn from a seed and `up` starts at zero. All
adapters are one float32 vector, so the optimizer and a checkpoint need no names.
"""

from functools import cached_property
from typing import NamedTuple, cast

import msgspec
import numpy as np

from shell.local_service.model import Floats, Weights
from shell.local_service.model.transformer import TRAINABLE, Examples, LossAndGradient, base_weights, loss_and_gradient

ALPHA = 32.0
MAX_RANK = 256


class Adapter(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Which adapter a model trains: all that fixes the layout and the start of its parameter vector."""

    rank: int
    seed: int | None = None  # None: 0
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True

    @cached_property
    def layout(self) -> dict[str, "Factors"]:
        """Where the two factors of each adapted matrix lie in the parameter vector."""
        trained = {"qkv": self.train_attn, "out": self.train_attn, "up": self.train_mlp, "down": self.train_mlp}
        layout, start = {}, 0
        for name, (rows, columns) in TRAINABLE.items():
            if trained.get(name.partition(".")[2], self.train_unembed):
                layout[name] = Factors(start, rows, columns, self.rank)
                start += (rows + columns) * self.rank
        return layout

    @property
    def size(self) -> int:
        return sum((factors.rows + factors.columns) * self.rank for factors in self.layout.values())


class Factors(NamedTuple):
    """Location of one adapted matrix: `down` (rows x rank), then `up` (rank x columns), from `start`."""

    start: int
    rows: int
    columns: int
    rank: int

    def of(self, vector: Floats) -> tuple[Floats, Floats]:
        """Views of `down` and `up` in a parameter or gradient vector."""
        middle = self.start + self.rows * self.rank
        down = vector[self.start : middle].reshape(self.rows, self.rank)
        return down, vector[middle : middle + self.columns * self.rank].reshape(self.rank, self.columns)


def start_parameters(adapter: Adapter) -> Floats:
    """The parameters of a new model, float32[adapter.size]: a function of the adapter alone."""
    rng = np.random.default_rng(adapter.seed or 0)
    parameters = np.zeros(adapter.size, np.float32)
    for factors in adapter.layout.values():
        down, _ = factors.of(parameters)
        down[:] = rng.standard_normal(down.shape) / np.sqrt(factors.rows)
    return parameters


def merge(base: Weights, adapter: Adapter, parameters: Floats) -> Weights:
    """The base weights with the adapters added."""
    merged = dict(base)
    for name, factors in adapter.layout.items():
        down, up = factors.of(parameters)
        merged[name] = base[name] + (ALPHA / adapter.rank) * (down @ up)
    return merged


def pull_back(gradient: Weights, adapter: Adapter, parameters: Floats) -> Floats:
    """The gradient of the parameter vector, float[adapter.size], from the gradient of the merged weights."""
    pulled = np.empty_like(parameters)
    for name, factors in adapter.layout.items():
        down, up = factors.of(parameters)
        d_down, d_up = factors.of(pulled)
        d_down[:] = (ALPHA / adapter.rank) * (gradient[name] @ up.T)
        d_up[:] = (ALPHA / adapter.rank) * (down.T @ gradient[name])
    return pulled


class AdamParams(NamedTuple):
    """The optimizer's parameters for one update, named and defaulted as in the SDK."""

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    grad_clip_norm: float = 0.0


class AdamState(NamedTuple):
    """Steps taken, and the running means of the gradient and of its square."""

    n_steps: int
    mean: Floats
    square: Floats


def start_state(size: int) -> AdamState:
    return AdamState(0, np.zeros(size, np.float32), np.zeros(size, np.float32))


def adam_step(
    parameters: Floats, gradient: Floats, state: AdamState, params: AdamParams
) -> tuple[Floats, AdamState, float]:
    """One AdamW step as in PyTorch: new parameters, new state, and the gradient's norm before clipping (0: none)."""
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


class Learner(msgspec.Struct, frozen=True, kw_only=True, dict=True, eq=False):
    """Base model, adapter, its parameters, the optimizer's state, and the gradient summed since the last step."""

    base_model: str
    adapter: Adapter
    parameters: Floats
    adam: AdamState
    gradient: Floats | None = None

    @cached_property
    def weights(self) -> Weights:
        return merge(base_weights(self.base_model), self.adapter, self.parameters)


def new_learner(base_model: str, adapter: Adapter) -> Learner:
    """A model before its first step."""
    parameters = start_parameters(adapter)
    return Learner(base_model=base_model, adapter=adapter, parameters=parameters, adam=start_state(adapter.size))


def learn(learner: Learner, examples: Examples, *, forward_only: bool) -> tuple[Learner, LossAndGradient]:
    """The learner with the examples' gradient added (unless forward_only), and their loss; both must be finite."""
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
    """The learner after one optimizer step on the summed gradient, and the gradient's norm; all must be finite."""
    gradient = np.zeros_like(learner.parameters) if learner.gradient is None else learner.gradient
    parameters, adam, norm = adam_step(learner.parameters, gradient, learner.adam, params)
    if not (np.isfinite(norm) and np.isfinite(parameters).all() and np.isfinite(adam.square).all()):
        raise FloatingPointError
    return msgspec.structs.replace(learner, parameters=parameters, adam=adam, gradient=None), norm


def pack(learner: Learner) -> bytes:
    """Parameters and optimizer state as bytes; base model, adapter and gradient are stored apart."""
    n_steps = np.int64(learner.adam.n_steps).tobytes()
    return n_steps + b"".join(part.tobytes() for part in (learner.parameters, learner.adam.mean, learner.adam.square))


def unpack(base_model: str, adapter: Adapter, packed: bytes, gradient: bytes | None = None) -> Learner:
    floats = np.frombuffer(packed, np.float32, offset=8).reshape(3, adapter.size)
    n_steps = int(np.frombuffer(packed, np.int64, count=1)[0])
    summed = None if gradient is None else np.frombuffer(gradient, np.float32)
    adam, parameters = AdamState(n_steps, floats[1], floats[2]), cast(Floats, floats[0])
    return Learner(base_model=base_model, adapter=adapter, parameters=parameters, adam=adam, gradient=summed)
