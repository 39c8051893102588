"""Weights of messages and parts, taken off before a conversation is rendered and multiplied in afterwards.

A text is encoded as without weights, so tokens never depend on them. A token belongs to a part if it is one of those
that the text up to the end of that part begins with when encoded alone; one that spans two parts is the later one's.
"""

from collections.abc import Sequence

from kernel.conversation import Conversation, Message, Part, content_of, parts_of
from kernel.errors import problem
from kernel.renderer_language.interpreter import Element, Slot, slot_text

Piece = tuple[Element, str, float]
"""An element of a message or a piece of one, its text, and the factor of the part that it comes from."""


def has_weights(conversation: Sequence[Message]) -> bool:
    """Whether a message or a part of it has a weight other than 1."""
    return any(message.weight != 1.0 or has_part_weights(message) for message in conversation)


def has_part_weights(message: Message) -> bool:
    return not isinstance(message.content, str) and any(part.weight != 1.0 for part in message.content)


def unweighted(conversation: Conversation) -> Conversation:
    """The conversation without weights, its texts joined as they would be; weight 0 becomes `trainable` false."""
    return tuple(
        message._replace(
            content=_joined(message) if has_part_weights(message) else message.content,
            trainable=message.trainable if message.weight else False,
            weight=1.0,
        )
        for message in conversation
    )


def check_kept(given: Sequence[Message], ready: Sequence[Message], name: str, at: str) -> None:
    """Refuse weights of parts that a renderer's `before` does not keep. Raises: InputError."""
    if sum(map(has_part_weights, given)) != sum(map(has_part_weights, ready)):
        i = next(i for i, message in enumerate(given) if has_part_weights(message))
        reason = f"{name} joins the parts of such a message, so a part cannot have a weight of its own"
        raise problem(reason, at, ("messages", i, "content"))


def weighted_pieces(run: Sequence[Element], message: Message, plain: Message) -> list[Piece]:
    """A run with its texts filled in and cut where the weights of parts change; `plain` is `message` without them."""
    out: list[Piece] = []
    weighs = has_part_weights(message)
    for element in run:
        slot = element.text
        if not isinstance(slot, Slot):
            out.append((element, str(slot), 1.0))
        elif weighs and (isinstance(slot.field, int) or slot.field in ("text", "thinking")):
            out += [(element, text, factor) for text, factor in _cut(slot, message, plain)]
        else:
            out.append((element, slot_text(slot, plain), 1.0))
    return out


def prefixes(pieces: Sequence[Piece]) -> list[tuple[str, float]]:
    """The text up to the end of each stretch of one factor, longest first; nothing where the only factor is 1."""
    found: list[tuple[str, float]] = []
    text = ""
    for _, more, factor in pieces:
        text += more
        if more and found and found[-1][1] == factor:
            found[-1] = text, factor
        elif more:
            found.append((text, factor))
    return [] if all(factor == 1.0 for _, factor in found) else found[::-1]


def _joined(message: Message) -> str | tuple[Part, ...]:
    return content_of([part._replace(weight=1.0) for part in parts_of(message)])


def _cut(slot: Slot, message: Message, plain: Message) -> list[tuple[str, float]]:
    """The text of a slot, part by part."""
    parts = [part for part in parts_of(message) if part.text]
    if isinstance(slot.field, int):
        parts = _groups(parts)[slot.field]
    else:
        parts = [part for part in parts if part.kind == slot.field]
    text = "".join(part.text for part in parts)
    start = len(text) - len(text.lstrip(slot.lstrip)) if slot.lstrip else 0
    stop = start + len(slot_text(slot, plain))
    out, at = list[tuple[str, float]](), 0
    for part in parts:
        out.append((text[max(at, start) : max(start, min(at + len(part.text), stop))], part.weight))
        at += len(part.text)
    return [one for one in out if one[0]]


def _groups(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts that `content_of` joins without weights."""
    groups: list[list[Part]] = []
    for part in parts:
        if groups and groups[-1][-1].kind == part.kind == "text":
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups
