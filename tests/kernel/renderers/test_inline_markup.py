"""A format's own markup in text is read where it is certain what it says, and stays text elsewhere."""

import json
import random
import re
from collections.abc import Iterator

import pytest

from kernel.conversation import Conversation, Message, Origin, Part, ToolCall, ToolSpec, TracedConversation
from kernel.errors import InputError
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderers import RENDERERS
from kernel.renderers.inline_markup import literal_controls, own_markup, read_own_markup
from kernel.row_to_conversation import read_conversation
from tests.parity import alike
from tests.parity.conversations import conversation
from tests.spans import write

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
SPOKEN = (ToolCall("f", '{"a": 1}'),)


def read(name: str, *messages: Message) -> Conversation:
    return read_own_markup(own_markup(RENDERERS[name]), messages)


def turn(name: str, text: str) -> Message:
    return read(name, Message("user", "Q"), Message("assistant", text))[1]


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        (CALL, "", SPOKEN),
        (f"Sure.\n{CALL}", "Sure.", SPOKEN),
        (f"Sure.\n\n{CALL}\n", "Sure.\n", SPOKEN),
        (f"{CALL}\n{CALL}", "", SPOKEN * 2),
        (f"{CALL}<|im_end|>", "", SPOKEN),
        (
            '<tool_call>{"arguments": {"a": 1}, "name": "f", "id": "x"}</tool_call>',
            "",
            (ToolCall("f", '{"a": 1}', "x"),),
        ),
        ("<tool_call>\n{'name': 'f', 'arguments': {'a': None}}\n</tool_call>", "", (ToolCall("f", '{"a": null}'),)),
        (
            '<tool_call>\n{"name": "f", "arguments": {"a":2.50, "b": "上"}}\n</tool_call>',
            "",
            (ToolCall("f", '{"a":2.50, "b": "上"}'),),
        ),
    ],
)
@pytest.mark.parametrize(
    "name", ["qwen3", "qwen3_instruct", "qwen3_vl", "qwen3_5", "nemotron3", "glm5_3_low_reasoning"]
)
def test_calls_as_json_between_tags_are_calls(name: str, text: str, said: str, calls: tuple[ToolCall, ...]) -> None:
    if "im_end" in text and not name.startswith(("qwen", "nemotron")):
        pytest.skip("another format's end")
    assert turn(name, text) == Message("assistant", said, calls)


NATIVE = {
    "qwen3_5": "A\n\n<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
    "nemotron3": "A\n<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>\n",
    "glm5_3_max_reasoning": "A<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>",
    "kimi_k2": "A<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
    '{"a": 1}<|tool_call_end|><|tool_calls_section_end|>',
    "deepseekv3": "A<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>"
    '{"a": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseekv4_1": 'A\n\n<｜DSML｜ calls>\n<｜DSML｜ invoke name="f">\n<｜DSML｜ parameter name="a" string="false">1'
    "</｜DSML｜ parameter>\n</｜DSML｜ invoke>\n</｜DSML｜ calls>",
    "gpt_oss_no_sysprompt": "<|channel|>commentary<|message|>A<|end|><|start|>assistant to=functions.f"
    '<|channel|>commentary <|constrain|>json<|message|>{"a": 1}<|call|>',
    "kimi_k31_pro_low_reasoning": "<|open|>response<|sep|>A<|close|>response<|sep|><|open|>tools<|sep|>"
    '<|open|>call tool="f" index="1"<|sep|><|open|>argument key="a" type="number"<|sep|>1<|close|>argument<|sep|>'
    "<|close|>call<|sep|><|close|>tools<|sep|>",
}


@pytest.mark.parametrize("name", NATIVE)
def test_a_call_as_the_format_writes_it_is_a_call(name: str) -> None:
    message = turn(name, NATIVE[name])
    assert message.content == "A"
    assert [(call.name, json.loads(call.arguments)) for call in message.tool_calls] == [("f", {"a": 1})]


@pytest.mark.parametrize("name", NATIVE)
def test_what_was_read_is_written_as_it_was_typed_with_control_tokens(name: str) -> None:
    typed, markup = NATIVE[name].strip(), own_markup(RENDERERS[name])
    written = write(RENDERERS[name], (Message("user", "Q"), turn(name, typed)))
    assert typed in "".join(span.text for span in written)
    assert not any(s.kind is SpanKind.MESSAGE and markup.controls.search(s.text) for s in written if markup.controls)


