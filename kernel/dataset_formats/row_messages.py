"""The messages of a row while its shape is read, each with where it was in the row as it came."""

import json
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any, TypeAlias

from kernel.conversation import Origin
from kernel.errors import InputError, expected
from kernel.json_values import kind_of
from kernel.roles import role_named
from kernel.row_keys import holds

Row: TypeAlias = Mapping[str, Any]

SYSTEM = ("system", "system_prompt", "system_message", "sys_prompt", "systemPrompt", "systemMessage",
          "system_instruction", "system_instructions", "systemInstruction")  # fmt: skip
"""keys of a row that hold its system prompt"""


class TracedRow(dict[str, Any]):
    """A row brought to messages; `origins[i]` is where message i was in the row as it came."""

    __slots__ = ("origins",)
    origins: Sequence[Origin]


class Turns:
    """Messages in order, the keys of the row that they were read from, and keys that the row gets."""

    def __init__(self, *used: str) -> None:
        self.messages: list[Any] = []
        self.origins: list[Origin] = []
        self.used, self.gets = set(used), dict[str, Any]()

    def add(self, message: Any, origin: Origin) -> None:
        self.messages.append(message)
        self.origins.append(origin)

    def add_text(self, role: str, content: object, *path: str | int) -> None:
        """A message whose content is the value at a path."""
        self.add({"role": role, "content": content}, Origin((), {"content": path, "role": path[:1]}))

    def add_messages(self, messages: Sequence[Any], *path: str | int) -> None:
        """The messages in the list at a path."""
        for i, message in enumerate(messages):
            if isinstance(message, Mapping) and not {"role", "from"} & message.keys():
                way = "(--dataset-map role=KEY,content=KEY names other keys)"
                raise expected(f"'role' and 'content', or 'from' and 'value' {way}", keys_of(message), path=(*path, i))
        self.messages += messages
        self.origins += [Origin((*path, i)) for i in range(len(messages))]

    def open(self, row: Row) -> None:
        """Puts the system prompt that the row has beside the turns before them."""
        given = [key for key in SYSTEM if key not in self.used and holds(row.get(key))]
        self.used |= set(SYSTEM) & set(row)
        for key in given:
            system = blocks_or_text(row, key)
            first = self.messages[0] if self.messages else None
            if isinstance(first, Mapping) and role_named(str(first.get("role", first.get("from")))) == "system":
                if said(first) != system:
                    raise expected("one system prompt", "two that differ", path=(key,))
            else:
                self.messages.insert(0, {"role": "system", "content": system})
                self.origins.insert(0, Origin((), {"content": (key,)}))

    def is_list(self, value: object) -> bool:
        """Whether the messages are those of a list, unchanged."""
        return isinstance(value, list) and len(value) == len(self.messages) and all(map(is_, value, self.messages))

    def row(self, row: Row, column: str) -> TracedRow:
        """The row with these messages in place of what they were read from."""
        traced = TracedRow({key: value for key, value in row.items() if key not in self.used and key != column})
        traced.update(self.gets)
        traced[column] = self.messages
        traced.origins = self.origins
        return traced


def keys_of(row: Row) -> str:
    """The keys of a row, as errors name them."""
    return ", ".join(repr(key) for key in row) or "no keys"


def missing(column: str, row: Row, at: str = "") -> InputError:
    """The error for a row without the column it should have; it names what is there."""
    hint = next((f" (try --dataset-column {key})" for key in ("conversations", "conversation") if key in row), "")
    return expected(f"the key {column!r}", f"{keys_of(row)}{hint}", at)


def said(message: object) -> Any:
    """The content of a message, under whichever name."""
    return message.get("content", message.get("value")) if isinstance(message, Mapping) else None


def from_json(value: object) -> object:
    """A list or an object that came as its JSON text; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, list | dict) else value
    return value


def list_of(row: Row, key: str, what: str = "a list of at least one message") -> list[Any]:
    """The list under a key, or its JSON text, or a list of JSON texts."""
    if key not in row:
        raise missing(key, row)
    value = from_json(row[key])
    if not isinstance(value, list) or not value:
        raise expected(what, kind_of(value), path=(key,))
    return [from_json(item) for item in value] if isinstance(value[0], str) else list(value)


def messages_in(value: object) -> list[Any] | None:
    """The messages that a value holds, as a list or its JSON text; None: it holds none."""
    found = from_json(value)
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if (
        isinstance(found, list)
        and found
        and all(isinstance(one, dict) and {"role", "from"} & one.keys() for one in found)
    ):
        return found
    return None


def text_of(row: Row, key: str, default: str | None = None) -> str:
    """The text under a key."""
    value = row.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        got = kind_of(value) if key in row else f"nothing (the keys are {keys_of(row)})"
        raise expected("text", got, path=(key,))
    return value


def blocks_or_text(row: Row, key: str) -> Any:
    """The text under a key, or the list of content blocks, which may be JSON text."""
    found = from_json(row[key])
    if isinstance(found, list) and all(isinstance(one, dict) and "type" in one for one in found):
        return found
    return text_of(row, key)
