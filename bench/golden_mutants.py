"""Do the golden renders notice? Every field of every piece of every renderer is changed, one at a time.

    python -m bench.golden_mutants [RENDERER ...]     # the mutants that change no line of a golden file, and why

A mutant that survives is tried on random conversations: if one of them renders differently, a golden case is missing
and the tool exits with 1. If none does, the change changes nothing that can be written, for the reason printed.
"""

import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from operator import eq
from typing import Any

from kernel.conversation import Conversation
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.render.batch_renderer import BatchRenderer
from kernel.renderer_language.pieces import (
    Calls,
    Condition,
    Content,
    Data,
    Header,
    Piece,
    Reasoning,
    Refuse,
    Renderer,
    Sampled,
    Text,
    Tools,
)
from kernel.renderers import RENDERERS
from kernel.row_to_conversation import read_conversation
from shell.text.tokenizer import Tokenizer, open_tokenizer
from tests.golden.renders import golden, read
from tests.parity.conversations import conversation
from tests.spans import write, write_prompt

N_RANDOM = 400
MODES = (TrainOnWhat.LAST_ASSISTANT_MESSAGE, TrainOnWhat.LAST_ASSISTANT_TURN, TrainOnWhat.ALL_ASSISTANT_MESSAGES)

Mutant = tuple[str, Renderer]


def mutants(renderer: Renderer) -> Iterator[Mutant]:
    """The renderer with one thing changed, and what it was."""
    for role, row in renderer.rows.items():
        for what, mutated in _rows(row):
            yield f"{role}: {what}", replace(renderer, rows={**renderer.rows, role: mutated})
        yield f"{role}: no row", replace(renderer, rows={r: w for r, w in renderer.rows.items() if r != role})
    for what, mutated in _rows(renderer.cue):
        yield f"cue: {what}", replace(renderer, cue=mutated)
    for i, conjunction in enumerate(renderer.keep):
        yield f"keep: without {_names(conjunction)}", replace(renderer, keep=_without(renderer.keep, i))
        for j, fact in enumerate(conjunction):
            weaker = (*renderer.keep[:i], _without(conjunction, j), *renderer.keep[i + 1 :])
            yield f"keep: without {fact.name} in {_names(conjunction)}", replace(renderer, keep=weaker)
    for i, stop in enumerate(renderer.stops):
        yield f"stops: without {stop!r}", replace(renderer, stops=_without(renderer.stops, i))
        yield f"stops: another for {stop!r}", replace(renderer, stops=("?", *_without(renderer.stops, i)))
    if renderer.bos:
        yield "bos: none", replace(renderer, bos="")
    for i, name in enumerate(renderer.controls):
        yield f"controls: {name} as text", replace(renderer, controls=_without(renderer.controls, i))
    yield "image: none", replace(renderer, image="" if renderer.image else "?{}")
    yield "refuses_reasoning", replace(renderer, refuses_reasoning=not renderer.refuses_reasoning)
    yield "before: none", replace(renderer, before=lambda talk: talk)
    yield "turn_start: the end", replace(renderer, turn_starts_after=lambda *_: True)
    yield "turn_start: the beginning", replace(renderer, turn_starts_after=lambda *_: False)


def _rows(row: tuple[Piece, ...]) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    for i, piece in enumerate(row):
        name = f"{i} {type(piece).__name__}"
        yield f"{name}: left out", _without(row, i)
        for what, mutated in _pieces(piece):
            yield f"{name}: {what}", (*row[:i], mutated, *row[i + 1 :])


def _pieces(piece: Piece) -> Iterator[tuple[str, Any]]:
    for field in ("when", "unless"):
        conditions: tuple[Condition, ...] = getattr(piece, field)
        for j, fact in enumerate(conditions):
            yield f"{field} without {fact.name}", piece._replace(**{field: _without(conditions, j)})
    match piece:
        case Header(text, when, unless):
            yield f"{text!r} with more", piece._replace(text=text + "?")
            yield f"{text!r} said", Sampled(text, when, unless)
        case Sampled(text, when, unless):
            yield f"{text!r} with more", piece._replace(text=text + "?")
            yield f"{text!r} given", Header(text, when, unless)
        case Text(wrap, lstrip):
            yield f"{wrap!r} with more", piece._replace(wrap=wrap + "?")
            yield f"lstrip {lstrip!r}", piece._replace(lstrip="" if lstrip else "\n")
        case Reasoning(wrap, strip):
            yield f"{wrap!r} with more", piece._replace(wrap=wrap + "?")
            yield f"strip {strip!r}", piece._replace(strip="" if strip else "\n")
        case Content(pieces):
            for j, inner in enumerate(pieces):
                yield f"{j}: left out", piece._replace(pieces=_without(pieces, j))
                for what, mutated in _pieces(inner):
                    yield f"{j}: {what}", piece._replace(pieces=(*pieces[:j], mutated, *pieces[j + 1 :]))
        case Calls(write_call, join):
            yield "write with more", piece._replace(write=lambda i, call: (*write_call(i, call), Data("?")))
            yield f"join {join!r} with more", piece._replace(join=join + "?")
        case Tools(write_tools):
            yield "write with more", piece._replace(write=lambda tools: (*write_tools(tools), Data("?")))
        case Refuse():
            pass


