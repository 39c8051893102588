"""The one way from data to conversations: `read_conversation` turns a row of JSON into messages.

The reader is strict: it refuses what it does not understand, with the path to it, and drops only keys that carry no
content (`id`, `source`, ...), because a field that is silently lost is a wrong training example.
"""

import json
from collections.abc import Mapping
from functools import partial

from kernel.conversation import Conversation, Message, Part, PartKind, ToolCall, ToolSpec, content_of, parts_of
from kernel.errors import InputError, expected
from kernel.origin import Origin, Shaped, Told, Trace, retold


def read_conversation(row: Mapping[str, object], at: str = "$", column: str = "messages") -> Conversation:
    """Messages of one row of chat data, in the field's usual JSON form (OpenAI's, as tinker-cookbook and TRL read it).

    Args:
        row: the row; `row[column]` is a list of messages, `row["tools"]` an optional list of tool declarations.
        at: where the row stands, for errors: `train.jsonl:17`.
        column: the key of the messages.

    Returns:
        One message per element. Content parts of `{"type": "text" | "thinking" | "image"}` are kept in order;
        `reasoning_content` (or `reasoning`, `thinking`) comes before the content; tool arguments may be an object or
        JSON text.

    Raises:
        InputError: naming `at` and the JSON path, for anything that is not such a row.

    >>> read_conversation({"messages": [{"role": "user", "content": "hi"}]})
    (Message(role='user', content='hi', tool_calls=(), name='', tool_call_id='', trainable=None, tools=()),)
    >>> read_conversation({"messages": [{"role": "user", "content": None}]}, at="train.jsonl:17")
    Traceback (most recent call last):
    kernel.errors.InputError: expected text, got null - at train.jsonl:17 $.messages[0].content
    """
    where = "$" if at == "$" else f"{at} $"
    if column not in row:
        raise expected(f"a list of messages under {column!r}", _keys(row), at=where)
    messages = row[column]
    if not isinstance(messages, list) or not messages:
        raise expected("a list of at least one message", kind_of(messages), at=f"{where}.{column}")
    if row.get("functions"):
        raise expected("tools in the list 'tools'", "some under 'functions'", at=f"{where}.functions")
    trace = row.trace if isinstance(row, Shaped) else None
    try:
        read = _plain(messages) or tuple([_message(m, where, column, i) for i, m in enumerate(messages)])
    except InputError as error:
        raise retold(error, trace, column) from None
    if trace is None and column != "messages":
        trace = partial(_under, column)
    tools = row.get("tools")
    if tools is not None and tools != []:
        declared = _declare(read, _tool_specs(tools, f"{where}.tools"))
        if len(declared) > len(read):
            trace = partial(_behind_tools, trace or partial(_under, column))
        read = declared
    return read if trace is None else Told(read, trace)


def _under(column: str, i: int) -> Origin:
    return Origin(f"$.{column}[{i}]")


def _behind_tools(trace: Trace, i: int) -> Origin:
    """Where message i stood, once the tools have opened the conversation with a system message of their own."""
    return trace(i - 1) if i else Origin("$", {"content": ".tools", "role": ".tools"})


def _plain(messages: list[object]) -> Conversation | None:
    """The messages, where each is a role and text and nothing else: the common case, kept short."""
    read = []
    for raw in messages:
        if type(raw) is not dict or len(raw) != 2:
            return None
        role, content = raw.get("role"), raw.get("content")
        if role not in _USUAL or type(content) is not str or not (content.isascii() or _encodable(content)):
            return None
        read.append(_new(Message, (role, content, (), "", "", None, ())))
    return tuple(read)


_USUAL = ("user", "assistant", "system", "developer", "tool")
_new = tuple.__new__  # with all fields: a third of the price of the constructor with its defaults


def _message(raw: object, where: str, column: str, i: int) -> Message:
    at = f"{where}.{column}[{i}]"
    if not isinstance(raw, Mapping):
        raise expected("a message object with role and content", kind_of(raw), at=at)
    for alias in ("from", "value"):
        if alias in raw and "role" not in raw:
            raise expected("'role' and 'content' (this looks like ShareGPT's from/value)", _keys(raw), at=at)
    if raw.get("weight") not in (None, 1):
        what = "no weight on a message but 1 (say `trainable`, and train on what is customized)"
        raise expected(what, _shown(raw["weight"]), at=f"{at}.weight")
    if raw.get("function_call"):
        raise expected("calls in the list 'tool_calls'", "one under 'function_call'", at=f"{at}.function_call")
    if raw.get("refusal"):
        raise expected("what is said under 'content' alone", "a refusal beside it", at=f"{at}.refusal")
    role = _text(raw.get("role"), f"{at}.role", missing="role" not in raw)
    if not role:
        raise expected("a role", "an empty string", at=f"{at}.role")
    calls = _tool_calls(raw.get("tool_calls"), f"{at}.tool_calls")
    reasoning = _reasoning(raw, at)
    content: str | tuple[Part, ...]
    value = raw.get("content")
    if value is None and (calls or reasoning):
        content = ""
    elif isinstance(value, list):
        content = content_of([_part(part, f"{at}.content[{i}]") for i, part in enumerate(value)])
    else:
        content = _text(value, f"{at}.content", missing="content" not in raw)
    if reasoning:
        content = (Part("thinking", reasoning), *parts_of(Message(role, content)))
    trainable = raw.get("trainable")
    if trainable is not None and not isinstance(trainable, bool):
        raise expected("true or false", kind_of(trainable), at=f"{at}.trainable")
    return Message(
        role,
        content,
        calls,
        name=_optional_text(raw, "name", at),
        tool_call_id=_optional_text(raw, "tool_call_id", at),
        trainable=trainable,
    )


