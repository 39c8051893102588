"""A tokenizer's chat template as a format to train with: what it is called, what ends a turn, how it reads messages.

`transformers` leaves the form of messages to each template: under which key reasoning stands, whether the arguments of
a call are an object or text, whether content is a string or a list. So a template is tried on two messages when it is
opened, and the first form in which it shows all of them is its form. A template that contradicts its own prompts, or
does more with the date than write it, is refused here, before any data is read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from datetime import datetime
from itertools import product
from typing import Any

from kernel.chat_format.elements import SpanKind
from kernel.conversation import Conversation, Message, Part, ToolCall
from kernel.errors import InputError, expected
from kernel.parsing.plain import parse_plain
from kernel.parsing.segments import Parsed, Segment
from shell.text.jinja.environment import Program
from shell.text.jinja.pieces import skeleton
from shell.text.jinja.traced import Traced, written
from shell.text.jinja.turns import Control, Rendering
from shell.text.jinja.wire import Arguments, Habits

NAME = "hf_template"
DATE = "2025-01-01"
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
GIVEN = ("messages", "tools", "documents", "add_generation_prompt")
"""the variables that a conversation brings"""
OTHER_DATES = ("2031-12-28", "1999-06-15")


class ChatTemplate:
    """A chat template that was shown to be fit for training.

    Attributes:
        name: "hf_template".
        source: Jinja text.
        given: what else it was given to read.
        date: today's, as it was told.
        controls: the control tokens that its own text spells.
        bos: the token that opens a sequence, where the template writes it.
        stops: the control tokens that end an assistant's turn.
        habits: how it reads messages.
        marks: whether it has generation blocks.
        variables: what it reads beside the conversation: enable_thinking, ...
    """

    name = NAME
    spoofable = False

    def __init__(
        self,
        source: str,
        controls: Iterable[Control],
        variables: Mapping[str, Any] | None = None,
        date: str = DATE,
        at: str = "the chat template",
    ) -> None:
        """Tries the template.

        Args:
            source: Jinja text.
            controls: the tokenizer's added tokens.
            variables: what else it may read: bos_token, eos_token, enable_thinking, ...
            date: today's date, for templates that write it.
            at: where it came from, for errors.

        Raises:
            InputError: the mask of its turns cannot be proven; the sentence says why.
        """
        self.source, self.given, self.date = source, dict(variables or {}), date
        self.tokens = {control.text: control for control in controls}
        names = sorted(self.tokens, key=len, reverse=True)
        self._controls = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None
        self._variables = {key: _own(value) for key, value in (variables or {}).items()}
        self.bos = str((variables or {}).get("bos_token", ""))
        self._program = Program(source, _day(date, at), at)
        self.variables = self._program.variables.difference(GIVEN)
        self.marks = bool(re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", source))
        self.habits = self._tried(at)
        spelled = [part for text in self._program.texts for part in self.cut(text)]
        self.controls = tuple(dict.fromkeys(text for kind, text in spelled if kind is SpanKind.CONTROL))
        self.stops = tuple(dict.fromkeys(self._stops()))
        if "strftime_now" in source:
            self._check_dates(source, at)

    def run(self, variables: Mapping[str, Any], at: str) -> Traced:
        """What the template writes; see `Program.run`."""
        return self._program.run({**self._variables, **variables}, at)

    def cut(self, text: str) -> list[tuple[SpanKind, str]]:
        """Text of the template's, cut at the control tokens that it spells."""
        parts = self._controls.split(text) if self._controls else [text]
        return [(SpanKind.CONTROL if i % 2 else SpanKind.TEMPLATE, part) for i, part in enumerate(parts) if part]

    def parse(self, segments: Sequence[Segment]) -> Parsed:
        """A sampled turn as text: a template tells how to write reasoning and calls, not how to read them."""
        ends = (text for kind, text in segments if kind is SpanKind.CONTROL and text in self.stops)
        return parse_plain(segments, next(ends, self.stops[0]))

    def _tried(self, at: str) -> Habits:
        refused: list[InputError] = []
        keys = [*(key for key in REASONING_KEYS if key in self._program.reads), ""]
        for key, parts in product(keys, (False, True)):
            self.habits = Habits(key, "none", parts)
            try:
                self._try(_answer(key), at)
                break
            except InputError as error:
                refused.append(error)
        else:
            raise refused[-2]  # of the simplest form: no reasoning, and content is text
        forms: tuple[Arguments, ...] = ("object", "text")
        for form in forms:
            self.habits = self.habits._replace(arguments=form)
            try:
                Rendering(self, _called(""), at).check(2)
                return self.habits
            except InputError:
                continue
        return self.habits._replace(arguments="none")

    def _try(self, talk: Conversation, at: str) -> None:
        rendering = Rendering(self, talk, at)
        rendering.turn(1, 2)
        rendering.check(2)
        shown = {field.name for field, *_ in rendering.shown(rendering.text(2))}
        if self.habits.reasoning and "reasoning" not in shown:
            raise expected(f"the reasoning under {self.habits.reasoning!r} of the last turn", "none", at=at)

    def _stops(self) -> Iterator[str]:
        """What ends the turn of an answer, and of a call."""
        talks = [_answer(self.habits.reasoning)]
        if self.habits.arguments != "none":
            talks += [_called(""), _called(self.habits.reasoning)]
        for talk in talks:
            rendering = Rendering(self, talk)
            try:
                turn, text = rendering.turn(1, 2), rendering.text(2)
            except InputError:
                continue
            yield from (str.__str__(text[a:b]) for _, a, b in rendering.pieces(text) if b == turn.stop)

    def _check_dates(self, source: str, at: str) -> None:
        """Refuse a template that does more with the date than write it."""
        twin = copy(self)
        for date in OTHER_DATES:
            twin._program = Program(source, _day(date, at), at)
            for talk in (_answer(self.habits.reasoning), _answer(self.habits.reasoning)[:1]):
                ours, theirs = (Rendering(one, talk).text(len(talk)) for one in (self, twin))
                if skeleton(ours) != skeleton(theirs):
                    raise expected("a chat template that only writes the date", "one that depends on it", at=at)


def _own(value: Any) -> Any:
    """A setting of the template's, its strings the template's own."""
    if isinstance(value, str):
        return written(value)
    if isinstance(value, Mapping):
        return {_own(key): _own(one) for key, one in value.items()}
    return [_own(one) for one in value] if isinstance(value, list | tuple) else value


def _day(date: str, at: str) -> datetime:
    try:
        return datetime.strptime(date, "%Y-%m-%d")
    except ValueError:
        raise expected("a date as 2025-01-31", repr(date), at=at) from None


def _answer(reasoning: str) -> Conversation:
    said = Part("text", "b")
    content = (Part("thinking", "c"), said) if reasoning else (said,)
    return Message("user", "a"), Message("assistant", content)


def _called(reasoning: str) -> Conversation:
    asked, answer = _answer(reasoning)
    content = answer.content[:-1]
    return asked, answer._replace(content=content, tool_calls=(ToolCall("f", '{"k": "v"}', "i"),))