@pytest.mark.parametrize(
    ("text", "reasoning", "said"),
    [
        ("T</think>\n\nA", "T", "A"),
        ("Okay.\n</think>\n\n4", "Okay.", "4"),
        ("T\nU\n</think>A", "T\nU", "A"),
        ("T </think> A", "T ", " A"),
        ("T</think>", "T", ""),
        ("\n\n</think>\n\nA", "", "A"),
    ],
)
@pytest.mark.parametrize("name", ["qwen3", "qwen3_5", "nemotron3", "glm5_3_max_reasoning", "deepseekv3_thinking"])
def test_a_closing_tag_alone_ends_the_reasoning(name: str, text: str, reasoning: str, said: str) -> None:
    parts = (Part("thinking", reasoning), *([Part("text", said)] if said else []))
    assert turn(name, text).content == (parts if reasoning else said)


def test_reasoning_and_calls_in_one_text_are_both_read() -> None:
    for text in (f"<think>\nT\n</think>\n\n{CALL}", f"T\n</think>\n\n{CALL}"):
        assert turn("qwen3", text) == Message("assistant", (Part("thinking", "T"),), SPOKEN)


def test_channels_of_harmony_are_reasoning_and_text() -> None:
    final = "<|start|>assistant<|channel|>final<|message|>A"
    for text, content in (
        (f"<|channel|>analysis<|message|>T<|end|>{final}", (Part("thinking", "T"), Part("text", "A"))),
        (f"<|channel|>analysis<|message|>T<|end|>{final}<|return|>", (Part("thinking", "T"), Part("text", "A"))),
        ("<|channel|>final<|message|>A", "A"),
        (final, "A"),
        (f"{final}<|return|>", "A"),
    ):
        assert turn("gpt_oss_medium_reasoning", text) == Message("assistant", content)


@pytest.mark.parametrize(
    ("name", "text", "content"),
    [
        ("qwen3", "<think>\nT\n</think>\n\nA<|im_end|>", (Part("thinking", "T"), Part("text", "A"))),
        ("qwen3", "T\n</think>\n\nA<|im_end|>\n", (Part("thinking", "T"), Part("text", "A"))),
        ("deepseekv4_1", "T</think>A<｜end▁of▁sentence｜>", (Part("thinking", "T"), Part("text", "A"))),
        ("glm5_3_high_reasoning", "T</think>A<|user|>", (Part("thinking", "T"), Part("text", "A"))),
        ("qwen3_5", "\n</think>\n\nA<|im_end|>", "A"),
        ("qwen3", "A<|im_end|>", "A<|im_end|>"),
    ],
)
def test_an_end_of_turn_is_read_with_the_block_before_it(name: str, text: str, content: object) -> None:
    assert turn(name, text).content == content


def typed_turns(name: str) -> Iterator[tuple[Conversation, str]]:
    """Random conversations that end with a call, and how the format writes their last turn."""
    rng, renderer = random.Random(f"typed {name}"), RENDERERS[name]
    for _ in range(40):
        row = {
            "messages": alike.reasoning_first(conversation(rng, own_markup(renderer).reasons, tools=True, odd=False))
        }
        talk = read_conversation(row)
        ends = [i for i, message in enumerate(talk) if message.tool_calls]
        talk = talk[: ends[0] + 1] if ends else ()
        try:
            spans = write(renderer, talk) if talk else []
        except InputError:
            continue
        last = max((span.message for span in spans), default=0)
        yield talk, "".join(span.text for span in spans if span.message == last and span.sampled)


@pytest.mark.parametrize("name", [name for name in RENDERERS if own_markup(RENDERERS[name]).calls])
def test_a_turn_that_is_typed_as_the_format_writes_it_gives_the_same_or_stays_text(name: str) -> None:
    def plain(talk: Conversation) -> str:  # newlines around reasoning are neither's; an element reads what is JSON
        return re.sub(r"\s", "", "".join(span.text for span in write(RENDERERS[name], talk)))

    n_read = 0
    for talk, typed in typed_turns(name):
        again = read(name, *talk[:-1], Message("assistant", typed))
        if again[-1].content != typed and again[-1].tool_calls:
            assert plain(again) == plain(talk), typed
            n_read += 1
    assert n_read


