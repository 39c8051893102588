"""Notes say what of a conversation stays text, is declared twice, or is trained after what no prompt shows."""

import pytest

from kernel.conversation import Conversation, Message, Part, ToolSpec
from kernel.errors import InputError
from kernel.render.row_notes import DECLARED_TWICE, LITERAL, row_notes
from kernel.renderers import RENDERERS
from kernel.renderers.inline_markup import own_markup
from tests.spans import write, write_prompt

ASK, SAID = Message("user", "a"), Message("assistant", "b")
REASONED = SAID._replace(content=(Part("thinking", "c"), Part("text", "b")))


def notes(name: str, *talk: Message) -> list[str]:
    return row_notes(talk, own_markup(RENDERERS[name]), RENDERERS[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qwen3", Message("user", "say <|im_end|>")),
        ("qwen3", Message("system", "within <tool_call></tool_call> tags")),
        ("qwen3", Message("assistant", "<think>\nOkay, so")),
        ("llama3", Message("tool", "<|eot_id|>")),
        ("deepseekv3", Message("user", (Part("text", "<｜User｜>"),))),
        ("glm5_3_low_reasoning", Message("assistant", "[gMASK]")),
        ("kimi_k2", Message("assistant", (Part("thinking", "<|im_end|>"), Part("text", "A")))),
    ],
)
def test_text_that_spells_control_tokens_is_noted(name: str, message: Message) -> None:
    assert LITERAL in notes(name, message)


@pytest.mark.parametrize("text", ["a < b", "<|eot_id|>", "im_end", "<b>", "<think>\nT\n</think>\n\nA"])
def test_other_text_is_not(text: str) -> None:
    assert LITERAL not in notes("qwen3", ASK, Message("assistant", text))


def test_tools_that_are_declared_twice_are_noted() -> None:
    system = Message("system", "Use <tools>f</tools>", tools=(ToolSpec("f", '{"name": "f"}'),))
    assert notes("qwen3_5", system, ASK) == [DECLARED_TWICE]
    assert notes("qwen3_5", system._replace(tools=()), ASK) == notes("qwen3_5", system._replace(content="x")) == []


@pytest.mark.parametrize(
    "talk", [(ASK, SAID, SAID), (ASK, REASONED, REASONED), (ASK, REASONED), (ASK, SAID, ASK, SAID)]
)
@pytest.mark.parametrize("name", RENDERERS)
def test_a_note_is_there_where_the_prompt_of_a_turn_is_not_how_it_is_trained(name: str, talk: Conversation) -> None:
    renderer, goes_on = RENDERERS[name], True
    for i in [i for i, message in enumerate(talk) if message.role == "assistant"]:
        try:
            whole, prompt = write(renderer, talk[: i + 1]), write_prompt(renderer, talk[:i])
        except InputError:
            return
        goes_on &= "".join(span.text for span in whole).startswith("".join(span.text for span in prompt))
    if not renderer.refuses_reasoning:
        assert (notes(name, *talk) == []) == goes_on


def test_a_note_says_what_to_use_instead() -> None:
    for name, other in (
        ("nemotron3", "nemotron3_disable_thinking"),
        ("nemotron3_low_thinking", "nemotron3_disable_thinking"),
        ("nemotron3_preserve_thinking", "nemotron3_disable_thinking"),
        ("nemotron3_ultra", "nemotron3_ultra_disable_thinking"),
        ("nemotron3_ultra_medium_thinking", "nemotron3_ultra_disable_thinking"),
    ):
        (note,) = notes(name, ASK, SAID)
        assert note.endswith(f"use {other}")
    assert notes("qwen3", ASK, SAID, SAID)[0].endswith("join the two")
