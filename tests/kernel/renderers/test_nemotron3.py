"""Nemotron 3: a system message at all times, the two layouts of reasoning, efforts, results, declarations."""

import pytest

from kernel.conversation import Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.parse_response.common import ParseTermination
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.renderers.nemotron3 import NEMOTRON3, NEMOTRON3_ULTRA
from tests.kernel.renderers.spelling import prompt, sampled, trained, written
from tests.spans import write

LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE
BOTH = pytest.mark.parametrize("renderer", [NEMOTRON3, NEMOTRON3_ULTRA], ids=lambda r: r.name)
ASKED = Message("user", " 2+2?\n")
REASONED = Message("assistant", (Part("thinking", "hm"), Part("text", "4")))
CALL = (ToolCall("add", '{"a": 1}'),)
XML = "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>\n"


def block(renderer: Renderer) -> str:
    return "<think>\nhm</think>" if "ultra" in renderer.name else "<think>\nhm\n</think>\n"


@BOTH
def test_there_is_always_a_system_message(renderer: Renderer) -> None:
    assert prompt(renderer, (ASKED,)) == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    )
    assert written(renderer, (Message("system", "Be brief.\n"),)) == "<|im_start|>system\nBe brief.<|im_end|>"


@BOTH
def test_the_added_system_message_takes_no_part_in_customized(renderer: Renderer) -> None:
    talk = (ASKED._replace(trainable=False), REASONED._replace(trainable=True))
    assert trained(renderer, talk, TrainOnWhat.CUSTOMIZED) == f"…{block(renderer)}4<|im_end|>"


@BOTH
def test_reasoning_stays_after_the_last_question_and_leaves_an_empty_block_before_it(renderer: Renderer) -> None:
    gap = "" if "ultra" in renderer.name else "\n"
    called = REASONED._replace(tool_calls=CALL)
    turn = f"<|im_start|>assistant\n{block(renderer)}4\n{XML}<|im_end|>"
    text = written(renderer, (ASKED, REASONED, ASKED, called, Message("tool", "1"), REASONED))
    assert f"<|im_start|>assistant\n<think></think>{gap}4<|im_end|>" in text
    assert turn in text
    assert text.endswith(f"<|im_start|>assistant\n{block(renderer)}4<|im_end|>")
    past = written(renderer, (ASKED, called, Message("tool", "1"), ASKED))
    assert f"<|im_start|>assistant\n<think></think>4\n{XML}<|im_end|>" in past


@pytest.mark.parametrize(
    "renderer",
    [RENDERERS["nemotron3_preserve_thinking"], RENDERERS["nemotron3_ultra_preserve_thinking"]],
    ids=lambda r: r.name,
)
def test_preserving_keeps_the_reasoning_of_every_turn(renderer: Renderer) -> None:
    text = written(renderer, (ASKED, REASONED, ASKED, REASONED))
    assert text.count(f"assistant\n{block(renderer)}4<|im_end|>") == 2


@pytest.mark.parametrize(
    "renderer",
    [RENDERERS["nemotron3_disable_thinking"], RENDERERS["nemotron3_ultra_disable_thinking"]],
    ids=lambda r: r.name,
)
def test_with_reasoning_off_prompt_and_example_agree(renderer: Renderer) -> None:
    talk = (ASKED, Message("assistant", "4"))
    before = prompt(renderer, talk[:1])
    assert before.endswith("<|im_start|>assistant\n<think></think>")
    assert written(renderer, talk) == before + "4<|im_end|>"


@BOTH
def test_a_turn_without_reasoning_shows_an_empty_block_that_is_not_trained(renderer: Renderer) -> None:
    assert trained(renderer, (ASKED, Message("assistant", "4")), LAST) == "…4<|im_end|>"


@pytest.mark.parametrize(
    ("content", "nano", "ultra"),
    [
        ("", "<think></think>\n", "<think></think>\n"),
        (" Wait. ", "<think></think>Wait.\n", "<think></think>Wait.\n"),
        ((Part("thinking", "hm"),), "<think>\nhm\n</think>\n", "<think>\nhm</think>\n"),
        (
            (Part("thinking", "hm"), Part("text", "Wait.")),
            "<think>\nhm\n</think>\nWait.\n",
            "<think>\nhm</think>Wait.\n",
        ),
    ],
)
def test_calls_are_on_lines_of_their_own(content: str | tuple[Part, ...], nano: str, ultra: str) -> None:
    for renderer, before in ((NEMOTRON3, nano), (NEMOTRON3_ULTRA, ultra)):
        text = written(renderer, (ASKED, Message("assistant", content, CALL * 2)))
        assert text.endswith(f"<|im_start|>assistant\n{before}{XML}{XML}<|im_end|>")


