"""Strict reader of chat rows: `read_conversation` turns a row of JSON into messages.

What it does not understand is refused with its path; only keys that carry no content (`id`, `source`, ...) are ignored,
as a field that is silently lost makes a wrong training example.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from kernel.conversation import (
    Conversation,
    Message,
    Origin,
    Part,
    PartKind,
    ToolCall,
    ToolSpec,
    TracedConversation,
    at_origin,
    content_of,
    parts_of,
)
from kernel.errors import InputError, expected, problem

T = TypeVar("T")


def read_conversation(row: Mapping[str, object], at: str = "$", column: str = "messages") -> Conversation:
    """Messages of one row of chat data, in the field's usual JSON form (OpenAI's, as tinker-cookbook and TRL read it).

    Args:
        row: the row; `row[column]` is a list of messages, `row["tools"]` an optional list of tool declarations.
        at: the row's location, for errors: `train.jsonl:17`.
        column: the key of the messages.

    Returns:
        One message per element. Content parts of `{"type": "text" | "thinking" | "image"}` are kept in order;
        `reasoning_content` (or `reasoning`, `thinking`) comes before the content; tool arguments may be an object or
        JSON text.

    Raises:
        InputError: naming `at` and the JSON path, for anything that is not such a row.

    >>> read_conversation({"messages": [{"role": "user", "content": "hi"}]})
    (Message(role='user', content='hi', tool_calls=(), name='', tool_call_id='', trainable=None, tools=(), weight=1.0),)
    >>> read_conversation({"messages": [{"role": "user", "content": None}]}, at="train.jsonl:17")
    Traceback (most recent call last):
    kernel.errors.InputError: expected text, got null - at train.jsonl:17 $.messages[0].content
    """
    messages = row.get(column)
    origins = getattr(row, "origins", None)
    try:
        if column not in row:
            raise expected(f"a list of messages under {column!r}", _keys(row))
        if not isinstance(messages, list) or not messages:
            raise expected("a list of at least one message", kind_of(messages), path=(column,))
        if row.get("functions"):
            raise expected("tools in the list 'tools'", "some under 'functions'", path=("functions",))
        read = _plain(messages) or _each(messages, _message)
    except InputError as error:
        path = error.path
        if path and isinstance(path[0], int):
            error = at_origin(error.at_path((column, *path)), row)
        raise error.under(at) from None
    if origins is None and column != "messages":
        origins = [Origin((column, i)) for i in range(len(read))]
    tools = row.get("tools")
    if tools is not None and tools != []:
        declared = _declare(read, _located(_tool_specs, tools, at, "tools"))
        if len(declared) > len(read):
            origins = origins or [Origin((column, i)) for i in range(len(read))]
            origins = [Origin((), {"content": ("tools",), "role": ("tools",)}), *origins]
        read = declared
    if origins is not None:
        read = TracedConversation(read)
        read.origins = origins
    return read


def _located(read: Callable[[object], T], value: object, at: str, *keys: str | int) -> T:
    """What `read` gives for a value; errors get the keys that lead to it."""
    try:
        return read(value)
    except InputError as error:
        raise error.under(at, *keys) from None


def _each(values: list[object], read: Callable[[object], T]) -> tuple[T, ...]:
    """What `read` gives for each value; errors get its index."""
    found = []
    for value in values:
        try:
            found.append(read(value))
        except InputError as error:
            raise error.under("", len(found)) from None
    return tuple(found)


def _plain(messages: list[object]) -> Conversation | None:
    """The messages if each is a role and text and nothing else: the common case, kept fast."""
    read = []
    for raw in messages:
        if type(raw) is not dict or len(raw) != 2:
            return None
        role, content = raw.get("role"), raw.get("content")
        if role not in _USUAL or type(content) is not str or not (content.isascii() or _encodable(content)):
            return None
        read.append(_new(Message, (role, content, (), "", "", None, (), 1.0)))
    return tuple(read)


_USUAL = ("user", "assistant", "system", "developer", "tool")
_new = tuple.__new__  # with all fields: a third of the price of the constructor with its defaults


def _message(raw: object) -> Message:
    if not isinstance(raw, Mapping):
        raise expected("a message object with role and content", kind_of(raw))
    for alias in ("from", "value"):
        if alias in raw and "role" not in raw:
            raise expected("'role' and 'content' (this looks like ShareGPT's from/value)", _keys(raw))
    if raw.get("weight") not in (None, 1):
        what = "no weight on a message but 1 (use `trainable` with --train-on-what customized)"
        raise expected(what, _shown(raw["weight"]), path=("weight",))
    if raw.get("function_call"):
        raise expected("calls in the list 'tool_calls'", "one under 'function_call'", path=("function_call",))
    if raw.get("refusal"):
        raise problem("a refusal must be the content, not beside it", path=("refusal",))
    role = _text_under(raw, "role")
    if not role:
        raise expected("a role", "an empty string", path=("role",))
    calls = _located(_tool_calls, raw.get("tool_calls"), "", "tool_calls")
    reasoning = _reasoning(raw)
    content: str | tuple[Part, ...]
    value = raw.get("content")
    if value is None and (calls or reasoning):
        content = ""
    elif isinstance(value, list):
        content = content_of(_located(lambda _: _each(value, _part), value, "", "content"))
    else:
        content = _text_under(raw, "content")
    if reasoning:
        content = (Part("thinking", reasoning), *parts_of(Message(role, content)))
    trainable = raw.get("trainable")
    if trainable is not None and not isinstance(trainable, bool):
        raise expected("true or false", kind_of(trainable), path=("trainable",))
    name, call_id = _optional_text(raw, "name"), _optional_text(raw, "tool_call_id")
    return Message(role, content, calls, name, call_id, trainable)


def _reasoning(raw: Mapping[str, object]) -> str:
    given = [key for key in ("reasoning_content", "reasoning", "thinking") if raw.get(key) not in (None, "")]
    if len(given) > 1 and len({raw[key] for key in given if isinstance(raw[key], str)}) > 1:
        raise expected("reasoning under one key", f"different texts under {' and '.join(given)}")
    return _text_under(raw, given[0]) if given else ""


_PART_KEYS: dict[str, tuple[PartKind, str]] = {
    "text": ("text", "text"),
    "input_text": ("text", "text"),
    "output_text": ("text", "text"),
    "thinking": ("thinking", "thinking"),
    "reasoning": ("thinking", "text"),
    "image": ("image", "image"),
    "image_url": ("image", "image_url"),
}


def _part(value: object) -> Part:
    if isinstance(value, str):
        return Part("text", _text(value))
    if not isinstance(value, Mapping):
        raise expected("a content part object", kind_of(value))
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _PART_KEYS:
        raise expected(f"a part of type {', '.join(sorted(_PART_KEYS))}", _shown(kind), path=("type",))
    ours, key = _PART_KEYS[kind]
    inner = value.get(key)
    if isinstance(inner, Mapping) and kind == "image_url":
        return Part(ours, _text(inner.get("url"), key, "url"))
    return Part(ours, _text_under(value, key))


def _tool_calls(values: object) -> tuple[ToolCall, ...]:
    if values is None:
        return ()
    if not isinstance(values, list):
        raise expected("a list of tool calls", kind_of(values))
    return _each(values, _tool_call)


def _tool_call(value: object) -> ToolCall:
    if not isinstance(value, Mapping):
        raise expected("a tool call object", kind_of(value))
    inner = _located(_function, value["function"], "", "function") if "function" in value else _function(value)
    return ToolCall(*inner, _optional_text(value, "id"))


def _function(body: object) -> tuple[str, str]:
    if not isinstance(body, Mapping):
        raise expected("an object with name and arguments", kind_of(body))
    name = _text_under(body, "name")
    if not name:
        raise expected("a tool name", "an empty string", path=("name",))
    return name, _located(_arguments, body.get("arguments"), "", "arguments")


def _arguments(value: object) -> str:
    """JSON text of an object, given as an object or as text."""
    if value is None or value == "":
        return "{}"
    if isinstance(value, Mapping):
        return _text(json.dumps(value, ensure_ascii=False))
    text = _text(value)
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise expected("a JSON object", f"text that is not JSON ({error})") from None
    if not isinstance(parsed, dict):
        raise expected("a JSON object", kind_of(parsed))
    return text


def _tool_specs(values: object) -> tuple[ToolSpec, ...]:
    if isinstance(values, str):  # a column that holds its JSON as text, as Arrow-friendly sets do
        try:
            values = json.loads(values)
        except ValueError as error:
            raise expected("a JSON list of tools", f"text that is not JSON ({error})") from None
    if not isinstance(values, list):
        raise expected("a list of tools", kind_of(values))
    return _each(values, _tool_spec)


def _tool_spec(value: object) -> ToolSpec:
    body = value.get("function") if isinstance(value, Mapping) and value.get("type") == "function" else value
    if not isinstance(body, Mapping):
        raise expected("a tool object with a name", kind_of(value))
    return ToolSpec(_text_under(body, "name"), _text(json.dumps(body, ensure_ascii=False)))


def _declare(conversation: Conversation, tools: tuple[ToolSpec, ...]) -> Conversation:
    """The tools, with the system message that opens the conversation; with an empty one if there is none."""
    if conversation[0].role == "system":
        return (conversation[0]._replace(tools=tools), *conversation[1:])
    trainable = None if conversation[0].trainable is None else False
    return (Message("system", tools=tools, trainable=trainable), *conversation)


def _optional_text(raw: Mapping[str, object], key: str) -> str:
    return "" if raw.get(key) is None else _text(raw[key], key)


def _text_under(raw: Mapping[str, object], key: str) -> str:
    if key not in raw:
        raise expected("text", "nothing (the key is missing)", path=(key,))
    return _text(raw[key], key)


def _text(value: object, *path: str) -> str:
    if not isinstance(value, str):
        raise expected("text", kind_of(value), path=path)
    if not _encodable(value):
        raise expected("Unicode text", "a lone surrogate", path=path)
    return value


def _encodable(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def kind_of(value: object) -> str:
    """A value's kind, in JSON's words."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "text"}
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return names.get(type(value), type(value).__name__)


def _keys(row: Mapping[str, object]) -> str:
    return "the keys " + ", ".join(repr(key) for key in row) if row else "an empty object"


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else kind_of(value)
