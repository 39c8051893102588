"""Low-rank adapters over the frozen base: one flat vector of parameters, and how it becomes weights and gradients.

Each adapted matrix W gets W + (ALPHA / rank) * down @ up, with `down` drawn from the adapter's seed and `up` zero, so
that training starts at the base model. All parameters lie in one float32 vector: the optimizer, a checkpoint and the
store then need no names. Merging the adapters into full matrices costs about a millisecond per weights and keeps the
model's code free of them; the gradient of a full matrix is pulled back to its two factors by the chain rule.
"""

from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np

from shell.local_service.arrays import Floats, Weights
from shell.local_service.model import TRAINABLE

ALPHA = 32.0
MAX_RANK = 256


class Adapter(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Which adapter a model trains: all that fixes the shape and the start of its parameter vector."""

    rank: int
    seed: int = 0
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True

    @cached_property
    def layout(self) -> dict[str, "Factors"]:
        """Where each adapted matrix's two factors lie in the parameter vector.

        >>> Adapter(rank=2, train_mlp=False, train_attn=False).layout["unembed.lo"]
        Factors(start=1280, rows=128, columns=512, rank=2)
        """
        layout, start = {}, 0
        for name, (rows, columns) in TRAINABLE.items():
            if self._trains(name):
                layout[name] = Factors(start, rows, columns, self.rank)
                start += layout[name].size
        return layout

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(factors.size for factors in self.layout.values())

    def _trains(self, name: str) -> bool:
        part = name.partition(".")[2]
        if part in ("qkv", "out"):
            return self.train_attn
        return self.train_mlp if part in ("up", "down") else self.train_unembed


class Factors(NamedTuple):
    """One adapted matrix's place: `down` (rows x rank) then `up` (rank x columns), from `start`."""

    start: int
    rows: int
    columns: int
    rank: int

    @property
    def size(self) -> int:
        return (self.rows + self.columns) * self.rank

    def of(self, vector: Floats) -> tuple[Floats, Floats]:
        """Views of `down` and `up` within a parameter or gradient vector."""
        middle = self.start + self.rows * self.rank
        down = vector[self.start : middle].reshape(self.rows, self.rank)
        return down, vector[middle : self.start + self.size].reshape(self.rank, self.columns)


def start_parameters(adapter: Adapter) -> Floats:
    """The parameters a new model starts with, float32[adapter.size]: a function of the adapter alone."""
    rng = np.random.default_rng(adapter.seed)
    parameters = np.zeros(adapter.size, np.float32)
    for factors in adapter.layout.values():
        down, _ = factors.of(parameters)
        down[:] = rng.standard_normal(down.shape) / np.sqrt(factors.rows)
    return parameters


def merge(base: Weights, adapter: Adapter, parameters: Floats) -> Weights:
    """The base weights with the adapters added in, as the model's functions take them."""
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
