"""Tokens, weights and parsed turns are those that the reference gave when it was asked; it need not be at hand.

`python -m tests.parity.record` asks it anew.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from tests.parity import ours, recorded, test_inkling, test_tools_and_parsing
from tests.parity.questions import UNASKED

MOST = 3
"""differences that are shown"""
IMAGE = -1
"""the reference's token of an image, trained with its message; ours is 0 and never trained"""
NO_EXAMPLE = "multiple SFT examples"
PLACEHOLDER = ours.TOKENIZER.encode(["<UNUSED>"]).ids.tolist()
"""what the reference's role_colon ends on when the last message is not the assistant's"""

Question = dict[str, Any]


@pytest.mark.parametrize("family", recorded.FAMILIES)
def test_answers_are_the_references(family: str) -> None:
    found = list(differences(recorded.read(family)))
    assert not found, "\n".join([f"{family}: {len(found)} answers differ", *found[:MOST]])


def test_every_chat_format_is_recorded() -> None:
    questions = [question for family in recorded.FAMILIES for question in recorded.read(family)]
    assert {question["renderer"] for question in questions} == set(ours.NAMES) - set(UNASKED)


def test_a_changed_token_weight_and_reading_are_seen_and_shown() -> None:
    asked = recorded.read("qwen3")
    example = next(one for one in asked if one["mode"] == "all_assistant_messages" and "ids" in one["answer"])
    sampled = next(one for one in asked if one["mode"] == "parse" and one["answer"]["termination"] == "stop_sequence")
    ids, trained = example["answer"]["ids"], example["answer"]["trained"]
    end = trained[-1][1]
    for question, changed in (
        (example, {"ids": [*ids[:-1], ids[-1] + 1]}),
        (example, {"trained": [*trained[:-1], [trained[-1][0], end - 1]]}),
        (sampled, {"termination": "eos"}),
        (sampled, {"calls": [["f", "{}"]]}),
    ):
        (shown,) = differences([question | {"answer": question["answer"] | changed}])
        names = [line.split()[0] for line in shown.splitlines()]
        assert names == ["renderer", "mode", "conversation", "ours", "reference"]
    assert not list(differences([example, sampled]))


def differences(questions: list[Question]) -> Iterator[str]:
    rendered = [question for question in questions if question["mode"] != "parse"]
    for _, alike in groupby(sorted(rendered, key=_batch), _batch):
        batch = list(alike)
        for question, got in zip(batch, ours.render(batch), strict=True):
            if not same(question, got):
                yield shown(question, got)
    for question in questions:
        if question["mode"] == "parse" and (error := misread(question)):
            yield error


def _batch(question: Question) -> tuple[Any, ...]:
    """What questions must share to be asked at once; refused ones are asked apart."""
    return question["renderer"], question["mode"], question.get("prefill", ""), "error" in question["answer"]


def same(question: Question, got: ours.Rendering | str) -> bool:
    answer = question["answer"]
    if NO_EXAMPLE in answer.get("error", ""):  # of Inkling where nothing is trained; ours is without weights
        return not isinstance(got, str) and not any(got[1])
    if isinstance(got, str) or "error" in answer:
        return isinstance(got, str) and "error" in answer
    return as_compared(question, *got) == theirs(question)


def theirs(question: Question) -> ours.Rendering:
    """The reference's tokens, and their weights where it has any."""
    answer = question["answer"]
    units = answer.get("pieces", answer.get("ids"))
    weights = recorded.weights(answer.get("trained", ()), len(units))
    tokens, weights = ours.in_tokens(units, weights) if "pieces" in answer else (units, weights)
    if IMAGE in tokens:
        weights = [weight * (token != IMAGE) for token, weight in zip(tokens, weights, strict=True)]
        tokens = [max(token, 0) for token in tokens]
    if question["renderer"] == "role_colon" and tokens[-len(PLACEHOLDER) :] == PLACEHOLDER:
        tokens, weights = tokens[: -len(PLACEHOLDER)], weights[: -len(PLACEHOLDER)]
    opens_with_system = question["messages"][0]["role"] == "system" or "tools" in question
    if question["renderer"].startswith("deepseekv4_1") and opens_with_system:
        weights = without_joined_newlines(tokens, weights)
    return tokens, weights if "trained" in answer else []


def without_joined_newlines(tokens: list[int], weights: list[float]) -> list[float]:
    """DeepSeek V4.1: newlines that open a trained system message join those of the effort, and are not trained here."""
    start = next((i for i, weight in enumerate(weights) if weight), 0)
    end = start
    while 0 < end < len(tokens) and {*ours.TOKENIZER.decode(tokens[end - 1 : end + 1])} == {"\n"}:
        end += 1
    return weights[:start] + [0.0] * (end - start) + weights[end:]


def as_compared(question: Question, tokens: list[int], weights: list[float]) -> ours.Rendering:
    """Ours without what the reference does not have: weights of a prompt, Inkling's messages after the last trained."""
    if "trained" not in question["answer"]:
        return tokens, []
    if question["renderer"] == "tml_v0":
        end = max((i + 1 for i, weight in enumerate(weights) if weight), default=0)
        return tokens[:end], weights[:end]
    return tokens, weights


def misread(question: Question) -> str:
    """What is wrong with our reading of a sampled turn, or ""."""
    renderer, answer = question["renderer"], question["answer"]
    if "pieces" in question:
        sampled, turn = repr(question["pieces"]), ours.parse_pieces(renderer, question["pieces"])
    else:
        sampled, turn = ours.shown(question["tokens"], []), ours.parse(renderer, question["tokens"])
    try:
        if "pieces" in question:
            test_inkling.assert_read_alike(turn, answer, question)
        else:
            test_tools_and_parsing.assert_read_alike(renderer, turn, answer, sampled)
    except AssertionError:
        return lines(renderer, "parse", sampled, repr(turn), json.dumps(answer, ensure_ascii=False))
    return ""


def shown(question: Question, got: ours.Rendering | str) -> str:
    asked = {key: value for key, value in question.items() if key not in ("renderer", "mode", "answer")}
    answer = question["answer"]
    our_text = got if isinstance(got, str) else ours.shown(*as_compared(question, *got))
    their_text = answer["error"] if "error" in answer else ours.shown(*theirs(question))
    return lines(question["renderer"], question["mode"], json.dumps(asked, ensure_ascii=False), our_text, their_text)


def lines(*values: str) -> str:
    names = ("renderer", "mode", "conversation", "ours", "reference")
    return "\n".join(f"  {name:<13}{value}" for name, value in zip(names, values, strict=True))
