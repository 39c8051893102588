"""Qwen3.8: the effort in the system message, blocks on every turn, arguments as JSON."""

import pytest

from kernel.conversation import Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.renderer_language.pieces import Renderer
from kernel.renderers.qwen3_5 import (
    QWEN3_8_DISABLE_THINKING,
    QWEN3_8_LOW_REASONING,
    QWEN3_8_MEDIUM_REASONING,
    QWEN3_8_XHIGH_REASONING,
)
from tests.kernel.renderers.spelling import prompt, trained, written
from tests.spans import write

LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE
LOW = "Reasoning effort is set to low. Keep your thinking brief and focused, moving directly to the conclusion without "
LOW += "unnecessary elaboration."
ASKED, ANSWERED = Message("user", "2+2?"), Message("assistant", "4")
SILENT = pytest.mark.parametrize("renderer", [QWEN3_8_MEDIUM_REASONING, QWEN3_8_DISABLE_THINKING], ids=lambda r: r.name)


def test_the_effort_opens_the_system_message_and_makes_one_where_there_is_none() -> None:
    assert written(QWEN3_8_LOW_REASONING, (ASKED,)).startswith(f"<|im_start|>system\n{LOW}<|im_end|>\n")
    brief = (Message("system", " Be brief. "), ASKED)
    assert written(QWEN3_8_LOW_REASONING, brief).startswith(f"<|im_start|>system\n{LOW}\n\nBe brief.<|im_end|>\n")
    assert "set to xhigh" in written(QWEN3_8_XHIGH_REASONING, (ASKED,))


def test_an_effort_in_the_system_message_is_not_repeated() -> None:
    once = written(QWEN3_8_LOW_REASONING, (Message("system", "Be brief."), ASKED))
    assert written(QWEN3_8_LOW_REASONING, (Message("system", f"{LOW}\n\nBe brief."), ASKED)) == once


def test_effort_tools_and_text_come_in_this_order() -> None:
    tools = (ToolSpec("now", '{"name": "now"}'),)
    system = written(QWEN3_8_LOW_REASONING, (Message("system", "Be brief.", tools=tools),))
    assert system.startswith(f"<|im_start|>system\n{LOW}\n\n# Tools\n\n")
    assert system.endswith("</IMPORTANT>\n\nBe brief.<|im_end|>")


@SILENT
def test_without_a_sentence_an_empty_system_message_is_left_out(renderer: Renderer) -> None:
    assert written(renderer, (Message("system", " \n"), ASKED)) == "<|im_start|>user\n2+2?<|im_end|>"
    assert written(renderer, (Message("system", "Be brief."), ASKED)).startswith("<|im_start|>system\nBe brief.<")
    assert write(renderer, (Message("system", ""),)) == []


def test_an_added_system_message_is_not_trained_in_customized() -> None:
    talk = (ASKED._replace(trainable=False), ANSWERED._replace(trainable=True))
    assert trained(QWEN3_8_LOW_REASONING, talk, TrainOnWhat.CUSTOMIZED) == "…\n</think>\n\n4<|im_end|>"


def test_every_turn_shows_its_block_whether_it_reasoned_or_not() -> None:
    reasoned = Message("assistant", (Part("thinking", "hm"), Part("text", "4")))
    text = written(QWEN3_8_MEDIUM_REASONING, (ASKED, reasoned, ASKED, ANSWERED, ASKED, ANSWERED))
    assert text.count("<think>\nhm\n</think>\n\n4") == 1
    assert text.count("<think>\n\n</think>\n\n4") == 2


def test_switching_reasoning_off_closes_the_block_in_the_prompt() -> None:
    assert prompt(QWEN3_8_DISABLE_THINKING, (ASKED,)).endswith("assistant\n<think>\n\n</think>\n\n")
    assert trained(QWEN3_8_DISABLE_THINKING, (ASKED, ANSWERED), LAST) == "…4<|im_end|>"
    assert trained(QWEN3_8_MEDIUM_REASONING, (ASKED, ANSWERED), LAST) == "…\n</think>\n\n4<|im_end|>"


def test_arguments_that_are_no_text_are_json() -> None:
    call = ToolCall("f", '{"a": true, "b": null, "c": "true", "d": {"e": 1.5}}')
    text = written(QWEN3_8_MEDIUM_REASONING, (ASKED, Message("assistant", "", (call,))))
    assert "a>\ntrue\n</" in text
    assert "b>\nnull\n</" in text
    assert "c>\ntrue\n</" in text
    assert 'd>\n{"e": 1.5}\n</' in text


def test_errors_count_the_messages_of_the_data() -> None:
    with pytest.raises(InputError, match=r"at \$\.messages\[1\]\.role"):
        write(QWEN3_8_LOW_REASONING, (ASKED, Message("usr", "b")))
