"""A long look for differences: many random conversations a family, every question about each.

    TINSMITH_ORACLE=... TINSMITH_TOKENIZERS=... python -m tests.parity.sweep 20000 PROGRESS.jsonl [FAMILY ...]

The questions are the seven modes, the prompt, and the prompt with a prefill; a family's conversations are spread over
its renderers, in chunks of 250. Answers are compared by their digests. What was compared is noted in the progress file
a chunk at a time, and a sweep goes on where that file ends. Prints a row of `PARITY.md` a family; exits with 1 at the
first difference.
"""

import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kernel.conversation import Conversation
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.ragged_batches import Ragged
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.token_program import TokenProgram, assemble
from kernel.renderers import RENDERERS
from kernel.row_to_conversation import read_conversation
from shell.text.tokenizer import Tokenizer, open_tokenizer
from tests.parity.asking import TOKENIZERS, Oracle
from tests.parity.conversations import conversation, text, with_trainable
from tests.parity.oracle import digest
from tests.parity.test_cookbook import FAMILIES, NEEDS_SYSTEM, NEEDS_WORDS, NO_CUSTOMIZED, speaking, with_system
from tests.parity.tokenizers import prepared

GROUPS = (
    *("glm5_3", "role_colon", "llama3", "qwen3_vl", "qwen3_5", "qwen3_8", "qwen3", "nemotron3_ultra", "nemotron3"),
    *("gpt_oss", "kimi_k2", "deepseekv3", "deepseekv4_1"),
)
"""Families by the beginning of their renderers' names, the longer names first."""

CHUNK = 250
"""conversations"""

Row = dict[str, Any]
"""A conversation, "messages", and the questions about it, "asks"."""


def family_of(renderer: str) -> str:
    return next(group for group in GROUPS if renderer.startswith(group))


def rows(renderer: str, tokenizer: str, chunk: int) -> list[Row]:
    """The same conversations for the same chunk, each with all its questions."""
    rng = random.Random(f"sweep {renderer} {chunk}")
    prefill = text(rng)
    head = {"tokenizer": tokenizer, "renderer": renderer}
    return [head | _row(rng, renderer, prefill, odd=i % 4 == 0) for i in range(CHUNK)]


def _row(rng: random.Random, renderer: str, prefill: str, odd: bool) -> Row:
    _, reasoning, tools = FAMILIES[renderer]
    messages = conversation(rng, reasoning, tools, odd)
    if renderer.startswith(NEEDS_WORDS):
        messages = [speaking(message) for message in messages]
    asks: list[dict[str, Any]] = [{"mode": str(mode)} for mode in TrainOnWhat if mode is not TrainOnWhat.CUSTOMIZED]
    if not renderer.startswith(NO_CUSTOMIZED):
        chosen = with_trainable(rng, with_system(messages) if renderer.startswith(NEEDS_SYSTEM) else messages)
        asks.append({"mode": str(TrainOnWhat.CUSTOMIZED), "messages": chosen})
    return {"messages": messages, "asks": [*asks, {"mode": "prompt"}, {"mode": "prompt", "prefill": prefill}]}


