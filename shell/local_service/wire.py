"""Tinker's messages, in and out: protobuf and JSON on one side, arrays and structs on the other.

Requests are decoded twice: at once only for whose they are (`Address`), so that even a request that makes no sense
keeps its number; in full when their turn comes, where what is wrong with them becomes their future's error.
"""

from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tinker.proto import tinker_public_pb2 as proto

from shell.local_service.arrays import Floats, Ints
from shell.local_service.errors import RefusedError, UserError
from shell.local_service.model import N_IDS

MAX_CONTEXT = 65_536
T = TypeVar("T")


Number = Annotated[int, msgspec.Meta(ge=0, le=2**62)]  # fits the database


class Address(msgspec.Struct):
    """Whose request it is and which place it has among the requests of that model."""

    model_id: str
    seq_id: Number


class LoraConfig(msgspec.Struct):
    rank: int
    seed: int | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True


class CreateModel(msgspec.Struct):
    session_id: str
    model_seq_id: Number
    base_model: str
    lora_config: LoraConfig | None = None
    optimizer_config: dict[str, Any] | None = None
    user_metadata: dict[str, Any] | None = None


class LoadWeights(msgspec.Struct):
    path: str
    optimizer: bool
    session_id: str | None = None
    model_seq_id: Number | None = None
    base_model: str | None = None
    optimizer_config: dict[str, Any] | None = None
    user_metadata: dict[str, Any] | None = None


class OptimStep(msgspec.Struct):
    adam_params: dict[str, float] | None = None
    optimizer_params: dict[str, Any] | None = None


class SaveWeights(msgspec.Struct):
    path: str | None = None
    ttl_seconds: int | None = None
    overwrite: bool = False
    user_metadata: dict[str, str] | None = None
    sampling_session_seq_id: int | None = None
    kind: str = "snapshot"


def decode(body: bytes, kind: type[T]) -> T:
    """A JSON body as a struct.

    Raises:
        UserError: it is not JSON, or not of that shape; the sentence says where.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"malformed request body: {error}") from None


def address(kind: str, body: bytes) -> Address:
    """Whose request a body is.

    Raises:
        RefusedError: the body is so broken that this cannot be said.
    """
    if kind == "forward_backward":
        message = _parse(body)
        found = Address(message.model_id, message.seq_id)  # an int64
    else:
        try:
            found = decode(body, Address)
        except UserError as error:
            raise RefusedError(400, str(error)) from None
    if not found.model_id or not 1 <= found.seq_id <= 2**62:
        raise RefusedError(400, f"expected a model_id and a seq_id >= 1, got {found.model_id!r} and {found.seq_id}")
    return found


def _parse(body: bytes) -> proto.ForwardBackwardRequest:
    message = proto.ForwardBackwardRequest()
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise RefusedError(400, "expected a protobuf ForwardBackwardRequest, got bytes that are none") from None
    return message


class Examples(NamedTuple):
    """Examples one behind the other, in the order in which the model's functions take them."""

    inputs: Ints
    targets: Ints
    weights: Floats
    offsets: Ints


class ForwardBackward(NamedTuple):
    examples: Examples
    forward_only: bool


def decode_forward_backward(body: bytes) -> ForwardBackward:
    """A forward_backward request's examples, checked.

    Raises:
        UserError: what is wrong, with the place: `data[3].loss_fn_inputs.weights`.
    """
    message = _parse(body)
    if message.loss_fn != "cross_entropy":
        raise UserError(f"the service in the box computes loss_fn 'cross_entropy' only, got {message.loss_fn!r}")
    if not message.data:
        raise UserError("expected at least one datum, got none - at data")
    parts = [_decode_datum(datum, f"data[{i}]") for i, datum in enumerate(message.data)]
    inputs, targets, weights = (np.concatenate([part[k] for part in parts]) for k in range(3))
    offsets = np.cumsum([0] + [len(part[0]) for part in parts], dtype=np.int64)
    _check_ids(inputs, "model_input", offsets)
    _check_ids(targets, "loss_fn_inputs.target_tokens", offsets)
    if (bad := np.flatnonzero(~np.isfinite(weights))).size:
        raise UserError(f"expected finite weights, got {weights[bad[0]]} - at {_place(bad[0], offsets)}weights")
    return ForwardBackward(Examples(inputs, targets, weights, offsets), message.forward_only)


