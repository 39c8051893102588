"""Turns that are text alone: up to a control token, or up to the words that open the next turn."""

from collections.abc import Sequence

from kernel.chat_format.elements import SpanKind
from kernel.conversation import Message
from kernel.parsing.segments import Parsed, ParseTermination, Segment, ended, spelled


def parse_plain(segments: Sequence[Segment], stop: str) -> Parsed:
    """A turn that is text alone, up to the control token `stop`.

    >>> turn = [Segment(SpanKind.MESSAGE, "4"), Segment(SpanKind.CONTROL, "<|eot_id|>")]
    >>> parse_plain(turn, "<|eot_id|>").message.content
    '4'
    """
    body, termination = ended(segments, stop)
    return Parsed(Message("assistant", spelled(body)), termination)


def parse_text(segments: Sequence[Segment]) -> Parsed:
    """Text that nothing but a control token (EOS) ends.

    >>> parse_text([Segment(SpanKind.MESSAGE, "4"), Segment(SpanKind.CONTROL, "<eos>")]).message.content
    '4'
    """
    eos = bool(segments) and segments[-1].kind is SpanKind.CONTROL
    termination = ParseTermination.EOS if eos else ParseTermination.MALFORMED
    return Parsed(Message("assistant", spelled(segments[:-1] if eos else segments)), termination)


def parse_role_colon(segments: Sequence[Segment]) -> Parsed:
    r"""A turn of the plain-text format: it ends with the text `\n\nUser:`, or with a control token (EOS).

    >>> parsed = parse_role_colon([Segment(SpanKind.MESSAGE, " 4\n\nUser:")])
    >>> parsed.message.content, str(parsed.termination)
    ('4', 'stop_sequence')
    """
    eos = bool(segments) and segments[-1].kind is SpanKind.CONTROL
    said, *others = spelled(segments[:-1] if eos else segments).split("\n\nUser:")
    if not others:
        termination = ParseTermination.EOS if eos else ParseTermination.MALFORMED
    else:
        termination = ParseTermination.STOP_SEQUENCE if len(others) == 1 and not eos else ParseTermination.MALFORMED
    return Parsed(Message("assistant", said.removeprefix(" ").removesuffix("\n\n")), termination)
