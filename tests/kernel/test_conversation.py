"""Rows of JSON to conversations: what is read, and how what is not is refused."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.conversation import Message, Part, ToolCall, ToolSpec, last_user, split_inline_reasoning
from kernel.errors import InputError
from kernel.row_to_conversation import read_conversation

USER = {"role": "user", "content": "hi"}


def read(*messages: object, **more: object) -> tuple[Message, ...]:
    return read_conversation({"messages": list(messages), **more}, at="train.jsonl:17")


def test_text_parts_alone_are_a_string() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read({"role": "user", "content": parts}) == (Message("user", "ab"),)


def test_reasoning_is_kept_in_its_place_among_the_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}, {"type": "text", "text": "c"}]
    (message,) = read({"role": "assistant", "content": parts})
    assert message.content == (Part("text", "a"), Part("thinking", "b"), Part("text", "c"))


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_beside_the_content_comes_first(key: str) -> None:
    (message,) = read({"role": "assistant", "content": "4", key: "2+2"})
    assert message.content == (Part("thinking", "2+2"), Part("text", "4"))


def test_null_content_is_fine_beside_calls_or_reasoning() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    talk = read(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "content": None, "reasoning_content": "hm"},
    )
    assert talk[0] == Message("assistant", "", (ToolCall("add", '{"a": 1}', "c1"),))
    assert talk[1].content == (Part("thinking", "hm"),)


def test_arguments_may_be_an_object_or_text_and_keep_every_value() -> None:
    for arguments in ({"é": [1, None, {"b": 2.5}]}, '{"é": [1, null, {"b": 2.5}]}'):
        (message,) = read({"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": arguments}]})
        assert json.loads(message.tool_calls[0].arguments) == {"é": [1, None, {"b": 2.5}]}


def test_a_tool_result_keeps_its_name_and_id() -> None:
    assert read({"role": "tool", "content": "7", "name": "add", "tool_call_id": "c1"}) == (
        Message("tool", "7", name="add", tool_call_id="c1"),
    )


@pytest.mark.parametrize(
    "tools", [[{"name": "f"}], [{"type": "function", "function": {"name": "f"}}], '[{"name": "f"}]']
)
def test_tools_of_a_row_are_declared_with_the_system_message(tools: object) -> None:
    assert read(USER, tools=tools)[0] == Message("system", (), tools=(ToolSpec("f", '{"name": "f"}'),))
    assert read({"role": "system", "content": "s"}, USER, tools=tools)[0].content == "s"


def test_keys_that_are_no_content_are_passed_over() -> None:
    assert read({**USER, "id": 3, "weight": None}, source="x") == (Message("user", "hi"),)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({}, "expected a list of messages under 'messages', got an empty object - at train.jsonl:17"),
        ({"conversations": []}, "got the keys 'conversations' - at train.jsonl:17"),
        ({"messages": []}, "expected a list of at least one message, got an empty list - at train.jsonl:17 $.messages"),
        ({"messages": None}, "got null - at train.jsonl:17 $.messages"),
        ({"messages": ["x"]}, "got text - at train.jsonl:17 $.messages[0]"),
        ({"messages": [{"from": "critic", "value": "x"}]}, "unknown speaker 'critic'"),
        (
            {"messages": [USER, {"role": "user", "content": None}]},
            "text, got null - at train.jsonl:17 $.messages[1].content",
        ),
        ({"messages": [{"role": "user"}]}, "got nothing (the key is missing) - at train.jsonl:17"),
        ({"messages": [{"role": "user", "content": 3}]}, "got a number"),
        ({"messages": [{"role": None, "content": "x"}]}, "got null - at train.jsonl:17 $.messages[0].role"),
        ({"messages": [{"role": "", "content": "x"}]}, "expected a role"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "a lone surrogate - at train.jsonl:17"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "$.messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "$.messages[0].content[0].text"),
        ({"messages": [{**USER, "weight": -1}]}, "of at least 0, got -1 - at train.jsonl:17 $.messages[0].weight"),
        ({"messages": [{**USER, "trainable": 1}]}, "expected true or false, got a number"),
        (
            {"messages": [{**USER, "tool_calls": [{"name": "f", "arguments": "[]"}]}]},
            "a JSON object, got an empty list",
        ),
        ({"messages": [{**USER, "tool_calls": [{"name": "f", "arguments": "{"}]}]}, "text that is not JSON"),
        ({"messages": [{**USER, "tool_calls": [{"function": {}}]}]}, "$.messages[0].tool_calls[0].function.name"),
        ({"messages": [USER], "tools": [{}]}, "$.tools[0].name"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_place(row: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_conversation(row, at="train.jsonl:17")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "tool_calls", "function", "name", "arguments", "type", "text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["messages", "tools", "x"]), json_values, max_size=3))
def test_any_json_is_read_or_refused_in_one_sentence(row: dict[str, object]) -> None:
    try:
        talk = read_conversation(row)
    except InputError:
        return
    assert talk
    assert all(isinstance(message, Message) for message in talk)


@given(st.text(), st.text())
def test_a_closed_block_at_the_start_is_reasoning_and_nothing_is_lost(reasoning: str, said: str) -> None:
    content = f"<think>{reasoning}</think>{said}"
    read_back = split_inline_reasoning(Message("assistant", content)).content
    if "</think>" in reasoning:
        return
    texts = {part.kind: part.text for part in read_back} if isinstance(read_back, tuple) else {"text": read_back}
    assert texts.get("text", "") == said.lstrip("\n")
    assert texts.get("thinking", "").strip() == reasoning.strip()


@pytest.mark.parametrize("content", ["<think>open", "a <think>b</think>", "</think>x", ""])
def test_other_spellings_of_the_block_stay_text(content: str) -> None:
    assert split_inline_reasoning(Message("assistant", content)).content == content


def test_the_last_user_message_is_found_from_behind() -> None:
    assert last_user([Message("user"), Message("user"), Message("assistant")]) == 1
    assert last_user([Message("assistant")]) == -1
