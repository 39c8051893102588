"""Weights of rows, messages and parts, under the names that trainers use: a factor, or whether to train at all."""

import math
from collections.abc import Mapping
from typing import TypeVar

from kernel.conversation import Message, parts_of
from kernel.errors import Path, expected, problem
from kernel.json_values import kind_of

V = TypeVar("V", float, bool)

FACTORS = ("weight", "loss_weight", "loss_scale", "loss_mask", "step_loss_mask")
"""OpenAI and Together, tinker-cookbook and others, ms-swift, slime: finite numbers of at least 0."""
FLAGS = ("trainable", "train", "training", "loss", "masked")
"""tinker-cookbook, axolotl (two), ms-swift and slime, torchtune (the other way around): true or false."""
WEIGHT_KEYS = frozenset((*FACTORS, *FLAGS))
"""The names on messages and parts."""
_ROW_FACTORS = (*FACTORS, "sample_weight", "example_weight", "row_weight")
LARGEST = 1e30  # of products: the sum of a row's tokens is a float32
ROW_WEIGHT_KEYS = frozenset((*_ROW_FACTORS, *FLAGS))
"""The names on rows."""


def factor(given: Mapping[str, object], keys: tuple[str, ...] = FACTORS) -> float:
    """The factor that a row, message or part asks for; 1 where it asks for none."""
    found: tuple[str, float] | None = None
    for key in keys:
        if (value := given.get(key)) is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise expected("a finite number of at least 0", kind_of(value), path=(key,))
        number = float(value) if -1 < value < 1e38 else math.inf  # a float32, as datums hold it
        if not 0 <= number < math.inf:
            raise expected("a finite number of at least 0", str(value), path=(key,))
        found = _agreed(found, key, number)
    return found[1] if found else 1.0


def flag(given: Mapping[str, object]) -> bool | None:
    """Whether a message says that it is trained, or that it is not; None where it says nothing."""
    found: tuple[str, bool] | None = None
    for key in FLAGS:
        if (value := given.get(key)) is None:
            continue
        if not isinstance(value, bool):
            raise expected("true or false", kind_of(value), path=(key,))
        found = _agreed(found, key, value != (key == "masked"))
    return found[1] if found else None


def row_weight(row: Mapping[str, object]) -> float:
    """The factor on every message of a row; 0 for a row that is not to be trained.

    >>> row_weight({"messages": [], "weight": 0.5}), row_weight({"messages": [], "loss": False})
    (0.5, 0.0)
    """
    return factor(row, _ROW_FACTORS) * (flag(row) is not False)


def check_product(message: Message, row: float, path: Path) -> None:
    """Refuse weights of a row, a message and a part that multiply to more than a sum of tokens can hold."""
    parts = (part.weight for part in parts_of(message))
    product = row * message.weight * max(parts, default=1.0)
    if product >= LARGEST:
        raise expected(f"weights of row, message and part with a product below {LARGEST:g}", f"{product:g}", path=path)


def part_weight(part: Mapping[str, object], role: str) -> float:
    """The factor on one part; a part can be left out, but not trained where its message is not."""
    trained, weight = flag(part), factor(part)
    if trained and role != "assistant":
        key = next(key for key in FLAGS if part.get(key) is not None)
        raise problem(f"a part cannot be trained alone: say {key!r} on the message, and on its parts", path=(key,))
    return 0.0 if trained is False else weight


def _agreed(found: tuple[str, V] | None, key: str, value: V) -> tuple[str, V]:
    if found and found[1] != value:
        raise problem(f"{found[0]!r} and {key!r} of one object ask for different weights: keep one", path=(key,))
    return found or (key, value)
