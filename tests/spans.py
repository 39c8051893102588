"""Spans and weights of single conversations, read off their programs."""

from functools import lru_cache

from kernel.conversation import Conversation
from kernel.enums import TrainOnWhat
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.spans import Span, spans
from kernel.renderer_language.pieces import Renderer


@lru_cache(maxsize=512)
def _batch_renderer(renderer: Renderer) -> BatchRenderer:
    return BatchRenderer(renderer, split_turns=False)


def write(renderer: Renderer, talk: Conversation) -> list[Span]:
    """The spans of a conversation as one example, none of them weighed."""
    plain = tuple(message._replace(trainable=None) for message in talk)
    program = _batch_renderer(renderer).render([plain], TrainOnWhat.ALL_MESSAGES)
    return [span._replace(weight=0.0) for span in spans(program)]


def write_prompt(renderer: Renderer, talk: Conversation, prefill: str = "") -> list[Span]:
    """The spans of the prompt before the turn that follows."""
    return spans(_batch_renderer(renderer).prompts([talk], prefill))


def weigh(renderer: Renderer, talk: Conversation, written: list[Span], mode: TrainOnWhat) -> list[float]:
    """The weights of the spans that `write` gave for the conversation."""
    weighed = spans(_batch_renderer(renderer).render([talk], mode))
    assert [span._replace(weight=0.0) for span in weighed] == written
    return [span.weight for span in weighed]
