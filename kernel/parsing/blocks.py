"""Turns of blocks: reasoning between think tokens, calls between tool_call tokens, text around them."""

from collections.abc import Callable, Sequence

from kernel.chat_format.elements import SpanKind
from kernel.conversation import Message, Part, ToolCall, content_of
from kernel.parsing.segments import BadCall, Parsed, Segment, ended, spelled


def parse_blocks(
    segments: Sequence[Segment],
    stop: str,
    read_call: Callable[[str], ToolCall | str],
    framed: bool,
    trims: bool = False,
    opened: bool = False,
    gap: str = "\n",
) -> Parsed:
    """A turn with reasoning between think tokens and calls between tool_call tokens, as Qwen and its kin write it.

    Args:
        segments: the sampled turn.
        stop: the control token that ends it.
        read_call: reads the text between the tool_call tokens.
        framed: whether newlines around the reasoning belong to the format rather than to the reasoning.
        trims: whether all white space at the ends of the reasoning does.
        opened: whether the prompt has opened the reasoning, so that the turn only closes it.
        gap: what the format writes between text and a call.

    Returns:
        A message whose content is a string where there was no reasoning. The gap before a call and a newline alone
        behind one are the format's. A block that nothing closes is text.

    >>> control = lambda name: Segment(SpanKind.CONTROL, name)
    >>> text = lambda said: Segment(SpanKind.MESSAGE, said)
    >>> turn = [control("<think>"), text("\\nhm\\n"), control("</think>"), text("\\n\\n4"), control("<|im_end|>")]
    >>> parse_blocks(turn, "<|im_end|>", lambda text: text, framed=True).message.content
    (Part(kind='thinking', text='hm'), Part(kind='text', text='4'))
    """
    body, termination = ended(segments, stop)
    if opened and _THINK not in body[:1] and _closing(body, -1, "</think>") is not None:
        body = [_THINK, *body]
    parts, calls, bad = list[Part](), list[ToolCall](), list[BadCall]()
    behind_block = False
    i = 0
    while i < len(body):
        opens = body[i].text if body[i].kind is SpanKind.CONTROL else ""
        closes = _closing(body, i, "</think>" if opens == "<think>" else "</tool_call>")
        if opens == "<think>" and closes:
            reasoning = spelled(body[i + 1 : closes])
            parts.append(Part("thinking", reasoning.strip(None if trims else "\n") if framed else reasoning))
            behind_block, i = framed, closes + 1
        elif opens == "<tool_call>" and closes:
            inside = spelled(body[i + 1 : closes])
            call = read_call(inside.strip())
            if isinstance(call, ToolCall):
                calls.append(call)
            else:
                bad.append(BadCall(f"<tool_call>{inside}</tool_call>", call))
            _drop_gap(parts, gap)
            i = closes + 1 + (_NEWLINE in body[closes + 1 : closes + 2])
        else:
            if opens == "<tool_call>":
                bad.append(BadCall(spelled(body[i:]), "expected </tool_call>, got the end of the turn"))
            parts.append(Part("text", body[i].text.lstrip("\n") if behind_block else body[i].text))
            behind_block, i = False, i + 1
    return Parsed(Message("assistant", content_of(parts), tuple(calls)), termination, tuple(bad))


_THINK = Segment(SpanKind.CONTROL, "<think>")
_NEWLINE = Segment(SpanKind.MESSAGE, "\n")


def _closing(body: Sequence[Segment], start: int, name: str) -> int | None:
    """Index of the next control token of that name, None when there is none."""
    return next((i for i in range(start + 1, len(body)) if body[i] == (SpanKind.CONTROL, name)), None)


def _drop_gap(parts: list[Part], gap: str) -> None:
    if parts and parts[-1].kind == "text":
        parts[-1] = Part("text", parts[-1].text.removesuffix(gap))
