"""Conversations as plain data: tuples of messages, whose content is a string or a sequence of parts."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from kernel.errors import InputError, Path

PartKind = Literal["text", "thinking", "image"]


class Part(NamedTuple):
    """A piece of a message's content: text, reasoning ("thinking"), or an image by its URL, data URI or path."""

    kind: PartKind
    text: str
    weight: float = 1.0  # factor on its token weights


class ToolCall(NamedTuple):
    """A call the assistant makes. `arguments` is the JSON text of an object, as it came."""

    name: str
    arguments: str
    id: str = ""


class ToolSpec(NamedTuple):
    """A tool the assistant may call, as its JSON text (an OpenAI function object: name, description, parameters)."""

    name: str
    json: str


class Message(NamedTuple):
    """One message. `trainable` replaces what the mode says of it; `tools` are declared with a system message.

    Content of no parts is that of a message which only declares tools; "" is a text that says nothing.
    """

    role: str
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""
    tool_call_id: str = ""
    trainable: bool | None = None
    tools: tuple[ToolSpec, ...] = ()
    weight: float = 1.0  # factor on its token weights: the row's times the message's own


Conversation = tuple[Message, ...]


class Origin(NamedTuple):
    """Where a message was in the row as the user wrote it, and what its fields are called there."""

    path: Path
    fields: Mapping[str, Path] = {}


class TracedConversation(tuple[Message, ...]):
    """A conversation that is not under `messages` in its row; `origins[i]` is where message i was."""

    origins: Sequence[Origin] = ()


def at_origin(error: InputError, traced: object) -> InputError:
    """An error about ("messages", i, ...) with the path in the user's row, if `traced` has `origins`."""
    origins = getattr(traced, "origins", None)
    i = error.path[1] if len(error.path) > 1 else None
    if not origins or not isinstance(i, int) or i >= len(origins):
        return error
    path, fields = origins[i]
    field = error.path[2:3]
    return error.at_path((*path, *(fields.get(str(field[0]), field) if field else ()), *error.path[3:]))


def added(role: str, content: str, conversation: Sequence[Message]) -> Message:
    """A message that a renderer adds: it has the factor of the first message, and is untrained where that says so."""
    if not conversation or (conversation[0].weight == 1.0 and conversation[0].trainable is not False):
        return Message(role, content)
    first = conversation[0]
    return Message(role, content, trainable=False if first.trainable is False else None, weight=first.weight)


def last_user(conversation: Sequence[Message]) -> int:
    """Index of the last user message, -1 when there is none."""
    return next((i for i in range(len(conversation) - 1, -1, -1) if conversation[i].role == "user"), -1)


def parts_of(message: Message) -> tuple[Part, ...]:
    """The content as parts; empty text gives none."""
    if isinstance(message.content, str):
        return (Part("text", message.content),) if message.content else ()
    return message.content


def content_of(parts: Sequence[Part]) -> str | tuple[Part, ...]:
    """Parts with neighbouring texts of one weight joined and empty ones left out; a string where that is one text."""
    joined: list[Part] = []
    for part in parts:
        if joined and joined[-1].kind == part.kind == "text" and joined[-1].weight == part.weight:
            joined[-1] = part._replace(text=joined[-1].text + part.text)
        elif part.text:
            joined.append(part)
    if all(part.kind == "text" and part.weight == 1.0 for part in joined):
        return joined[0].text if joined else ""
    return tuple(joined)


def text_of(message: Message) -> str:
    """The message's text, without its reasoning.

    >>> text_of(Message("assistant", (Part("thinking", "2+2"), Part("text", "4"))))
    '4'
    """
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content if part.kind == "text")


def has_part_weights(message: Message) -> bool:
    return not isinstance(message.content, str) and any(part.weight != 1.0 for part in message.content)


def unweighted_content(message: Message) -> str | tuple[Part, ...]:
    """The content as it is without weights of parts: its texts are joined."""
    if not has_part_weights(message):
        return message.content
    return content_of([part._replace(weight=1.0) for part in parts_of(message)])


def weighted_like(read: Message, given: Message) -> Message:
    """A message whose parts were cut from the text of `given`, in order, with the weights of the parts there."""
    if not has_part_weights(given):
        return read
    cut, text, at = list[Part](), "".join(part.text for part in given.content), 0  # type: ignore[union-attr]
    for one in parts_of(read):
        tag = "<think>" if one.kind == "thinking" else "</think>"
        after = text.find(tag, at) + len(tag)
        at = max(text.find(one.text, max(at, after) if after >= len(tag) else at), at)
        start = 0
        for part in parts_of(given):
            own = one.text[max(0, start - at) : max(0, start + len(part.text) - at)]
            if own:
                cut.append(Part(one.kind, own, part.weight))
            start += len(part.text)
        at += len(one.text)
    return read._replace(content=content_of(cut))


def split_inline_reasoning(message: Message) -> Message:
    """Read a closed `<think>...</think>` at the start of an assistant's string as reasoning; leave all else alone.

    The newlines around the block are neither reasoning nor text. An empty block is a turn that did not reason.
    An unclosed block, or one further in, is text.
    """
    if message.role != "assistant":
        return message
    content = unweighted_content(message)
    if not isinstance(content, str) or not content.lstrip().startswith("<think>"):
        return message
    inside, closed, rest = content.lstrip()[len("<think>") :].partition("</think>")
    if not closed:
        return message
    return weighted_like(message._replace(content=beside_reasoning(inside, rest)), message)


def beside_reasoning(reasoning: str, content: str | tuple[Part, ...]) -> str | tuple[Part, ...]:
    """Reasoning and the content after it: newlines around it are neither's, and blank reasoning is none."""
    if isinstance(content, str):
        content = content.lstrip("\n")
    else:
        parts = list(content)
        for i, part in enumerate(content):  # parts of several weights are one text
            if part.kind != "text":
                break
            parts[i] = part._replace(text=part.text.lstrip("\n"))
            if parts[i].text:
                break
        content = tuple(parts)
    if not reasoning.strip():
        return content
    after = parts_of(Message("assistant", content))
    return (Part("thinking", reasoning.strip("\n")), *[part for part in after if part.text])
