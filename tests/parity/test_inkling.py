"""Inkling against tinker-cookbook, which renders it whole through tml-renderers and its own tokenizer.

That tokenizer is not ours to ship, so both sides are compared in pieces: control tokens by name and the texts between
them, each one pass of the tokenizer. The cookbook has the modes that train the assistant, trains the last assistant
message wherever it stands, nothing but the assistant's, and leaves out what stands behind the last trained message.
"""

import json
import random

import pytest

from kernel.conversation import parts_of
from kernel.enums import TrainOnWhat
from kernel.parse_response.common import Parsed, Segment
from kernel.render.spans import Span
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderers.inkling import TML_V0
from kernel.row_to_conversation import read_conversation
from tests.parity.asking import TOKENIZERS, N, ask, needs_oracle
from tests.parity.conversations import conversation, text
from tests.parity.declarations import typed_tool as tool
from tests.spans import weigh, write, write_prompt

pytestmark = needs_oracle
MODES = ("prompt", "all_assistant_messages", "last_assistant_turn", "last_assistant_message", "customized")
Pieces = list[list[object]]


def questions(odd: bool, tools: bool) -> list[dict[str, object]]:
    rng = random.Random(f"inkling {odd} {tools}")
    asked = []
    for _ in range(N):
        talk = [plain(message) for message in conversation(rng, True, True, odd)]
        for mode in MODES:
            messages = talk
            if mode == "customized":
                messages = [{**m, "trainable": m["role"] == "assistant" and rng.random() < 0.7} for m in talk]
            if mode.startswith("last") and talk[-1]["role"] != "assistant":
                continue
            declared = {"tools": shortened(json.dumps([tool(rng), tool(rng)]))} if tools else {}
            asked.append({"renderer": "tml_v0", "mode": mode, "messages": messages, **declared})
    return asked


def plain(message: dict) -> dict:
    calls = [
        {"function": {**call["function"], "arguments": json.dumps(shortened(call["function"]["arguments"]))}}
        for call in message.get("tool_calls", ())
    ]
    return {**message, "tool_calls": calls} if calls else message


def shortened(text: str) -> object:
    """The value of a JSON text with short numbers: the reference's reader of JSON is off by a digit in long ones."""
    return json.loads(text, parse_float=lambda number: round(float(number), 3))


def in_pieces(spans: list[Span], weights: list[float]) -> tuple[Pieces, list[float]]:
    pieces: Pieces = []
    kept: list[float] = []
    for span, weight in zip(spans, weights, strict=True):
        is_control = span.kind is SpanKind.CONTROL
        if is_control or not pieces or pieces[-1][1]:
            pieces.append([span.text, is_control])
            kept.append(weight)
        else:
            pieces[-1][0] += span.text  # type: ignore[operator]
            assert kept[-1] == weight
    return pieces, kept


def ours(question: dict) -> tuple[Pieces, list[float]]:
    talk = read_conversation({key: question[key] for key in ("messages", "tools") if key in question})
    if question["mode"] == "prompt":
        spans = write_prompt(TML_V0, talk)
        return in_pieces(spans, [0.0] * len(spans))
    spans = write(TML_V0, talk)
    pieces, weights = in_pieces(spans, weigh(TML_V0, talk, spans, TrainOnWhat(question["mode"])))
    end = max((i + 1 for i, weight in enumerate(weights) if weight), default=0)
    return pieces[:end], weights[:end]


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("odd", [False, True])
def test_pieces_and_weights_are_the_cookbooks(odd: bool, tools: bool) -> None:
    asked = questions(odd, tools)
    n_empty = 0
    for question, answer in zip(asked, ask(str(TOKENIZERS / "qwen3.json"), asked), strict=True):
        pieces, weights = ours(question)
        if "error" in answer:
            assert "multiple SFT examples" in answer["error"], (question, answer)
            assert not pieces
            n_empty += 1  # nothing is trained: the cookbook has no example then
            continue
        assert pieces == answer["pieces"], question
        assert weights == answer["weights"], question
    assert n_empty < len(asked) / 4


def test_sampled_turns_are_read_as_the_cookbook_reads_them() -> None:
    asked = [{"renderer": "tml_v0", "mode": "parse", "pieces": sampled} for sampled in sampled_turns(N)]
    for question, answer in zip(asked, ask(str(TOKENIZERS / "qwen3.json"), asked), strict=True):
        segments = [
            Segment(SpanKind.CONTROL if is_control else SpanKind.MESSAGE, said)
            for said, is_control in question["pieces"]
        ]
        assert_read_alike(TML_V0.parse(segments), answer, question)


def sampled_turns(n: int) -> list[Pieces]:
    """Turns as they would be sampled, some of them cut."""
    rng = random.Random("parse inkling")
    out: list[Pieces] = []
    while len(out) < n:
        talk = [plain(message) for message in conversation(rng, True, True, odd=False)]
        last = rng.choice([i for i, message in enumerate(talk) if message["role"] == "assistant"])
        pieces, weights = ours({"mode": "last_assistant_message", "messages": talk[: last + 1]})
        sampled = [piece for piece, weight in zip(pieces, weights, strict=True) if weight]
        out.append(sampled[: rng.randrange(len(sampled))] if rng.random() < 0.1 else sampled)
    return out


def assert_read_alike(turn: Parsed, answer: dict, question: dict) -> None:
    assert "error" not in answer, (question, answer)
    assert str(turn.termination) == answer["termination"], question
    if not turn.termination.is_clean:
        return  # the cookbook gives the text as it came
    calls = [[call.name, json.loads(call.arguments)] for call in turn.message.tool_calls]
    assert calls == [[name, json.loads(arguments)] for name, arguments in answer["calls"]], question
    assert not turn.bad_calls
    content = answer["content"]
    theirs = [{"type": "text", "text": content}] if isinstance(content, str) else content
    parts = [[part.kind, part.text] for part in parts_of(turn.message)]
    assert parts == [[part["type"], part[part["type"]]] for part in theirs if part[part["type"]]], question


def test_a_text_that_spells_a_token_stays_text() -> None:
    talk = [{"role": "user", "content": "<|end_message|>" + text(random.Random(0))}]
    question = {"renderer": "tml_v0", "mode": "prompt", "messages": talk}
    (answer,) = ask(str(TOKENIZERS / "qwen3.json"), [question])
    assert ours(question)[0] == answer["pieces"]
