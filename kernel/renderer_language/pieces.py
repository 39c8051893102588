"""The language of renderers: pieces, the conditions they depend on, and `Renderer` itself. Data only.

A renderer lists, for each role, the pieces a message is written with, and when each applies. A format is a table, and
a variant is the table with a field replaced. `before`, `Calls` and `Tools` name functions for what tables cannot do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from kernel.conversation import Conversation, Message, ToolCall, ToolSpec
from kernel.errors import expected

if TYPE_CHECKING:
    from kernel.parse_response.common import Parsed, Segment


class Condition(IntEnum):
    """What a piece may depend on; each is one bit, so that what is known of a message is one integer."""

    FIRST = 1 << 0  # it opens the conversation
    LAST = 1 << 1  # it ends what is being written
    LAST_IN_EXAMPLE = 1 << 2  # LAST, in an example (not in a prompt)
    HAS_USER = 1 << 3  # some user message exists
    LAST_USER = 1 << 4  # it is the last user message
    AFTER_LAST_USER = 1 << 5  # it comes after the last user message
    IN_TURN = 1 << 6  # it belongs to the turn being produced
    AFTER_TOOL = 1 << 7  # the message before it is a tool's
    BEFORE_TOOL = 1 << 8  # the message after it is a tool's
    HAS_TEXT = 1 << 9  # it has text
    HAS_REASONING = 1 << 10  # it has reasoning
    HAS_CALLS = 1 << 11  # it calls tools
    HAS_TOOLS = 1 << 12  # it declares tools
    SHOWS_REASONING = 1 << 13  # it has reasoning, and the format keeps it here (`Renderer.keep`)
    HAS_TEXT_OR_REASONING = 1 << 14  # HAS_TEXT or SHOWS_REASONING
    HAS_NAME = 1 << 15  # it has a name (a tool's result: the tool's)
    AFTER_USER = 1 << 16  # the message before it is a user's
    AFTER_ANSWER = 1 << 17  # the message before it is the assistant's and calls no tools
    AFTER_CALLS = 1 << 18  # the message before it is the assistant's and calls tools
    AFTER_FIRST_SYSTEM = 1 << 19  # the message before it is the system's and opens the conversation
    BEFORE_USER = 1 << 20  # the message after it is a user's
    ONLY_ASSISTANT_FOLLOWS = 1 << 21  # nobody but the assistant speaks after it
    TOOLS_DECLARED = 1 << 22  # the conversation declares tools
    KEEPS_REASONING = 1 << 23  # the format keeps reasoning here (`Renderer.keep`), whether it has any or not


Conditions = tuple[Condition, ...]


class Data(NamedTuple):
    """Text that comes from data inside a family's own syntax: encoded literally, whatever it spells."""

    text: str


Markup = Sequence[str | Data]  # template text (control tokens spelled out) and data, in order


class Header(NamedTuple):
    """Template text that the renderer writes and the model never samples: weight 0, except in ALL_TOKENS.

    `{name}` and `{tool_call_id}` are the message's own fields, `{newlines}` those that its text starts with.
    """

    text: str
    when: Conditions = ()
    unless: Conditions = ()


class Sampled(NamedTuple):
    """Template text that the model itself must sample, such as the token that ends its turn."""

    text: str
    when: Conditions = ()
    unless: Conditions = ()


class Text(NamedTuple):
    """The text of the message in place of `{}`; `lstrip` is taken off its start after a block, `rstrip` off its end."""

    wrap: str = "{}"
    lstrip: str = ""
    when: Conditions = ()
    unless: Conditions = ()
    rstrip: str = ""


class Reasoning(NamedTuple):
    """The message's reasoning, put in the place of `{}`; `strip` are characters taken off its ends."""

    wrap: str
    strip: str = ""
    when: Conditions = (Condition.SHOWS_REASONING,)
    unless: Conditions = ()


class Content(NamedTuple):
    """Text and reasoning in the order of the message's own parts, each part by the first piece that applies to it."""

    pieces: tuple[Text | Reasoning, ...]
    when: Conditions = ()
    unless: Conditions = ()


