"""Turns of messages in channels, as gpt-oss writes them: reasoning, calls to functions, and what the user reads."""

import re
from collections.abc import Iterator, Sequence

from kernel.chat_format.elements import SpanKind
from kernel.conversation import Message, Part, ToolCall, content_of
from kernel.formats.tool_syntax.harmony import read_harmony_call
from kernel.parsing.segments import BadCall, Parsed, Segment, ended, spelled


def parse_harmony(segments: Sequence[Segment]) -> Parsed:
    """A turn behind `<|start|>assistant`: messages of a header, `<|message|>` and a body, ended by a token each.

    The analysis channel is reasoning, a message to `functions.<name>` is a call (it may name its recipient before the
    channel or behind it), and all else is text. Of a turn that was cut, what is there is kept; a call that was cut is
    reported and stays in the text.

    >>> control = lambda name: Segment(SpanKind.CONTROL, name)
    >>> text = lambda said: Segment(SpanKind.MESSAGE, said)
    >>> turn = [control("<|channel|>"), text("analysis"), control("<|message|>"), text("hm"), control("<|end|>"),
    ...         control("<|start|>"), text("assistant to=functions.add"), control("<|channel|>"), text("commentary"),
    ...         control("<|message|>"), text('{"a": 1}'), control("<|call|>")]
    >>> parse_harmony(turn).message.content, parse_harmony(turn).message.tool_calls[0].name
    ((Part(kind='thinking', text='hm'),), 'add')
    """
    body, termination = ended(segments, "<|return|>", "<|call|>")
    parts, calls, bad = list[Part](), list[ToolCall](), list[BadCall]()
    for header, text, is_ended in _messages(body, is_stopped=len(body) < len(segments)):
        recipient, raw = _recipient(header), spelled(header) if text is None else f"{spelled(header)}<|message|>{text}"
        is_call = recipient.startswith("functions.")
        call = read_harmony_call(recipient, text) if is_call and text is not None and is_ended else None
        if isinstance(call, ToolCall):
            calls.append(call)
        elif is_call:
            bad.append(BadCall(raw, call or "expected <|call|>, got the end of the turn"))
        if text is None or (is_call and not is_ended):
            parts.append(Part("text", raw))
        elif not is_call:
            parts.append(Part("thinking" if _channel(header) == "analysis" else "text", text))
    return Parsed(Message("assistant", content_of(parts), tuple(calls)), termination, tuple(bad))


_START, _MESSAGE, _END, _CHANNEL = (
    Segment(SpanKind.CONTROL, f"<|{name}|>") for name in ("start", "message", "end", "channel")
)


def _messages(turn: Sequence[Segment], is_stopped: bool) -> Iterator[tuple[Sequence[Segment], str | None, bool]]:
    """The messages of a turn: header, body (None for what has none), and whether it was ended."""
    start = 0
    for i in range(len(turn) + 1):
        is_end = i == len(turn)
        if not is_end and turn[i] not in (_START, _END):
            continue
        message = turn[start:i]
        if start and turn[start - 1] == _START and message and message[0].text == "assistant":
            message = message[1:]
        start = i + 1
        if _MESSAGE in message:
            at = message.index(_MESSAGE)
            yield message[:at], spelled(message[at + 1 :]), not is_end or is_stopped
        elif message:
            yield message, None, False


_RECIPIENT = re.compile(r"(?:^|\s)to=(\S+)")


def _recipient(header: Sequence[Segment]) -> str:
    found = (_RECIPIENT.search(segment.text) for segment in header if segment.kind is SpanKind.MESSAGE)
    return next((match[1] for match in found if match), "")


def _channel(header: Sequence[Segment]) -> str:
    """The first word behind the channel token."""
    words = header[header.index(_CHANNEL) + 1 :] if _CHANNEL in header else ()
    return (words[0].text.split() or [""])[0] if words else ""