class Renderings:
    """Digests of what we render, a text of a chunk encoded once."""

    def __init__(self, renderer: str, tokenizer: Tokenizer) -> None:
        self._batch_renderer = BatchRenderer(RENDERERS[renderer], split_turns=False)
        self._tokenizer = tokenizer
        self._known: dict[str, np.ndarray] = {}
        self._statics: tuple[int, Ragged] = 0, tokenizer.encode_constants([])
        self._unused = tokenizer.encode(["<UNUSED>"]).ids if renderer == "role_colon" else np.zeros(0, np.int32)

    def digests(self, asked: Sequence[Row]) -> list[list[set[str]]]:
        """For each question of each row what may be answered: one digest, or "error"."""
        self._known.clear()
        talks = [_talk(row["messages"]) for row in asked]
        answers = []
        for k, ask in enumerate(asked[0]["asks"]):
            own = [_talk(row["asks"][k]["messages"]) for row in asked] if "messages" in ask else talks
            answers.append(self._answers(ask["mode"], ask.get("prefill", ""), own))
        return [list(row) for row in zip(*answers, strict=True)]

    def _answers(self, mode: str, prefill: str, talks: Sequence[Conversation]) -> list[set[str]]:
        """The answers to one question about conversations; asked again by halves where one of them is refused."""
        try:
            if mode == "prompt":
                return self._finished(self._batch_renderer.prompts(talks, prefill), weighted=False)
            return self._finished(self._batch_renderer.render(talks, TrainOnWhat(mode)), weighted=True)
        except InputError:
            if len(talks) == 1:
                return [{"error"}]
            half = len(talks) // 2
            return self._answers(mode, prefill, talks[:half]) + self._answers(mode, prefill, talks[half:])

    def _finished(self, script: TokenProgram, weighted: bool) -> list[set[str]]:
        examples = assemble(script, self._encoded_statics(), self._encoded(script.texts))
        out = []
        for a, b in pairwise(examples.offsets.tolist()):
            tokens, weights = examples.tokens[a:b], examples.weights[a:b] if weighted else examples.weights[:0]
            out.append({digest(tokens, weights)} | self._with_placeholder(tokens, weights))
        return out

    def _with_placeholder(self, tokens: np.ndarray, weights: np.ndarray) -> set[str]:
        """The cookbook's role_colon ends on the text "<UNUSED>" when the last message is not the assistant's."""
        n = len(self._unused)
        if not n or not len(weights):
            return set()
        longer = np.concatenate([tokens, self._unused])
        return {digest(longer, np.concatenate([weights, np.full(n, weight)])) for weight in (0, 1)}

    def _encoded(self, texts: Sequence[str]) -> Ragged:
        new = list(dict.fromkeys(one for one in texts if one not in self._known))
        encoded = self._tokenizer.encode(new)
        self._known |= {one: encoded.ids[a:b] for one, (a, b) in zip(new, pairwise(encoded.offsets), strict=True)}
        ids = [self._known[one] for one in texts]
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(one) for one in ids], out=offsets[1:])
        return Ragged(np.concatenate([np.zeros(0, np.int32), *ids]), offsets)

    def _encoded_statics(self) -> Ragged:
        statics = self._batch_renderer.constant_texts
        if len(statics) != self._statics[0]:
            self._statics = len(statics), self._tokenizer.encode_constants(statics)
        return self._statics[1]


def _talk(messages: list[dict[str, Any]]) -> Conversation:
    return read_conversation({"messages": messages})


@lru_cache(maxsize=1)
def opened(file: str, controls: tuple[str, ...], folder: Path) -> tuple[str, Tokenizer]:
    """A tokenizer with these control tokens, and its file; once for the renderers of a family, which have the same."""
    path = str(prepared(TOKENIZERS / file, controls, Path(tempfile.mkdtemp(dir=folder))))
    return path, open_tokenizer(path, encoder="tokenizers")


def compared(oracle: Oracle, renderer: str, todo: Sequence[int], folder: Path) -> Iterator[dict[str, Any]]:
    """Chunks of a renderer compared, a record each.

    Raises:
        AssertionError: at the first difference, with the conversation, the question and both answers.
    """
    path, tokenizer = opened(FAMILIES[renderer][0], RENDERERS[renderer].controls, folder)
    renderings = Renderings(renderer, tokenizer)
    asked = (rows(renderer, path, chunk) for chunk in todo)
    for chunk, answers in zip(todo, oracle.batches(asked), strict=True):
        chunk_rows = rows(renderer, path, chunk)
        n_questions = n_refused = 0
        for row, theirs, ours in zip(chunk_rows, answers, renderings.digests(chunk_rows), strict=True):
            for ask, their, our in zip(row["asks"], theirs, ours, strict=True):
                assert their in our, (renderer, {"messages": row["messages"], **ask}, their, our)
                n_refused += their == "error"
            n_questions += len(theirs)
        yield {"renderer": renderer, "chunk": chunk, "n": CHUNK, "questions": n_questions, "refused": n_refused}


def main(n: int, progress: Path, families: list[str]) -> None:
    with Oracle() as oracle, tempfile.TemporaryDirectory() as folder:
        for family in families:
            variants = [name for name in FAMILIES if family_of(name) == family]
            for name in variants:
                done = {one["chunk"] for one in records(progress) if one["renderer"] == name}
                todo = [chunk for chunk in range(-(-n // (CHUNK * len(variants)))) if chunk not in done]
                for record in compared(oracle, name, todo, Path(folder)) if todo else ():
                    with progress.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(record) + "\n")
            sys.stdout.write(line(family, [one for one in records(progress) if one["renderer"] in variants]) + "\n")
            sys.stdout.flush()


def records(progress: Path) -> list[dict[str, Any]]:
    return [json.loads(one) for one in progress.read_text(encoding="utf-8").splitlines()] if progress.exists() else []


def line(family: str, done: Sequence[dict[str, Any]]) -> str:
    """A family as a row of a table: what was compared, none of which differs."""
    total = {key: sum(one[key] for one in done) for key in ("n", "questions", "refused")}
    n_renderers = len({one["renderer"] for one in done})
    return f"| {family} | {n_renderers} | {total['n']:,} | {total['questions']:,} | 0 | {total['refused']:,} |"


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or list(GROUPS))
