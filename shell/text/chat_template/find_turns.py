"""Turns of a rendered conversation: where each starts and ends, proven from the template's own prompts.

An assistant's turn is the text after its prompt, up to the control token that ends it where it is the last message. It
is at the same position in a longer conversation that begins with this text. A generation block narrows the turn.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kernel.conversation import Conversation
from kernel.errors import InputError
from kernel.renderer_language.interpreter import SpanKind
from shell.text.chat_template.placeholders import TEMPLATE, Rendered, Run, align
from shell.text.chat_template.template_messages import MARKS, Field, Placeholders, read_messages

if TYPE_CHECKING:
    from shell.text.chat_template.open_template import ChatTemplate


class UnprovenError(InputError):
    """The position of a turn in a conversation cannot be proven; in a shorter one perhaps it can."""


class Turn(NamedTuple):
    """Characters `start` to `stop` of a rendering: what the message's author writes."""

    start: int
    stop: int


class Piece(NamedTuple):
    """A control token, text of the template or text of the data: characters `start` to `stop` of a rendering."""

    kind: SpanKind
    start: int
    stop: int


class Control(NamedTuple):
    """A control token; `lstrip` and `rstrip`: it removes the white space beside it."""

    text: str
    lstrip: bool = False
    rstrip: bool = False


class Rendering:
    """One conversation under one template, rendered as often as its proofs need; `at` is its position, for errors."""

    def __init__(self, template: "ChatTemplate", conversation: Conversation, at: str = "$") -> None:
        self.template, self.conversation, self.at = template, conversation, at
        self._messages = read_messages(conversation, template.habits, at)
        self._placeholders = Placeholders()
        self._known: dict[tuple[int, bool], Rendered] = {}

    def render(self, n: int, prompt: bool = False) -> Rendered:
        """The first n messages, and the prompt for one more; raises InputError when the template refuses them."""
        if (n, prompt) not in self._known:
            real = self._run(n, prompt, lambda field: field.text)
            marked = self._run(n, prompt, self._placeholders.of, MARKS)
            try:
                self._known[n, prompt] = align(
                    real, marked, self._placeholders.shown, lambda k: _description(self._messages.fields[k])
                )
            except InputError as error:
                raise InputError(str(error), self.at) from None
        return self._known[n, prompt]

    def _run(self, n: int, prompt: bool, show: Callable[[Field], str], marks: tuple[str, str] = ("", "")) -> str:
        variables = {**self._messages.first(n, show), "add_generation_prompt": prompt}
        return self.template.run(variables, self.at, marks)

    def pieces(self, text: Rendered) -> list[Piece]:
        """A rendering in pieces; only what the template alone writes can be a control token."""
        out: list[Piece] = []
        for start, stop, source, *_ in text.runs:
            if source != TEMPLATE:
                out.append(Piece(SpanKind.MESSAGE, start, stop))
                continue
            for kind, part in self.template.cut(text.text[start:stop]):
                out.append(Piece(kind, start, start + len(part)))
                start += len(part)
        return out

    def shown(self, text: Rendered) -> list[tuple[Field, int, int]]:
        """The data in a rendering, with the characters where each stretch of it starts and stops."""
        return [(self._messages.fields[run.source], run.start, run.stop) for run in text.runs if run.source != TEMPLATE]

    def check(self, n: int, prompt: bool = False) -> None:
        """Raises InputError unless the template shows the first n messages as they are."""
        text = self.render(n, prompt)
        check_shown(text.runs, [field for field in self._messages.fields if field.message < n], self.at)
        for field, start, stop in self.shown(text):
            role = self.role(field.message)
            if role != "assistant" and any(a < stop and start < b for a, b in text.marked):
                raise InputError(f"a generation block is around the data of a {role} message", self.at)

    def turn(self, i: int, n: int) -> Turn:
        """The position of the turn of message i in the first n messages; UnprovenError where there is no proof."""
        whole = self.render(i + 1)
        turn = self._turn(i, whole)
        if n > i + 1 and self.render(n).n_shared(whole) < turn.stop:
            raise self._unproven(i, "the turn to read the same once more messages follow", "another text")
        return turn

    def first(self, i: int, text: Rendered) -> int | None:
        """The character where the text of message i starts; of a tool's, with the white space before it."""
        own = next((at for field, at, _ in self.shown(text) if (field.message, field.name) == (i, "text")), None)
        if own is None or self.role(i) != "tool":
            return own
        token = max((p.stop for p in self.pieces(text) if p.kind is SpanKind.CONTROL and p.stop <= own), default=own)
        return token if text.text[token:own].isspace() else own

    def role(self, i: int) -> str:
        return self.conversation[i].role

    def _turn(self, i: int, whole: Rendered) -> Turn:
        assistant, start, shown = self.role(i) == "assistant", self._start(i, whole), self.shown(whole)
        last = max(start, shown[-1][2] if shown else 0)
        ends = [p.stop for p in self.pieces(whole) if p.kind is SpanKind.CONTROL and p.start >= last]
        if assistant and not ends:
            raise self._unproven(i, "a control token that ends the turn", "none")
        turn = Turn(start, ends[-1] if ends else len(whole.text))
        after = whole.text[turn.stop :]
        if assistant and after.strip():
            raise self._unproven(i, "a turn that ends with a control token", f"{after!r} after it")
        if any(turn.start <= at < turn.stop and field.message != i for field, at, _ in shown):
            raise self._unproven(i, "a turn that shows its own message", "another's words in it")
        thoughts = [field for field in self._messages.fields if (field.message, field.name) == (i, "reasoning")]
        if any(field.text.strip() and field not in [own for own, *_ in shown] for field in thoughts):
            raise self._unproven(i, "its reasoning in the turn", "none (the template drops it)")
        if assistant and self.template.marks:
            marked = [(max(a, turn.start), min(b, turn.stop)) for a, b in whole.marked]
            inside = [(a, b) for a, b in marked if a < b]
            if not inside or sum(b - a for a, b in inside) < inside[-1][1] - inside[0][0]:
                raise self._unproven(i, "one generation block around the turn", "several" if inside else "none")
            turn = Turn(inside[0][0], inside[-1][1])
        if any(p.kind is SpanKind.CONTROL and p.start < edge < p.stop for p in self.pieces(whole) for edge in turn):
            raise self._unproven(i, "a turn of whole tokens", "a control token that is half in it")
        return turn

    def _start(self, i: int, whole: Rendered) -> int:
        if self.role(i) != "assistant":
            start = self.first(i, whole)
            if start is None:
                raise self._unproven(i, "text (the start of an empty message is not known)", "none")
            return start
        prompt = self.render(i, prompt=True)
        n = whole.n_shared(prompt)
        if n < len(prompt.text):
            asks, writes = (one.text[n : n + 40] for one in (prompt, whole))
            if whole.text.startswith(prompt.text):
                own = f"{asks!r} of the template's own before the turn"
                raise self._unproven(i, own, "the same text from the data")
            raise self._unproven(i, f"{asks!r} before the turn, as in its prompt", repr(writes))
        return n

    def _unproven(self, i: int, what: str, got: str) -> UnprovenError:
        return UnprovenError(f"expected {what}, got {got}", self.at, ("messages", i))


