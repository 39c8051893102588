"""Renders as readable text, and sampled turns from them: helpers for the tests of single formats."""

import re

from kernel.conversation import Conversation
from kernel.enums import TrainOnWhat
from kernel.parse_response.common import Parsed, Segment
from kernel.render.spans import Span
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderer_language.pieces import Renderer
from tests.spans import weigh, write, write_prompt


def written(renderer: Renderer, talk: Conversation) -> str:
    """The text of an example of the conversation."""
    return "".join(span.text for span in write(renderer, talk))


def prompt(renderer: Renderer, talk: Conversation) -> str:
    """What the model is shown before its turn."""
    return "".join(span.text for span in write_prompt(renderer, talk))


def trained(renderer: Renderer, talk: Conversation, mode: TrainOnWhat) -> str:
    """The trained text, `…` for what is not trained."""
    spans = write(renderer, talk)
    weights = weigh(renderer, talk, spans, mode)
    text = "".join(span.text if weight else "…" for span, weight in zip(spans, weights, strict=True))
    return re.sub("…+", "…", text)


def segments(spans: list[Span]) -> list[Segment]:
    """Spans as the tokenizer returns them: control tokens, and the texts between them."""
    out: list[Segment] = []
    for span in spans:
        if span.kind is SpanKind.CONTROL:
            out.append(Segment(SpanKind.CONTROL, span.text))
        elif out and out[-1].kind is SpanKind.MESSAGE:
            out[-1] = Segment(SpanKind.MESSAGE, out[-1].text + span.text)
        else:
            out.append(Segment(SpanKind.MESSAGE, span.text))
    return out


def sampled(renderer: Renderer, talk: Conversation) -> list[Segment]:
    """The last turn as it would be sampled: an example without the prompt before it."""
    before = prompt(renderer, talk[:-1])
    assert written(renderer, talk).startswith(before)
    rest, n = list[Span](), len(before)
    for span in write(renderer, talk):
        rest.append(span._replace(text=span.text[n:]))
        n = max(0, n - len(span.text))
    return segments([span for span in rest if span.text])


def turn(renderer: Renderer, text: str) -> list[Segment]:
    """A sampled turn as segments; the names of the renderer's control tokens in it become the tokens."""
    names = "|".join(re.escape(name) for name in renderer.controls)
    return [
        Segment(SpanKind.CONTROL if i % 2 else SpanKind.MESSAGE, piece)
        for i, piece in enumerate(re.split(f"({names})", text))
        if piece
    ]


def parsed(renderer: Renderer, text: str) -> Parsed:
    """A sampled turn, given as text, as a message."""
    return renderer.parse(turn(renderer, text))
