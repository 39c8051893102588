"""Turns in sections: reasoning between think tokens, text, and calls that a regular expression reads.

A decoded text never holds a lone surrogate. So each control token of a syntax becomes one (a mark), and a pattern does
not mistake text that merely spells the token for it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kernel.conversation import Message, Part, ToolCall, content_of
from kernel.parse_response.common import BadCall, Parsed, Segment, control, ended, spelled
from kernel.renderer_language.interpreter import SpanKind

MARKS = tuple(map(chr, range(0xD800, 0xD810)))
"""The marks of the control tokens of a syntax, in the order in which it names them."""

PLAIN = "[^\ud800-\udfff]*"
"""A pattern of text: anything without a mark."""


class Read(NamedTuple):
    """What was read of a stretch of a turn: its text, its calls, and the calls in it that could not be read."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    bad_calls: tuple[BadCall, ...] = ()


def parse_sections(
    segments: Sequence[Segment],
    stops: Sequence[str],
    read_calls: Callable[[Sequence[Segment]], Read],
    opened: bool = False,
    eos: str = "",
) -> Parsed:
    """A turn as DeepSeek, GLM and Kimi K2 write it, up to one of `stops`; text and reasoning are kept as they are."""
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


_OPENS, _CLOSES = control("<think>"), control("</think>")


def _sections(body: Sequence[Segment]) -> Iterator[tuple[bool, Sequence[Segment]]]:
    """The runs inside and outside of think tokens, in order; a block that nothing closes is outside."""
    while _OPENS in body and _CLOSES in body[body.index(_OPENS) :]:
        opens = body.index(_OPENS)
        closes = body.index(_CLOSES, opens)
        yield False, body[:opens]
        yield True, body[opens + 1 : closes]
        body = body[closes + 1 :]
    yield False, body


def marked(segments: Sequence[Segment], names: Sequence[str]) -> str:
    """The segments as one text, with a mark for each of these control tokens; other control tokens are spelled out."""
    marks = dict(zip(names, MARKS, strict=False))
    return "".join(marks.get(s.text, s.text) if s.kind is SpanKind.CONTROL else s.text for s in segments)


def unmarked(text: str, names: Sequence[str]) -> str:
    """The text with its control tokens spelled out again."""
    for mark, name in zip(MARKS, names, strict=False):
        text = text.replace(mark, name)
    return text


def read_matches(
    pattern: re.Pattern[str], text: str, names: Sequence[str], read_call: Callable[..., ToolCall | str]
) -> Read:
    """Each match of the pattern in a marked text, read as a call from its groups. `text` is the rest, still marked."""
    read = [(match[0], read_call(*match.groups())) for match in pattern.finditer(text)]
    calls = tuple(call for _, call in read if isinstance(call, ToolCall))
    bad = tuple(BadCall(unmarked(whole, names), call) for whole, call in read if isinstance(call, str))
    return Read(pattern.sub("", text), calls, bad)


def left_open(text: str, names: Sequence[str], closes: str) -> tuple[BadCall, ...]:
    """The call that a marked text begins and does not end: everything from its first mark on."""
    at = min((text.index(mark) for mark in MARKS if mark in text), default=None)
    return () if at is None else (BadCall(unmarked(text[at:], names), f"expected {closes}, got the end of the turn"),)


_SECTION = re.compile("{0}([^{0}{1}]*){1}".format(*MARKS))
_CALL = re.compile("{2}({plain}){3}({plain}){4}".format(*MARKS, plain=PLAIN))


def read_section(
    segments: Sequence[Segment], names: Sequence[str], read_call: Callable[[str, str], ToolCall | str]
) -> Read:
    """The calls of the sections there are (a format writes one), and the text around them."""
    text = marked(segments, names)
    around = _SECTION.sub("", text)
    rest, calls, bad = read_matches(_CALL, "".join(_SECTION.findall(text)), names, read_call)
    if rest.strip():
        form = f"{names[2]}...{names[3]}...{names[4]}"
        bad += (BadCall(unmarked(rest, names), f"expected {form}, got something else"),)
    return Read(unmarked(around, names), calls, (*bad, *left_open(around, names, names[1])))
