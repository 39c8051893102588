"""Control tokens as single characters, so that a regular expression can read what a model sampled.

A decoded text never holds a lone surrogate. So each control token that a syntax is made of becomes one, and a pattern
can tell the token from text that merely spells it.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kernel.chat_format.elements import SpanKind
from kernel.conversation import ToolCall
from kernel.parsing.segments import BadCall, Segment

MARKS = tuple(map(chr, range(0xD800, 0xD810)))
"""What stands for the control tokens of a syntax, in the order in which it names them."""

PLAIN = "[^\ud800-\udfff]*"
"""A pattern of text: anything without a mark."""


class Read(NamedTuple):
    """What was read of a stretch of a turn: its text, its calls, and the calls in it that could not be read."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    bad_calls: tuple[BadCall, ...] = ()


def marked(segments: Sequence[Segment], names: Sequence[str]) -> str:
    """The segments as one text, with a mark for each of these control tokens; other control tokens are spelled out.

    >>> marked([Segment(SpanKind.MESSAGE, "<sep>"), Segment(SpanKind.CONTROL, "<sep>")], ["<sep>"])
    '<sep>\\ud800'
    """
    marks = dict(zip(names, MARKS, strict=False))
    return "".join(marks.get(s.text, s.text) if s.kind is SpanKind.CONTROL else s.text for s in segments)


def unmarked(text: str, names: Sequence[str]) -> str:
    """The text with its control tokens spelled out again.

    >>> unmarked("4\\ud800", ["<sep>"])
    '4<sep>'
    """
    for mark, name in zip(MARKS, names, strict=False):
        text = text.replace(mark, name)
    return text


def left_open(text: str, names: Sequence[str], closes: str) -> tuple[BadCall, ...]:
    """The call that a marked text has begun and not ended: everything from its first mark on.

    >>> left_open("4\\ud800add", ["<call>"], "</call>")
    (BadCall(text='<call>add', error='expected </call>, got the end of the turn'),)
    """
    at = min((text.index(mark) for mark in MARKS if mark in text), default=None)
    return () if at is None else (BadCall(unmarked(text[at:], names), f"expected {closes}, got the end of the turn"),)


_OPENS, _CLOSES, _BEGIN, _SEP, _END = MARKS[:5]
_SECTION = re.compile(f"{_OPENS}([^{_OPENS}{_CLOSES}]*){_CLOSES}")
_CALL = re.compile(f"{_BEGIN}({PLAIN}){_SEP}({PLAIN}){_END}")


def read_section(
    segments: Sequence[Segment], names: Sequence[str], read_call: Callable[[str, str], ToolCall | str]
) -> Read:
    """The calls of the sections there are (a format writes one), and the text around them.

    A section without an end stays in the text. What stands in a section and is no call is reported.

    Args:
        segments: what the model sampled outside of its reasoning.
        names: the control tokens that open and close a section, begin a call, part its two texts, and end it.
        read_call: reads the two texts.

    >>> names = ("<s>", "</s>", "<c>", "<sep>", "</c>")
    >>> control = lambda name: Segment(SpanKind.CONTROL, name)
    >>> call = [control("<c>"), Segment(SpanKind.MESSAGE, "add"), control("<sep>"), control("</c>")]
    >>> turn = [control("<s>"), *call, control("</s>")]
    >>> read_section(turn, names, lambda name, arguments: ToolCall(name, arguments or "{}")).calls
    (ToolCall(name='add', arguments='{}', id=''),)
    """
    text = marked(segments, names)
    inside, around = "".join(_SECTION.findall(text)), _SECTION.sub("", text)
    calls, bad = list[ToolCall](), list[BadCall]()
    for match in _CALL.finditer(inside):
        call = read_call(match[1], match[2])
        if isinstance(call, ToolCall):
            calls.append(call)
        else:
            bad.append(BadCall(unmarked(match[0], names), call))
    rest = _CALL.sub("", inside)
    if rest.strip():
        form = f"{names[2]}...{names[3]}...{names[4]}"
        bad.append(BadCall(unmarked(rest, names), f"expected {form}, got something else"))
    bad += left_open(around, names, names[1])
    return Read(unmarked(around, names), tuple(calls), tuple(bad))
