"""Qwen3.5: blocks of reasoning, calls as XML, results in one turn, turns read back; Qwen3.8: efforts."""

import pytest
from hypothesis import given

from kernel.conversation import Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.parse_response.common import BadCall, ParseTermination
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderer_language.pieces import Renderer
from kernel.renderers.qwen3_5 import (
    QWEN3_5,
    QWEN3_5_DISABLE_THINKING,
    QWEN3_5_PRESERVE_THINKING,
    QWEN3_8_DISABLE_THINKING,
    QWEN3_8_LOW_REASONING,
    QWEN3_8_MEDIUM_REASONING,
    QWEN3_8_XHIGH_REASONING,
)
from tests import strategies
from tests.kernel.renderers.spelling import parsed, prompt, sampled, trained, written
from tests.spans import write

LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE
ASKED = Message("user", " 2+2?\n")
REASONED = Message("assistant", (Part("thinking", "hm"), Part("text", "4")))
CALLS = (ToolCall("add", '{"a": 1, "b": [2], "exact": true, "note": "<|im_end|>"}'), ToolCall("now", "{}"))
XML = (
    "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n[2]\n</parameter>\n"
    "<parameter=exact>\nTrue\n</parameter>\n<parameter=note>\n<|im_end|>\n</parameter>\n</function>\n</tool_call>\n"
    "<tool_call>\n<function=now>\n</function>\n</tool_call>"
)


def test_only_the_last_message_keeps_its_reasoning() -> None:
    talk = (ASKED, REASONED, ASKED, REASONED)
    assert written(QWEN3_5, talk) == (
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\n4<|im_end|>"
    )
    assert written(QWEN3_5_PRESERVE_THINKING, talk).count("<think>\nhm\n</think>\n\n4") == 2


def test_a_turn_that_did_not_reason_closes_the_block_that_the_prompt_opened() -> None:
    talk = (ASKED, Message("assistant", "4"))
    assert prompt(QWEN3_5, talk[:1]).endswith("<|im_start|>assistant\n<think>\n")
    assert trained(QWEN3_5, talk, LAST) == "…\n</think>\n\n4<|im_end|>"


def test_with_reasoning_off_the_prompt_closes_the_block() -> None:
    talk = (ASKED, Message("assistant", "4"))
    assert prompt(QWEN3_5_DISABLE_THINKING, talk[:1]).endswith("assistant\n<think>\n\n</think>\n\n")
    assert trained(QWEN3_5_DISABLE_THINKING, talk, LAST) == "…4<|im_end|>"


def test_after_the_last_question_earlier_messages_show_an_empty_block() -> None:
    talk = (ASKED, Message("assistant", "", CALLS[1:]), Message("tool", "noon"), Message("assistant", "Noon."))
    assert "<|im_start|>assistant\n<think>\n\n</think>\n\n<tool_call>" in written(QWEN3_5, talk)
    answered = (*talk, ASKED, REASONED)
    assert "<|im_start|>assistant\n<tool_call>" in written(QWEN3_5, answered)


def test_calls_are_xml_and_what_they_hold_is_data() -> None:
    talk = (ASKED, Message("assistant", "Let me see.  ", CALLS))
    assert written(QWEN3_5, talk).endswith(f"Let me see.\n\n{XML}<|im_end|>")
    controls = [span.text for span in write(QWEN3_5, talk) if span.kind is SpanKind.CONTROL]
    assert controls.count("<|im_end|>") == 2


def test_results_of_several_calls_share_a_user_turn() -> None:
    talk = (ASKED, Message("assistant", "", CALLS), Message("tool", "3"), Message("tool", " noon"))
    assert prompt(QWEN3_5, talk).endswith(
        "\n<|im_start|>user\n<tool_response>\n3\n</tool_response>"
        "\n<tool_response>\nnoon\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n"
    )


