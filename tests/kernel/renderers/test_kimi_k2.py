"""Kimi K2, K2.5 and K2.6: blocks of reasoning, sections of calls, and what a turn is."""

import pytest

from kernel.conversation import Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.parse_response.common import BadCall, ParseTermination
from kernel.render.batch_renderer import BatchRenderer
from kernel.renderers import RENDERERS
from kernel.renderers.kimi_k2 import KIMI_K2, KIMI_K25, KIMI_K25_DISABLE_THINKING, KIMI_K26_PRESERVE_THINKING
from tests.kernel.renderers.spelling import parsed, prompt, sampled, trained, written

SYSTEM = "<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>"
ASSISTANT = "<|im_assistant|>assistant<|im_middle|>"
CALL = Message(
    "assistant",
    (Part("thinking", "Add."), Part("text", "So:")),
    (ToolCall("add", '{"a":1}'), ToolCall("sub", "{}", "functions.sub:7")),
)
RESULT = Message("tool", "3", name="add", tool_call_id="functions.add:0")
TALK = (
    Message("user", "1+2?"),
    CALL,
    RESULT,
    Message("assistant", (Part("thinking", "Done."), Part("text", "3"))),
    Message("user", "Sure?"),
    Message("assistant", (Part("thinking", "Yes."), Part("text", "Yes.<|im_end|>"))),
)
WRITTEN_CALLS = (
    '<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{"a":1}<|tool_call_end|>'
    "<|tool_call_begin|>functions.sub:7<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"
)


def rendered(first: str, second: str, third: str) -> str:
    return (
        f"{SYSTEM}<|im_user|>user<|im_middle|>1+2?<|im_end|>"
        f"{ASSISTANT}<think>{first}</think>So:{WRITTEN_CALLS}<|im_end|>"
        "<|im_system|>add<|im_middle|>## Return of functions.add:0\n3<|im_end|>"
        f"{ASSISTANT}<think>{second}</think>3<|im_end|>"
        "<|im_user|>user<|im_middle|>Sure?<|im_end|>"
        f"{ASSISTANT}<think>{third}</think>Yes.<|im_end|><|im_end|>"
    )


def test_reasoning_is_kept_after_the_last_answer_that_called_no_tool() -> None:
    for renderer in (KIMI_K2, KIMI_K25, RENDERERS["kimi_k26"]):
        assert written(renderer, TALK) == rendered("", "", "Yes.")
        assert written(renderer, TALK[:4]) == rendered("Add.", "Done.", "")[: len(written(renderer, TALK[:4]))]


def test_preserved_reasoning_stays_everywhere() -> None:
    assert written(KIMI_K26_PRESERVE_THINKING, TALK) == rendered("Add.", "Done.", "Yes.")


