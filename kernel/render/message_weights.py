"""Weights of messages and parts, taken off before a conversation is rendered and multiplied in afterwards.

A text is encoded as without weights, so tokens never depend on them. A token belongs to a part if it is one of those
that the text up to the end of that part begins with when encoded alone; one that spans two parts is the later one's.
"""

from collections.abc import Sequence

from kernel.conversation import Conversation, Message, Part, has_part_weights, parts_of, text_of, unweighted_content
from kernel.errors import problem
from kernel.renderer_language.interpreter import Element, Slot, slot_text

Piece = tuple[Element, str, float]
"""An element of a message or a piece of one, its text, and the factor of the part that it comes from."""


def has_weights(conversation: Sequence[Message]) -> bool:
    """Whether a message or a part of it has a weight other than 1."""
    for message in conversation:
        if message.weight != 1.0 or (type(message.content) is not str and has_part_weights(message)):
            return True
    return False


def unweighted(conversation: Conversation) -> Conversation:
    """The conversation without weights, its texts joined as they would be; weight 0 becomes `trainable` false."""
    return tuple(
        message._replace(
            content=unweighted_content(message),
            trainable=message.trainable if message.weight else False,
            weight=1.0,
        )
        for message in conversation
    )


def check_kept(given: Sequence[Message], ready: Sequence[Message], plain: Sequence[Message], name: str) -> None:
    """Refuse weights that a renderer's `before` does not keep: `ready` has them, `plain` none. Raises: InputError."""
    if sum(map(_n_weights, given)) != sum(map(_n_weights, ready)) or len(ready) != len(plain):
        i = next((i for i, message in enumerate(given) if has_part_weights(message)), 0)
        reason = f"{name} joins the parts of such a message, so a part cannot have a weight of its own"
        raise problem(reason, path=("messages", i, "content"))


def check_turns(given: Sequence[Message], ready: Sequence[Message], on: Sequence[bool], name: str) -> None:
    """Refuse different weights in messages that `before` has joined, the later ones left empty. Raises: InputError."""
    n_added, first = len(ready) - len(given), 0
    for i, message in enumerate(given, n_added):
        moved = message.role in ("user", "tool") and ready[i].content == "" and text_of(message).strip() != ""
        first = first if moved else i
        one, other = ready[i], ready[first]
        if one.weight != other.weight and on[i] * one.weight != on[first] * other.weight:
            reason = f"{name} writes this message and the one before it as one turn, so they cannot differ in weight"
            raise problem(reason, path=("messages", i - n_added, "weight"))


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


def _n_weights(message: Message) -> int:
    """How many parts that say something have a weight of their own."""
    return sum(part.weight != 1.0 and part.text.strip() != "" for part in parts_of(message))


def _cut(slot: Slot, message: Message, plain: Message) -> list[tuple[str, float]]:
    """The text of a slot, part by part."""
    parts = [part for part in parts_of(message) if part.text]
    if isinstance(slot.field, int):
        parts = _groups(parts, plain)[slot.field]
    else:
        parts = [part for part in parts if part.kind == slot.field]
    text = "".join(part.text for part in parts)
    written = slot_text(slot, plain)
    start = text.index(written)  # white space around it may be left out
    stop = start + len(written)
    out, at = list[tuple[str, float]](), 0
    for part in parts:
        out.append((text[max(at, start) : max(start, min(at + len(part.text), stop))], part.weight))
        at += len(part.text)
    return [one for one in out if one[0]]


def _groups(parts: Sequence[Part], plain: Message) -> list[list[Part]]:
    """The parts that each part of `plain`, which has no weights, is joined from."""
    groups, left = list[list[Part]](), list(parts)
    for own in parts_of(plain):
        group = list[Part]()
        while left and own.text not in "".join(part.text for part in group):
            part = left.pop(0)
            group += [part] if part.kind == own.kind else []
        groups.append(group)
    return groups