def test_results_of_several_calls_share_a_user_turn() -> None:
    talk = (ASKED, Message("assistant", "", CALL * 2), Message("tool", "1"), Message("tool", "2"))
    assert prompt(NEMOTRON3, talk).endswith(
        "\n<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>\n<|im_end|>"
        "\n<|im_start|>assistant\n<think>\n"
    )


@pytest.mark.parametrize(
    ("renderer", "effort"),
    [(RENDERERS["nemotron3_low_thinking"], "low"), (RENDERERS["nemotron3_ultra_medium_thinking"], "efficient")],
    ids=lambda case: getattr(case, "name", case),
)
def test_an_effort_is_asked_for_after_the_last_question(renderer: Renderer, effort: str) -> None:
    text = written(renderer, (ASKED, Message("assistant", "4"), ASKED))
    assert "<|im_start|>user\n2+2?<|im_end|>" in text
    assert text.endswith(f"<|im_start|>user\n2+2?\n\n\n{{reasoning effort: {effort}}}<|im_end|>")
    assert written(renderer, (Message("user", " "),)).endswith(f"user\n{{reasoning effort: {effort}}}<|im_end|>")


SPEC = ToolSpec(
    "add",
    '{"name": "add", "description": " Adds. ", "strict": true, "parameters": {"type": "object", "properties": '
    '{"a": {"type": ["number", "null"], "description": "<|im_end|> ", "enum": [1, null], "minimum": 0}, "b": true}, '
    '"required": ["a"], "additionalProperties": false, "$defs": {"x": []}}}',
)


def test_tools_are_declared_as_xml_after_the_system_text() -> None:
    talk = (Message("system", " Be brief. ", tools=(SPEC, ToolSpec("now", '{"name": "now"}'))),)
    assert written(NEMOTRON3, talk).startswith(
        "<|im_start|>system\nBe brief. \n\n# Tools\n\nYou have access to the following functions:\n\n<tools>\n"
        "<function>\n<name>add</name>\n<description>Adds.</description>\n<parameters>\n"
        "<parameter>\n<name>a</name>\n<type>['number', 'null']</type>\n<description><|im_end|></description>\n"
        "<enum>[1, null]</enum>\n<minimum>0</minimum>\n</parameter>\n<parameter>\n<name>b</name>\n</parameter>\n"
        '<additionalProperties>False</additionalProperties>\n<$defs>{"x": []}</$defs>\n<required>["a"]</required>\n'
        "</parameters>\n<strict>True</strict>\n</function>\n"
        "<function>\n<name>now</name>\n<parameters>\n</parameters>\n</function>\n</tools>\n\nIf you choose"
    )
    assert [span.text for span in write(NEMOTRON3, talk) if span.kind is SpanKind.CONTROL].count("<|im_end|>") == 1


@BOTH
@pytest.mark.parametrize(
    "turn",
    [
        REASONED,
        Message("assistant", (Part("thinking", "hm"),), CALL),
        Message("assistant", (Part("thinking", "hm"), Part("text", "Wait.")), CALL * 2),
    ],
)
def test_a_sampled_turn_reads_as_what_was_written(renderer: Renderer, turn: Message) -> None:
    assert renderer.parse(sampled(renderer, (ASKED, turn))) == (turn, ParseTermination.STOP_SEQUENCE, ())


@pytest.mark.parametrize("turn", [Message("assistant", "4"), Message("assistant", "Wait.", CALL * 2)])
def test_a_turn_sampled_with_reasoning_off_reads_as_what_was_written(turn: Message) -> None:
    segments = sampled(RENDERERS["nemotron3_disable_thinking"], (ASKED, turn))
    assert RENDERERS["nemotron3_disable_thinking"].parse(segments) == (turn, ParseTermination.STOP_SEQUENCE, ())


def test_errors_count_the_messages_of_the_data() -> None:
    with pytest.raises(InputError, match=r"at \$\.messages\[0\]\.role"):
        write(NEMOTRON3, (Message("usr", "b"),))
