"""Inkling: every block a message of its own, and nothing that opens the turn."""

import pytest

from kernel.conversation import Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.parse_response.common import BadCall, ParseTermination
from kernel.renderers.inkling import TML_V0, inkling
from tests.kernel.renderers.spelling import parsed, prompt, sampled, trained, written

CALL = Message(
    "assistant",
    (Part("text", "So:"), Part("thinking", "Add."), Part("text", "Now.")),
    (ToolCall("add", '{"b": 1e-05, "a": [1e16, "é", {"z": 0, "y": null}]}'),),
)
TALK = (
    Message("system", "Be brief."),
    Message("user", "1+2?<|end_message|>"),
    CALL,
    Message("tool", "3", name="add"),
    Message("assistant", ""),
)
EFFORT = "<|message_system|><|content_text|>Thinking effort level: 0.9<|end_message|>"
WRITTEN = (
    "<|message_model|><|content_text|>So:<|end_message|>"
    "<|message_model|><|content_thinking|>Add.<|end_message|>"
    "<|message_model|><|content_text|>Now.<|end_message|>"
    '<|message_model|>add<|content_invoke_tool_json|>{"name":"add","args":{"a":[1e16,"é",{"z":0,"y":null}],"b":0.00001}}'
    "<|end_message|><|content_model_end_sampling|>"
)
EMPTY = "<|message_model|><|content_text|><|end_message|><|content_model_end_sampling|>"


def test_every_block_is_a_message_in_its_own_order() -> None:
    assert written(TML_V0, TALK) == (
        f"<|message_system|><|content_text|>Be brief.<|end_message|>{EFFORT}"
        f"<|message_user|><|content_text|>1+2?<|end_message|><|end_message|>{WRITTEN}"
        f"<|message_tool|>add<|content_text|>3<|end_message|>{EMPTY}"
    )


def test_the_model_samples_all_of_its_turn() -> None:
    assert trained(TML_V0, TALK, TrainOnWhat.ALL_ASSISTANT_MESSAGES) == f"…{WRITTEN}…{EMPTY}"
    assert prompt(TML_V0, ()) == EFFORT


@pytest.mark.parametrize(("effort", "level"), [(0, "0"), (0.2, "0.2"), (0.015, "0.02"), (0.025, "0.02"), (0.995, "1")])
def test_the_effort_is_rounded_to_hundredths(effort: float, level: str) -> None:
    assert f"level: {level}<" in prompt(inkling(effort), ())


@pytest.mark.parametrize("effort", [-0.1, 1.0, float("nan")])
def test_an_effort_out_of_range_is_refused(effort: float) -> None:
    with pytest.raises(InputError, match="expected 0 <= effort < 1"):
        inkling(effort)


def test_the_effort_comes_after_all_system_messages_that_open_the_conversation() -> None:
    talk = (Message("system", "a"), Message("system", "b"), Message("user", "c"), Message("system", "d"))
    text = written(TML_V0, talk)
    assert text.index("b<|end_message|>") < text.index(EFFORT) < text.index("<|message_user|>") < text.index("d<|")


@pytest.mark.parametrize("text", ["", "Be brief."])
def test_tools_are_declared_after_the_system_message(text: str) -> None:
    tools = (ToolSpec("add", '{"name": "add", "strict": true, "parameters": {"type": "object", "b": 1, "a": 1.5}}'),)
    system = f"<|message_system|><|content_text|>{text}<|end_message|>" if text else ""
    assert prompt(TML_V0, (Message("system", text, tools=tools),)) == (
        f"{system}<|message_system|>tool_declare<|content_xml|>"
        '[{"description":"","name":"add","parameters":{"a":1.5,"b":1,"type":"object"},"type":"function"}]'
        f"<|end_message|>{EFFORT}"
    )


def test_a_sampled_turn_is_read_as_it_was_written() -> None:
    for talk in (TALK, TALK[:3]):
        read = TML_V0.parse(sampled(TML_V0, talk))
        assert read.termination is ParseTermination.STOP_SEQUENCE
        assert read.message.content == talk[-1].content
        assert [call.name for call in read.message.tool_calls] == [call.name for call in talk[-1].tool_calls]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<|message_model|><|content_thinking|>hm", (Part("thinking", "hm"),)),
        ("<|message_model|><|content_text|>4", "4"),
        ("<|message_model|><|content_text|>4<|end_message|><|message_model|>", "4"),
        ("4", "4"),
        ("", ""),
    ],
)
def test_a_turn_that_was_cut_keeps_what_it_has(text: str, content: object) -> None:
    read = parsed(TML_V0, text)
    assert read.termination is ParseTermination.MALFORMED
    assert read.message.content == content


def test_a_call_that_was_cut_is_reported_and_stays_in_the_text() -> None:
    cut = 'add<|content_invoke_tool_json|>{"name"'
    read = parsed(TML_V0, f"<|message_model|>{cut}")
    assert read.message == Message("assistant", cut)
    assert read.bad_calls == (BadCall(cut, "expected <|end_message|>, got the end of the turn"),)


@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("add", '{"name":"add"', "expected JSON"),
        ("add", '{"name":"add","args":[]}', "expected a name and an object of args"),
        ("add", '{"name":"sub","args":{}}', "expected a call of 'add', as it is addressed, got one of 'sub'"),
    ],
)
def test_a_call_that_cannot_be_read_is_reported(name: str, body: str, error: str) -> None:
    end = "<|end_message|><|content_model_end_sampling|>"
    read = parsed(TML_V0, f"<|message_model|>{name}<|content_invoke_tool_json|>{body}{end}")
    assert (read.termination, read.message) == ("stop_sequence", Message("assistant"))
    assert read.bad_calls[0].error.startswith(error)
