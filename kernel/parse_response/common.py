"""Sampled turns as segments, what they are parsed to, what all parsers share, and the parsers of text alone.

The shell finds the control ids and decodes the text between them, so a marker that the model only spelled in text is
text. What cannot be read stays in the text, and a broken call is reported beside the message.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from kernel.conversation import Message
from kernel.renderer_language.interpreter import SpanKind


class Segment(NamedTuple):
    """A control token by name, or the text between two of them. `kind` is CONTROL or MESSAGE."""

    kind: SpanKind
    text: str


class ParseTermination(StrEnum):
    """How a sampled turn ended."""

    STOP_SEQUENCE = "stop_sequence"
    EOS = "eos"  # where the format accepts it
    MALFORMED = "malformed"  # not ended (cut by the token limit), or more than once

    @property
    def is_clean(self) -> bool:
        """Whether the turn ended by itself."""
        return self is not ParseTermination.MALFORMED


class BadCall(NamedTuple):
    """A tool call that could not be read: its text as sampled, and what is wrong with it."""

    text: str
    error: str


class Parsed(NamedTuple):
    """A sampled turn as a message, how it ended, and the calls in it that could not be read."""

    message: Message
    termination: ParseTermination
    bad_calls: tuple[BadCall, ...] = ()


def control(name: str) -> Segment:
    """The segment of a control token."""
    return Segment(SpanKind.CONTROL, name)


def spelled(segments: Sequence[Segment]) -> str:
    """The segments as one text, control tokens spelled out."""
    return "".join(segment.text for segment in segments)


def ended(segments: Sequence[Segment], *stops: str, eos: str = "") -> tuple[Sequence[Segment], ParseTermination]:
    """The segments before the token that ends the turn (any of `stops`, or `eos`), and how the turn ended."""
    closers = (*stops, eos) if eos else stops
    ends = [i for i, segment in enumerate(segments) if segment.kind is SpanKind.CONTROL and segment.text in closers]
    if not ends:
        return segments, ParseTermination.MALFORMED
    clean = ParseTermination.EOS if segments[ends[0]].text == eos else ParseTermination.STOP_SEQUENCE
    return segments[: ends[0]], clean if len(ends) == 1 else ParseTermination.MALFORMED


def parse_plain(segments: Sequence[Segment], stop: str) -> Parsed:
    """A turn that is text alone, up to the control token `stop`."""
    body, termination = ended(segments, stop)
    return Parsed(Message("assistant", spelled(body)), termination)


def parse_text(segments: Sequence[Segment]) -> Parsed:
    """Text that nothing but a control token (EOS) ends."""
    text, is_ended = _text(segments)
    return Parsed(Message("assistant", text), ParseTermination.EOS if is_ended else ParseTermination.MALFORMED)


def parse_role_colon(segments: Sequence[Segment]) -> Parsed:
    r"""A turn that ends with the text `\n\nUser:`, or with a control token (EOS)."""
    text, is_ended = _text(segments)
    answer, *others = text.split("\n\nUser:")
    clean = ParseTermination.STOP_SEQUENCE if others else ParseTermination.EOS
    termination = clean if len(others) + is_ended == 1 else ParseTermination.MALFORMED
    return Parsed(Message("assistant", answer.removeprefix(" ").removesuffix("\n\n")), termination)


def _text(segments: Sequence[Segment]) -> tuple[str, bool]:
    """The text before a control token at the end, and whether there is one."""
    is_ended = bool(segments) and segments[-1].kind is SpanKind.CONTROL
    return spelled(segments[:-1] if is_ended else segments), is_ended
