"""Batches as the SDK's objects, built without pydantic's validation.

Validating token lists costs many times as much as all else, so the ids are checked here, once per batch, and each
object is a copy of one that the SDK's own constructors built, with other arrays in it.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import tinker
from numpy.typing import NDArray

from kernel.datum import Datums, Media
from kernel.errors import expected
from shell.datums.images import read_image
from shell.process.gc_and_cpus import collection_paused

T = TypeVar("T")

PYDANTIC = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
"""attributes of a pydantic object beside its fields"""


def datums_to_tinker(datums: Datums) -> list[tinker.Datum]:
    """One `tinker.Datum` per example, views into one copy of the batch's arrays; an image is a chunk of its own.

    They are copied because the SDK serialises later, on its own thread.
    """
    for name, ids in (("inputs", datums.inputs), ("targets", datums.targets)):
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < 2**31:
            raise expected("token ids from 0 to 2**31 - 1", f"{ids.min()} to {ids.max()}", at=f"$.{name}")
    inputs = np.array(datums.inputs, np.int32)
    targets = np.array(datums.targets, np.int64)
    weights = np.array(datums.weights, np.float32)
    spans: dict[int, list[Media]] = {}
    for media in datums.media:
        spans.setdefault(media.example, []).append(media)
    with collection_paused():
        return [
            _datum(_chunks(inputs[a:b], spans.get(i)), targets[a:b], weights[a:b])
            for i, (a, b) in enumerate(pairwise(datums.offsets.tolist()))
        ]


def _datum(chunks: list[Any], targets: NDArray[np.int64], weights: NDArray[np.float32]) -> tinker.Datum:
    shape = [len(targets)]
    tensors = {
        "target_tokens": _targets({"_numpy": targets, "shape": shape}),
        "weights": _weights({"_numpy": weights, "shape": shape}),
    }
    return _example({"model_input": _model_input({"chunks": chunks}), "loss_fn_inputs": tensors})


def _chunks(tokens: NDArray[np.int32], media: list[Media] | None) -> list[Any]:
    """The text and the images of an example's inputs, in order; no chunk of text is empty unless it is the only one."""
    if not media:
        return [_text({"tokens": tokens})]
    chunks: list[Any] = []
    at = 0
    for span in sorted(media, key=lambda span: span.start):
        if span.start > at:
            chunks.append(_text({"tokens": tokens[at : span.start]}))
        image = read_image(span.key)
        chunks.append(tinker.types.ImageChunk(data=image.data, format=image.format, expected_tokens=span.length))
        at = span.start + span.length
    if at < len(tokens):
        chunks.append(_text({"tokens": tokens[at:]}))
    return chunks


def _copies(one: T) -> Callable[[dict[str, Any]], T]:
    """A function that copies an object with other fields: no constructor is called, and nothing is validated."""
    kind, fields = type(one), vars(one)
    rest = [(name, getattr(one, name)) for name in PYDANTIC if hasattr(one, name)]
    new, put = object.__new__, object.__setattr__

    def copy(others: dict[str, Any]) -> T:
        another = new(kind)
        put(another, "__dict__", fields | others)
        for name, value in rest:
            put(another, name, value)
        return another

    return copy


_text = _copies(tinker.EncodedTextChunk.model_construct(tokens=[], type="encoded_text"))
_model_input = _copies(tinker.ModelInput(chunks=[]))
_targets = _copies(tinker.TensorData(np.zeros(0, np.int64), "int64", [0]))
_weights = _copies(tinker.TensorData(np.zeros(0, np.float32), "float32", [0]))
_example = _copies(tinker.Datum(tinker.ModelInput(chunks=[]), {}))
