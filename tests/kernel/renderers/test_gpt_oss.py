"""gpt-oss: Harmony's messages and channels, read and written."""

import pytest

from kernel.conversation import Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.parse_response.common import BadCall, ParseTermination
from kernel.renderers.gpt_oss import GPT_OSS_NO_SYSPROMPT, gpt_oss
from tests.kernel.renderers.spelling import parsed, prompt, sampled, trained, written

MEDIUM = gpt_oss("medium")
CALL = Message("assistant", (Part("thinking", "Add."),), (ToolCall("add", '{"a":1}', "c1"),))
RESULT = Message("tool", "3", name="add", tool_call_id="c1")
TALK = (Message("system", "Be brief."), Message("user", "1+2?"), CALL, RESULT, Message("assistant", "3<|end|>"))
RENDERED = (
    "<|start|>developer<|message|># Instructions\n\nBe brief.\n\n<|end|>"
    "<|start|>user<|message|>1+2?<|end|>"
    "<|start|>assistant<|channel|>analysis<|message|>Add.<|end|>"
    '<|start|>assistant to=functions.add<|channel|>commentary <|constrain|>json<|message|>{"a":1}<|call|>'
    "<|start|>functions.add to=assistant<|channel|>commentary<|message|>3<|end|>"
    "<|start|>assistant<|channel|>final<|message|>3<|end|><|return|>"
)
PREAMBLE = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: 2025-01-01\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
)


def test_a_turn_is_messages_in_channels() -> None:
    assert written(GPT_OSS_NO_SYSPROMPT, TALK) == RENDERED


def test_the_system_message_comes_first_and_once() -> None:
    assert written(MEDIUM, TALK) == PREAMBLE + RENDERED
    assert prompt(MEDIUM, ()) == PREAMBLE + "<|start|>assistant"
    own = (Message("harmony", "Mine."), Message("user", "Hi"))
    assert prompt(MEDIUM, own).startswith("<|start|>system<|message|>Mine.<|end|><|start|>user")


def test_the_date_is_an_argument() -> None:
    assert "Current date: 2026-02-03" in prompt(gpt_oss("high", date="2026-02-03"), ())


def test_the_prompt_has_the_assistants_header_and_its_channels_are_trained() -> None:
    assert trained(GPT_OSS_NO_SYSPROMPT, TALK, TrainOnWhat.ALL_ASSISTANT_MESSAGES) == (
        "…<|channel|>analysis<|message|>Add.<|end|><|start|>assistant"
        ' to=functions.add<|channel|>commentary <|constrain|>json<|message|>{"a":1}<|call|>'
        "…<|channel|>final<|message|>3<|end|><|return|>"
    )


def test_only_the_last_answer_returns() -> None:
    talk = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d"))
    assert written(GPT_OSS_NO_SYSPROMPT, talk).count("<|return|>") == 1
    assert "final<|message|>b<|end|>" in written(GPT_OSS_NO_SYSPROMPT, talk)


def test_text_beside_calls_is_a_preamble() -> None:
    message = CALL._replace(content="One moment.")
    assert written(GPT_OSS_NO_SYSPROMPT, (message,)).startswith(
        "<|start|>assistant<|channel|>commentary<|message|>One moment.<|end|><|start|>assistant to=functions.add"
    )


@pytest.mark.parametrize(
    "result", [RESULT._replace(name=""), RESULT._replace(name="functions.add"), Message("tool", "3")]
)
def test_a_result_has_the_name_of_its_tool(result: Message) -> None:
    assert written(GPT_OSS_NO_SYSPROMPT, (*TALK[:3], result, TALK[4])) == RENDERED


def test_a_result_of_no_call_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected the name of the tool.* - at \$\.messages\[0\]"):
        written(MEDIUM, (Message("tool", "3"),))


