"""Messages: what requests may hold, and how each error is named."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import tinker
from hypothesis import given, settings
from hypothesis import strategies as st
from tinker.proto import tinker_public_pb2 as proto
from tinker.proto.response_conv import deserialize_forward_backward_output

from shell.local_service import RefusedError, UserError
from shell.local_service.model.learner import AdamParams
from shell.local_service.model.transformer import N_IDS
from shell.local_service.wire_format import (
    Address,
    address,
    decode_adam_params,
    decode_forward_backward,
    encode_forward_backward,
)
from tests.shell.local_service.serving import forward_backward_body

ROWS = [[1, 2, 3], [4, 5, 6, 7]]


def request(change: Callable[[Any], None] = lambda _: None) -> bytes:
    message = proto.ForwardBackwardRequest.FromString(forward_backward_body("m", 1, ROWS))
    change(message)
    return message.SerializeToString()


def test_examples_are_concatenated() -> None:
    examples, forward_only = decode_forward_backward(request())
    assert examples.inputs.tolist() == [1, 2, 4, 5, 6]
    assert examples.targets.tolist() == [2, 3, 5, 6, 7]
    assert examples.weights.tolist() == [1.0] * 5
    assert examples.offsets.tolist() == [0, 2, 5]
    assert not forward_only


def test_chunks_of_one_input_are_joined_and_missing_weights_are_ones() -> None:
    def change(message: Any) -> None:
        del message.data[1]
        message.data[0].model_input.add().encoded_text.tokens = np.array([9], np.int32).tobytes()
        message.data[0].loss_fn_inputs["target_tokens"].CopyFrom(tensor(np.array([2, 3, 4])))
        del message.data[0].loss_fn_inputs["weights"]

    examples, _ = decode_forward_backward(request(change))
    assert examples.inputs.tolist() == [1, 2, 9]
    assert examples.weights.tolist() == [1.0, 1.0, 1.0]


def tensor(array: Any, shape: list[int] | None = None) -> proto.Tensor:
    dtype = proto.DTYPE_FLOAT32 if array.dtype == np.float32 else proto.DTYPE_INT64
    return proto.Tensor(dense=array.tobytes(), dtype=dtype, shape=shape or [len(array)])


def replaced(name: str, value: proto.Tensor) -> Callable[[Any], None]:
    return lambda message: message.data[1].loss_fn_inputs[name].CopyFrom(value)


def cleared(message: Any) -> None:
    del message.data[:]


def emptied(message: Any) -> None:
    del message.data[1].model_input[:]


def pictured(message: Any) -> None:
    message.data[1].model_input.add().image.data = b"png"


def torn(message: Any) -> None:
    message.data[1].model_input[0].encoded_text.tokens = b"12345"


def without_targets(message: Any) -> None:
    del message.data[1].loss_fn_inputs["target_tokens"]


def with_input(id_: int) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.data[1].model_input[0].encoded_text.tokens = np.array([4, id_, 6], np.int32).tobytes()

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (cleared, "expected at least one datum, got none - at data"),
        (emptied, r"expected 1 to 65536 tokens, got 0 - at data\[1\].model_input"),
        (pictured, r"text only - at data\[1\].model_input\[1\]"),
        (torn, r"whole int32 values, got 5 bytes - at data\[1\].model_input\[0\]"),
        (with_input(N_IDS), rf"ids from 0 to {N_IDS - 1}, got {N_IDS} - at data\[1\].model_input"),
        (with_input(-1), r"got -1 - at data\[1\].model_input"),
        (without_targets, r"expected target_tokens, got none - at data\[1\].loss_fn_inputs"),
        (
            replaced("target_tokens", tensor(np.array([5, 6, -7]))),
            r"got -7 - at data\[1\].loss_fn_inputs.target_tokens",
        ),
        (replaced("target_tokens", tensor(np.array([5, 6]))), "expected 3 values, one for each input token, got 2"),
        (replaced("target_tokens", tensor(np.ones(3, np.float32))), "expected int64 ids, got float32"),
        (replaced("target_tokens", tensor(np.arange(3), [3, 1])), "2-D or sparse"),
        (replaced("target_tokens", tensor(np.arange(3), [4])), r"got shape \[4\]"),
        (replaced("target_tokens", proto.Tensor(dense=b"")), "got dtype 0"),
        (replaced("weights", proto.Tensor(dtype=1, sparse_csr=proto.SparseCsr())), "2-D or sparse"),
        (replaced("weights", tensor(np.array([1, np.nan, 1], np.float32))), r"finite weights, got nan - at data\[1\]"),
        (replaced("weights", tensor(np.array([1, 1, np.inf], np.float32))), r"finite weights, got inf - at data\[1\]"),
        (replaced("advantages", tensor(np.ones(3, np.float32))), "takes target_tokens and weights, got 'advantages'"),
    ],
)
def test_an_error_names_its_location(change: Callable[[Any], None], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        decode_forward_backward(request(change))


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(UserError, match="'cross_entropy' only, got 'importance_sampling'"):
        decode_forward_backward(forward_backward_body("m", 1, ROWS, loss_fn="importance_sampling"))


def test_an_address_is_read_from_either_kind_of_body() -> None:
    assert address("forward_backward", request()) == Address("m", 1)
    assert address("optim_step", b'{"model_id": "m", "seq_id": 7, "adam_params": 3}') == Address("m", 7)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("forward_backward", b"\xff\xff\xff"),
        ("forward_backward", b""),
        ("forward_backward", forward_backward_body("m", 0, ROWS)),
        ("forward_backward", forward_backward_body("m", -1, ROWS)),
        ("optim_step", b"{"),
        ("optim_step", b"[" * 100_000),
        ("optim_step", b"\xff"),
        ("optim_step", b'{"model_id": "m", "seq_id": null}'),
        ("optim_step", b'{"model_id": "m", "seq_id": 0}'),
        ("optim_step", b'{"model_id": "m", "seq_id": 1e30}'),
        ("optim_step", b'{"model_id": "m", "seq_id": 99999999999999999999999999}'),
        ("optim_step", b'{"model_id": "\\ud800", "seq_id": 1}'),
    ],
)
def test_a_body_without_an_address_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises((RefusedError, UserError)) as refused:
        address(kind, body)
    assert getattr(refused.value, "status", 400) == 400  # the HTTP status of a UserError


@settings(max_examples=300)
@given(cut=st.integers(0, 160), position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_damaged_message_is_read_or_refused(cut: int, position: int, bit: int) -> None:
    damaged = bytearray(request())
    damaged = damaged[: max(1, len(damaged) - cut)]
    damaged[position % len(damaged)] ^= 1 << bit
    with suppress(UserError, RefusedError):
        address("forward_backward", bytes(damaged))
        decode_forward_backward(bytes(damaged))


def test_the_sdk_reads_the_answer_as_it_was_meant() -> None:
    logprobs = -np.arange(5, dtype=np.float32)
    answer = deserialize_forward_backward_output(
        encode_forward_backward(logprobs, np.array([0, 2, 5]), {"loss:sum": 2.5})
    )
    assert [output["logprobs"].tolist() for output in answer.loss_fn_outputs] == [[0, -1], [-2, -3, -4]]
    assert answer.metrics == {"loss:sum": 2.5}


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": -1}, {"beta1": 1.0}, {"beta2": -0.1}, {"eps": -1}, {"weight_decay": -0.5}, {"decay": 1}],
)
def test_optimizer_parameters_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))}.* - at adam_params"):
        decode_adam_params(json.dumps({"adam_params": wrong}).encode())


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400])
@pytest.mark.parametrize("name", AdamParams._fields)
def test_optimizer_parameters_are_finite(name: str, value: float) -> None:
    for text in (json.dumps(value), "1e999"):
        with pytest.raises(UserError):
            decode_adam_params(f'{{"adam_params": {{"{name}": {text}}}}}'.encode())


def test_optimizer_parameters_default_to_those_of_the_sdk() -> None:
    assert decode_adam_params(b'{"adam_params": {}}')._asdict() == tinker.AdamParams().model_dump()