def _description(field: Field) -> str:
    return f"the {'call' if field.name == 'callee' else field.name} of message {field.message}"


def check_shown(runs: Sequence[Run], fields: Sequence[Field], at: str) -> None:
    """Raises InputError for data that is missing, cut, repeated or out of order; names of results may be left out."""
    shown: list[list[Run]] = [[] for _ in fields]
    last = 0
    for run in runs:
        if run.source != TEMPLATE:
            shown[run.source].append(run)
            message, name, *_ = fields[run.source]
            if name in ("text", "reasoning"):
                if message < last:
                    raise InputError(f"the template writes message {message} after message {last}", at)
                last = message
    declared = [bool(runs) for runs, field in zip(shown, fields, strict=True) if field.name == "tool"]
    if declared and not any(declared):
        raise InputError("expected no tool declarations (the template does not write them), got some", at)
    for source, (own, field) in enumerate(zip(shown, fields, strict=True)):
        has_id = source > 0 and fields[source - 1].name == "id" and bool(shown[source - 1])
        due = {"text": True, "call": True, "reasoning": bool(own), "callee": not has_id}
        if due.get(field.name, False):
            _check_whole(own, field, at)


def _check_whole(runs: list[Run], field: Field, at: str) -> None:
    """The runs show the whole string from its first character on; those of a call may show it again."""
    seen = 0
    for run in runs:
        if seen and not field.text[seen:].strip():
            if field.name in ("call", "callee"):
                return
            raise InputError(f"the template repeats {_description(field)}", at)
        if run.first != seen and (seen or field.text[: run.first].strip()):
            raise InputError(f"the template writes only a part of {_description(field)}", at)
        seen = run.last
    if field.text[seen:].strip():
        how = "writes only a part of" if runs else "leaves out"
        raise InputError(f"the template {how} {_description(field)}", at)