SCHEMA = (
    '{"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {'
    '"a": {"type": "integer", "description": "One.", "default": 0}, "b": {"type": ["number", "null"]},'
    '"how": {"type": "string", "enum": ["x", "<|end|>"]}, "l": {"type": "array", "items": {"type": "object"}}},'
    ' "required": ["a"]}}'
)


@pytest.mark.parametrize(("text", "instructions"), [("", ""), ("Be brief.", "# Instructions\n\nBe brief.\n\n")])
def test_tools_are_declared_to_the_developer(text: str, instructions: str) -> None:
    tools = (ToolSpec("add", SCHEMA), ToolSpec("now", '{"name": "now"}'))
    assert written(GPT_OSS_NO_SYSPROMPT, (Message("system", text, tools=tools), Message("user", "Hi"))) == (
        "<|start|>system<|message|>Calls to these tools must go to the commentary channel: 'functions'.<|end|>"
        f"<|start|>developer<|message|>{instructions}# Tools\n\n## functions\n\nnamespace functions {{\n\n"
        "// Adds.\ntype add = (_:\n{\n// One.\na: number, // default: 0\nb?: number | any,\n"
        'how?: "x" | "<|end|>",\nl?: {  }[],\n}) => any;\n\ntype now = () => any;\n\n'
        "} // namespace functions<|end|><|start|>user<|message|>Hi<|end|>"
    )


def test_a_sampled_turn_is_read_as_it_was_written() -> None:
    for talk in (TALK, TALK[:3], (*TALK[:2], CALL._replace(content=(Part("thinking", " a "), Part("text", "\nb"))))):
        read = GPT_OSS_NO_SYSPROMPT.parse(sampled(GPT_OSS_NO_SYSPROMPT, talk))
        assert read.termination is ParseTermination.STOP_SEQUENCE
        assert read.message.content == talk[-1].content
        assert [call._replace(id="c1") for call in read.message.tool_calls] == list(talk[-1].tool_calls)


def test_a_recipient_may_come_after_the_channel() -> None:
    read = parsed(GPT_OSS_NO_SYSPROMPT, "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{}<|call|>")
    assert read.message.tool_calls == (ToolCall("add", "{}"),)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<|channel|>analysis<|message|>hm", (Part("thinking", "hm"),)),
        ("<|channel|>final<|message|>4", "4"),
        ("<|channel|>final", "<|channel|>final"),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant", (Part("thinking", "hm"),)),
        ("4", "4"),
        ("", ""),
    ],
)
def test_a_turn_that_was_cut_keeps_what_it_has(text: str, content: object) -> None:
    read = parsed(GPT_OSS_NO_SYSPROMPT, text)
    assert read.termination is ParseTermination.MALFORMED
    assert read.message.content == content


CUT = ' to=functions.add<|channel|>commentary <|constrain|>json<|message|>{"a"'


def test_a_call_that_was_cut_is_reported_and_stays_in_the_text() -> None:
    read = parsed(GPT_OSS_NO_SYSPROMPT, CUT)
    assert read.message == Message("assistant", CUT)
    assert read.bad_calls == (BadCall(CUT, "expected <|call|>, got the end of the turn"),)


@pytest.mark.parametrize(("body", "error"), [('{"a"', "expected JSON"), ("[]", "expected an object of arguments")])
def test_a_call_that_cannot_be_read_is_reported(body: str, error: str) -> None:
    read = parsed(GPT_OSS_NO_SYSPROMPT, f" to=functions.add<|channel|>commentary<|message|>{body}<|call|>")
    assert (read.termination, read.message.content, read.message.tool_calls) == ("stop_sequence", "", ())
    assert read.bad_calls[0].error.startswith(error)


def test_a_spelled_marker_ends_nothing() -> None:
    talk = (Message("user", "?"), Message("assistant", "a<|return|>b<|start|>assistant<|channel|>analysis<|message|>c"))
    assert GPT_OSS_NO_SYSPROMPT.parse(sampled(GPT_OSS_NO_SYSPROMPT, talk)).message == talk[-1]
