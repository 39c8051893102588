"""Interpreter of the pieces: a row and the conditions of a message give the elements it is written with.

Elements depend on conditions and kinds of parts, never on text, so they can be cached, and data stays marked as data.
"""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from kernel.conversation import Message, parts_of, text_of
from kernel.errors import InputError, expected, problem, unknown
from kernel.renderer_language.conditions import holds
from kernel.renderer_language.pieces import (
    Calls,
    Condition,
    Content,
    Data,
    Header,
    Markup,
    Piece,
    Reasoning,
    Refuse,
    Renderer,
    Row,
    Sampled,
    Text,
    Tools,
)


class SpanKind(StrEnum):
    """What a span is: a control token by name, text of the renderer's, or text or an image of the data's."""

    CONTROL = "control"
    TEMPLATE = "template"
    MESSAGE = "message"
    IMAGE = "image"


class Slot(NamedTuple):
    """Where a message's own text goes: a field, or the number of a content part; `strip` is applied first."""

    field: str | int
    lstrip: str = ""
    rstrip: str = ""


class Element(NamedTuple):
    """The smallest thing a row writes: control token, template text, a slot, or a function for syntax of its own."""

    kind: SpanKind
    text: str | Slot | Calls | Tools
    sampled: bool
    ends_run: bool = False  # what follows is encoded apart


Shape = tuple[str, ...] | None  # the kinds of a message's content parts; None when its content is a string


def row_elements(renderer: Renderer, role: str, mask: int, shape: Shape) -> list[Element]:
    """What a message of this role, with these conditions and kinds of parts, is written with. Raises: InputError."""
    for piece in renderer.rows[role]:
        if isinstance(piece, Refuse) and holds(mask, piece.when, piece.unless):
            raise expected(piece.expected, piece.got)
    return list(_row_elements(renderer, renderer.rows[role], mask, shape))


def cue_elements(renderer: Renderer, mask: int) -> list[Element]:
    """What a prompt ends on, after a message of these conditions."""
    return list(_row_elements(renderer, renderer.cue, mask, None))


def _row_elements(renderer: Renderer, row: Row, mask: int, shape: Shape) -> Iterator[Element]:
    for piece in row:
        if not holds(mask, piece.when, piece.unless):
            continue
        match piece:
            case Header(text) | Sampled(text):
                yield from _template(renderer, text, isinstance(piece, Sampled))
            case Text() if shape is not None and "image" in shape:
                yield from _among_images(renderer, piece, shape)
            case Text(wrap, lstrip):
                blank = bool(lstrip) and not mask & Condition.HAS_REASONING
                yield from _wrapped(renderer, wrap, Slot("text", lstrip if blank else "", piece.rstrip))
            case Reasoning(wrap, strip):
                yield from _wrapped(renderer, wrap, Slot("thinking", strip, strip))
            case Content(pieces):
                yield from _content(renderer, pieces, mask, shape)
            case Calls() | Tools():
                yield Element(SpanKind.TEMPLATE, piece, True)
            case Refuse():
                pass  # `row_elements` has asked


def _content(renderer: Renderer, pieces: tuple[Text | Reasoning, ...], mask: int, shape: Shape) -> Iterator[Element]:
    """Each part in its own order, by the first piece of its kind that applies."""
    opens = not mask & Condition.HAS_REASONING
    for i, kind in enumerate(("text",) if shape is None else shape):
        if kind == "image":
            yield from _wrapped(renderer, renderer.image, Slot(i), SpanKind.IMAGE)
            opens = False
            continue
        wanted = Reasoning if kind == "thinking" else Text
        piece = next((p for p in pieces if isinstance(p, wanted) and holds(mask, p.when, p.unless)), None)
        field: str | int = "text" if shape is None else i
        if isinstance(piece, Reasoning):
            yield from _wrapped(renderer, piece.wrap, Slot(field, piece.strip, piece.strip))
        elif isinstance(piece, Text):
            yield from _wrapped(renderer, piece.wrap, Slot(field, piece.lstrip if opens else "", piece.rstrip))
        opens = isinstance(piece, Reasoning)


def _among_images(renderer: Renderer, piece: Text, shape: tuple[str, ...]) -> Iterator[Element]:
    """A message's texts and images, in their order."""
    before, _, after = piece.wrap.partition("{}")
    yield from _template(renderer, before, True)
    for i, kind in enumerate(shape):
        if kind == "image":
            yield from _wrapped(renderer, renderer.image, Slot(i), SpanKind.IMAGE)
        elif kind == "text":
            yield Element(SpanKind.MESSAGE, Slot(i, "", piece.rstrip if i + 1 == len(shape) else ""), True)
    yield from _template(renderer, after, True)


def _wrapped(renderer: Renderer, wrap: str, slot: Slot, kind: SpanKind = SpanKind.MESSAGE) -> Iterator[Element]:
    before, _, after = wrap.partition("{}")
    yield from _template(renderer, before, True)
    yield Element(kind, slot, True)
    for element in _template(renderer, after, True):
        yield element._replace(ends_run=kind is SpanKind.IMAGE)


