"""What follows a public template differs from the reference where the conditions say so, and nowhere else."""

import random

import pytest

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, split_inline_reasoning
from kernel.errors import InputError
from kernel.render.spans import Span
from kernel.renderers import RENDERERS
from kernel.renderers.follow_template import FOLLOWING, differences, following_template, follows_template
from kernel.row_to_conversation import read_conversation
from tests.parity.conversations import conversation
from tests.spans import write

TOOLS = [{"type": "function", "function": {"name": "f", "description": "é", "parameters": {"type": "object"}}}]


def text(spans: list[Span]) -> str:
    return "".join(span.text for span in spans)


def talks(name: str, n: int = 150) -> list[Conversation]:
    """Random conversations, some with tools declared, some without a user's message first."""
    rng, out = random.Random(f"follow {name}"), list[Conversation]()
    for _ in range(n):
        row = {"messages": conversation(rng, rng.random() < 0.7, rng.random() < 0.8, odd=rng.random() < 0.3)}
        if rng.random() < 0.3:
            row["tools"] = TOOLS if rng.random() < 0.5 else [{"name": "f"}]
        if rng.random() < 0.1:
            row["messages"] = [{"role": "system", "content": ""}, *row["messages"]]
        out.append(tuple(map(split_inline_reasoning, read_conversation(row))))
    return out


def texts(name: str, talk: Conversation, follow: bool) -> list[str]:
    """The examples that end with an answer, and the whole."""
    renderer = FOLLOWING[name].renderer if follow else RENDERERS[name]
    ends = [n for n in range(1, len(talk) + 1) if n == len(talk) or talk[n - 1].role == "assistant"]
    return [text(write(renderer, talk[:n])) for n in ends]


@pytest.mark.parametrize("name", FOLLOWING)
def test_the_conditions_hold_exactly_where_the_two_write_otherwise(name: str) -> None:
    n_compared = 0
    for talk in talks(name):
        try:
            differ = texts(name, talk, follow=True) != texts(name, talk, follow=False)
        except InputError:
            continue
        n_compared += 1
        assert bool(differences(RENDERERS[name], talk)) == differ, talk
    assert n_compared > 20


ASK, ANSWER = Message("user", "1+1?"), Message("assistant", "2")
CALL = ToolCall("add", '{"a": "é", "b": 2.50}')
ASCII = ToolCall("add", '{"a": 1}')
REASONED = Message("assistant", (Part("thinking", "hm"), Part("text", "Wait.")), (ASCII,))
RESULT = Message("tool", "2")
CASES = [
    (
        "qwen3",
        (ASK, Message("assistant", "A", (CALL,))),
        'A\n<tool_call>\n{"name": "add", "arguments": {"a": "é", "b": 2.50}}',
    ),
    ("qwen3", (ASK, REASONED, RESULT, ANSWER), "<think>\nhm\n</think>\n\nWait.\n<tool_call>"),
    ("qwen3", (ASK, REASONED, RESULT, RESULT, ANSWER), "</tool_response>\n<tool_response>"),
    ("qwen3", (ASK, REASONED._replace(content=(Part("thinking", "hm"),))), "</think>\n\n<tool_call>"),
    (
        "qwen3",
        (Message("system", (), tools=(ToolSpec("f", '{"name": "é"}'),)), ASK),
        '"function": {"name": "é"}}\n</tools>',
    ),
    ("qwen3", (Message("system", "", tools=(ToolSpec("f", '{"name": "f"}'),)), ASK), "system\n\n\n# Tools"),
    (
        "qwen3_instruct",
        (ASK, Message("assistant", "", (CALL,))),
        'assistant\n<tool_call>\n{"name": "add", "arguments": {"a": "é"',
    ),
    (
        "qwen3_vl_instruct",
        (ASK, Message("assistant", "", (CALL,))),
        'assistant\n<tool_call>\n{"name": "add", "arguments": {"a": "é"',
    ),
    (
        "llama3",
        (ASK, ANSWER),
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December",
    ),
    ("llama3", (ASK, Message("assistant", "", (CALL,))), '\n\n{"name": "add", "parameters": {"a": "é", "b": 2.5'),
    (
        "llama3",
        (ASK, Message("assistant", "", (ASCII,)), Message("tool", "a"), ANSWER),
        'ipython<|end_header_id|>\n\n"a"<|eot_id|>',
    ),
    ("llama3", (Message("system", (), tools=(ToolSpec("f", '{"name": "f"}'),)), ASK), "    }\n}\n\n1+1?<|eot_id|>"),
    ("llama3", (Message("user", " hi\n"), ANSWER), "\n\nhi<|eot_id|>"),
    ("qwen3_5", (ASK, REASONED, RESULT, ANSWER), "<think>\nhm\n</think>\n\nWait.\n\n<tool_call>"),
    ("qwen3_5", (ASK, Message("assistant", (Part("thinking", " hm\n"),))), "<think>\nhm\n</think>"),
    ("qwen3_5", (ASK, Message("assistant", "", (ToolCall("f", '{"a": ["é"]}'),))), '<parameter=a>\n["é"]\n'),
    (
        "qwen3_8_low_reasoning",
        (Message("system", (), tools=(ToolSpec("f", '{"name": "é"}'),)), ASK),
        '<tools>\n{"type": "function", "function": {"name": "é"}}\n</tools>',
    ),
    ("qwen3_8_low_reasoning", (ASK, Message("assistant", (Part("thinking", " hm\n"),))), "<think>\nhm\n</think>"),
]


@pytest.mark.parametrize(("name", "talk", "written"), CASES)
def test_what_the_template_writes(name: str, talk: Conversation, written: str) -> None:
    assert written in text(write(following_template(RENDERERS[name]), talk))


@pytest.mark.parametrize(
    ("name", "talk", "sentence"),
    [
        ("llama3", (ASK, Message("assistant", "A", (CALL,))), "expected no text beside a call"),
        ("llama3", (ASK, Message("assistant", "", (CALL, CALL))), "expected one call a message"),
        ("llama3", (Message("system", (), tools=(ToolSpec("f", "{}"),)), ANSWER), "expected a user message first"),
        ("qwen3", (Message("developer", "x"), ASK, ANSWER), "expected no developer message"),
        ("qwen3_instruct", (ASK, REASONED), "expected no reasoning"),
        ("qwen3_5", (ASK, Message("system", "x"), ANSWER), "expected one system message, the first"),
        ("qwen3_8_low_reasoning", (ANSWER,), "expected a user message"),
    ],
)
def test_what_the_template_would_leave_out_is_refused(name: str, talk: Conversation, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        write(following_template(RENDERERS[name]), talk)


def test_a_format_whose_template_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"expected a format whose public template is known \(.*qwen3.*got role_colon"):
        following_template(RENDERERS["role_colon"])
    assert follows_template(following_template(RENDERERS["qwen3"]))
    assert not follows_template(RENDERERS["qwen3"])
