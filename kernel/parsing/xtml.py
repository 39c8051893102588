"""Turns of elements, as Kimi K3 writes them: reasoning, an answer, and calls, each between an open and a close tag."""

import re
from collections.abc import Sequence

from kernel.conversation import Message, Part, ToolCall, content_of
from kernel.formats.tool_syntax.xtml import CONTROLS, read_xtml_calls
from kernel.parsing.marks import MARKS, left_open, marked, unmarked
from kernel.parsing.segments import BadCall, Parsed, Segment, ended

_OPEN, _CLOSE, _SEP = MARKS[: len(CONTROLS)]
_ELEMENT = re.compile(f"{_OPEN}(think|response|tools){_SEP}(.*?){_CLOSE}\\1{_SEP}", re.DOTALL)
_END = f"{_CLOSE}message{_SEP}"


def parse_xtml(segments: Sequence[Segment], opened: str) -> Parsed:
    """A turn whose prompt has opened an element ("think" or "response"), up to the end of its message.

    What stands in no element, or in one that nothing closes, is text; calls in it that cannot be read are reported.

    >>> from kernel.chat_format.elements import SpanKind
    >>> names = ["close", "think", "sep", "open", "response", "sep", "4", "close", "response", "sep", "end_of_msg"]
    >>> turn = [Segment(SpanKind.CONTROL, f"<|{name}|>") if name in ("open", "close", "sep", "end_of_msg")
    ...         else Segment(SpanKind.MESSAGE, name) for name in ["hm", *names]]
    >>> parse_xtml(turn, "think").message.content
    (Part(kind='thinking', text='hm'), Part(kind='text', text='4'))
    """
    body, termination = ended(segments, "<|end_of_msg|>")
    said = marked(body, CONTROLS).removesuffix(_END)
    opening = "" if said.startswith(_OPEN) else f"{_OPEN}{opened}{_SEP}"
    turn = opening + said
    parts, calls, bad = list[Part](), list[ToolCall](), list[BadCall]()
    end = 0
    for element in _ELEMENT.finditer(turn):
        parts.append(Part("text", unmarked(turn[end : element.start()], CONTROLS)))
        text, end = element[2], element.end()
        if element[1] == "tools":
            read = read_xtml_calls(text)
            calls += read.calls
            bad += read.bad_calls
            text = read.text if read.text.strip() else ""
            bad += [BadCall(unmarked(text, CONTROLS), "expected calls, got something else")] if text else ()
        parts.append(Part("thinking" if element[1] == "think" else "text", unmarked(text, CONTROLS)))
    rest = turn[end:] if end else said
    bad += left_open(rest[rest.index(_TOOLS) :], CONTROLS, "<|close|>tools<|sep|>") if _TOOLS in rest else ()
    parts.append(Part("text", unmarked(rest.removeprefix(_RESPONSE), CONTROLS)))
    return Parsed(Message("assistant", content_of(parts), tuple(calls)), termination, tuple(bad))


_TOOLS, _RESPONSE = (f"{_OPEN}{name}{_SEP}" for name in ("tools", "response"))
