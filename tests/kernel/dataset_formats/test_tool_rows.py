"""xLAM's rows and Gemini's contents."""

import json

import pytest

from kernel.conversation import text_of
from kernel.dataset_formats import to_messages
from kernel.errors import InputError
from kernel.row_to_conversation import read_conversation

TOOL = {"name": "f", "description": "d", "parameters": {"a": {"type": "int"}}}
CALL = {"name": "f", "arguments": {"a": 1}}


def read(row):
    return read_conversation(to_messages(row, "f:1"), "f:1")


def refusal(row):
    with pytest.raises(InputError) as error:
        read(row)
    return str(error.value)


@pytest.mark.parametrize("answers", [[CALL], json.dumps([CALL]), [json.dumps(CALL)], json.dumps(CALL), [CALL, CALL]])
@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), "[]", None])
def test_xlams_answers_are_the_calls_of_the_assistant(answers, tools):
    *before, answer = read({"id": 0, "query": "Q", "tools": tools, "answers": answers})
    assert {(call.name, call.arguments) for call in answer.tool_calls} == {("f", '{"a": 1}')}
    assert [message.role for message in before] == (["system"] if tools not in ("[]", None) else []) + ["user"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "Q", "answers": "[]"}, "expected at least one call, got text - at f:1 $.answers"),
        (
            {"query": "Q", "answers": [{"arguments": {}}]},
            "expected text, got nothing (the key is missing) - at f:1 $.ans",
        ),
        (
            {"query": "Q", "answers": "none of them"},
            "expected the JSON text of a list of tool calls, got text that is not",
        ),
        ({"query": 3, "answers": [CALL]}, "expected text, got a number - at f:1 $.query"),
        (
            {"query": "Q", "answers": [CALL], "response": "A"},
            "expected a row of one shape (--dataset-format says which)",
        ),
    ],
)
def test_xlams_rows_without_calls_are_refused(row, message):
    assert refusal(row).startswith(message)


def part(**given):
    return {"role": "model", "parts": [given]}


@pytest.mark.parametrize(
    ("contents", "messages"),
    [
        ([{"parts": [{"text": "Q"}]}], ["user Q"]),
        ([{"role": "user", "parts": [{"text": "Q"}, {"text": "!"}]}, part(text="A")], ["user Q!", "assistant A"]),
        (json.dumps([part(text="A")]), ["assistant A"]),
        ([part(function_call={"name": "f", "args": {"a": 1}})], ['assistant f {"a": 1}']),
        (
            [{"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {"r": 1}}}]}],
            ['tool {"r": 1}'],
        ),
        ([part(text="T", thought=True)], ["assistant (T)"]),
    ],
)
def test_gemini_contents_are_messages(contents, messages):
    def shown(message):
        thought = [f"({one.text})" for one in message.content if not isinstance(message.content, str)]
        calls = [f"{call.name} {call.arguments}" for call in message.tool_calls]
        return " ".join([message.role, *filter(None, [*thought, text_of(message)]), *calls])

    assert [shown(message) for message in read({"contents": contents})] == messages


@pytest.mark.parametrize(
    "given",
    [
        "S",
        {"parts": [{"text": "S"}]},
        {"role": "system", "parts": {"text": "S"}},
        {"parts": ["S"]},
        '{"parts": [{"text": "S"}]}',
    ],
)
@pytest.mark.parametrize("key", ["systemInstruction", "system_instruction"])
def test_gemini_instructions_are_the_system_message(given, key):
    row = {key: given, "contents": [{"role": "user", "parts": [{"text": "Q"}]}], "generationConfig": {"topK": 1}}
    assert [(one.role, one.content) for one in read(row)] == [("system", "S"), ("user", "Q")]


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"contents": [{"role": "user", "parts": [{"text": 3}]}]}, "$.contents[0].parts[0].text"),
        ({"contents": [{"role": "user", "parts": [{"video": "x"}]}]}, "$.contents[0].parts[0]"),
        ({"contents": [3]}, "$.contents[0]"),
        ({"contents": []}, "$.contents"),
        ({"contents": [part(text="A")], "systemInstruction": {"parts": [3]}}, "$.systemInstruction.parts[0]"),
        ({"contents": [part(text="A")], "seed_prompt": "x"}, "$.seed_prompt"),
    ],
)
def test_what_gemini_rows_hold_besides_is_refused_at_its_own_path(row, path):
    assert f"at f:1 {path}" in refusal(row)
