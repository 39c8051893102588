"""Typed spans of an example: the readable form of a program, and what its weights train.

Control tokens cannot be forged, since data is encoded literally; a format of plain text can be imitated by a message,
which `spoofs_turn` finds.
"""

from typing import NamedTuple

import numpy as np

from kernel.conversation import Message, text_of
from kernel.render.message_weights import weighted_pieces
from kernel.render.token_program import TokenProgram
from kernel.renderer_language.interpreter import SpanKind, in_runs
from kernel.renderer_language.pieces import Header, Renderer


class Span(NamedTuple):
    """A stretch of a rendered conversation. `message` is the index of its message as prepared, -1 for the opening."""

    kind: SpanKind
    text: str
    sampled: bool
    message: int
    weight: float = 0.0


def spans(program: TokenProgram, example: int = 0) -> list[Span]:
    """What an example of a program reads like.

    Control tokens are the renderer's alone: text that comes from data is `message` text, whatever it spells. One BPE
    pass never crosses from what is given to what is sampled, from one message to the next, or over a control token.

    Args:
        program: what a `BatchRenderer` rendered.
        example: its number in the program.

    Returns:
        Spans in order. `sampled`: the model would produce the span, whoever's turn it is; never in a cue or a prefill,
        whose `message` is the number of messages. `weight` is that of its tokens (0.0, or 1.0 times the factors of its
        message and part, at whose edges spans end), before `assemble` takes away that of a
        prompt, which may end inside a span; an image has that of its message, though `assemble` gives it none.

    >>> from kernel.renderers.llama3 import LLAMA3
    >>> from kernel.render.batch_renderer import BatchRenderer
    >>> from kernel.enums import TrainOnWhat
    >>> program = BatchRenderer(LLAMA3).render([(Message("user", "Hi<|eot_id|>"),)], TrainOnWhat.ALL_MESSAGES)
    >>> for span in spans(program):
    ...     print(span.kind, repr(span.text), span.sampled, span.weight)
    control '<|begin_of_text|>' False 0.0
    control '<|start_header_id|>' False 0.0
    template 'user' False 0.0
    control '<|end_header_id|>' False 0.0
    template '\\n\\n' False 0.0
    message 'Hi<|eot_id|>' True 1.0
    control '<|eot_id|>' True 1.0
    """
    row = int(program.rows[example])
    compiled, conversation, weighted = program.sources[row]
    first, op, n = int(np.searchsorted(program.rows, row)), int(program.offsets[example]), len(conversation)
    out: list[Span] = []
    for i, message in enumerate(compiled[example - first], start=-1):
        runs = in_runs(message.elements)
        weights = program.weights[op : op + len(runs)].tolist()
        op += len(runs)
        is_given = not 0 <= i < n
        own = Message("") if is_given else conversation[i]
        given = own if is_given or weighted is None else weighted[i]
        for run, weight in zip(runs, weights, strict=True):
            for (kind, _, sampled, _), text, factor in weighted_pieces(run, given, own):
                shown = max(weights) if kind is SpanKind.IMAGE else weight * factor
                if text:
                    out.append(Span(kind, text, sampled and not is_given, min(i, n), float(shown)))
    return out


def spoofs_turn(renderer: Renderer, message: Message) -> bool:
    """Whether a message holds, after a blank line, words that open a turn in a format of plain text."""
    if not renderer.spoofable:
        return False
    headers = [row[0].text for row in renderer.rows.values() if row and isinstance(row[0], Header)]
    text = text_of(message)
    return any(f"\n\n{header}" in text for header in headers)
