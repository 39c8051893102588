"""Messages as templates read them: a list of dicts, with the data or with a placeholder for each string of it.

The placeholder of a text answers as "x" between the white space around the text, that of a name, an id or a key as its
data; what a template derives from one is a placeholder too.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from kernel.conversation import Conversation, Message, ToolCall, parts_of
from kernel.errors import InputError
from kernel.renderer_language.interpreter import unknown_role

ROLES = ("system", "developer", "user", "assistant", "tool")
Arguments = Literal["object", "text", "none"]


class Habits(NamedTuple):
    """How a template reads messages: what `transformers` leaves to each template."""

    reasoning: str = ""  # the key of reasoning; "" where the template reads none
    arguments: Arguments = "object"  # the form of a call's arguments; "none" where the template writes no calls
    parts: bool = False  # whether content is a list of parts, not a string


class Field(NamedTuple):
    """A string of the data. A template may depend on a `word`: a name, an id, a key, a string of a declaration."""

    message: int
    name: Literal["text", "reasoning", "id", "callee", "call", "name", "tool"]
    text: str
    number: int
    word: bool


class Messages(NamedTuple):
    """A conversation as dicts and lists, a `Field` instead of each string of the data."""

    messages: list[dict[str, Any] | None]  # None for a system message that only carries declarations
    tools: list[Any] | None
    fields: list[Field]

    def first(self, n: int, show: Callable[[Field], str]) -> dict[str, Any]:
        """The variables of a template for the first n messages."""
        messages = [message for message in self.messages[:n] if message is not None]
        return {"messages": _filled(messages, show), "tools": _filled(self.tools, show), "documents": None}


def _filled(value: Any, show: Callable[[Field], str]) -> Any:
    if isinstance(value, Field):
        return show(value) if value.text else ""
    if isinstance(value, dict):
        return {_filled(key, show): _filled(one, show) for key, one in value.items()}
    return [_filled(one, show) for one in value] if isinstance(value, list) else value


def read_messages(conversation: Conversation, habits: Habits, at: str) -> Messages:
    """The conversation as the template reads it; InputError for what it cannot hold."""
    reader, tools = _Reader(habits), list[Any]()
    messages = list[dict[str, Any] | None]()
    for i, message in enumerate(conversation):
        if message.tools and i:
            raise InputError("tool declarations must be with the first message", at, ("messages", i))
        reader.message = i
        tools += [{"type": "function", "function": reader.json("tool", json.loads(t.json))} for t in message.tools]
        bare = message.tools and message.content == () and message.role == "system"
        try:
            messages.append(None if bare else reader.read(message))
        except InputError as error:
            raise error.under(at, "messages", i) from None
    return Messages(messages, tools or None, reader.fields)


class _Reader:
    """Reads one message after another, and numbers the strings of their data."""

    def __init__(self, habits: Habits) -> None:
        self.habits, self.message, self.fields = habits, 0, list[Field]()

    def read(self, message: Message) -> dict[str, Any]:
        if message.role not in ROLES:
            raise unknown_role(message.role, "the template", ROLES)
        reasoning, text = self._content(message)
        content = self._field("text", text)
        out: dict[str, Any] = {"role": message.role}
        out["content"] = [{"type": "text", "text": content}] if self.habits.parts else content
        if reasoning:
            out[self.habits.reasoning] = self._field("reasoning", reasoning)
        if message.tool_calls:
            if self.habits.arguments == "none":
                raise InputError("expected no tool calls (the template does not write them), got some")
            out["tool_calls"] = [self._call(call) for call in message.tool_calls]
        if message.name:
            out["name"] = self._field("name", message.name, word=True)
        if message.tool_call_id:
            out["tool_call_id"] = self._field("id", message.tool_call_id, word=True)
        return out

    def _content(self, message: Message) -> tuple[str, str]:
        """Reasoning and text of a message, where it is at most reasoning and then text."""
        parts = parts_of(message)
        if any(part.kind == "image" for part in parts):
            raise InputError("expected text (hf_template is a text renderer), got an image", path=("content",))
        thoughts = [part for part in parts if part.kind == "thinking"]
        if thoughts and (message.role != "assistant" or not self.habits.reasoning):
            raise InputError(f"expected no reasoning (the template reads none in a {message.role} message)")
        if len(thoughts) > 1 or (thoughts and parts[0] != thoughts[0]):
            raise InputError("expected reasoning once, before the text", path=("content",))
        return "".join(p.text for p in thoughts), "".join(p.text for p in parts if p.kind == "text")

    def _call(self, call: ToolCall) -> dict[str, Any]:
        own_id = {"id": self._field("id", call.id, word=True)} if call.id else {}  # the field before the name's
        name = self._field("callee", call.name, word=True)
        arguments: object = json.loads(call.arguments) if self.habits.arguments == "object" else call.arguments
        return own_id | {"type": "function", "function": {"name": name, "arguments": self.json("call", arguments)}}

    def json(self, name: Any, value: Any) -> Any:
        """A JSON value with its strings, keys too, as fields."""
        if isinstance(value, str):
            return self._field(name, value, word=name == "tool")
        if isinstance(value, list):
            return [self.json(name, one) for one in value]
        if isinstance(value, dict):
            return {self._field(name, key, word=True): self.json(name, one) for key, one in value.items()}
        return value

    def _field(self, name: Any, text: str, word: bool = False) -> Field:
        self.fields.append(Field(self.message, name, text, len(self.fields), word))
        return self.fields[-1]


_FIRST = 0xF0000
MARKS = "\U0010fffe", "\U0010ffff"  # written around generation blocks
_BLANK, _DIGITS = "\u1680", "\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
_IN_JSON = r"\\udb[89a-f][0-9a-f]\\ud[c-f][0-9a-f]{2}|\\u1680(?:\\u200[1-8]){6}"
PLACEHOLDER = re.compile(f"([{chr(_FIRST)}-\U0010fffd]|{_BLANK}[{_DIGITS}]{{6}}|{_IN_JSON})")


def placeholder(number: int, is_blank: bool = False) -> str:
    """The placeholder of that number: white space where its text is."""
    return _BLANK + "".join(_DIGITS[int(digit)] for digit in f"{number:06o}") if is_blank else chr(_FIRST + number)


def number_of(found: str) -> int:
    """The number of a placeholder, as it is or in JSON."""
    text = json.loads(f'"{found}"') if found[0] == "\\" else found
    return int("".join(str(_DIGITS.index(digit)) for digit in text[1:]), 8) if text[1:] else ord(text) - _FIRST


class Shown(NamedTuple):
    """What a placeholder shows: the number of its field, the character of the field where it starts, and the text."""

    field: int
    start: int
    text: str


class Placeholders:
    """The placeholders of one conversation; `shown` is what each shows, also those that templates derive."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self._numbers: dict[Shown, int] = {}

    def of(self, field: Field) -> str:
        return Placeholder(self._show, Shown(field.number, 0, field.text), field.word)

    def _show(self, shown: Shown) -> str:
        """The white space at the edges has placeholders of its own, which templates trim as they would trim it."""
        text, out = shown.text, ""
        start = len(text) - len(text.lstrip())
        for a, b in ((0, start), (start, len(text.rstrip())), (max(start, len(text.rstrip())), len(text))):
            if a < b:
                part = Shown(shown.field, shown.start + a, text[a:b])
                number = self._numbers.setdefault(part, len(self.shown))
                self.shown += [part] if number == len(self.shown) else []
                out += placeholder(number, part.text.isspace())
        return out