UNCERTAIN = [
    ("qwen3_5", '<tool_call>\n<function=f>\n<parameter=a>\n"b"\n</parameter>\n</function>\n</tool_call>'),
    ("qwen3", f"{CALL} and more"),
    ("qwen3", "<tool_call>\nnot JSON\n</tool_call>"),
    ("qwen3", '<tool_call>\n{"name": "f", "arguments": {}}'),
    ("qwen3", '<tool_call>\n{"name": "f", "arguments": [1]}\n</tool_call>'),
    ("qwen3", '<tool_call>\n{"name": "f", "arguments": {}, "weight": 0}\n</tool_call>'),
    ("qwen3", f"<tool_response>1</tool_response>\n{CALL}"),
    ("qwen3", "<think>\nOkay, so"),
    ("qwen3", "Text. <think>T</think> A"),
    ("qwen3", "The tag `</think>` ends it."),
    ("qwen3", "a</think>b</think>c"),
    ("qwen3", "done<|im_end|>"),
    ("qwen3_5", "<tool_call>\n<function=f>\n</tool_call>"),
    ("kimi_k2", "<|tool_calls_section_begin|>"),
    ("gpt_oss_no_sysprompt", "<|channel|>analysis<|message|>T"[:20]),
]


@pytest.mark.parametrize(("name", "text"), UNCERTAIN)
def test_what_is_not_certain_stays_text_and_is_counted(name: str, text: str) -> None:
    talk = (Message("user", "Q"), Message("assistant", text))
    assert read_own_markup(own_markup(RENDERERS[name]), talk) is talk
    assert literal_controls(own_markup(RENDERERS[name]), talk[1])


def test_calls_that_another_format_would_write_need_tools_in_the_conversation() -> None:
    assert turn("kimi_k2", CALL).content == CALL
    result = Message("tool", "<tool_response>\n1\n</tool_response>")
    assert read("kimi_k2", Message("assistant", CALL), result) == (
        Message("assistant", "", SPOKEN),
        Message("tool", "1"),
    )
    assert read("llama3", Message("assistant", CALL), result) == (Message("assistant", CALL), result)


@pytest.mark.parametrize(
    ("text", "results"),
    [
        ("<tool_response>\n1\n</tool_response>", ["1"]),
        ("<tool_response>1</tool_response>\n", ["1"]),
        ("<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>", ["1", "2"]),
        ("<tool_response>\n\n</tool_response>", [""]),
        ("<tool_response>\n<b>\n</tool_response>", ["<b>"]),
        ("1", ["1"]),
        ("see <tool_response>1</tool_response>", ["see <tool_response>1</tool_response>"]),
    ],
)
def test_results_lose_the_tags_that_the_format_writes(text: str, results: list[str]) -> None:
    for role in ("tool", "user"):
        talk = read("qwen3", Message("user", "Q"), Message("assistant", CALL), Message(role, text))
        assert [message.content for message in talk[2:]] == results
        assert {message.role for message in talk[2:]} == {"tool" if results != [text] else role}


def test_calls_given_twice_must_agree() -> None:
    same, other = ToolCall("f", '{"a":1}', "i"), ToolCall("g", "{}")
    assert read("qwen3", Message("assistant", f"A\n{CALL}", (same,))) == (Message("assistant", "A", (same,)),)
    assert read("qwen3", Message("assistant", CALL, (other,)))[0].content == CALL


@pytest.mark.parametrize(
    ("text", "n_declared"),
    [
        ('Use <tools>[{"type": "function", "function": {"name": "f"}}]</tools>', 0),
        ('Use <tools>\n{"name": "f"}\n{"name": "g"}\n</tools>', 0),
        ('Use <tools>{"name": "f"}</tools>', 0),
        ('Use <tools>{"name": "g"}</tools>', 1),
        ("Use <tools>f</tools>", 1),
        ("Use <b>f</b>", 1),
    ],
)
def test_tools_that_the_system_text_declares_too_are_declared_once(text: str, n_declared: int) -> None:
    declared = Message("system", text, tools=(ToolSpec("f", '{"name": "f"}'),))
    assert len(read("qwen3", declared)[0].tools) == n_declared
    assert read("qwen3", declared)[0].content == text


def test_plain_conversations_are_passed_on_as_they_are() -> None:
    talk = (Message("user", "a < b"), Message("assistant", "<b>A</b>"), Message("assistant", (Part("text", "<"),)))
    assert read_own_markup(own_markup(RENDERERS["qwen3"]), talk) is talk


def test_results_keep_their_places_in_the_row() -> None:
    talk = TracedConversation(
        (Message("user", "Q"), Message("assistant", CALL), Message("tool", "<tool_response>1</tool_response>" * 2))
    )
    talk.origins = [Origin(("conversations", i)) for i in range(3)]
    read_talk = read_own_markup(own_markup(RENDERERS["qwen3"]), talk)
    assert isinstance(read_talk, TracedConversation)
    assert [origin.path[1] for origin in read_talk.origins] == [0, 1, 2, 2]
