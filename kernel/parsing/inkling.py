"""Turns of messages by kind, as Inkling writes them: reasoning, text and calls, each a message of its own."""

from collections.abc import Iterator, Sequence

from kernel.chat_format.elements import SpanKind
from kernel.conversation import Message, Part, ToolCall, content_of
from kernel.formats.tool_syntax.inkling import read_inkling_call
from kernel.parsing.segments import BadCall, Parsed, Segment, ended, spelled

_CALLS = ("<|content_invoke_tool_json|>", "<|content_invoke_tool_text|>")


def parse_inkling(segments: Sequence[Segment]) -> Parsed:
    """A turn of messages, each opened by the model's token and its kind, up to the token that ends sampling.

    A call that was cut, or made in text, is reported and stays in the text, as does a message of a kind unknown.

    >>> control = lambda name: Segment(SpanKind.CONTROL, f"<|{name}|>")
    >>> text = lambda said: Segment(SpanKind.MESSAGE, said)
    >>> turn = [control("message_model"), control("content_thinking"), text("hm"), control("end_message"),
    ...         control("message_model"), control("content_text"), text("4"), control("end_message"),
    ...         control("content_model_end_sampling")]
    >>> parse_inkling(turn).message.content
    (Part(kind='thinking', text='hm'), Part(kind='text', text='4'))
    """
    body, termination = ended(segments, "<|content_model_end_sampling|>")
    parts, calls, bad = list[Part](), list[ToolCall](), list[BadCall]()
    for message, is_ended in _messages(body):
        at = next((i for i, one in enumerate(message) if one.kind is SpanKind.CONTROL), len(message))
        kind = message[at].text if at < len(message) else ""
        name, text, raw = spelled(message[:at]), spelled(message[at + 1 :]), spelled(message)
        if kind == "<|content_thinking|>":
            parts.append(Part("thinking", text))
        elif kind == "<|content_text|>":
            parts.append(Part("text", text))
        elif kind == "<|content_invoke_tool_json|>" and is_ended:
            call = read_inkling_call(name, text)
            calls += [call] if isinstance(call, ToolCall) else ()
            bad += [BadCall(raw, call)] if isinstance(call, str) else ()
        else:
            problem = "JSON, got text" if is_ended else "<|end_message|>, got the end of the turn"
            bad += [BadCall(raw, f"expected {problem}")] if kind in _CALLS else ()
            parts.append(Part("text", raw))
    return Parsed(Message("assistant", content_of(parts), tuple(calls)), termination, tuple(bad))


_OPEN, _END = Segment(SpanKind.CONTROL, "<|message_model|>"), Segment(SpanKind.CONTROL, "<|end_message|>")


def _messages(turn: Sequence[Segment]) -> Iterator[tuple[Sequence[Segment], bool]]:
    """The messages of a turn without the token that opens them, and whether each was ended."""
    start = 0
    for i in range(len(turn) + 1):
        if i < len(turn) and turn[i] != _END:
            continue
        message = turn[start:i]
        start = i + 1
        if message:
            yield message[message[0] == _OPEN :], i < len(turn)
