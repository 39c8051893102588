"""Tinker's messages: protobuf and JSON bodies decoded into checked structs and arrays, and back.

A request is decoded at once only for its model and number, so that one with wrong content keeps its number; errors in
the rest fail its future.
"""

import math
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tinker.proto import tinker_public_pb2 as proto

from shell.local_service import RefusedError, UserError
from shell.local_service.model import Floats, Ints
from shell.local_service.model.learner import AdamParams, Adapter
from shell.local_service.model.transformer import N_IDS, Examples

MAX_CONTEXT = 65_536
MAX_WIDTH = 1024  # samples of one prompt, and ids reported, scored or drawn at one position
DEFAULT_MAX_TOKENS = 256
T = TypeVar("T")

Number = Annotated[int, msgspec.Meta(ge=0, le=2**62)]  # fits the database


class Address(msgspec.Struct):
    """The model of a training request, and its number among the requests of that model."""

    model_id: str
    seq_id: Number


class CreateModel(msgspec.Struct):
    session_id: str
    model_seq_id: Number
    base_model: str
    lora_config: Adapter | None = None
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


class SaveWeights(msgspec.Struct):
    path: str | None = None
    ttl_seconds: int | None = None
    overwrite: bool = False
    user_metadata: dict[str, str] | None = None
    kind: str = "snapshot"


class Params(msgspec.Struct):
    max_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str | int] | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0


class Chunk(msgspec.Struct):
    tokens: list[int] | None = None  # None: not text


class Prompt(msgspec.Struct):
    chunks: list[Chunk]


class TargetIds(msgspec.Struct):
    """Ids to score, dense [T - 1, K] or sparse CSR of that shape; -1: nothing to score."""

    data: list[int]
    shape: list[int] = []
    sparse_crow_indices: list[Number] | None = None
    sparse_col_indices: list[Number] | None = None


class Sample(msgspec.Struct):
    prompt: Prompt
    sampling_params: Params
    num_samples: int = 1
    sampling_session_id: str | None = None
    seq_id: Number | None = None
    base_model: str | None = None
    model_path: str | None = None
    prompt_logprobs: bool | None = None
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_logprobs: TargetIds | None = None
    prompt_alt_tokens_k: int = 0
    prompt_logprobs_last_n: int | None = None


def decode(body: bytes, kind: type[T]) -> T:
    """A JSON body as a struct; a UserError names what is wrong, and where."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"malformed request body: {error}") from None


def address(kind: str, body: bytes) -> Address:
    """The model and the number of a request; refuses one that has none."""
    if kind == "forward_backward":
        message = _parse(body)
        found = Address(message.model_id, message.seq_id)  # an int64
    else:
        found = decode(body, Address)
    if not found.model_id or not 1 <= found.seq_id <= 2**62:
        raise RefusedError(400, f"expected a model_id and a seq_id >= 1, got {found.model_id!r} and {found.seq_id}")
    return found


def field(body: bytes, name: str, kind: Any) -> Any:
    """One field of a JSON body that is an object."""
    fields = decode(body, dict[str, msgspec.Raw])
    if name not in fields:
        raise UserError(f"malformed request body: Object missing required field `{name}`")
    return decode(bytes(fields[name]), kind)


def _parse(body: bytes) -> proto.ForwardBackwardRequest:
    message = proto.ForwardBackwardRequest()
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise RefusedError(400, "the body is not a protobuf ForwardBackwardRequest") from None
    return message


def decode_adam_params(body: bytes) -> AdamParams:
    """The parameters of an optim_step request, checked."""
    fields = decode(body, OptimStep).adam_params
    if fields is None:
        raise UserError("the local service only has the optimizer 'adamw': expected adam_params, got none")
    if unknown := set(fields) - set(AdamParams._fields):
        raise UserError(f"adam_params has no field {min(unknown)!r} - at adam_params")
    params = AdamParams(**fields)
    for name, value in params._asdict().items():
        bound, range_ = (1, "in [0, 1)") if name in ("beta1", "beta2") else (math.inf, ">= 0")
        if name != "grad_clip_norm" and not 0 <= value < bound:
            raise UserError(f"expected {name} {range_}, got {value} - at adam_params.{name}")
    return params


def decode_forward_backward(body: bytes) -> tuple[Examples, bool]:
    """A forward_backward request's examples, checked, and whether it is forward only."""
    message = _parse(body)
    if message.loss_fn != "cross_entropy":
        raise UserError(f"the local service computes loss_fn 'cross_entropy' only, got {message.loss_fn!r}")
    if not message.data:
        raise UserError("expected at least one datum, got none - at data")
    parts = [_decode_datum(datum, f"data[{i}]") for i, datum in enumerate(message.data)]
    inputs, targets, weights = (np.concatenate([part[k] for part in parts]) for k in range(3))
    offsets = np.cumsum([0] + [len(part[0]) for part in parts], dtype=np.int64)
    ids = f"token ids from 0 to {N_IDS - 1}"
    for values, is_bad, what, name in (
        (inputs, (inputs < 0) | (inputs >= N_IDS), ids, "model_input"),
        (targets, (targets < 0) | (targets >= N_IDS), ids, "loss_fn_inputs.target_tokens"),
        (weights, ~np.isfinite(weights), "finite weights", "loss_fn_inputs.weights"),
    ):
        if is_bad.any():
            position = int(is_bad.argmax())
            at = f"data[{np.searchsorted(offsets, position, 'right') - 1}].{name}"
            raise UserError(f"expected {what}, got {values[position]} - at {at}")
    return Examples(inputs, targets, weights, offsets), message.forward_only