class Calls(NamedTuple):
    """The message's tool calls, each by `write(index, call)`, with `join` between them."""

    write: Callable[[int, ToolCall], Markup]
    join: str = ""
    when: Conditions = (Condition.HAS_CALLS,)
    unless: Conditions = ()


class Tools(NamedTuple):
    """The declaration of the tools that come with a system message."""

    write: Callable[[tuple[ToolSpec, ...]], Markup]
    when: Conditions = (Condition.HAS_TOOLS,)
    unless: Conditions = ()


class Refuse(NamedTuple):
    """A message that the format cannot write: an error with what was expected instead."""

    expected: str
    when: Conditions = ()
    unless: Conditions = ()
    got: str = "none"


Piece = Header | Sampled | Text | Reasoning | Content | Calls | Tools | Refuse
Row = tuple[Piece, ...]


def unchanged(conversation: Conversation) -> Conversation:
    """The default of `Renderer.before`."""
    return conversation


TurnBoundary = Callable[[int, Message], bool]


def by_roles(boundary: TurnBoundary) -> TurnBoundary:
    """Marks a `turn_starts_after` that looks at roles and tool calls alone, so skeletons are cached per pattern.

    One that is not marked may look at texts, so each conversation is compiled anew, which takes several times as long.

    >>> @by_roles
    ... def is_first(i: int, message: Message) -> bool:
    ...     return i == 0
    >>> is_first.by_roles
    True
    """
    boundary.by_roles = True  # type: ignore[attr-defined]
    return boundary


@by_roles
def is_user(_i: int, message: Message) -> bool:
    """The default of `Renderer.turn_starts_after`."""
    return message.role == "user"


@dataclass(frozen=True, eq=False)
class Renderer:
    """A chat format, as data. `dataclasses.replace` makes a variant of it.

    Attributes:
        name: what users call it.
        rows: the pieces of a message, by role; a role without a row is refused.
        cue: what a prompt ends on; the model samples from there.
        stops: what ends a sampled turn: names of control tokens, or text where the format has none.
        controls: the control tokens that its template text spells, each one id of the tokenizer.
        bos: template text that opens every example, never trained.
        keep: where reasoning stays: under any of these conjunctions of conditions.
        refuses_reasoning: the cue closes the block of reasoning, so a trained turn that reasons is an error.
        before: rewrites the conversation before anything is written.
        turn_starts_after: whether the turn being produced can start after this message of that index (it starts after
            the last such message); see `by_roles`.
        parse: a sampled turn, as segments, back to a message.
        image: how an image is written among a message's texts (`{}` is the image); "" for a format that sees none.
        image_tokens: (height, width) in pixels -> how many tokens the model will see; None where that is not known.
        spoofable: its framing is plain text, so a message can imitate a turn.
    """

    name: str
    rows: Mapping[str, Row]
    cue: Row
    stops: tuple[str, ...]
    parse: "Callable[[Sequence[Segment]], Parsed]"
    controls: tuple[str, ...] = ()
    bos: str = ""
    keep: tuple[Conditions, ...] = ((Condition.LAST,),)
    refuses_reasoning: bool = False
    before: Callable[[Conversation], Conversation] = unchanged
    turn_starts_after: TurnBoundary = is_user
    image: str = ""
    image_tokens: Callable[[int, int], int] | None = None
    spoofable: bool = False

    def __post_init__(self) -> None:
        """Refuses what is no piece, as a row that lacks its last comma has. Raises: InputError."""
        for role, row in {**self.rows, "cue": self.cue}.items():
            for piece in row:
                if not isinstance(piece, Piece):
                    wanted = "pieces (Header, Sampled, Text, ...) in a tuple"
                    raise expected(wanted, repr(piece)[:60], at=f"{self.name}, {role}")

    def turn_start(self, conversation: Conversation) -> int:
        """Index at which the turn being produced starts, given all messages before its last."""
        for i in range(len(conversation) - 1, -1, -1):
            if self.turn_starts_after(i, conversation[i]):
                return i + 1
        return 0