def test_tools_are_declared_before_the_system_text_as_json_lines() -> None:
    tools = (ToolSpec("add", '{"name":"add","description":"</tools>"}'), ToolSpec("now", '{"name":"now"}'))
    system = written(QWEN3_5, (Message("system", "Be brief.\n", tools=tools),))
    assert system.startswith(
        "<|im_start|>system\n# Tools\n\nYou have access to the following functions:\n\n<tools>\n"
        '{"name": "add", "description": "</tools>"}\n{"name": "now"}\n</tools>\n\nIf you choose'
    )
    assert system.endswith("</IMPORTANT>\n\nBe brief.<|im_end|>")
    alone = written(QWEN3_5, (Message("system", " \n", tools=tools),))
    assert alone.endswith("</IMPORTANT><|im_end|>")


@pytest.mark.parametrize(
    "turn",
    [
        Message("assistant", "4"),
        REASONED,
        Message("assistant", (Part("thinking", "hm"),), CALLS[1:]),
        Message("assistant", (Part("thinking", "hm"), Part("text", "Wait.")), CALLS[1:]),
        Message("assistant", "Wait.", (ToolCall("f", '{"a": 1, "b": " x\\n", "c": [null], "d": ""}'), *CALLS[1:])),
        Message("assistant", (Part("thinking", "a"), Part("text", "b"), Part("thinking", "c"), Part("text", "d"))),
    ],
)
def test_a_sampled_turn_reads_as_what_was_written(turn: Message) -> None:
    assert QWEN3_5.parse(sampled(QWEN3_5, (ASKED, turn))) == (turn, ParseTermination.STOP_SEQUENCE, ())


@given(strategies.texts)
def test_text_that_spells_markers_is_read_back_as_text(text: str) -> None:
    turn = Message("assistant", (Part("thinking", "hm"), Part("text", text.strip() or "x")))
    assert QWEN3_5.parse(sampled(QWEN3_5, (ASKED, turn))).message == turn


def test_a_turn_cut_in_its_reasoning_is_malformed_and_its_text_is_kept() -> None:
    assert parsed(QWEN3_5, "hm, let me") == (Message("assistant", "hm, let me"), ParseTermination.MALFORMED, ())


def test_a_turn_that_opens_its_own_block_has_one_block() -> None:
    assert parsed(QWEN3_5, "<think>\n\nhm\n</think>\n\n4<|im_end|>").message == REASONED


@pytest.mark.parametrize(
    ("inside", "error"),
    [
        ("\n{}\n", "expected <function=NAME>...</function>, got something else"),
        ("\n<function=f>\n<parameter=a>\n1\n</function>\n", "expected <parameter=...>...</parameter>, got '<par"),
        ("\n<function=f>\n<parameter= >\n1\n</parameter>\n</function>\n", "expected a parameter's name, got nothing"),
        ("\n<function=f>\n<parameter=a>\n1\n</parameter>\nand so on\n</function>\n", "got 'and so on'"),
    ],
)
def test_a_broken_call_is_reported_beside_the_message(inside: str, error: str) -> None:
    message, termination, (bad,) = parsed(QWEN3_5, f"Wait.\n\n<tool_call>{inside}</tool_call><|im_end|>")
    assert (message, termination) == (Message("assistant", "Wait."), ParseTermination.STOP_SEQUENCE)
    assert bad.text == f"<tool_call>{inside}</tool_call>"
    assert error in bad.error


def test_a_call_that_nothing_closes_is_reported_and_stays_in_the_text() -> None:
    message, _, bad = parsed(QWEN3_5, "Wait.\n\n<tool_call>\n<function=f><|im_end|>")
    assert message.content == "Wait.\n\n<tool_call>\n<function=f>"
    assert bad == (BadCall("<tool_call>\n<function=f>", "expected </tool_call>, got the end of the turn"),)


def test_text_that_is_no_json_is_no_number() -> None:
    body = "\n<function=f>\n<parameter=a>\nNaN\n</parameter>\n<parameter=b>\n1e999\n</parameter>\n</function>\n"
    message = parsed(QWEN3_5, f"<tool_call>{body}</tool_call><|im_end|>").message
    assert message.tool_calls == (ToolCall("f", '{"a": "NaN", "b": "1e999"}'),)


