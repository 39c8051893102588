"""Qwen3: its calls parsed, and what Qwen3-VL writes differently (text alone)."""

import pytest

from kernel.conversation import Message, Part, ToolCall
from kernel.parse_response.common import ParseTermination
from kernel.renderers.qwen3 import QWEN3, QWEN3_VL, QWEN3_VL_INSTRUCT
from tests.kernel.renderers.spelling import parsed, prompt, written

TALK = (
    Message("user", "2+2?"),
    Message("assistant", (Part("thinking", "hm"), Part("text", "4"))),
    Message("user", "+1?"),
    Message("assistant", (Part("thinking", "so"), Part("text", "5"))),
)
CALL = Message("assistant", "", (ToolCall("add", '{"a": 1}'),))


def test_reasoning_is_unpadded_on_the_last_message_alone() -> None:
    assert written(QWEN3_VL, TALK) == (
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
        "<|im_start|>user\n+1?<|im_end|>\n<|im_start|>assistant\n<think>so</think>5<|im_end|>"
    )


def test_a_newline_comes_before_calls_with_and_without_text() -> None:
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    for text in ("", "Wait."):
        assert f"assistant\n{text}\n{call}<" in written(QWEN3_VL_INSTRUCT, (CALL._replace(content=text),))


def test_each_result_is_a_user_turn() -> None:
    results = (Message("user", "?"), CALL, Message("tool", "1"), Message("tool", "2"))
    assert prompt(QWEN3_VL, results).endswith(
        "<|im_start|>user\n<tool_response>\n1\n</tool_response><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_newline_before_a_call_is_not_read_as_text() -> None:
    turn = '\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    assert parsed(QWEN3_VL, turn) == (CALL, ParseTermination.STOP_SEQUENCE, ())


@pytest.mark.parametrize(
    ("inside", "error"),
    [
        ('{"name": "add"}', "expected an object of arguments, got nothing"),
        ('{"name": "add", "arguments": []}', "expected an object of arguments, got something else"),
        ('{"arguments": {}}', "expected a name, got nothing"),
        ("[1]", "expected a JSON object, got something else"),
        ("{", "expected JSON, got text that is not"),
    ],
)
def test_a_call_that_cannot_be_read_is_reported(inside: str, error: str) -> None:
    read = parsed(QWEN3, f"Wait.\n<tool_call>\n{inside}\n</tool_call><|im_end|>")
    assert read.message == Message("assistant", "Wait.")
    assert read.bad_calls[0].error.startswith(error)


def test_newlines_around_the_reasoning_belong_to_the_format() -> None:
    content = (Part("thinking", "hm"), Part("text", "4"))
    assert parsed(QWEN3, "<think>\nhm\n</think>\n\n4<|im_end|>").message.content == content
