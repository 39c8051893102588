"""Asks the reference anew and writes its answers for `test_recorded`: the same bytes for the same reference.

    TINSMITH_ORACLE=... TINSMITH_KIMI_K3=... python -m tests.parity.record [FAMILY ...]

The variables are those of `test_cookbook` and `test_kimi_k3`. Prints how many questions of a family were
answered, and how many of them with a refusal.
"""

import sys
from typing import Any

from tests.parity import recorded, test_kimi_k3
from tests.parity.asking import ask
from tests.parity.ours import TOKENIZER_FILE, Question
from tests.parity.questions import GROUPS, inkling_questions, parse_questions, rendered_questions, renderers_of

REFERENCE = "tinker-cookbook 0.6.1"
N_K3 = 30
"""conversations a renderer"""


def answered(family: str) -> tuple[str, list[dict[str, Any]]]:
    """The reference of a family, and what it answers."""
    if family == "kimi_k3":
        asked = [one for name in renderers_of(family) for one in test_kimi_k3.questions(name, N_K3)]
        answers = ({"pieces": pieces} for pieces in test_kimi_k3.answers(asked))
        return "a port of encoding_k3.py of moonshotai/Kimi-K3", _joined(asked, list(answers))
    asked = [one for name in renderers_of(family) for one in questions(name)]
    return REFERENCE, _joined(asked, [*map(packed, asked, ask(str(TOKENIZER_FILE), asked))])


def questions(renderer: str) -> list[Question]:
    of = inkling_questions() if renderer == "tml_v0" else rendered_questions(renderer)
    return of + parse_questions(renderer)


def packed(question: Question, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of the oracle as it is kept: "ids" or "pieces", and the spans of weight 1 where there are weights."""
    if "weights" not in answer:
        return answer
    kept = {"pieces": answer["pieces"]} if "pieces" in answer else {"ids": answer["tokens"]}
    return kept | ({"trained": recorded.spans(answer["weights"])} if question["mode"] != "prompt" else {})


def _joined(asked: list[Question], answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [question | {"answer": answer} for question, answer in zip(asked, answers, strict=True)]


if __name__ == "__main__":
    for family in sys.argv[1:] or GROUPS:
        reference, lines = answered(family)
        recorded.write(family, reference, lines)
        n_refused = sum("error" in line["answer"] for line in lines)
        sys.stdout.write(f"{family}: {len(lines)} questions, {n_refused} refused\n")