def _without(values: tuple[Any, ...], i: int) -> tuple[Any, ...]:
    return (*values[:i], *values[i + 1 :])


def _names(facts: tuple[Condition, ...]) -> str:
    return " and ".join(fact.name for fact in facts) or "nothing"


def outputs(renderer: Renderer, talks: Sequence[Conversation]) -> Iterator[object]:
    """All that a renderer makes of conversations, a piece at a time so that a difference ends the comparison."""
    yield renderer.stops
    batch_renderer = BatchRenderer(renderer)
    for talk in talks:
        yield _answer(lambda talk=talk: write(renderer, talk))
        yield _answer(lambda talk=talk: write_prompt(renderer, talk))
        for mode in MODES:
            yield _answer(lambda talk=talk, mode=mode: _script(batch_renderer, talk, mode))


def _script(batch_renderer: BatchRenderer, talk: Conversation, mode: TrainOnWhat) -> object:
    script = batch_renderer.render([talk], mode)
    heads = [array.tolist() for array in script.prompt_masks]
    spelled = [batch_renderer.constant_texts[op] if op >= 0 else None for op in script.ops.tolist()]
    return script.texts, script.images, spelled, script.weights.tolist(), script.rows.tolist(), heads


def _answer(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except InputError as error:
        return str(error)
    except (IndexError, KeyError):  # a mutant may be no renderer at all
        return "broken"


def random_talks(renderer: Renderer) -> list[Conversation]:
    rng = random.Random(f"mutants {renderer.name}")
    pieces = [piece for row in renderer.rows.values() for piece in row]
    inner = [p for piece in pieces for p in (piece.pieces if isinstance(piece, Content) else (piece,))]
    reasons, calls = (any(isinstance(p, kind) for p in inner) for kind in (Reasoning, Calls))
    talks = [conversation(rng, reasons, calls, odd=i % 2 == 0) for i in range(N_RANDOM)]
    return [read_conversation({"messages": messages}) for messages in talks]


def changes_golden(mutant: Renderer, tokenizer: Tokenizer) -> bool:
    """Whether a line of the renderer's golden file would be another."""
    try:
        return any(a != b for a, b in zip_longest(read(mutant.name), golden(mutant, tokenizer)))
    except (IndexError, KeyError):  # a mutant may be no renderer at all
        return True


def survivors(renderer: Renderer, tokenizer: Tokenizer) -> Iterator[tuple[str, bool]]:
    """What changes no line of the golden file, and whether a random conversation renders differently."""
    others = random_talks(renderer)
    kept = list(outputs(renderer, others))
    for what, mutant in mutants(renderer):
        if not changes_golden(mutant, tokenizer):
            yield what, not all(map(eq, kept, outputs(mutant, others)))


REASONS = (
    (r"^cue: .* said$", "a prompt is given as a whole, so what a piece of its cue says of being sampled is not asked"),
    (
        r"Calls: when without HAS_CALLS|Tools: when without HAS_TOOLS",
        "without calls or tools nothing is written anyway",
    ),
    (r"^before: none$", "the format rewrites nothing"),
    (r"^text: ", "`before` makes a text of that role the assistant's, so its own row writes nothing"),
    (r"^turn_start: ", "no piece asks about the turn, or the conversation has one alone"),
    (r"^keep: |^refuses_reasoning$", "the format has no place for reasoning, or keeps it everywhere"),
    (r"unless without FIRST", "`before` puts a message in front, so no other is ever the first"),
    (r"lstrip ''$", "`before` has taken the white space off, or the row is written for a message without text"),
    (r"^controls: ", "the token stands in what is read back alone, or in a piece that only an image or a tool brings"),
    (r"", "implied by the other conditions of the row"),
)
"""Why a mutant that nothing tells from the original is the original: by what was changed."""


def main(names: Sequence[str]) -> int:
    """Tries the mutants of these renderers; 1 if a random conversation shows one that no golden case does."""
    missed, tokenizer = 0, open_tokenizer("sample")
    for name in names:
        n = sum(1 for _ in mutants(RENDERERS[name]))
        alive = list(survivors(RENDERERS[name], tokenizer))
        missed += sum(differs for _, differs in alive)
        sys.stdout.write(f"{name}: {n} mutants, {len(alive)} survive\n")
        for what, differs in alive:
            reason = next(reason for pattern, reason in REASONS if re.search(pattern, what))
            sys.stdout.write(f"    {what}: {'A GOLDEN CASE IS MISSING' if differs else reason}\n")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(RENDERERS)))
