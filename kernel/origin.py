"""Where a message stood in the row it was made of, so that an error names the user's own words.

A row of ShareGPT or Alpaca is brought to messages before it is read (`kernel.dataset_formats`), and what is wrong with
a message
is found later still, when a format cannot write it. The sentence then says `$.messages[3].content`, which stands
nowhere in the user's file. So rows and conversations that were not written as messages carry a trace, and `retold`
puts the path it leads to in place of the other: `$.conversations[3].value`, `$.output`.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from kernel.conversation import Message
from kernel.errors import InputError

_FIELD = re.compile(r"\.(\w+)(.*)", re.DOTALL)
_NONE: Mapping[str, str] = {}


class Origin(NamedTuple):
    """Where one message stood: its path in the row, and what its fields are called there."""

    path: str
    fields: Mapping[str, str] = _NONE

    def of(self, rest: str) -> str:
        """The path of what stands below the message.

        >>> Origin("$.conversations[3]", {"content": ".value"}).of(".content[0].text")
        '$.conversations[3].value[0].text'
        >>> Origin("$", {"content": ".output"}).of("")
        '$'
        """
        field = _FIELD.fullmatch(rest)
        if field is None:
            return self.path + rest
        name = self.fields.get(field[1], f".{field[1]}")
        return f"{self.path}{name}{field[2]}"


Trace: TypeAlias = Callable[[int], Origin]
"""The number of a message -> where it stood."""


class Shaped(dict[str, object]):
    """A row brought to messages. `trace` leads from a message back to where it stood in the row as it came."""

    __slots__ = ("trace",)
    trace: Trace

    def __init__(self, row: Mapping[str, object], trace: Trace) -> None:
        super().__init__(row)
        self.trace = trace


class Told(tuple[Message, ...]):
    """A conversation that does not stand under `$.messages` as it is; otherwise a tuple like any other."""

    trace: Trace

    def __new__(cls, messages: tuple[Message, ...], trace: Trace) -> "Told":
        told = super().__new__(cls, messages)
        told.trace = trace
        return told


def retold(error: InputError, trace: Trace | None, column: str = "messages") -> InputError:
    """The same error with the path that a user would look for.

    Args:
        error: one whose sentence ends in `$.{column}[i]` and what stands below.
        trace: of the row or the conversation; None leaves the error as it is.
        column: under which key the sentence saw the messages.

    >>> error = InputError("expected text, got null - at a.jsonl:7 $.messages[1].content")
    >>> str(retold(error, lambda i: Origin(f"$.conversations[{i}]", {"content": ".value"})))
    'expected text, got null - at a.jsonl:7 $.conversations[1].value'
    """
    head, mark, tail = str(error).rpartition(f"$.{column}[")
    number, closed, rest = tail.partition("]")
    if trace is None or not mark or not closed or not number.isdecimal():
        return error
    return type(error)(head + trace(int(number)).of(rest))