def _decode_datum(datum: proto.Datum, at: str) -> tuple[Ints, Ints, Floats]:
    tokens = []
    for i, chunk in enumerate(datum.model_input):
        if chunk.WhichOneof("chunk") != "encoded_text":
            raise UserError(f"the local service reads text only - at {at}.model_input[{i}]")
        tokens.append(_decode_array(chunk.encoded_text.tokens, np.int32, f"{at}.model_input[{i}]"))
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
        raise UserError(f"the local service takes one dense value per token, got a 2-D or sparse tensor - at {at}")
    array = _decode_array(tensor.dense, _DTYPES[tensor.dtype], at)
    if len(array) != length or (tensor.shape and list(tensor.shape) != [length]):
        got = f"{len(array)}" if len(array) != length else f"shape {list(tensor.shape)}"
        raise UserError(f"expected {length} values, one for each input token, got {got} - at {at}")
    return array


def _decode_array(data: bytes, dtype: type, at: str) -> Any:
    if len(data) % np.dtype(dtype).itemsize:
        raise UserError(f"expected whole {np.dtype(dtype)} values, got {len(data)} bytes - at {at}")
    return np.frombuffer(data, dtype)


def decode_sample(body: bytes) -> tuple[Sample, Ints]:
    """A sampling request, checked, and its prompt as one array, int64[T]."""
    asked = decode(body, Sample)
    params, prompt = asked.sampling_params, _prompt_tokens(asked.prompt)
    if isinstance(params.stop, str) or any(isinstance(stop, str) for stop in params.stop or ()):
        raise UserError("the local service has no tokenizer: expected stop as token ids, got text - at stop")
    last_n, n_prompt = asked.prompt_logprobs_last_n, len(prompt)
    widths = {k: getattr(asked, k) for k in ("topk_prompt_logprobs", "topk_sample_logprobs", "prompt_alt_tokens_k")}
    for name, value, is_in_range, range_ in (
        ("max_tokens", params.max_tokens, (params.max_tokens or 0) >= 0, ">= 0"),
        ("temperature", params.temperature, 0 <= params.temperature < math.inf, ">= 0"),
        ("top_p", params.top_p, 0 < params.top_p <= 1, "in (0, 1]"),
        ("top_k", params.top_k, params.top_k == -1 or params.top_k > 0, "-1 or > 0"),
        ("num_samples", asked.num_samples, 1 <= asked.num_samples <= MAX_WIDTH, f"from 1 to {MAX_WIDTH}"),
        *((name, width, 0 <= width <= MAX_WIDTH, f"from 0 to {MAX_WIDTH}") for name, width in widths.items()),
        ("prompt_logprobs_last_n", last_n, last_n is None or 1 <= last_n < n_prompt, f"from 1 to {n_prompt - 1}"),
    ):
        if not is_in_range:
            raise UserError(f"expected {name} {range_}, got {value} - at {name}")
    if n_prompt + (params.max_tokens or DEFAULT_MAX_TOKENS) > MAX_CONTEXT:
        raise UserError(f"prompt and max_tokens make more than {MAX_CONTEXT} tokens")
    return asked, prompt


def _prompt_tokens(prompt: Prompt) -> Ints:
    if any(chunk.tokens is None for chunk in prompt.chunks):
        raise UserError("the local service reads text only - at prompt.chunks")
    tokens = [token for chunk in prompt.chunks for token in chunk.tokens or ()]
    if not 1 <= len(tokens) <= MAX_CONTEXT:
        raise UserError(f"expected a prompt of 1 to {MAX_CONTEXT} tokens, got {len(tokens)} - at prompt")
    if bad := [token for token in tokens if not 0 <= token < N_IDS]:
        raise UserError(f"expected token ids from 0 to {N_IDS - 1}, got {bad[0]} - at prompt")
    return np.array(tokens, np.int64)


def decode_target_ids(target: TargetIds | None, n_prompt: int) -> tuple[Ints, Ints]:
    """The row of each id to score, and the id."""
    if target is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    at = "at target_prompt_logprobs"
    if len(target.shape) != 2 or target.shape[0] != n_prompt - 1 or not 1 <= target.shape[1] <= MAX_WIDTH:
        raise UserError(f"expected shape [{n_prompt - 1}, K], K from 1 to {MAX_WIDTH}, got {target.shape} - {at}")
    if any(not -1 <= id_ < N_IDS for id_ in target.data):
        raise UserError(f"expected token ids from 0 to {N_IDS - 1}, or -1 - {at}")
    if target.sparse_crow_indices is None:
        rows = np.repeat(np.arange(target.shape[0]), target.shape[1])
    else:
        crow = np.array(target.sparse_crow_indices)
        if len(crow) != n_prompt or crow[0] != 0 or (np.diff(crow) < 0).any() or crow[-1] != len(target.data):
            raise UserError(f"expected row pointers from 0 to {len(target.data)} in order - {at}")
        rows = np.repeat(np.arange(target.shape[0]), np.diff(crow))
    if len(rows) != len(target.data):
        raise UserError(f"expected {len(rows)} ids, got {len(target.data)} - {at}")
    return rows, np.array(target.data, np.int64)


def encode_forward_backward(logprobs: Floats, offsets: Ints, metrics: dict[str, float]) -> bytes:
    """The answer to forward_backward: the logprobs per example, and metrics named `name:reduction`."""
    record = proto.ArrayRecord(num_datums=len(offsets) - 1)
    tensor = record.fields["logprobs"]
    tensor.data = logprobs.astype("<f4").tobytes()
    tensor.offsets = (offsets * 4).astype("<i8").tobytes()
    tensor.dtype = proto.DTYPE_FLOAT32
    answer = proto.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord", loss_fn_outputs=[record], metrics=metrics)
    return bytes(answer.SerializeToString())
