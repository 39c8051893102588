"""Batches as the SDK's objects, built without pydantic's validation.

Validating token lists costs many times as much as all else, so the ids are checked here, once per batch, and each
object is a copy of one that the SDK's own constructors built, with other arrays in it. Where such a copy is not what
the SDK writes, its public constructors are called.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tinker
from numpy.typing import NDArray

from kernel.datum import Datums, Media
from kernel.errors import expected
from shell.datums.images import read_image
from shell.process.gc_and_cpus import collection_paused

T = TypeVar("T")
Weights = NDArray[np.float32]

PYDANTIC = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
"""attributes of a pydantic object beside its fields"""


def datums_to_tinker(datums: Datums, sdk: ModuleType = tinker) -> list[Any]:
    """One `Datum` of the SDK per example, views into one copy of the batch's arrays; an image is a chunk of its own.

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
    make = constructors_of(sdk)
    with collection_paused():
        return [
            make.datum(_chunks(inputs[a:b], spans.get(i), make.text, sdk), targets[a:b], weights[a:b])
            for i, (a, b) in enumerate(pairwise(datums.offsets.tolist()))
        ]


class Constructors(NamedTuple):
    """What builds the SDK's objects: a chunk of ids, and a datum of chunks, targets and weights."""

    text: Callable[[NDArray[np.int32]], Any]
    datum: Callable[[list[Any], NDArray[np.int64], Weights], Any]
    is_fast: bool


def with_loss_inputs(
    examples: Sequence[Any],
    datums: Datums,
    name: str,
    inputs: Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]],
    sdk: ModuleType = tinker,
) -> list[Any]:
    """The examples of datums with the inputs of another loss; weights are an input of the cross-entropy alone."""
    out, as_tensor = [], sdk.TensorData.from_numpy
    for i, example in enumerate(examples):
        arrays = dict(zip(("input_ids", "target_tokens", "weights"), map(np.array, datums.example(i)), strict=True))
        kept = ("target_tokens", "weights") if name == "cross_entropy" else ("target_tokens",)
        found = {"target_tokens": arrays["target_tokens"].astype(np.int64)} | {key: arrays[key] for key in kept[1:]}
        tensors = {key: as_tensor(array) for key, array in {**found, **inputs(arrays)}.items()}
        out.append(sdk.Datum(model_input=example.model_input, loss_fn_inputs=tensors))
    return out


@cache
def constructors_of(sdk: ModuleType) -> Constructors:
    """Copies, if the SDK writes them as what its public constructors build; else those."""
    public = _public(sdk)
    try:
        copying = _copying(sdk)
        is_same = _wire(sdk, copying) == _wire(sdk, public)
    except Exception:  # whatever a release lacks
        return public
    return copying if is_same else public


def _public(sdk: ModuleType) -> Constructors:
    as_tensor = sdk.TensorData.from_numpy

    def datum(chunks: list[Any], targets: NDArray[np.int64], weights: Weights) -> Any:
        tensors = {"target_tokens": as_tensor(targets), "weights": as_tensor(weights)}
        return sdk.Datum(model_input=sdk.ModelInput(chunks=chunks), loss_fn_inputs=tensors)

    return Constructors(lambda ids: sdk.EncodedTextChunk(tokens=ids.tolist()), datum, is_fast=False)


def _copying(sdk: ModuleType) -> Constructors:
    text = _copies(sdk.EncodedTextChunk.model_construct(tokens=[], type="encoded_text"))
    model_input = _copies(sdk.ModelInput(chunks=[]))
    int64s = _copies(sdk.TensorData(np.zeros(0, np.int64), "int64", [0]))
    float32s = _copies(sdk.TensorData(np.zeros(0, np.float32), "float32", [0]))
    example = _copies(sdk.Datum(sdk.ModelInput(chunks=[]), {}))

    def datum(chunks: list[Any], targets: NDArray[np.int64], weights: Weights) -> Any:
        shape = [len(targets)]
        tensors = {
            "target_tokens": int64s({"_numpy": targets, "shape": shape}),
            "weights": float32s({"_numpy": weights, "shape": shape}),
        }
        return example({"model_input": model_input({"chunks": chunks}), "loss_fn_inputs": tensors})

    return Constructors(lambda ids: text({"tokens": ids}), datum, is_fast=True)


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


def _wire(sdk: ModuleType, make: Constructors) -> bytes:
    """A small request as the SDK writes it; raises where it may write JSON, which holds no arrays."""
    package = sdk.Datum.__module__.partition(".")[0]
    if (
        "proto_write_fwdbwd"
        in import_module(f"{package}.types.client_config_response").ClientConfigResponse.__annotations__
    ):
        raise ValueError("a service may ask for JSON")
    chunks = [make.text(np.array([5, 6, 7], np.int32))]
    one = make.datum(chunks, np.array([6, 7, 8]), np.array([0, 0.5, 0.25], np.float32))
    inputs = sdk.types.ForwardBackwardInput(data=[one], loss_fn="cross_entropy")
    request = sdk.types.ForwardBackwardRequest(forward_backward_input=inputs, model_id="m", seq_id=1)
    convert = import_module(f"{package}.proto.request_conv").forward_backward_request_to_proto
    return bytes(convert(request).SerializeToString(deterministic=True))


def _chunks(
    tokens: NDArray[np.int32], media: list[Media] | None, text: Callable[..., Any], sdk: ModuleType
) -> list[Any]:
    """The text and the images of an example's inputs, in order; no chunk of text is empty unless it is the only one."""
    if not media:
        return [text(tokens)]
    chunks: list[Any] = []
    at = 0
    for span in sorted(media, key=lambda span: span.start):
        if span.start > at:
            chunks.append(text(tokens[at : span.start]))
        image = read_image(span.key)
        chunks.append(sdk.types.ImageChunk(data=image.data, format=image.format, expected_tokens=span.length))
        at = span.start + span.length
    if at < len(tokens):
        chunks.append(text(tokens[at:]))
    return chunks