@pytest.mark.parametrize(
    ("renderer", "opening"),
    [(KIMI_K2, ""), (KIMI_K25, "<think>"), (KIMI_K25_DISABLE_THINKING, "<think></think>")],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_prompt_opens_or_closes_the_block(renderer, opening: str) -> None:
    assert prompt(renderer, TALK[:1]).endswith(f"<|im_end|>{ASSISTANT}{opening}")


def test_a_system_message_of_the_data_replaces_moonshots() -> None:
    assert written(KIMI_K2, (Message("system", "Be brief."),)) == "<|im_system|>system<|im_middle|>Be brief.<|im_end|>"
    assert prompt(KIMI_K2, ()) == SYSTEM + ASSISTANT


def test_a_result_without_a_name_has_the_header_of_a_tool() -> None:
    assert (
        written(KIMI_K2, (Message("tool", "3"),)) == f"{SYSTEM}<|im_system|>tool<|im_middle|>## Return of \n3<|im_end|>"
    )


def test_turns_are_trained_without_their_headers() -> None:
    assert trained(KIMI_K2, TALK[:3], TrainOnWhat.ALL_MESSAGES) == (
        "…You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>…1+2?<|im_end|>…"
        f"<think>Add.</think>So:{WRITTEN_CALLS}<|im_end|>…3<|im_end|>"
    )
    assert trained(KIMI_K2, TALK[3:], TrainOnWhat.LAST_ASSISTANT_TURN) == "…<think>Yes.</think>Yes.<|im_end|><|im_end|>"


ADD = ToolSpec(
    "add",
    '{"name": "add", "description": "Adds.\\n\\nTwo.", "parameters": {"type": "object", "properties": {'
    '"b": {"type": "number", "minimum": 0, "default": 1.5}, "a": {"type": "string", "description": "é"},'
    '"l": {"type": "array", "items": {"type": "string", "description": "d", "maxLength": 3}, "minItems": 1},'
    '"o": {"type": "object", "properties": {"k": {"enum": ["x", 1]}}, "additionalProperties": false},'
    '"any": {"anyOf": [{"type": "integer"}, {"type": ["null", "array"]}]}}, "required": ["b", "a"]}}',
)
NODE = ToolSpec(
    "walk",
    '{"name": "walk", "parameters": {"type": "object", "$defs": {"Leaf": {"type": "object", "description": "A leaf."}},'
    '"properties": {"next": {"$ref": "#"}, "leaf": {"$ref": "#/$defs/Leaf"}, "odd": true}}}',
)


@pytest.mark.parametrize(("text", "system"), [("", SYSTEM), ("Hi", "<|im_system|>system<|im_middle|>Hi<|im_end|>")])
def test_k2_declares_tools_as_json_before_the_system_message(text: str, system: str) -> None:
    talk = (Message("system", text, tools=(ToolSpec("f", '{"name": "f", "description": "é"}'),)),)
    declared = r'[{"function":{"description":"\u00e9","name":"f"},"type":"function"}]'
    assert written(KIMI_K2, talk) == f"<|im_system|>tool_declare<|im_middle|>{declared}<|im_end|>{system}"


def test_a_declaration_in_the_data_stays_in_front() -> None:
    declared = Message("tool_declare", "[]<|im_end|>")
    assert prompt(KIMI_K2, (declared, *TALK[:1])) == (
        f"<|im_system|>tool_declare<|im_middle|>[]<|im_end|><|im_end|>{SYSTEM}"
        f"<|im_user|>user<|im_middle|>1+2?<|im_end|>{ASSISTANT}"
    )
    own = Message("system", "Hi")
    assert written(KIMI_K2, (declared, own)).endswith("<|im_end|><|im_system|>system<|im_middle|>Hi<|im_end|>")


def test_k25_declares_tools_in_typescript() -> None:
    expected = """# Tools

## functions
namespace functions {
// Adds.

// Two.
type add = (_: {
  // é
  a: string,
  // minimum: 0
  // Default: 1.5
  b: number,
  any?: number | null | Array<any>,
  // minItems: 1
  l?: Array<
    // d
    // maxLength: 3
    string
  >,
  o?: {
    k?: "x" | 1,
    [k: string]: never
  }
}) => any;
interface parameters {
  next?: parameters,
  leaf?: Leaf,
  odd?: any
}
// A leaf.
interface Leaf {}
type walk = (_: parameters) => any;
}
"""
    text = written(KIMI_K25, (Message("system", tools=(ADD, NODE)),))
    assert text == f"<|im_system|>tool_declare<|im_middle|>{expected}<|im_end|>{SYSTEM}"


@pytest.mark.parametrize("renderer", [KIMI_K2, KIMI_K25, KIMI_K26_PRESERVE_THINKING], ids=lambda one: one.name)
def test_a_sampled_turn_is_read_as_it_was_written(renderer) -> None:
    for talk in (TALK, TALK[:2], TALK[:4]):
        read = renderer.parse(sampled(renderer, talk))
        assert read.termination is ParseTermination.STOP_SEQUENCE
        assert read.message.content == talk[-1].content
        assert [(call.name, call.arguments) for call in read.message.tool_calls] == [
            (call.name, call.arguments) for call in talk[-1].tool_calls
        ]


def test_without_reasoning_the_sampled_turn_is_text() -> None:
    talk = (Message("user", "Hi"), Message("assistant", "Hello </think>"))
    assert KIMI_K25_DISABLE_THINKING.parse(sampled(KIMI_K25_DISABLE_THINKING, talk)).message == talk[-1]


def test_the_newline_after_an_image_is_encoded_apart_from_the_text() -> None:
    shown = Message("user", (Part("text", "Look:\n"), Part("image", "a.png"), Part("text", "\nThis?")))
    batch_renderer = BatchRenderer(KIMI_K25)
    program = batch_renderer.render([(shown, Message("assistant", "Yes."))], TrainOnWhat.ALL_MESSAGES)
    assert list(program.texts)[1:3] == ["Look:\n", "\nThis?"]
    assert "\n" in [text for _, text in batch_renderer.constant_texts]


BEGIN, ARGUMENTS, END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
OPENS, CLOSES = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"


def test_a_section_that_nothing_closes_is_reported_and_stays_in_the_text() -> None:
    cut = f'{OPENS}{BEGIN}functions.add:0{ARGUMENTS}{{"a"'
    read = parsed(KIMI_K2, f"<think>hm</think>So:{cut}")
    assert read.termination is ParseTermination.MALFORMED
    assert read.message.content == (Part("thinking", "hm"), Part("text", f"So:{cut}"))
    assert read.bad_calls == (BadCall(cut, f"expected {CLOSES}, got the end of the turn"),)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (f"{BEGIN}add{ARGUMENTS}{{}}{END}", "expected functions.NAME:INDEX, got 'add'"),
        (f"{BEGIN}functions.add:0{ARGUMENTS}nope{END}", "expected JSON, got text that is not"),
        (f"{BEGIN}functions.add:0{END}", f"expected {BEGIN}...{ARGUMENTS}...{END}, got something else"),
    ],
)
def test_a_call_that_cannot_be_read_is_reported_beside_those_that_can(call: str, error: str) -> None:
    good = f"{BEGIN}functions.sub:1{ARGUMENTS} {{}} {END}"
    read = parsed(KIMI_K2, f"<think></think>{OPENS}{call}{good}{CLOSES}<|im_end|>")
    assert read.message == Message("assistant", "", (ToolCall("sub", "{}", "functions.sub:1"),))
    assert read.bad_calls[0].text == call
    assert read.bad_calls[0].error.startswith(error)
