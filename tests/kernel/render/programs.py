"""Conversations that fit a renderer, and a toy tokenizer for its programs."""

import numpy as np
import pytest
from hypothesis import settings

from kernel import renderers
from kernel.conversation import Conversation
from kernel.enums import TrainOnWhat
from kernel.ragged_batches import Examples, Ragged
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.spans import Span
from kernel.render.token_program import TokenProgram, assemble
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderer_language.pieces import Calls, Content, Piece, Reasoning, Renderer
from kernel.renderers import RENDERERS
from tests import strategies

FEW = settings(max_examples=12)
"""Enough for a law that runs for every renderer."""
FIRST = {family.FORMATS[0].name for family in vars(renderers).values() if hasattr(family, "FORMATS")}
ALL = pytest.mark.parametrize(
    "renderer",
    [pytest.param(one, id=name, marks=[pytest.mark.slow] * (name not in FIRST)) for name, one in RENDERERS.items()],
)
"""Every renderer; those that vary another of their family are marked slow."""


def flat(renderer: Renderer) -> list[Piece]:
    rows = [*renderer.rows.values(), renderer.cue]
    pieces = [piece for row in rows for piece in row]
    return pieces + [inner for piece in pieces if isinstance(piece, Content) for inner in piece.pieces]


def fits(renderer: Renderer) -> strategies.st.SearchStrategy[Conversation]:
    pieces = flat(renderer)
    reasons = any(isinstance(piece, Reasoning) for piece in pieces)
    return strategies.conversations(reasons, any(isinstance(piece, Calls) for piece in pieces))


CONTROL_IDS = {name: 1000 + i for i, name in enumerate(strategies.CONTROLS)}


def encode(text: str) -> list[int]:
    """A toy tokenizer whose ids depend on where a text begins and ends: pairs of bytes are one id."""
    raw = text.encode()
    return [2000 + 256 * raw[i] + raw[i + 1] if i + 1 < len(raw) else raw[i] for i in range(0, len(raw), 2)]


def ragged(lists: list[list[int]]) -> Ragged:
    flat = np.array([number for one in lists for number in one], np.int32)
    return Ragged(flat, np.cumsum([0, *map(len, lists)]))


def encoded(batch_renderer: BatchRenderer, script: TokenProgram) -> tuple[Ragged, Ragged]:
    statics = [
        [CONTROL_IDS[text]] if kind is SpanKind.CONTROL else encode(text)
        for kind, text in batch_renderer.constant_texts
    ]
    return ragged(statics), ragged([encode(text) for text in script.texts])


def tokens_of(spans: list[Span]) -> list[list[int]]:
    """Ids of each span's run, all of them at the run's first span."""
    out: list[list[int]] = []
    run, start = "", -1
    for i, span in enumerate(spans):
        out.append([])
        joins = start >= 0 and spans[start][2:] == span[2:]
        if span.kind is SpanKind.CONTROL or not joins:
            run, start = "", -1
        if span.kind is SpanKind.CONTROL:
            out[i] = [CONTROL_IDS[span.text]]
            continue
        start = i if start < 0 else start
        run += span.text
        out[start] = encode(run)
    return out


def examples_of(batch_renderer: BatchRenderer, talks: list[Conversation], mode: TrainOnWhat) -> Examples:
    script = batch_renderer.render(talks, mode)
    return assemble(script, *encoded(batch_renderer, script))
