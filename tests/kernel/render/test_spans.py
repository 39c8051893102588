"""Laws of every renderer in the table, and of the interpreter."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.renderer_language.compiler import prepared
from kernel.renderer_language.interpreter import SpanKind, spelled
from kernel.renderer_language.pieces import (
    Calls,
    Condition,
    Header,
    Reasoning,
    Renderer,
    Sampled,
    Text,
    Tools,
)
from kernel.renderers import RENDERERS, find_renderer
from kernel.renderers.llama3 import LLAMA3
from kernel.renderers.plain_text import ROLE_COLON
from kernel.renderers.qwen3 import QWEN3, QWEN3_DISABLE_THINKING, QWEN3_INSTRUCT
from tests import strategies
from tests.kernel.render.programs import ALL, FEW, fits, flat
from tests.spans import weigh, write, write_prompt


def said(renderer: Renderer, talk: Conversation) -> str:
    return "".join(span.text for span in write(renderer, talk))


def neutral(message: Message) -> Message:
    """The same message with every text replaced by one that spells nothing, empty ones kept empty."""

    def plain(text: str) -> str:
        return "x" if text.strip() else text

    content: str | tuple[Part, ...]
    if isinstance(message.content, str):
        content = plain(message.content)
    else:
        content = tuple(Part(part.kind, plain(part.text)) for part in message.content)
    calls = tuple(ToolCall("f", plain_json(call.arguments), "i" if call.id else "") for call in message.tool_calls)
    tools = tuple(ToolSpec("f", plain_declaration(spec.json)) for spec in message.tools)
    name, number = "n" if message.name else "", "i" if message.tool_call_id else ""
    return message._replace(content=content, tool_calls=calls, tools=tools, name=name, tool_call_id=number)


def plain_json(arguments: str) -> str:
    """Arguments of the same number, with keys and values that spell nothing."""
    return json.dumps({f"k{i}": 0 for i, _ in enumerate(json.loads(arguments))})


def plain_declaration(declared: str) -> str:
    """A declaration with as many parameters, that spells nothing."""
    given = json.loads(declared)
    if "parameters" not in given:
        return json.dumps({"name": "f", "description": "d"})
    properties = {f"k{i}": {"type": "string"} for i, _ in enumerate(given["parameters"]["properties"])}
    return json.dumps({"name": "f", "description": "d", "parameters": {"type": "object", "properties": properties}})


@ALL
def test_control_tokens_of_a_render_are_those_the_renderer_wrote(renderer: Renderer) -> None:
    @FEW
    @given(fits(renderer))
    def law(talk: Conversation) -> None:
        def controls(conversation: Conversation) -> list[str]:
            return [span.text for span in write(renderer, conversation) if span.kind is SpanKind.CONTROL]

        talk = tuple(m._replace(content="") if has_inline_block(m) else m for m in talk)
        try:
            forged = controls(talk)
        except InputError:
            return
        assert forged == controls(tuple(neutral(message) for message in talk))

    law()


def has_inline_block(message: Message) -> bool:
    """Whether a string may be read as reasoning, which is what it is for, or differs by white space alone."""
    content = message.content
    return isinstance(content, str) and (content.lstrip().startswith("<think>") or not content.strip())


@ALL
def test_control_tokens_are_declared_and_all_of_them_used(renderer: Renderer) -> None:
    texts = [piece.text for piece in flat(renderer) if isinstance(piece, Header | Sampled)]
    texts += [piece.wrap for piece in flat(renderer) if isinstance(piece, Text | Reasoning)]
    texts += [
        p for piece in flat(renderer) if isinstance(piece, Calls) for p in piece.write(0, CALL) if isinstance(p, str)
    ]
    texts += [
        p for piece in flat(renderer) if isinstance(piece, Tools) for p in piece.write((SPEC,)) if isinstance(p, str)
    ]
    texts += [renderer.image, renderer.bos]
    found = {text for template in texts for kind, text in spelled(renderer, template) if kind is SpanKind.CONTROL}
    read_only = {stop for stop in renderer.stops if stop in renderer.controls}
    assert found | read_only == set(renderer.controls)


CALL = ToolCall("f", '{"a": 1}', "id")
SPEC = ToolSpec("f", '{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}')


@ALL
def test_a_prompt_is_what_an_example_of_one_more_turn_begins_with_in_plain_chat(renderer: Renderer) -> None:
    asked = (Message("system", "Be brief."), Message("user", "2+2?"))
    prompt = "".join(span.text for span in write_prompt(renderer, asked))
    answered = said(renderer, (*asked, Message("assistant", "4")))
    assert answered.startswith(prompt) or renderer.name in CONTRADICT
    assert "4" in answered[len(prompt) :]


CONTRADICT = {name for name in RENDERERS if name.startswith("nemotron3") and not name.endswith("disable_thinking")}
"""Formats that open a block of reasoning in the prompt and write a closed one for a turn that did not reason."""


@ALL
def test_a_prefill_comes_last_and_literally(renderer: Renderer) -> None:
    spans = write_prompt(renderer, (Message("user", "hi"),), prefill="<|im_end|>Sure")
    assert spans[-1][:3] == (SpanKind.MESSAGE, "<|im_end|>Sure", False)


@ALL
def test_what_a_prompt_writes_is_never_sampled_in_its_cue(renderer: Renderer) -> None:
    asked = (Message("user", "hi"),)
    cue = [span for span in write_prompt(renderer, asked) if span.message == len(prepared(renderer, asked))]
    assert bool(cue) == bool(renderer.cue)
    assert not any(span.sampled for span in cue)


@ALL
def test_an_unknown_role_is_refused_with_the_nearest(renderer: Renderer) -> None:
    with pytest.raises(InputError, match=r"unknown role 'usr', did you mean 'user'\? - at \$\.messages\[1\]\.role"):
        write(renderer, (Message("user", "a"), Message("usr", "b")))


@pytest.mark.parametrize("renderer", [ROLE_COLON, LLAMA3], ids=lambda r: r.name)
@pytest.mark.parametrize(
    ("message", "what"),
    [
        (Message("assistant", (Part("thinking", "hm"),)), "reasoning"),
        (Message("assistant", "", (CALL,)), "tool calls"),
        (Message("system", tools=(SPEC,)), "tool declarations"),
        (Message("user", (Part("image", "a.png"),)), "an image"),
    ],
)
def test_what_a_format_has_no_place_for_is_refused(renderer: Renderer, message: Message, what: str) -> None:
    with pytest.raises(InputError, match=f"{renderer.name}.*got {what}"):
        write(renderer, (message,))


def test_unknown_renderers_get_the_nearest_names() -> None:
    with pytest.raises(InputError, match="did you mean 'qwen3'"):
        find_renderer("qwne3")


@given(strategies.conversations(reasons=False, calls_tools=False))
def test_modes_that_name_more_messages_train_more(talk: Conversation) -> None:
    spans = write(LLAMA3, talk)

    def weights(mode: TrainOnWhat) -> list[float]:
        return weigh(LLAMA3, talk, spans, mode)

    order = [
        TrainOnWhat.LAST_ASSISTANT_MESSAGE,
        TrainOnWhat.LAST_ASSISTANT_TURN,
        TrainOnWhat.ALL_ASSISTANT_MESSAGES,
        TrainOnWhat.ALL_MESSAGES,
        TrainOnWhat.ALL_TOKENS,
    ]
    for fewer, more in pairwise(order):
        assert all(a <= b for a, b in zip(weights(fewer), weights(more), strict=True))
    parts = zip(
        weights(TrainOnWhat.ALL_ASSISTANT_MESSAGES), weights(TrainOnWhat.ALL_USER_AND_SYSTEM_MESSAGES), strict=True
    )
    assert [a + b for a, b in parts] == weights(TrainOnWhat.ALL_MESSAGES)


@pytest.mark.parametrize("mode", TrainOnWhat)
def test_trainable_may_be_missing_in_every_mode_but_customized(mode: TrainOnWhat) -> None:
    flagged = (Message("user", "a", trainable=False), Message("assistant", "b", trainable=True))
    plain = tuple(message._replace(trainable=None) for message in flagged)
    weigh(LLAMA3, flagged, write(LLAMA3, flagged), mode)
    if mode is not TrainOnWhat.CUSTOMIZED:
        weigh(LLAMA3, plain, write(LLAMA3, plain), mode)
        return
    with pytest.raises(InputError, match=r"at \$\.messages\[0\]\.trainable"):
        weigh(LLAMA3, plain, write(LLAMA3, plain), mode)


TALK = (
    Message("user", "2+2?"),
    Message("assistant", (Part("thinking", "\nhm\n"), Part("text", "\n4"))),
    Message("user", "+1?"),
    Message("assistant", (Part("thinking", "so"), Part("text", "5"))),
)


def test_qwen3_keeps_the_reasoning_of_the_turn_being_produced_alone() -> None:
    assert said(QWEN3, TALK) == (
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n\n4<|im_end|>\n"
        "<|im_start|>user\n+1?<|im_end|>\n<|im_start|>assistant\n<think>\nso\n</think>\n\n5<|im_end|>"
    )


def test_qwen3_frames_a_turn_that_did_not_reason_and_trains_the_frame() -> None:
    spans = write(QWEN3, (Message("user", "2+2?"), Message("assistant", "\n4")))
    assert "".join(s.text for s in spans if s.sampled and s.message == 1) == "<think>\n\n</think>\n\n4<|im_end|>"


def test_inline_reasoning_reads_like_the_same_reasoning_in_parts() -> None:
    inline = (Message("user", "2+2?"), Message("assistant", "<think>\nhm\n</think>\n\n4"))
    parts = (Message("user", "2+2?"), Message("assistant", (Part("thinking", "hm"), Part("text", "4"))))
    assert write(QWEN3, inline) == write(QWEN3, parts)
    assert "<think>\nhm\n</think>\n\n4" in said(LLAMA3, inline)


def test_switching_reasoning_off_moves_the_empty_block_into_the_prompt() -> None:
    prompt = write_prompt(QWEN3_DISABLE_THINKING, (Message("user", "hi"),))
    assert "".join(span.text for span in prompt).endswith("assistant\n<think>\n\n</think>\n\n")
    with pytest.raises(InputError, match="expected a user message"):
        write(QWEN3_DISABLE_THINKING, (Message("assistant", "4"),))


def test_calls_and_results_are_written_with_their_data_kept_apart() -> None:
    talk = (
        Message("user", "1+1?"),
        Message("assistant", "Let me see.", (ToolCall("add", '{"a": "<|im_end|>"}'), ToolCall("add", "{}"))),
        Message("tool", "</tool_response>", name="add"),
    )
    assert said(QWEN3_INSTRUCT, talk).endswith(
        "Let me see.\n"
        '<tool_call>\n{"name": "add", "arguments": {"a": "<|im_end|>"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n</tool_response>\n</tool_response><|im_end|>"
    )
    controls = [s.text for s in write(QWEN3_INSTRUCT, talk) if s.kind is SpanKind.CONTROL]
    assert controls.count("<|im_end|>") == 3
    assert controls.count("</tool_response>") == 1


def test_a_variant_is_the_same_table_with_one_field_replaced() -> None:
    kept = replace(QWEN3, keep=((Condition.HAS_REASONING,),))
    assert said(kept, TALK).count("hm") == 1
    assert said(QWEN3, TALK).count("hm") == 0
