"""Turns in sections: reasoning between think tokens, text, and calls at the end, as DeepSeek and GLM write them."""

from collections.abc import Callable, Iterator, Sequence

from kernel.chat_format.elements import SpanKind
from kernel.conversation import Message, Part, ToolCall, content_of
from kernel.parsing.marks import Read
from kernel.parsing.segments import BadCall, Parsed, Segment, ended, spelled


def parse_sections(
    segments: Sequence[Segment],
    stops: Sequence[str],
    read_calls: Callable[[Sequence[Segment]], Read],
    opened: bool = False,
    eos: str = "",
) -> Parsed:
    """A turn that reasons, speaks and calls tools, every character of it kept as it is.

    Args:
        segments: the sampled turn.
        stops: the control tokens that end it.
        read_calls: takes the calls out of what stands outside of the reasoning.
        opened: whether the prompt has opened the reasoning, so that the turn only closes it.
        eos: the token that ends a turn without saying whose is next.

    >>> control = lambda name: Segment(SpanKind.CONTROL, name)
    >>> text = lambda said: Segment(SpanKind.MESSAGE, said)
    >>> turn = [text("hm"), control("</think>"), text("4"), control("<|user|>")]
    >>> parse_sections(turn, ["<|user|>"], lambda run: Read(spelled(run)), opened=True).message.content
    (Part(kind='thinking', text='hm'), Part(kind='text', text='4'))
    """
    body, termination = ended(segments, *stops, eos=eos)
    if opened and _OPENS not in body[:1] and _CLOSES in body:
        body = [_OPENS, *body]
    parts, calls, bad = list[Part](), list[ToolCall](), list[BadCall]()
    for is_reasoning, run in _sections(body):
        if is_reasoning:
            parts.append(Part("thinking", spelled(run)))
        else:
            read = read_calls(run)
            parts.append(Part("text", read.text))
            calls += read.calls
            bad += read.bad_calls
    return Parsed(Message("assistant", content_of(parts), tuple(calls)), termination, tuple(bad))


_OPENS, _CLOSES = Segment(SpanKind.CONTROL, "<think>"), Segment(SpanKind.CONTROL, "</think>")


def _sections(body: Sequence[Segment]) -> Iterator[tuple[bool, Sequence[Segment]]]:
    """What stands between think tokens and outside of them, in order; a block that nothing closes is outside."""
    while _OPENS in body and _CLOSES in body[body.index(_OPENS) :]:
        opens = body.index(_OPENS)
        closes = body.index(_CLOSES, opens)
        yield False, body[:opens]
        yield True, body[opens + 1 : closes]
        body = body[closes + 1 :]
    yield False, body