_FIELD = re.compile(r"\{(name|tool_call_id|newlines)\}")


def _template(renderer: Renderer, text: str, sampled: bool) -> Iterator[Element]:
    """Template text, cut at the control tokens it spells and at the fields it asks for."""
    for kind, plain in spelled(renderer, text):
        if kind is SpanKind.CONTROL:
            yield Element(kind, plain, sampled)
            continue
        for j, piece in enumerate(_FIELD.split(plain)):
            if piece and j % 2:
                yield Element(SpanKind.MESSAGE, Slot(piece), sampled)
            elif piece:
                yield Element(SpanKind.TEMPLATE, piece, sampled)


def spelled(renderer: Renderer, text: str) -> list[tuple[SpanKind, str]]:
    """Template text cut into control tokens and text."""
    pattern = _controls(renderer)
    pieces = pattern.split(text) if pattern else [text]
    return [(SpanKind.CONTROL if i % 2 else SpanKind.TEMPLATE, piece) for i, piece in enumerate(pieces) if piece]


@lru_cache(maxsize=256)
def _controls(renderer: Renderer) -> re.Pattern[str] | None:
    names = sorted(renderer.controls, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None


def expanded(renderer: Renderer, elements: list[Element], message: Message) -> list[Element]:
    """The elements with tool calls and declarations written out, so that only text and slots are left."""
    out: list[Element] = []
    for element in elements:
        match element.text:
            case Calls(write_call, join):
                for i, call in enumerate(message.tool_calls):
                    out += _template(renderer, join, True) if i else ()
                    out += _markup(renderer, write_call(i, call))
            case Tools(write_tools):
                out += _markup(renderer, write_tools(message.tools))
            case _:
                out.append(element)
    return out


def _markup(renderer: Renderer, markup: Markup) -> Iterator[Element]:
    for piece in markup:
        if isinstance(piece, Data) and piece.text:
            yield Element(SpanKind.MESSAGE, piece.text, True)
        elif isinstance(piece, str):
            for kind, text in spelled(renderer, piece):
                yield Element(kind, text, True)


def slot_text(slot: Slot, message: Message) -> str:
    """The text of a message that goes into a slot."""
    field, lstrip, rstrip = slot
    if isinstance(field, int):
        text = message.content[field].text  # type: ignore[union-attr]  # a numbered slot comes from the parts' shape
    elif field == "text":
        text = text_of(message)
    elif field == "thinking":
        text = "".join(part.text for part in parts_of(message) if part.kind == "thinking")
    elif field == "newlines":
        own = text_of(message)
        text = own[: len(own) - len(own.lstrip("\n"))]
    else:
        text = message.name if field == "name" else message.tool_call_id
    text = text.lstrip(lstrip) if lstrip else text
    return text.rstrip(rstrip) if rstrip else text


def check(renderer: Renderer, message: Message) -> None:
    """Refuse an unknown role, and reasoning, calls, tools or images without a piece for them. Raises: InputError."""
    if message.role not in renderer.rows:
        raise unknown_role(message.role, renderer.name, renderer.rows)
    pieces = flat(renderer.rows[message.role])
    kinds = {part.kind for part in parts_of(message)}
    for present, wanted, what in (
        ("text" in kinds or "image" in kinds, Text, "text"),
        ("thinking" in kinds, Reasoning, "reasoning"),
        (bool(message.tool_calls), Calls, "tool calls"),
        (bool(message.tools), Tools, "tool declarations"),
    ):
        if present and not any(isinstance(piece, wanted) for piece in pieces):
            raise expected(f"no {what} ({renderer.name} has no place for it in a {message.role} message)", what)
    if "image" in kinds and not renderer.image:
        raise expected(f"text ({renderer.name} is a text renderer)", "an image", path=("content",))


def unknown_role(role: str, name: str, roles: Iterable[str]) -> InputError:
    """The error for a role that a format does not know."""
    if role == "text":
        return problem(f"raw text needs --renderer-name text; {name} renders conversations", path=("role",))
    return unknown("role", role, [role for role in roles if role != "text"], path=("role",))


def in_runs(elements: Iterable[Element]) -> list[list[Element]]:
    """The elements, joined where one BPE pass reads them: neighbours alike in being sampled that are text."""
    runs: list[list[Element]] = []
    sampled: bool | None = None
    for element in elements:
        if element.kind is SpanKind.CONTROL or element.kind is SpanKind.IMAGE:
            runs.append([element])
            sampled = None
        else:
            if element.sampled is sampled:
                runs[-1].append(element)
            else:
                runs.append([element])
            sampled = None if element.ends_run else element.sampled
    return runs


def flat(row: Row) -> list[Piece]:
    return [inner for piece in row for inner in (piece.pieces if isinstance(piece, Content) else (piece,))]
