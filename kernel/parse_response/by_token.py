"""Turns of blocks: reasoning between think tokens, calls between tool_call tokens, text around them."""

from collections.abc import Callable, Sequence

from kernel.conversation import Message, Part, ToolCall, content_of
from kernel.parse_response.common import BadCall, Parsed, Segment, control, ended, spelled
from kernel.renderer_language.interpreter import SpanKind

_THINK = control("<think>")
_NEWLINE = Segment(SpanKind.MESSAGE, "\n")


def parse_blocks(
    segments: Sequence[Segment],
    stop: str,
    read_call: Callable[[str], ToolCall | str],
    framed: bool,
    trims: bool = False,
    opened: bool = False,
    gap: str = "\n",
) -> Parsed:
    """A turn as Qwen and Nemotron write it, up to `stop`. A block that nothing closes is text."""
    body, termination = ended(segments, stop)
    if opened and _THINK not in body[:1] and _closing(body, -1, "</think>") is not None:
        body = [_THINK, *body]
    parts, calls, bad = list[Part](), list[ToolCall](), list[BadCall]()
    after_block = False
    i = 0
    while i < len(body):
        opens = body[i].text if body[i].kind is SpanKind.CONTROL else ""
        closes = _closing(body, i, "</think>" if opens == "<think>" else "</tool_call>")
        if opens == "<think>" and closes:
            reasoning = spelled(body[i + 1 : closes])
            parts.append(Part("thinking", reasoning.strip(None if trims else "\n") if framed else reasoning))
            after_block, i = framed, closes + 1
        elif opens == "<tool_call>" and closes:
            inside = spelled(body[i + 1 : closes])
            call = read_call(inside.strip())
            if isinstance(call, ToolCall):
                calls.append(call)
            else:
                bad.append(BadCall(f"<tool_call>{inside}</tool_call>", call))
            if parts and parts[-1].kind == "text":
                parts[-1] = Part("text", parts[-1].text.removesuffix(gap))
            i = closes + 1 + (_NEWLINE in body[closes + 1 : closes + 2])
        else:
            if opens == "<tool_call>":
                bad.append(BadCall(spelled(body[i:]), "expected </tool_call>, got the end of the turn"))
            parts.append(Part("text", body[i].text.lstrip("\n") if after_block else body[i].text))
            after_block, i = False, i + 1
    return Parsed(Message("assistant", content_of(parts), tuple(calls)), termination, tuple(bad))


def _closing(body: Sequence[Segment], start: int, name: str) -> int | None:
    """Index of the next control token of that name, None when there is none."""
    return next((i for i in range(start + 1, len(body)) if body[i] == (SpanKind.CONTROL, name)), None)
