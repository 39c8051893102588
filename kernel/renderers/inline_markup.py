"""A format's own markup, typed in text: calls, results and reasoning are read where it is certain what they say.

What is not certain stays text, as all text of data does, and `literal_controls` counts it.
"""

import ast
import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import is_
from typing import NamedTuple

from kernel.conversation import (
    Conversation,
    Message,
    Origin,
    Part,
    ToolCall,
    TracedConversation,
    content_of,
    has_part_weights,
    parts_of,
    split_inline_reasoning,
    text_of,
    unweighted_content,
    weighted_like,
)
from kernel.errors import problem
from kernel.parse_response.common import Parsed, Segment, control
from kernel.renderer_language.interpreter import SpanKind, flat
from kernel.renderer_language.pieces import Calls, Reasoning, Renderer
from kernel.renderers.tool_syntax import declares_again


class OwnMarkup(NamedTuple):
    """What a format reads of a typed turn: its control tokens, what it has a place for, and its parser."""

    controls: re.Pattern[str] | None
    stops: tuple[str, ...] = ()
    reasons: bool = False
    calls: bool = False
    closed: bool = False  # its prompt closes the block of reasoning
    parse: Callable[[Sequence[Segment]], Parsed] | None = None


def pattern_of(controls: Sequence[str]) -> re.Pattern[str] | None:
    """What finds control tokens in text, None where there are none."""
    names = sorted(controls, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None


@lru_cache(maxsize=256)
def own_markup(renderer: Renderer) -> OwnMarkup:
    """The markup of a renderer of pieces."""
    pieces = flat(renderer.rows.get("assistant", ()))
    reasons, calls = (any(isinstance(piece, kind) for piece in pieces) for kind in (Reasoning, Calls))
    closed = renderer.refuses_reasoning
    return OwnMarkup(pattern_of(renderer.controls), renderer.stops, reasons, calls, closed, renderer.parse)


def read_own_markup(markup: OwnMarkup, conversation: Conversation) -> Conversation:
    """The conversation with typed calls, results and reasoning in their own fields, and tools declared once.

    >>> from kernel.renderers.qwen3 import QWEN3
    >>> typed = '<tool_call>\\n{"name": "f", "arguments": {"a": 2.50}}\\n</tool_call>'
    >>> read_own_markup(own_markup(QWEN3), (Message("assistant", typed),))[0].tool_calls
    (ToolCall(name='f', arguments='{"a": 2.50}', id=''),)
    """
    for message in conversation:  # the common case, kept fast
        content = message.content
        if type(content) is not str or "<" in content:
            break
    else:
        return conversation
    if not any(_may_hold_markup(markup, message.content) for message in conversation):
        return conversation
    has_tools = any(
        m.role == "tool" or m.tools or (m.role == "system" and "<tools>" in text_of(m)) for m in conversation
    )
    out, sources = list[Message](), list[int]()
    for i, given in enumerate(conversation):
        weighs = has_part_weights(given)
        message = given._replace(content=unweighted_content(given)) if weighs else given  # weights change no reading
        read = [message]
        if message.role == "assistant":
            read = [_turn(markup, message, has_tools)]
        elif message.role == "tool" or (message.role == "user" and out and out[-1].tool_calls):
            read = _results(message) if markup.calls else read
        elif message.tools:
            read = [message._replace(tools=())] if declares_again(message) else read
        if weighs:
            read = [given if read[0] is message else _weighted(read, given, i)]
        out += read
        sources += [i] * len(read)
    if len(out) == len(conversation) and all(map(is_, out, conversation)):
        return conversation
    origins = getattr(conversation, "origins", None) or [Origin(("messages", i)) for i in range(len(conversation))]
    traced = TracedConversation(out)
    traced.origins = [origins[i] for i in sources]
    return traced


def _weighted(read: Sequence[Message], given: Message, i: int) -> Message:
    """The reading of a message with the weights of its parts, which are those of texts and reasoning alone."""
    if len(read) > 1 or read[0].role != given.role or read[0].tool_calls != given.tool_calls:
        reason = "a part with a weight of its own holds a call or a result: write it in its own field"
        raise problem(reason, path=("messages", i, "content"))
    return given._replace(tools=()) if read[0].tools != given.tools else weighted_like(read[0], given)


def _may_hold_markup(markup: OwnMarkup, content: str | tuple[Part, ...]) -> bool:
    if isinstance(content, str):
        return "<" in content
    return any("<" in part.text or (markup.closed and part.kind == "thinking") for part in content)


def literal_controls(markup: OwnMarkup, message: Message) -> bool:
    """Whether a message's text spells a control token of the format, which stays text."""
    return markup.controls is not None and any(
        markup.controls.search(part.text) for part in parts_of(message) if part.kind != "image"
    )


def _turn(markup: OwnMarkup, message: Message, has_tools: bool) -> Message:
    """The assistant's message with what it typed read; the message itself where nothing is certain."""
    message = _without_blank_reasoning(message) if markup.closed else message
    split = _split_reasoning(message) if markup.reasons else message
    parts = parts_of(split)
    texts = [part for part in parts if part.kind == "text"]
    if len(texts) != 1 or parts[-1].kind != "text":
        return split if _closes_alone(message) else message
    text = texts[0].text
    read = _json_calls(markup, text, has_tools) if _JSON_OPENS.search(text) else _native(markup, text)
    if read is None and split is not message:  # a block was read, so an end of the turn was typed with it
        stop = next((stop for stop in markup.stops if text.rstrip().endswith(stop)), "")
        said = text.rstrip().removesuffix(stop) if stop else text
        whole = split._replace(content=content_of((*parts[:-1], texts[0]._replace(text=said))))
        return whole if stop or _closes_alone(message) else message
    if read is None:
        return message
    if any(part.kind == "thinking" for part in parts_of(read)) and len(parts) > 1:
        return message
    if message.tool_calls and not _same_calls(message.tool_calls, read.tool_calls):
        return message
    content = content_of((*parts[:-1], *parts_of(read)))
    return message._replace(content=content, tool_calls=message.tool_calls or read.tool_calls)


def _without_blank_reasoning(message: Message) -> Message:
    """The message without reasoning that says nothing, which a closed block would refuse."""
    parts = parts_of(message)
    kept = [part for part in parts if part.kind != "thinking" or part.text.strip()]
    return message if len(kept) == len(parts) else message._replace(content=content_of(kept))


_CLOSE = "</think>"


def _closes_alone(message: Message) -> bool:
    """Whether a turn closes a block that its prompt has opened; a tag in quotes is only mentioned."""
    text = message.content
    if not isinstance(text, str) or text.count(_CLOSE) != 1 or "<think>" in text:
        return False
    before, _, after = text.partition(_CLOSE)
    return before[-1:] not in _QUOTES and (before + after).strip() != ""


_QUOTES = ("'", '"', "`")


def _split_reasoning(message: Message) -> Message:
    if _closes_alone(message):
        message = message._replace(content=f"<think>{message.content}")
    return split_inline_reasoning(message)


_JSON_OPENS = re.compile(r"<tool_call>\s*\{")
_JSON_CALL = re.compile(r"\s*<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


def _json_calls(markup: OwnMarkup, text: str, has_tools: bool) -> Message | None:
    """A turn that ends in calls as JSON between tags (Hermes); None where it does not, or one cannot be read."""
    is_own = markup.controls is not None and markup.controls.fullmatch("<tool_call>")
    start = text.find("<tool_call>")
    if start < 0 or not markup.calls or not (is_own or has_tools):
        return None
    calls, end = list[ToolCall](), start
    while found := _JSON_CALL.match(text, end):
        call = _json_call(found[1])
        if call is None:
            return None
        calls.append(call)
        end = found.end()
    said = text[:start]
    if "<think>" in said or _CLOSE in said:
        return None
    rest = text[end:].strip()
    if not calls or (rest and rest not in markup.stops) or (markup.controls and markup.controls.search(said)):
        return None
    return Message("assistant", said.removesuffix("\n") if said.strip() else "", tuple(calls))


_DECODER = json.JSONDecoder()
_ARGUMENTS = re.compile(r'"arguments"\s*:\s*')


def _json_call(source: str) -> ToolCall | None:
    """The call that an object of name and arguments makes, its arguments as they are written where they are JSON."""
    try:
        value = json.loads(source)
    except (ValueError, RecursionError):
        value = _literal(source)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        return None
    arguments = value.get("arguments")
    if not isinstance(arguments, dict) or set(value) - {"name", "arguments", "id", "type"}:
        return None
    written = json.dumps(arguments, ensure_ascii=False)
    for found in _ARGUMENTS.finditer(source):
        try:
            own, end = _DECODER.raw_decode(source, found.end())
        except (ValueError, RecursionError):
            break
        if own == arguments:
            written = source[found.end() : end]
            break
    call_id = value.get("id")
    return ToolCall(value["name"], written, call_id if isinstance(call_id, str) else "")


def _literal(source: str) -> object:
    """An object as Python writes it, as the first Hermes data has it; None for what would not be JSON."""
    try:
        value: object = ast.literal_eval(source)
        return json.loads(json.dumps(value, allow_nan=False)) if isinstance(value, dict) else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _native(markup: OwnMarkup, text: str) -> Message | None:
    """A turn as the format itself writes it, read by its own parser; None where that leaves anything open."""
    controls = markup.controls
    found = set(controls.findall(text)) - set(markup.stops) if controls else set()
    if not found or "<think>" in text or _CLOSE in text or markup.parse is None or controls is None:
        return None
    pieces = controls.split(text.rstrip() if text.rstrip().endswith(markup.stops) else text)
    segments = [Segment(SpanKind.CONTROL if i % 2 else SpanKind.MESSAGE, p) for i, p in enumerate(pieces) if p]
    if segments[-1].text not in markup.stops or segments[-1].kind is not SpanKind.CONTROL:
        segments.append(control(markup.stops[0]))
    message, termination, bad = markup.parse(segments)
    if bad or not termination.is_clean or literal_controls(markup, message):
        return None
    if any(_is_quoted(call, text) for call in message.tool_calls):
        return None
    said = text_of(message)
    if message.tool_calls and said.strip():  # the format writes its text before its calls
        name, at = message.tool_calls[0].name, text.find(said.strip())
        if at < 0 or 0 <= text.find(name) < at or text.find(name, at + len(said.strip())) < 0:
            return None
    if said and not said.strip():
        message = message._replace(content=content_of([p for p in parts_of(message) if p.kind != "text"]))
    return message


def _is_quoted(call: ToolCall, text: str) -> bool:
    """Whether an argument was typed as a JSON string in an element, where texts are as they are: it may mean either."""
    values = [value for value in json.loads(call.arguments).values() if isinstance(value, str)]
    quoted = [re.escape(json.dumps(value, ensure_ascii=False)) for value in values]
    return any(re.search(rf">\s*{one}\s*</(?:parameter|arg_value)>", text) for one in quoted)


def _same_calls(given: Sequence[ToolCall], typed: Sequence[ToolCall]) -> bool:
    return [(c.name, json.loads(c.arguments)) for c in given] == [(c.name, json.loads(c.arguments)) for c in typed]


_RESULT = re.compile(r"\s*<tool_response>\n?(.*?)\n?</tool_response>\s*", re.DOTALL)


def _results(message: Message) -> list[Message]:
    """The results between tags, a message each; the message itself where its text is anything else."""
    text = message.content
    if not isinstance(text, str) or "<tool_response>" not in text:
        return [message]
    inner, end = list[str](), 0
    while found := _RESULT.match(text, end):
        inner.append(found[1])
        end = found.end()
    if end < len(text) or any("<tool_response>" in one for one in inner) or (len(inner) > 1 and message.tool_call_id):
        return [message]
    return [message._replace(role="tool", content=one) for one in inner]
