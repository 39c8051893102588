"""Abilities that a local service can be started without, as other services are: `tinsmith serve --without save,ttl`."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from shell.local_service import UserError, wire_format


def _asks(*path: str) -> Callable[[bytes], bool]:
    """Whether a JSON body has a value there that is neither null, nor 0, nor false."""

    def look(body: bytes) -> bool:
        value: Any = msgspec.json.decode(body)
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return bool(value)

    return look


_KINDS: Mapping[str, tuple[tuple[str, ...], Callable[[bytes], bool]]] = {
    "forward": (("forward_backward",), lambda body: wire_format.decode_forward_backward(body)[1]),
    "weight_decay": (("optim_step",), _asks("adam_params", "weight_decay")),
    "save": (("save_weights",), lambda _: True),
    "ttl": (("save_weights", "save_weights_for_sampler"), _asks("ttl_seconds")),
    "sampling": (("save_weights_for_sampler", "sample"), lambda _: True),
    "prompt_logprobs": (("sample",), _asks("prompt_logprobs")),
}
ABILITIES = (*_KINDS, "deletion", "capabilities")


def read_names(text: str) -> frozenset[str]:
    """The abilities of a list with commas; a UserError names one that is none."""
    names = frozenset(filter(None, text.split(",")))
    if unknown := names - set(ABILITIES):
        raise UserError(f"expected abilities of {', '.join(ABILITIES)}, got {min(unknown)!r}")
    return names


def check(without: frozenset[str], kind: str, body: bytes) -> None:
    """Raises a UserError for a request that needs a missing ability."""
    for name in without & set(_KINDS):
        kinds, asks = _KINDS[name]
        if kind in kinds and asks(body):
            raise UserError(f"this service does not do {name}")