LOW = "Reasoning effort is set to low. Keep your thinking brief and focused, moving directly to the conclusion without "
LOW += "unnecessary elaboration."
SHORT, BARE = Message("user", "2+2?"), Message("assistant", "4")
SILENT = pytest.mark.parametrize("renderer", [QWEN3_8_MEDIUM_REASONING, QWEN3_8_DISABLE_THINKING], ids=lambda r: r.name)


def test_the_effort_opens_the_system_message_and_makes_one_where_there_is_none() -> None:
    assert written(QWEN3_8_LOW_REASONING, (SHORT,)).startswith(f"<|im_start|>system\n{LOW}<|im_end|>\n")
    brief = (Message("system", " Be brief. "), SHORT)
    assert written(QWEN3_8_LOW_REASONING, brief).startswith(f"<|im_start|>system\n{LOW}\n\nBe brief.<|im_end|>\n")
    assert "set to xhigh" in written(QWEN3_8_XHIGH_REASONING, (SHORT,))


def test_a_system_message_that_has_the_effort_is_not_given_it_twice() -> None:
    once = written(QWEN3_8_LOW_REASONING, (Message("system", "Be brief."), SHORT))
    assert written(QWEN3_8_LOW_REASONING, (Message("system", f"{LOW}\n\nBe brief."), SHORT)) == once


def test_effort_tools_and_text_come_in_this_order() -> None:
    tools = (ToolSpec("now", '{"name": "now"}'),)
    system = written(QWEN3_8_LOW_REASONING, (Message("system", "Be brief.", tools=tools),))
    assert system.startswith(f"<|im_start|>system\n{LOW}\n\n# Tools\n\n")
    assert system.endswith("</IMPORTANT>\n\nBe brief.<|im_end|>")


@SILENT
def test_without_a_sentence_an_empty_system_message_is_left_out(renderer: Renderer) -> None:
    assert written(renderer, (Message("system", " \n"), SHORT)) == "<|im_start|>user\n2+2?<|im_end|>"
    assert written(renderer, (Message("system", "Be brief."), SHORT)).startswith("<|im_start|>system\nBe brief.<")
    assert write(renderer, (Message("system", ""),)) == []


def test_an_added_system_message_is_not_trained_in_customized() -> None:
    talk = (SHORT._replace(trainable=False), BARE._replace(trainable=True))
    assert trained(QWEN3_8_LOW_REASONING, talk, TrainOnWhat.CUSTOMIZED) == "…\n</think>\n\n4<|im_end|>"


def test_every_turn_shows_its_block_whether_it_reasoned_or_not() -> None:
    reasoned = Message("assistant", (Part("thinking", "hm"), Part("text", "4")))
    text = written(QWEN3_8_MEDIUM_REASONING, (SHORT, reasoned, SHORT, BARE, SHORT, BARE))
    assert text.count("<think>\nhm\n</think>\n\n4") == 1
    assert text.count("<think>\n\n</think>\n\n4") == 2


def test_switching_reasoning_off_closes_the_block_in_the_prompt() -> None:
    assert prompt(QWEN3_8_DISABLE_THINKING, (SHORT,)).endswith("assistant\n<think>\n\n</think>\n\n")
    assert trained(QWEN3_8_DISABLE_THINKING, (SHORT, BARE), LAST) == "…4<|im_end|>"
    assert trained(QWEN3_8_MEDIUM_REASONING, (SHORT, BARE), LAST) == "…\n</think>\n\n4<|im_end|>"


def test_arguments_that_are_no_text_are_json() -> None:
    call = ToolCall("f", '{"a": true, "b": null, "c": "true", "d": {"e": 1.5}}')
    text = written(QWEN3_8_MEDIUM_REASONING, (SHORT, Message("assistant", "", (call,))))
    assert "a>\ntrue\n</" in text
    assert "b>\nnull\n</" in text
    assert "c>\ntrue\n</" in text
    assert 'd>\n{"e": 1.5}\n</' in text


def test_errors_count_the_messages_that_were_given() -> None:
    with pytest.raises(InputError, match=r"at \$\.messages\[1\]\.role"):
        write(QWEN3_8_LOW_REASONING, (SHORT, Message("usr", "b")))
