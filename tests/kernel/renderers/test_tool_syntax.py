"""Results of tools, matched with the calls that they answer; JSON as parsers read it."""

import pytest

from kernel.conversation import Message, ToolCall
from kernel.renderers.tool_syntax import json_or_text, named_results, ordered_results, read_arguments

CALLS = Message("assistant", tool_calls=(ToolCall("add", "{}", "a"), ToolCall("sub", "{}", "b")))


def named(*results: Message) -> list[tuple[object, str]]:
    return [(message.content, message.name) for message in named_results((CALLS, *results))[1:]]


def test_a_result_is_named_after_its_call_by_id_or_else_by_order() -> None:
    assert named(Message("tool", "1", tool_call_id="b"), Message("tool", "2")) == [("1", "sub"), ("2", "sub")]
    assert named(Message("tool", "1"), Message("tool", "2", name="own"), Message("tool", "3")) == [
        ("1", "add"),
        ("2", "own"),
        ("3", ""),
    ]


def test_results_are_ordered_where_each_answers_a_call_by_its_id() -> None:
    first, second = Message("tool", "1", tool_call_id="b"), Message("tool", "2", tool_call_id="a")
    ordered = [(message.content, message.name) for message in ordered_results((CALLS, first, second))[1:]]
    assert ordered == [("2", "add"), ("1", "sub")]
    stray = (CALLS, first, second, Message("tool", "3", tool_call_id="c"))
    assert ordered_results(stray) == stray


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("seven", "seven"), ("NaN", "NaN"), ("[" * 10**5, "[" * 10**5)])
def test_what_is_no_json_is_text(text: str, value: object) -> None:
    assert json_or_text(text) == value


def test_arguments_are_an_object() -> None:
    assert read_arguments('{"a": 1}') == {"a": 1}
    assert read_arguments("[1]") == "expected an object of arguments, got something else"
    assert str(read_arguments("{")).startswith("expected JSON, got text that is not")
