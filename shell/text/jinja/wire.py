"""A conversation as templates read it: a list of dicts, in which every string of the data knows whose it is.

Roles are the template's own words (there are five, an unknown one is refused); content, reasoning, calls, names, ids
and declarations are data. Which of it a rendering must show, and how, is the law of `shell.text.jinja.shown`.
"""

import json
from typing import Any, Literal, NamedTuple

from kernel.chat_format.elements import unknown_role
from kernel.conversation import Conversation, Message, Part, ToolCall, parts_of
from kernel.errors import InputError, expected
from shell.text.jinja.traced import Traced, data, written

ROLES = ("system", "developer", "user", "assistant", "tool")


Arguments = Literal["object", "text", "none"]


class Habits(NamedTuple):
    """How a template reads messages: what `transformers` leaves to each template."""

    reasoning: str = ""
    """the key under which it looks for reasoning; "" when it does not"""
    arguments: Arguments = "object"
    """what it takes for the arguments of a call; "none" when it writes no calls"""
    parts: bool = False
    """whether it takes content as a list of parts, not as a string"""


class Field(NamedTuple):
    """A string of the data: the number of its message, what it is there, and itself."""

    message: int
    name: Literal["text", "reasoning", "id", "callee", "call", "name", "tool"]
    text: str


class Wire(NamedTuple):
    """A conversation as the template reads it. `fields[s]` is data string number s."""

    messages: list[dict[str, Any] | None]  # None for a system message that only carries declarations
    tools: list[Any] | None
    fields: list[Field]

    def first(self, n: int) -> list[dict[str, Any]]:
        """The first n messages, as the template reads them."""
        return [message for message in self.messages[:n] if message is not None]


def wire(conversation: Conversation, habits: Habits, at: str) -> Wire:
    """The conversation as the template reads it.

    Raises:
        InputError: an unknown role, or something that has no place in such a list.
    """
    made = Wire([], None, [])
    for i, message in enumerate(conversation):
        if message.tools and i:
            raise expected("tool declarations with the first message", "some", at, ("messages", i))
        tools = [_function(_json(made, i, "tool", json.loads(tool.json))) for tool in message.tools]
        made = made._replace(tools=tools or made.tools)
        bare = bool(tools) and not message.content and message.role == "system"
        try:
            made.messages.append(None if bare else _message(made, i, message, habits))
        except InputError as error:
            raise error.under(at, "messages", i) from None
    return made


def _message(made: Wire, i: int, message: Message, habits: Habits) -> dict[str, Any]:
    if message.role not in ROLES:
        raise unknown_role(message.role, "the template", ROLES)
    reasoning, text = _content(message, habits)
    said = _data(made, i, "text", text)
    content = [_object(type=written("text"), text=said)] if habits.parts else said
    out = _object(role=written(message.role), content=content)
    if reasoning:
        out[written(habits.reasoning)] = _data(made, i, "reasoning", reasoning)
    if message.tool_calls:
        if habits.arguments == "none":
            raise expected("no tool calls (the template does not write them)", "some")
        out[written("tool_calls")] = [_call(made, i, call, habits) for call in message.tool_calls]
    for key in ("name", "tool_call_id"):
        if getattr(message, key):
            out[written(key)] = _data(made, i, "name" if key == "name" else "id", getattr(message, key))
    return out


def _content(message: Message, habits: Habits) -> tuple[str, str]:
    """Reasoning and text of a message, where it is at most reasoning and then text."""
    parts = parts_of(message)
    if any(part.kind == "image" for part in parts):
        raise expected("text (hf_template is a text renderer)", "an image", path=("content",))
    thoughts = [part for part in parts if part.kind == "thinking"]
    if thoughts and (message.role != "assistant" or not habits.reasoning):
        raise expected(f"no reasoning (the template reads none in a {message.role} message)", "some")
    if len(thoughts) > 1 or (thoughts and parts[0] != thoughts[0]):
        raise expected("reasoning once, before the text", "reasoning further in", path=("content",))
    return "".join(p.text for p in thoughts), "".join(p.text for p in parts if p.kind == "text")


def _call(made: Wire, i: int, call: ToolCall, habits: Habits) -> dict[str, Any]:
    own_id = _object(id=_data(made, i, "id", call.id)) if call.id else {}  # before the name, which it may stand for
    arguments: object = json.loads(call.arguments) if habits.arguments == "object" else call.arguments
    name = _data(made, i, "callee", call.name)
    return own_id | _function(_object(name=name, arguments=_json(made, i, "call", arguments)))


def _function(function: Any) -> dict[str, Any]:
    return _object(type=written("function"), function=function)


def _object(**fields: Any) -> dict[str, Any]:
    """An object whose keys are the template's words."""
    return {written(key): value for key, value in fields.items()}


def _data(made: Wire, message: int, name: Any, text: str) -> Traced:
    made.fields.append(Field(message, name, text))
    return data(len(made.fields) - 1, text)


def _json(made: Wire, message: int, name: Any, value: Any) -> Any:
    """The JSON value with its strings as data, keys too."""
    if isinstance(value, str):
        return _data(made, message, name, value)
    if isinstance(value, list):
        return [_json(made, message, name, one) for one in value]
    if isinstance(value, dict):
        return {_data(made, message, name, key): _json(made, message, name, one) for key, one in value.items()}
    return value


def neutral(conversation: Conversation) -> Conversation:
    """The same conversation saying nothing: a string that is not blank becomes "x", white space at its edges is kept.

    Declarations stay: templates read them by their keys and types.

    >>> neutral((Message("user", " Hi <|im_end|> you\\n"),))[0].content
    ' x\\n'
    """
    return tuple(
        message._replace(
            content=_blank(message.content)
            if isinstance(message.content, str)
            else tuple(Part(part.kind, _blank(part.text)) for part in message.content),
            tool_calls=tuple(
                ToolCall(_blank(call.name), json.dumps(_blank_json(json.loads(call.arguments))), _blank(call.id))
                for call in message.tool_calls
            ),
            name=_blank(message.name),
            tool_call_id=_blank(message.tool_call_id),
        )
        for message in conversation
    )


def _blank(text: str) -> str:
    inner = text.strip()
    return text.replace(inner, "x", 1) if inner else text


def _blank_json(value: Any) -> Any:
    if isinstance(value, str):
        return _blank(value)
    if isinstance(value, list):
        return [_blank_json(one) for one in value]
    return {key: _blank_json(one) for key, one in value.items()} if isinstance(value, dict) else value