def _reasoning(raw: Mapping[str, object], at: str) -> str:
    given = [key for key in ("reasoning_content", "reasoning", "thinking") if raw.get(key) not in (None, "")]
    if len(given) > 1 and len({raw[key] for key in given if isinstance(raw[key], str)}) > 1:
        raise expected("reasoning under one key", f"different texts under {' and '.join(given)}", at=at)
    return _text(raw[given[0]], f"{at}.{given[0]}") if given else ""


_PART_KEYS: dict[str, tuple[PartKind, str]] = {
    "text": ("text", "text"),
    "input_text": ("text", "text"),
    "output_text": ("text", "text"),
    "thinking": ("thinking", "thinking"),
    "reasoning": ("thinking", "text"),
    "image": ("image", "image"),
    "image_url": ("image", "image_url"),
}


def _part(value: object, at: str) -> Part:
    if isinstance(value, str):
        return Part("text", _text(value, at))
    if not isinstance(value, Mapping):
        raise expected("a content part object", kind_of(value), at=at)
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _PART_KEYS:
        raise expected(f"a part of type {', '.join(sorted(_PART_KEYS))}", _shown(kind), at=f"{at}.type")
    ours, key = _PART_KEYS[kind]
    inner = value.get(key)
    if isinstance(inner, Mapping) and kind == "image_url":
        key, inner = "image_url.url", inner.get("url")
    return Part(ours, _text(inner, f"{at}.{key}", missing=inner is None and key not in value))


def _tool_calls(values: object, at: str) -> tuple[ToolCall, ...]:
    if values is None:
        return ()
    if not isinstance(values, list):
        raise expected("a list of tool calls", kind_of(values), at=at)
    return tuple(_tool_call(value, f"{at}[{i}]") for i, value in enumerate(values))


def _tool_call(value: object, at: str) -> ToolCall:
    if not isinstance(value, Mapping):
        raise expected("a tool call object", kind_of(value), at=at)
    body, path = value, at
    if "function" in value:
        inner = value["function"]
        path = f"{at}.function"
        if not isinstance(inner, Mapping):
            raise expected("an object with name and arguments", kind_of(inner), at=path)
        body = inner
    name = _text(body.get("name"), f"{path}.name", missing="name" not in body)
    if not name:
        raise expected("a tool name", "an empty string", at=f"{path}.name")
    return ToolCall(name, _arguments(body.get("arguments"), f"{path}.arguments"), _optional_text(value, "id", at))


def _arguments(value: object, at: str) -> str:
    """JSON text of an object, whether it came as an object or as text."""
    if value is None or value == "":
        return "{}"
    if isinstance(value, Mapping):
        return _text(json.dumps(value, ensure_ascii=False), at)
    text = _text(value, at)
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise expected("a JSON object", f"text that is not JSON ({error})", at=at) from None
    if not isinstance(parsed, dict):
        raise expected("a JSON object", kind_of(parsed), at=at)
    return text


def _tool_specs(values: object, at: str) -> tuple[ToolSpec, ...]:
    if isinstance(values, str):  # a column that holds its JSON as text, as Arrow-friendly sets do
        try:
            values = json.loads(values)
        except ValueError as error:
            raise expected("a JSON list of tools", f"text that is not JSON ({error})", at=at) from None
    if not isinstance(values, list):
        raise expected("a list of tools", kind_of(values), at=at)
    return tuple(_tool_spec(value, f"{at}[{i}]") for i, value in enumerate(values))


def _tool_spec(value: object, at: str) -> ToolSpec:
    body = value.get("function") if isinstance(value, Mapping) and value.get("type") == "function" else value
    if not isinstance(body, Mapping):
        raise expected("a tool object with a name", kind_of(value), at=at)
    name = _text(body.get("name"), f"{at}.name", missing="name" not in body)
    return ToolSpec(name, _text(json.dumps(body, ensure_ascii=False), at))


def _declare(conversation: Conversation, tools: tuple[ToolSpec, ...]) -> Conversation:
    """The tools, with the system message that opens the conversation; with an empty one where there is none."""
    if conversation[0].role == "system":
        return (conversation[0]._replace(tools=tools), *conversation[1:])
    trainable = None if conversation[0].trainable is None else False
    return (Message("system", tools=tools, trainable=trainable), *conversation)


def _optional_text(raw: Mapping[str, object], key: str, at: str) -> str:
    value = raw.get(key)
    return "" if value is None else _text(value, f"{at}.{key}")


def _text(value: object, at: str, missing: bool = False) -> str:
    if not isinstance(value, str):
        raise expected("text", "nothing (the key is missing)" if missing else kind_of(value), at=at)
    if not _encodable(value):
        raise expected("Unicode text", "a lone surrogate", at=at)
    return value


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind_of(value: object) -> str:
    """What came, in JSON's words.

    >>> kind_of(None), kind_of([])
    ('null', 'an empty list')
    """
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
