"""Weights under the names that trainers use: honoured, or refused with a place."""

import math

import pytest

from kernel.conversation import Message
from kernel.errors import InputError
from kernel.row_to_conversation import read_conversation
from kernel.weight_keys import FACTORS, FLAGS, ROW_WEIGHT_KEYS, row_weight

USER = {"role": "user", "content": "Q"}


def answer(**keys: object) -> Message:
    return read_conversation({"messages": [USER, {"role": "assistant", "content": "A", **keys}]}, "f:1")[1]


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("number", [0, 0.0, 1, 0.25, 3.5])
def test_a_number_on_a_message_is_its_factor(name: str, number: float) -> None:
    assert answer(**{name: number}).weight == number


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", [True, False])
def test_a_flag_on_a_message_says_whether_it_is_trained(name: str, value: bool) -> None:
    assert answer(**{name: value}).trainable == (value if name != "masked" else not value)


def test_null_says_nothing() -> None:
    assert answer(**dict.fromkeys((*FACTORS, *FLAGS))) == Message("assistant", "A")


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, 1e39, 10**400, True, "0.5", [0, 1], {"a": 1}])
def test_what_is_no_finite_number_of_at_least_0_is_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"expected a finite number of at least 0, got .* \$\.messages\[1\]\.{name}$"):
        answer(**{name: value})


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", [1, 0.37, "false", []])
def test_a_flag_that_is_neither_true_nor_false_is_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"expected true or false, got .* \$\.messages\[1\]\.{name}$"):
        answer(**{name: value})


@pytest.mark.parametrize(
    "keys",
    [
        {"weight": 0, "loss_scale": 1},
        {"loss_weight": 0.5, "weight": 0.25},
        {"trainable": True, "loss": False},
        {"train": True, "masked": True},
        {"training": False, "train": True},
    ],
)
def test_two_names_for_the_same_that_differ_are_refused_with_both_names(keys: dict[str, object]) -> None:
    with pytest.raises(InputError, match="ask for different weights: keep one") as error:
        answer(**keys)
    assert all(repr(name) in str(error.value) for name in keys)


def test_two_names_that_agree_and_a_weight_beside_a_flag_are_read() -> None:
    assert answer(weight=0.5, loss_weight=0.5).weight == 0.5
    assert answer(masked=False, trainable=True).trainable is True
    assert answer(weight=2, loss=True)[-3:] == (True, (), 2.0)


@pytest.mark.parametrize("name", sorted(ROW_WEIGHT_KEYS - set(FLAGS)))
def test_a_number_on_a_row_multiplies_into_every_message(name: str) -> None:
    row = {"messages": [{**USER, "weight": 0.5}, {"role": "assistant", "content": "A"}], name: 0.5}
    assert [message.weight for message in read_conversation(row)] == [0.25, 0.5]


@pytest.mark.parametrize("name", FLAGS)
def test_a_row_that_is_not_to_be_trained_has_weight_0(name: str) -> None:
    assert row_weight({name: name == "masked", "weight": 3}) == 0
    assert row_weight({name: name != "masked", "weight": 3}) == 3


@pytest.mark.parametrize("row", [{"weight": "1"}, {"weight": -1}, {"loss": 0.37}, {"weight": 1, "sample_weight": 2}])
def test_a_row_with_a_weight_that_is_none_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"at f:1 \$\.\w+$"):
        read_conversation({"messages": [USER], **row}, "f:1")


def parts(*given: dict[str, object], role: str = "assistant") -> list[float]:
    image = {"type": "image", "image": "x"}  # keeps the parts apart
    content = [part for one in given for part in ({"type": "text", "text": "a", **one}, image)]
    (message,) = read_conversation({"messages": [{"role": role, "content": content}]}, "f:1")
    assert not isinstance(message.content, str)
    return [part.weight for part in message.content if part.kind == "text"]


def test_a_part_may_have_a_factor_or_be_left_out() -> None:
    assert parts({"weight": 0}, {"weight": 0.5}, {"loss_scale": 2.0}) == [0, 0.5, 2]
    assert parts({"train": False}, {"masked": True}, {"loss": False, "weight": 2}, {"train": True}) == [0, 0, 0, 1]


def test_a_part_cannot_be_trained_where_its_message_is_not() -> None:
    with pytest.raises(InputError, match=r"say 'train' on the message.* \$\.messages\[0\]\.content\[0\]\.train$"):
        parts({"train": True}, role="user")


def test_the_answers_and_texts_of_one_message_share_its_weight() -> None:
    blocks = [{"type": "tool_result", "tool_use_id": "t", "content": "R"}, {"type": "text", "text": "go on"}]
    talk = read_conversation({"messages": [{"role": "user", "content": blocks, "weight": 0.5, "train": True}]})
    assert [(message.weight, message.trainable) for message in talk] == [(0.5, True)] * 2


@pytest.mark.parametrize(
    ("row", "message", "part"), [(1e20, 1e20, 1), (1, 1e36, 1), (1, 1e15, 1e15), (1e20, 1, 1e12), (1e37, 1, 1)]
)
def test_weights_whose_product_a_sum_cannot_hold_are_refused_with_a_place(
    row: float, message: float, part: float
) -> None:
    content = [{"type": "text", "text": "A", "weight": part}]
    given = {"messages": [{"role": "assistant", "content": content, "weight": message}], "weight": row}
    with pytest.raises(InputError, match=r"a product below 1e\+30, got 1e\+\d+ - at f:1 \$\.messages\[0\]$"):
        read_conversation(given, "f:1")


def test_tools_of_a_row_are_declared_with_the_weight_of_the_row() -> None:
    row = {"messages": [USER], "tools": [{"name": "f", "parameters": {}}], "weight": 0.5}
    assert [message.weight for message in read_conversation(row)] == [0.5, 0.5]
    masked = {**row, "messages": [{**USER, "train": False}]}
    assert [message.trainable for message in read_conversation(masked)] == [False, False]
