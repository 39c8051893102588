"""Calls and tools in the spellings of the formats in use."""

import json

import pytest

from kernel.conversation import Message, ToolCall, ToolSpec
from kernel.errors import InputError
from kernel.row_to_conversation import read_conversation

USER = {"role": "user", "content": "Q"}
F = ToolCall("f", '{"a": 1}')


def answer(**keys: object) -> Message:
    return read_conversation({"messages": [USER, {"role": "assistant", "content": None, **keys}]}, "f:1")[1]


CALLS = {
    "OpenAI": {"id": "", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
    "an object": {"function": {"name": "f", "arguments": {"a": 1}}},
    "flat": {"name": "f", "arguments": {"a": 1}},
    "Llama 3.1": {"name": "f", "parameters": {"a": 1}},
    "Llama 3.1 in a function": {"type": "function", "function": {"name": "f", "parameters": {"a": 1}}},
    "Anthropic": {"type": "tool_use", "name": "f", "input": {"a": 1}},
    "Gemini": {"name": "f", "args": {"a": 1}},
    "kwargs": {"name": "f", "kwargs": {"a": 1}},
    "a name beside": {"function": "f", "arguments": '{"a": 1}'},
    "tool_name": {"tool_name": "f", "tool_input": {"a": 1}},
    "Vercel": {"type": "tool-call", "toolName": "f", "args": {"a": 1}},
    "JSON text": '{"name": "f", "arguments": {"a": 1}}',
    "a function in JSON text": {"function": '{"name": "f", "arguments": {"a": 1}}'},
    "two spellings that agree": {"name": "f", "arguments": {"a": 1}, "parameters": {"a": 1}},
    "nothing beside": {"name": "f", "arguments": {"a": 1}, "parameters": None, "input": {}, "id": None},
}


@pytest.mark.parametrize("what", CALLS)
def test_a_call_reads_the_same_in_every_spelling(what: str) -> None:
    assert answer(tool_calls=[CALLS[what]]).tool_calls == (F,)


@pytest.mark.parametrize(
    "calls", [CALLS["flat"], [CALLS["flat"]], json.dumps(CALLS["flat"]), json.dumps([CALLS["flat"]])]
)
def test_calls_are_a_list_an_object_or_their_json_text(calls: object) -> None:
    assert answer(tool_calls=calls).tool_calls == (F,)


@pytest.mark.parametrize("nothing", [None, "", "[]", "null", "None", [], {}, "{}"])
def test_no_calls_in_any_spelling_are_no_calls(nothing: object) -> None:
    assert answer(content="A", tool_calls=nothing, function_call=nothing) == Message("assistant", "A")


@pytest.mark.parametrize("key", ["id", "call_id", "tool_call_id", "tool_use_id"])
def test_the_id_of_a_call_is_kept(key: str) -> None:
    assert answer(tool_calls=[{"name": "f", "arguments": {"a": 1}, key: "c1"}]).tool_calls[0].id == "c1"


@pytest.mark.parametrize(
    "text",
    [
        '{"x": 2.50}',
        '{"x": 0.1000000000000000055}',
        '{ "x" : 1E5 }',
        '{"é": "\\u00e9"}',
        '{"x": 12345678901234567890123}',
    ],
)
def test_arguments_given_as_text_stay_as_they_came(text: str) -> None:
    assert answer(tool_calls=[{"name": "f", "arguments": text}]).tool_calls[0].arguments == text


@pytest.mark.parametrize("nothing", [None, "", "null", {}, []])
def test_no_arguments_are_an_empty_object(nothing: object) -> None:
    assert answer(tool_calls=[{"name": "f", "arguments": nothing}]).tool_calls[0].arguments == "{}"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ({"name": "f", "arguments": {"a": 1}, "input": {"a": 2}}, "'arguments' and 'input', which mean the same"),
        ({"name": "f", "expression": "1+1"}, "the key 'expression' is not read"),
        ({"function": {"name": "f", "arguments": {}, "body": {}}, "name": "g"}, "the key 'name' is not read"),
        ({"type": "custom", "name": "f", "input": "text"}, "expected a call of type 'function', got 'custom'"),
        ({"name": "f", "arguments": '{"a": NaN}'}, "got NaN - at f:1 $.messages[1].tool_calls[0].arguments"),
        ({"name": "f", "arguments": {"a": float("nan")}}, "got nan - at f:1 $.messages[1].tool_calls[0].arguments.a"),
        ({"name": "f", "input": {"a": [1e400]}}, "got inf - at f:1 $.messages[1].tool_calls[0].input.a[0]"),
        ({"name": "f", "arguments": '{"a": 1e999}'}, "a 64-bit float can hold, got 1e999"),
        ({"name": "f", "arguments": '{"a": "\\udc00"}'}, "a lone surrogate"),
        ({"name": "f", "arguments": '{"a": ' * 1000 + "1" + "}" * 1000}, "at most 100 levels"),
        ({"name": "f", "arguments": "[1]"}, "expected a JSON object, got a list"),
        ({"name": "f", "arguments": 3}, "expected text, got a number"),
        ({"name": ""}, "expected a tool name, got an empty string"),
        ({"arguments": {}}, "got nothing (the key is missing) - at f:1 $.messages[1].tool_calls[0].name"),
        (3, "expected a tool call object, got a number - at f:1 $.messages[1].tool_calls[0]"),
        ("{", "expected the JSON text of a tool call, got text that is not JSON"),
    ],
)
def test_a_call_that_is_none_is_refused_with_its_place(call: object, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        answer(tool_calls=[call])
    assert sentence in str(error.value)


@pytest.mark.parametrize("content", [None, "", "I look."])
def test_openais_older_calls_are_read_beside_or_without_content(content: str | None) -> None:
    row = {
        "messages": [
            USER,
            {"role": "assistant", "content": content, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
            {"role": "function", "name": "f", "content": "R"},
        ],
        "functions": [{"name": "f", "parameters": {"type": "object"}}],
    }
    spec = ToolSpec("f", '{"name": "f", "parameters": {"type": "object"}}')
    expected = (
        Message("system", (), tools=(spec,)),
        Message("user", "Q"),
        Message("assistant", content or "", (F,)),
        Message("tool", "R", name="f"),
    )
    assert read_conversation(row) == expected


def test_the_older_and_the_newer_call_must_be_the_same() -> None:
    assert answer(function_call=CALLS["flat"], tool_calls=[{**CALLS["flat"], "id": "c"}]).tool_calls[0].id == "c"
    with pytest.raises(InputError, match=r"differ: keep one of them - at f:1 \$\.messages\[1\]\.function_call"):
        answer(function_call=CALLS["flat"], tool_calls=[{"name": "g"}])


SPEC = {"name": "f", "description": "d", "parameters": {"type": "object"}}
TOOLS = {
    "OpenAI": [{"type": "function", "function": SPEC}],
    "bare": [SPEC],
    "flat, as in OpenAI's Responses": [{"type": "function", **SPEC}],
    "Anthropic": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
    "Anthropic with a cache mark": [
        {
            "type": "custom",
            "name": "f",
            "description": "d",
            "input_schema": {"type": "object"},
            "cache_control": {"a": 1},
        }
    ],
    "Gemini": [{"functionDeclarations": [SPEC]}],
    "JSON text": json.dumps([SPEC]),
    "JSON text of each": [json.dumps(SPEC)],
    "a schema as JSON text": [{**SPEC, "parameters": '{"type": "object"}'}],
    "one object": SPEC,
}


@pytest.mark.parametrize("what", TOOLS)
@pytest.mark.parametrize("key", ["tools", "functions"])
def test_a_tool_reads_the_same_in_every_spelling(what: str, key: str) -> None:
    assert read_conversation({"messages": [USER], key: TOOLS[what]})[0].tools == (ToolSpec("f", json.dumps(SPEC)),)


@pytest.mark.parametrize("nothing", [None, "", "[]", "null", "None", [], {}, "{}", " [] "])
@pytest.mark.parametrize("key", ["tools", "functions"])
def test_nothing_declared_in_any_spelling_is_no_declaration(nothing: object, key: str) -> None:
    assert read_conversation({"messages": [USER], key: nothing}) == (Message("user", "Q"),)


@pytest.mark.parametrize(
    ("tools", "sentence"),
    [
        ("[", "expected the JSON text of a list of tools, got text that is not JSON"),
        ("[" * 2000, "expected at most 100 levels"),
        ('[{"name": "f", "description": "\\ud83d"}]', "a lone surrogate - at f:1 $.tools"),
        ([{"name": ""}], "expected a tool name, got an empty string - at f:1 $.tools[0].name"),
        ([{"type": "web_search_20250305", "name": "web_search"}], "a tool of type 'web_search_20250305' has no schema"),
        ([{"name": "f", "parameters": {"a": float("inf")}}], "got inf - at f:1 $.tools[0].parameters.a"),
        ([3], "expected a tool object with a name, got a number - at f:1 $.tools[0]"),
        (3, "expected a list of tools, got a number - at f:1 $.tools"),
    ],
)
def test_tools_that_are_none_are_refused_with_their_place(tools: object, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        read_conversation({"messages": [USER], "tools": tools}, "f:1")
    assert sentence in str(error.value)


def test_tools_and_functions_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="declare different tools"):
        read_conversation({"messages": [USER], "tools": [SPEC], "functions": [{"name": "g"}]}, "f:1")


ONE, TWO = '{"name": "f", "arguments": {"a": 1}}', '{"name": "g", "arguments": {}}'
G = ToolCall("g", "{}")


@pytest.mark.parametrize(
    ("value", "said", "calls"),
    [
        (ONE, "", (F,)),
        (f"[{ONE}, {TWO}]", "", (F, G)),
        (f"{ONE}\n{TWO}", "", (F, G)),
        (f"I look. {ONE}", "I look.", (F,)),
        (f"Set {{x}} to [1].\n\n{ONE}, {TWO}", "Set {x} to [1].", (F, G)),
        (f"<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{TWO}\n</tool_call>", "", (F, G)),
        (f"Sure:\n```json\n{ONE}\n```", "Sure:", (F,)),
        (json.loads(ONE), "", (F,)),
        ([json.loads(ONE), json.loads(TWO)], "", (F, G)),
    ],
)
@pytest.mark.parametrize("speaker", ["function_call", "tool_call", "funccaller"])
def test_a_caller_of_sharegpt_says_text_and_calls(
    value: object, said: str, calls: tuple[ToolCall, ...], speaker: str
) -> None:
    (message,) = read_conversation({"messages": [{"from": speaker, "value": value}]})
    assert message == Message("assistant", said, calls)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (f"{ONE} and more", "expected the JSON text of a tool call, got text that is not JSON"),
        ("I look.", "expected the JSON text of a tool call, got text that is not JSON"),
        ("[3]", "expected the JSON text of a tool call with a name, got a number"),
        ('{"a": 1}', "expected the JSON text of a tool call with a name, got an object"),
        ('{"name": "f", "arguments": {"a": NaN}}', "expected a JSON value, got NaN"),
        ('{"name": "f", "said": "x"}', "the key 'said' is not read"),
        ("[" * 100_000, "expected at most 100 levels"),
        (None, "expected text, got null"),
    ],
)
def test_a_caller_without_a_call_is_refused_with_its_place(value: object, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        read_conversation({"messages": [USER, {"from": "tool_call", "value": value}]}, "f:1")
    assert str(error.value).startswith(sentence)
    assert "- at f:1 $.messages[1].value" in str(error.value)