class Placeholder(str):
    """A string that looks like a placeholder, and answers as its data (a word) or as "x" between its white space."""

    _show: Callable[[Shown], str]
    _shown: Shown
    _is_word: bool
    _answer: str
    _n_lead: int

    def __new__(cls, show: Callable[[Shown], str], shown: Shown, is_word: bool) -> "Placeholder":
        new, inner = super().__new__(cls, show(shown)), shown.text.strip()
        new._show, new._shown, new._is_word = show, shown, is_word
        answers = is_word or not inner
        new._answer = shown.text if answers else shown.text.replace(inner, "x", 1)
        new._n_lead = len(shown.text) if answers else shown.text.index(inner)
        return new

    def __str__(self) -> str:
        return self

    def __eq__(self, other: object) -> bool:
        return self._shown.text == other._shown.text if isinstance(other, Placeholder) else self._answer == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._shown.text)

    def _derived(self, value: Any, at: int = 0) -> Any:
        """The placeholder of a part of the answer at or after a character."""
        if isinstance(value, list | tuple):
            parts = list[Any]()
            for part in value:
                at = max(self._answer.find(part, at), 0)
                parts.append(self._derived(part, at))
                at += len(part)
            return type(value)(parts)
        if not isinstance(value, str) or not value:
            return value
        start = self._answer.find(value, at)
        if start >= 0:
            start, stop = self._place(start), self._place(start + len(value))
            shown = Shown(self._shown.field, self._shown.start + start, self._shown.text[start:stop])
        elif self._is_word:
            shown = Shown(self._shown.field, 0, value)
        else:
            return str.__getitem__(self, slice(None)) if value.lower() == self._answer.lower() else value
        return Placeholder(self._show, shown, self._is_word)

    def _place(self, i: int) -> int:
        """A character of the answer as one of the text."""
        return i if i <= self._n_lead else i + len(self._shown.text) - len(self._answer)


def _answering(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    def answer(self: Placeholder, *args: Any, **options: Any) -> Any:
        plain = [arg._answer if isinstance(arg, Placeholder) else arg for arg in args]
        return self._derived(method(self._answer, *plain, **options))

    return answer


_METHODS = {name for name in dir(str) if name[0] != "_"} - {"join", "format", "format_map", "maketrans", "encode"}
for _name in (*_METHODS, *("__len__", "__contains__", "__getitem__", "__lt__", "__le__", "__gt__", "__ge__")):
    setattr(Placeholder, _name, _answering(_name))
