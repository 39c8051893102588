"""Where each turn of a rendered conversation starts and ends, proven from the template's own prompts.

The turn of an assistant's message is what follows the prompt before it, `render(messages[:i], add_generation_prompt)`,
in the conversation that ends with it, through the control token that ends it there. Its place in a longer conversation
is proven when that one begins with exactly this text, of exactly this origin; where it does not (reasoning is dropped
later, say), the caller makes an example of the turn alone. Where the template marks what is the assistant's
(`{% generation %}`), the mark narrows the turn, never widens it. The turn of another message starts with its text.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from kernel.chat_format.elements import SpanKind
from kernel.conversation import Conversation
from kernel.errors import InputError, expected
from shell.text.jinja.pieces import Piece, begins, pieces, places, shared, skeleton
from shell.text.jinja.shown import check_shown
from shell.text.jinja.traced import Traced
from shell.text.jinja.wire import Field, Habits, Wire, neutral, wire


class UnprovenError(InputError):
    """Where a turn stands in a conversation cannot be proven; in a shorter one perhaps it can."""


class Turn(NamedTuple):
    """Characters `start` to `stop` of a rendering: what the message's author writes."""

    start: int
    stop: int


class Control(NamedTuple):
    """A control token; `lstrip` and `rstrip` say that it takes the white space beside it away."""

    text: str
    lstrip: bool = False
    rstrip: bool = False


class Template(Protocol):
    """What a rendering needs of its template."""

    @property
    def habits(self) -> Habits:
        """How it reads messages."""

    @property
    def marks(self) -> bool:
        """Whether it has generation blocks."""

    @property
    def tokens(self) -> Mapping[str, Control]:
        """The control tokens, by their text."""

    def run(self, variables: Mapping[str, Any], at: str) -> Traced:
        """What it writes."""

    def cut(self, text: str) -> list[tuple[SpanKind, str]]:
        """Text of its own, cut at the control tokens."""


