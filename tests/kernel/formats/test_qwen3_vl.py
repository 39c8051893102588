"""Qwen3-VL, text alone: what it writes otherwise than Qwen3."""

from kernel.conversation import Message, Part, ToolCall
from kernel.formats import QWEN3_VL, QWEN3_VL_INSTRUCT
from kernel.parsing.segments import ParseTermination
from tests.kernel.formats.spelling import parsed, prompt, said

TALK = (
    Message("user", "2+2?"),
    Message("assistant", (Part("thinking", "hm"), Part("text", "4"))),
    Message("user", "+1?"),
    Message("assistant", (Part("thinking", "so"), Part("text", "5"))),
)
CALL = Message("assistant", "", (ToolCall("add", '{"a": 1}'),))


def test_reasoning_stands_unpadded_on_the_last_message_alone() -> None:
    assert said(QWEN3_VL, TALK) == (
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
        "<|im_start|>user\n+1?<|im_end|>\n<|im_start|>assistant\n<think>so</think>5<|im_end|>"
    )


def test_a_newline_stands_before_calls_with_and_without_text() -> None:
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    for text in ("", "Wait."):
        assert f"assistant\n{text}\n{call}<" in said(QWEN3_VL_INSTRUCT, (CALL._replace(content=text),))


def test_results_stand_in_a_user_turn_each() -> None:
    results = (Message("user", "?"), CALL, Message("tool", "1"), Message("tool", "2"))
    assert prompt(QWEN3_VL, results).endswith(
        "<|im_start|>user\n<tool_response>\n1\n</tool_response><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_newline_before_a_call_is_not_read_as_text() -> None:
    turn = '\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    assert parsed(QWEN3_VL, turn) == (CALL, ParseTermination.STOP_SEQUENCE, ())
