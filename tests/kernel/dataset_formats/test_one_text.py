"""Glaive's function calling: turns, calls and functions out of two texts."""

import pytest

from kernel.conversation import text_of
from kernel.dataset_formats import to_messages
from kernel.errors import InputError
from kernel.row_to_conversation import read_conversation

END = " <|endoftext|>"


def read(chat, system=""):
    return read_conversation(to_messages({"system": system, "chat": chat}, "f:1"), "f:1")


@pytest.mark.parametrize(
    ("chat", "turns"),
    [
        (f"USER: Q\n\n\nASSISTANT: A{END}", ["user Q", "assistant A"]),
        ("\nUSER: Q\n\n\nASSISTANT: A", ["user Q", "assistant A"]),
        (f"USER: Q\n\ntwo\n\nparts\n\n\nASSISTANT: A{END}\n\n\n\n", ["user Q\n\ntwo\n\nparts", "assistant A"]),
        (f"USER: Q\n\n\nASSISTANT: A{END}\n\n\nUSER: R\n\n\nASSISTANT: B{END}",
         ["user Q", "assistant A", "user R", "assistant B"]),
        ("USER: is ASSISTANT: here?\n\n\nASSISTANT: a word", ["user is ASSISTANT: here?", "assistant a word"]),
        ('USER: Q\n\n\nFUNCTION RESPONSE: {"a": 1}\n\n\nASSISTANT: A', ["user Q", 'tool {"a": 1}', "assistant A"]),
    ],
)  # fmt: skip
def test_turns_are_those_that_the_text_names(chat, turns):
    assert [f"{message.role} {text_of(message)}" for message in read(chat)] == turns


@pytest.mark.parametrize(
    ("call", "arguments", "text"),
    [
        ("""{"name": "f", "arguments": '{"a": 1}'}""", '{"a": 1}', ""),
        ("""{"name": "f", "arguments": '{"a": "it\\'s"}'}""", '{"a": "it\'s"}', ""),
        ("""{"arguments": '{"a": {"b": [1]}}', "name": "f"}""", '{"a": {"b": [1]}}', ""),
        ("""{"name": "f", "arguments": {"a": 2}}""", '{"a": 2}', ""),
        ("""{"name": "f", "arguments": '{}'}""", "{}", "Let me look."),
        ("""{"name": "f", "arguments": '{\n  "a": 1\n}'}""", '{\n  "a": 1\n}', ""),
    ],
)
def test_calls_are_read_with_their_arguments_in_single_quotes(call, arguments, text):
    message = read(f"USER: Q\n\n\nASSISTANT: {text} <functioncall> {call}{END}")[1]
    assert [(one.name, one.arguments) for one in message.tool_calls] == [("f", arguments)]
    assert text_of(message) == text


@pytest.mark.parametrize(
    ("system", "prompt", "tools"),
    [
        ("SYSTEM: No functions.", "No functions.", []),
        ('SYSTEM: Use -\n{"name": "f"}', "Use -", ["f"]),
        ('SYSTEM: Use -\n{\n "name": "f",\n "parameters": {}\n}\n\n{"name": "g"}\n', "Use -", ["f", "g"]),
        ('SYSTEM: Use {"name": "f"} and', 'Use {"name": "f"} and', []),
        ('SYSTEM: Use\n{"name": "f"}\nwith care', 'Use\n{"name": "f"}\nwith care', []),
        ('SYSTEM: Use\n{"name": ', 'Use\n{"name":', []),
        ("", "", []),
    ],
)
def test_functions_to_the_end_of_the_system_text_are_tools_and_all_else_is_text(system, prompt, tools):
    first = read("USER: Q\n\n\nASSISTANT: A", system)[0]
    assert [tool.name for tool in first.tools] == tools
    assert (text_of(first) if first.role == "system" else "") == prompt


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ("Q", "expected turns that begin with USER: or ASSISTANT:, got text that begins 'Q' - at f:1 $.chat"),
        ("Hi\n\n\nUSER: Q", "expected turns that begin with USER: or ASSISTANT:, got text that begins 'Hi"),
        (f"USER: Q\n\n\nASSISTANT: A{END} and more", "expected the next turn after <|endoftext|>, got 'and more' - at"),
        (
            "USER: Q\n\n\nASSISTANT: <functioncall> f(1)",
            "expected the JSON text of a call after <functioncall>, got te",
        ),
        (
            """USER: Q\n\n\nASSISTANT: <functioncall> {"name": "f", "arguments": '{a}'}""",
            "expected the JSON text of a c",
        ),
        (
            "USER: Q\n\n\nASSISTANT: <functioncall> []",
            "expected the JSON text of a tool call with a name, got an empty",
        ),
        ([{"role": "user", "content": "Q"}], "expected text, got a list - at f:1 $.chat"),
    ],
)
def test_a_text_that_is_not_such_a_chat_is_refused(chat, message):
    with pytest.raises(InputError) as error:
        read(chat)
    assert str(error.value).startswith(message)