class Rendering:
    """One conversation under one template, rendered as often as its proofs need.

    Args:
        template: the chat template.
        conversation: the messages.
        at: where the conversation stands, for errors.

    Raises:
        InputError: a message that templates have no form for.
    """

    def __init__(self, template: Template, conversation: Conversation, at: str = "$") -> None:
        self.template, self.conversation, self.at = template, conversation, at
        self._wire = wire(conversation, template.habits, at)
        self._known: dict[tuple[int, bool], Traced] = {}

    def text(self, n: int, prompt: bool = False) -> Traced:
        """The first n messages, and the prompt for one more; raises InputError when the template refuses them."""
        if (n, prompt) not in self._known:
            self._known[n, prompt] = self._run(self._wire, n, prompt)
        return self._known[n, prompt]

    def pieces(self, text: Traced) -> list[Piece]:
        """A rendering in pieces."""
        return pieces(text, self.template.cut)

    def shown(self, text: Traced) -> list[tuple[Field, int, int]]:
        """The data in a rendering, with the characters where each stretch of it starts and stops."""
        return [(self._wire.fields[run.source], at, stop) for run, at, stop in places(text) if run.source >= 0]

    def check(self, n: int, prompt: bool = False) -> None:
        """Refuse what the template does to the first n messages, unless it shows them as they are.

        Raises:
            InputError: see `check_shown`; or the template writes something else around other words.
        """
        text = self.text(n, prompt)
        fields = [field for field in self._wire.fields if field.message < n]
        check_shown(text, fields, self.at)
        for run in text.runs:
            if run.generated and run.source >= 0 and self.role(fields[run.source].message) != "assistant":
                raise expected("generation blocks around the assistant's turns", "one around another's", at=self.at)
        other = self._run(wire(neutral(self.conversation), self.template.habits, self.at), n, prompt)
        if skeleton(other) != skeleton(text):
            raise expected("a template that writes the same around any text", "one that depends on it", at=self.at)

    def turn(self, i: int, n: int) -> Turn:
        """Where the turn of message i stands in the first n messages.

        Raises:
            UnprovenError: nobody can tell; the sentence says why.
        """
        whole = self.text(i + 1)
        turn = self._turn(i, whole)
        if n > i + 1 and not begins(self.text(n), whole[: turn.stop]):
            raise self._unproven(i, "the turn to read the same once more messages follow", "another text")
        return turn

    def first(self, i: int, text: Traced) -> int | None:
        """Where message i starts to speak in a rendering: with its text, a tool with the white space before it."""
        own = next((at for field, at, _ in self.shown(text) if (field.message, field.name) == (i, "text")), None)
        if own is None or self.role(i) != "tool":
            return own
        token = max((p.stop for p in self.pieces(text) if p.kind is SpanKind.CONTROL and p.stop <= own), default=own)
        return token if str.__str__(text[token:own]).isspace() else own

    def role(self, i: int) -> str:
        """Who wrote message i."""
        return self.conversation[i].role

    def _run(self, read: Wire, n: int, prompt: bool) -> Traced:
        given = {"messages": read.first(n), "tools": read.tools, "documents": None, "add_generation_prompt": prompt}
        return self.template.run(given, self.at)

    def _turn(self, i: int, whole: Traced) -> Turn:
        assistant, start, shown = self.role(i) == "assistant", self._start(i, whole), self.shown(whole)
        last = max(start, shown[-1][2] if shown else 0)
        ends = [p.stop for p in self.pieces(whole) if p.kind is SpanKind.CONTROL and p.start >= last]
        if assistant and not ends:
            raise self._unproven(i, "a control token that ends the turn", "none")
        turn = Turn(start, ends[-1] if ends else len(whole))
        behind = str.__str__(whole[turn.stop :])
        if assistant and behind.strip():
            raise self._unproven(i, "a turn that ends with a control token", f"{behind!r} behind it")
        if any(turn.start <= at < turn.stop and field.message != i for field, at, _ in shown):
            raise self._unproven(i, "a turn that shows its own message", "another's words in it")
        thoughts = [field for field in self._wire.fields if (field.message, field.name) == (i, "reasoning")]
        if any(field.text.strip() and field not in [own for own, *_ in shown] for field in thoughts):
            raise self._unproven(i, "its reasoning in the turn", "none (the template drops it)")
        turn = self._narrowed(i, whole, turn) if assistant and self.template.marks else turn
        if any(p.kind is SpanKind.CONTROL and p.start < edge < p.stop for p in self.pieces(whole) for edge in turn):
            raise self._unproven(i, "a turn of whole tokens", "a control token that is half in it")
        return turn

    def _start(self, i: int, whole: Traced) -> int:
        if self.role(i) != "assistant":
            start = self.first(i, whole)
            if start is None:
                raise self._unproven(i, "text (where an empty message starts cannot be told)", "none")
            return start
        prompt = self.text(i, prompt=True)
        if not begins(whole, prompt):
            n = shared(whole, prompt)
            asks, writes = (repr(str.__str__(text[n : n + 40])) for text in (prompt, whole))
            raise self._unproven(i, f"{asks} before the turn, as in its prompt", writes)
        return len(prompt)

    def _narrowed(self, i: int, whole: Traced, turn: Turn) -> Turn:
        marked = [(max(a, turn.start), min(b, turn.stop)) for run, a, b in places(whole) if run.generated]
        inside = [(a, b) for a, b in marked if a < b]
        if not inside or sum(b - a for a, b in inside) < inside[-1][1] - inside[0][0]:
            raise self._unproven(i, "one generation block around the turn", "several" if inside else "none")
        return Turn(inside[0][0], inside[-1][1])

    def _unproven(self, i: int, what: str, got: str) -> UnprovenError:
        return UnprovenError(f"expected {what}, got {got}", self.at, ("messages", i))
