"""Strict reader of chat rows: `read_conversation` turns a row of JSON into messages.

What it does not understand is refused with its path; only keys that carry no content (`id`, `source`, ...) are ignored
and counted, as a field that is silently lost makes a wrong training example. ROW_SHAPES.md lists every key.
"""

from collections.abc import Mapping

from kernel.conversation import Conversation, Message, Origin, ToolSpec, TracedConversation, added, at_origin
from kernel.errors import InputError, Path, expected, problem
from kernel.json_values import each, encodable, keys_of, kind_of, list_or_object, located
from kernel.message_keys import MessageKeys
from kernel.message_reader import read_message
from kernel.row_keys import KeyPolicy
from kernel.tool_reader import read_tools
from kernel.weight_keys import ROW_WEIGHT_KEYS, check_product, row_weight


def read_conversation(
    row: Mapping[str, object], at: str = "$", column: str = "messages", keys: KeyPolicy | None = None
) -> Conversation:
    """Messages of one row of chat data, in the field's usual JSON form (OpenAI's, as tinker-cookbook and TRL read it).

    Args:
        row: the row; `row[column]` is a list of messages, `row["tools"]` (or `functions`) an optional list of tool
            declarations, either of them also as JSON text; `weight` multiplies into each message's.
        at: the row's location, for errors: `train.jsonl:17`.
        column: the key of the messages.
        keys: what to do with keys that are not read, and where ignored ones are counted; default: refuse.

    Returns:
        One message per element, and one more for each answer of a tool among a user's blocks. Parts of text, reasoning
        and images are kept in order; reasoning beside the content comes before it; arguments are JSON text.

    Raises:
        InputError: naming `at` and the JSON path, for anything that is not such a row.

    >>> read_conversation({"messages": [{"role": "user", "content": "hi"}]})
    (Message(role='user', content='hi', tool_calls=(), name='', tool_call_id='', trainable=None, tools=(), weight=1.0),)
    >>> read_conversation({"messages": [{"role": "user", "content": None}]}, at="train.jsonl:17")
    Traceback (most recent call last):
    kernel.errors.InputError: expected text, got null - at train.jsonl:17 $.messages[0].content
    """
    messages = row.get(column)
    if (
        type(messages) is list
        and messages
        and not hasattr(row, "origins")
        and column == "messages"
        and _RARE.isdisjoint(row)
    ):
        plain = _plain(messages)
        if plain is not None:
            return plain
    within = MessageKeys(keys.unknown) if keys else MessageKeys()
    try:
        read = _conversation(row, column, within)
    except InputError as error:
        raise error.under(at) from None
    if keys:
        keys.counts.update(within.ignored)  # once per row, however many messages have the key
    return read


_RARE = ROW_WEIGHT_KEYS | {"tools", "functions"}


def _conversation(row: Mapping[str, object], column: str, keys: MessageKeys) -> Conversation:
    if column not in row:
        raise expected(f"a list of messages under {column!r}", keys_of(row))
    messages = located(lambda given: list_or_object(given, "the JSON text of a list of messages"), row[column], column)
    if not isinstance(messages, list) or not messages:
        raise expected("a list of at least one message", kind_of(row[column]), path=(column,))
    traced = getattr(row, "origins", None)
    came = traced or [Origin((column, i)) for i in range(len(messages))]
    where = "".join("[]" if isinstance(key, int) else f".{key}" for key in came[-1].path)[1:]
    read: Conversation
    if plain := _plain(messages):
        read, origins = plain, list(came)
    else:
        try:
            found = each(messages, lambda message: read_message(message, keys, where))
        except InputError as error:
            raise at_origin(error.at_path((column, *error.path)), row) from None
        read = tuple(one.message for some in found for one in some)
        origins = [_origin(one.origin, origin) for some, origin in zip(found, came, strict=True) for one in some]
    factor = row_weight(row)
    for message, origin in zip(read, origins, strict=True):
        check_product(message, factor, origin.path)
    if factor != 1:
        read = tuple(message._replace(weight=message.weight * factor) for message in read)
    key, tools = _tools(row, keys)
    if tools:
        declared = _declare(read, tools)
        if len(declared) > len(read):
            origins = [Origin((), {"content": (key,), "role": (key,)}), *origins]
        read = declared
    if traced or origins != [Origin(("messages", i)) for i in range(len(read))]:
        read = TracedConversation(read)
        read.origins = origins
    return read


def _origin(within: Origin, came: Origin) -> Origin:
    """Where a message was in the user's row, by where it was in the element that held it."""

    def outside(path: Path) -> Path:
        return (*came.fields.get(str(path[0]), path[:1]), *path[1:]) if path else ()

    if within.path:
        return Origin((*came.path, *outside(within.path)), within.fields)
    return Origin(came.path, {**came.fields, **{key: outside(path) for key, path in within.fields.items()}})


def _tools(row: Mapping[str, object], keys: MessageKeys) -> tuple[str, tuple[ToolSpec, ...]]:
    """The tools of a row, and the key that they are under: `tools`, or the older `functions`."""
    tools = located(lambda value: read_tools(value, keys), row.get("tools"), "tools")
    older = located(lambda value: read_tools(value, keys, "functions"), row.get("functions"), "functions")
    if tools and older and tools != older:
        raise problem("'tools' and 'functions' declare different tools: keep one of them", path=("functions",))
    return ("tools", tools) if tools else ("functions", older)


def _plain(messages: list[object]) -> Conversation | None:
    """The messages if each is a role and text and nothing else: the common case, kept fast."""
    read = []
    for raw in messages:
        if type(raw) is not dict or len(raw) != 2:
            return None
        role, content = raw.get("role"), raw.get("content")
        if role not in _USUAL or type(content) is not str or not (content.isascii() or encodable(content)):
            return None
        read.append(_new(Message, (role, content, (), "", "", None, (), 1.0)))
    return tuple(read)


_USUAL = ("user", "assistant", "system", "developer", "tool")
_new = tuple.__new__  # with all fields: a third of the price of the constructor with its defaults


def _declare(conversation: Conversation, tools: tuple[ToolSpec, ...]) -> Conversation:
    """The tools, with the system message that opens the conversation; with one that says nothing if there is none."""
    if conversation[0].role == "system":
        return (conversation[0]._replace(tools=tools), *conversation[1:])
    return (added("system", "", conversation)._replace(content=(), tools=tools), *conversation)