def _decode_datum(datum: proto.Datum, at: str) -> tuple[Ints, Ints, Floats]:
    tokens = []
    for i, chunk in enumerate(datum.model_input):
        if chunk.WhichOneof("chunk") != "encoded_text":
            raise UserError(f"the service in the box reads text only - at {at}.model_input[{i}]")
        tokens.append(_array(chunk.encoded_text.tokens, np.int32, f"{at}.model_input[{i}]"))
    inputs = np.concatenate(tokens) if tokens else np.zeros(0, np.int32)
    if not 1 <= len(inputs) <= MAX_CONTEXT:
        raise UserError(f"expected 1 to {MAX_CONTEXT} tokens, got {len(inputs)} - at {at}.model_input")
    if unknown := set(datum.loss_fn_inputs) - {"target_tokens", "weights"}:
        raise UserError(f"cross_entropy takes target_tokens and weights, got {min(unknown)!r} - at {at}.loss_fn_inputs")
    if "target_tokens" not in datum.loss_fn_inputs:
        raise UserError(f"expected target_tokens, got none - at {at}.loss_fn_inputs")
    targets = _decode_tensor(datum.loss_fn_inputs["target_tokens"], len(inputs), f"{at}.loss_fn_inputs.target_tokens")
    if targets.dtype.kind != "i":
        raise UserError(f"expected int64 ids, got {targets.dtype} - at {at}.loss_fn_inputs.target_tokens")
    if "weights" not in datum.loss_fn_inputs:
        return inputs, targets, np.ones(len(inputs), np.float32)
    weights = _decode_tensor(datum.loss_fn_inputs["weights"], len(inputs), f"{at}.loss_fn_inputs.weights")
    return inputs, targets, weights.astype(np.float32)


_DTYPES = {proto.DTYPE_FLOAT32: np.float32, proto.DTYPE_INT64: np.int64, proto.DTYPE_INT32: np.int32}


def _decode_tensor(tensor: proto.Tensor, length: int, at: str) -> Any:
    if tensor.dtype not in _DTYPES:
        raise UserError(f"expected a float32 or int64 tensor, got dtype {tensor.dtype} - at {at}")
    if tensor.WhichOneof("encoding") == "sparse_csr" or len(tensor.shape) > 1:
        raise UserError(f"the service in the box takes one dense value a token, got a 2-D or sparse tensor - at {at}")
    array = _array(tensor.dense, _DTYPES[tensor.dtype], at)
    if len(array) != length or (tensor.shape and list(tensor.shape) != [length]):
        got = f"{len(array)}" if len(array) != length else f"shape {list(tensor.shape)}"
        raise UserError(f"expected {length} values, one for each input token, got {got} - at {at}")
    return array


def _array(data: bytes, dtype: type, at: str) -> Any:
    if len(data) % np.dtype(dtype).itemsize:
        raise UserError(f"expected whole {np.dtype(dtype)} values, got {len(data)} bytes - at {at}")
    return np.frombuffer(data, dtype)


def _check_ids(ids: Ints, field: str, offsets: Ints) -> None:
    if (bad := np.flatnonzero((ids < 0) | (ids >= N_IDS))).size:
        raise UserError(
            f"expected token ids from 0 to {N_IDS - 1}, got {ids[bad[0]]} - at {_place(bad[0], offsets)}{field}"
        )


def _place(index: int, offsets: Ints) -> str:
    return f"data[{int(np.searchsorted(offsets, index, 'right')) - 1}]."


def encode_forward_backward(logprobs: Floats, offsets: Ints, metrics: dict[str, float]) -> bytes:
    """The answer to forward_backward: each example's logprobs, and metrics named `name:reduction`."""
    record = proto.ArrayRecord(num_datums=len(offsets) - 1)
    tensor = record.fields["logprobs"]
    tensor.data = logprobs.astype("<f4").tobytes()
    tensor.offsets = (offsets * 4).astype("<i8").tobytes()
    tensor.dtype = proto.DTYPE_FLOAT32
    answer = proto.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord", loss_fn_outputs=[record], metrics=metrics)
    return bytes(answer.SerializeToString())
