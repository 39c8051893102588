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
    """Text that nothing but a control token (EOS) ends."""
    text, is_ended = _text(segments)
    return Parsed(Message("assistant", text), ParseTermination.EOS if is_ended else ParseTermination.MALFORMED)


def parse_role_colon(segments: Sequence[Segment]) -> Parsed:
    r"""A turn that ends with the text `\n\nUser:`, or with a control token (EOS).

    >>> parsed = parse_role_colon([Segment(SpanKind.MESSAGE, " 4\n\nUser:")])
    >>> parsed.message.content, str(parsed.termination)
    ('4', 'stop_sequence')
    """
    text, is_ended = _text(segments)
    answer, *others = text.split("\n\nUser:")
    clean = ParseTermination.STOP_SEQUENCE if others else ParseTermination.EOS
    termination = clean if len(others) + is_ended == 1 else ParseTermination.MALFORMED
    return Parsed(Message("assistant", answer.removeprefix(" ").removesuffix("\n\n")), termination)


def _text(segments: Sequence[Segment]) -> tuple[str, bool]:
    """The text before a control token at the end, and whether there is one."""
    is_ended = bool(segments) and segments[-1].kind is SpanKind.CONTROL
    return spelled(segments[:-1] if is_ended else segments), is_ended
