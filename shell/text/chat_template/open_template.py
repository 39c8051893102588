"""Chat templates as formats to train with: where one is found, what ends a turn, how it reads messages.

`transformers` leaves the form of reasoning, calls and content to each template, so a template is tried on two messages:
the first form in which it shows all of them is its form.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from kernel.conversation import Conversation, Message, Part, ToolCall
from kernel.errors import InputError, expected, unknown
from kernel.parse_response.common import Parsed, Segment, parse_plain
from kernel.renderer_language.interpreter import SpanKind
from shell.text.chat_template.find_turns import Control, Rendering
from shell.text.chat_template.placeholders import Program
from shell.text.chat_template.template_messages import Arguments, Habits, Placeholder, Shown, placeholder, read_messages
from shell.text.tokenizer import Tokenizer

NAME = "hf_template"
DATE = "2025-01-01"
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_ALWAYS = ("messages", "tools", "documents", "add_generation_prompt", "strftime_now")  # in every conversation
_TEMPLATE, _CONFIG = "chat_template.jinja", "tokenizer_config.json"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class ChatTemplate:
    """A chat template that was tried, and is fit for training; InputError where the mask of its turns has no proof.

    `controls` are the control tokens that its text spells, `stops` those that end an assistant's turn; `variables` are
    what it may read beside the conversation, such as enable_thinking; `marks` is whether it has generation blocks.
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
        self.source, self.given, self.date = source, dict(variables or {}), date
        self.tokens = {control.text: control for control in controls}
        names = sorted(self.tokens, key=len, reverse=True)
        self._controls = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None
        self.bos = str(self.given.get("bos_token", ""))
        self._program, self._today = Program(source, at), _day(date, at).strftime
        self.variables = self._program.variables.difference(_ALWAYS)
        self.marks = bool(re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", source))
        self.habits = self._tried(at)
        spelled = [part for text in self._program.texts for part in self.cut(text)]
        self.controls = tuple(dict.fromkeys(text for kind, text in spelled if kind is SpanKind.CONTROL))
        self.stops = tuple(dict.fromkeys(self._stops()))
        if "strftime_now" in source:
            self._check_dates(at)

    def run(self, variables: Mapping[str, Any], at: str, marks: tuple[str, str] = ("", "")) -> str:
        """What the template writes; see `Program.run`."""
        return self._program.run({"strftime_now": self._today, **self.given, **variables}, at, marks)

    def cut(self, text: str) -> list[tuple[SpanKind, str]]:
        """Text of the template, cut at the control tokens that it spells."""
        parts = self._controls.split(text) if self._controls else [text]
        return [(SpanKind.CONTROL if i % 2 else SpanKind.TEMPLATE, part) for i, part in enumerate(parts) if part]

    def parse(self, segments: Sequence[Segment]) -> Parsed:
        """A sampled turn as text: a template does not say how to read reasoning and calls."""
        ends = (text for kind, text in segments if kind is SpanKind.CONTROL and text in self.stops)
        return parse_plain(segments, next(ends, self.stops[0]))

    def _tried(self, at: str) -> Habits:
        refused: list[InputError] = []
        keys = [*(key for key in _REASONING_KEYS if key in self._program.reads), ""]
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
                Rendering(self, _call(""), at).check(2)
                return self.habits
            except InputError:
                continue
        return self.habits._replace(arguments="none")

    def _try(self, talk: Conversation, at: str) -> None:
        rendering = Rendering(self, talk, at)
        rendering.turn(1, 2)
        rendering.check(2)
        shown = {field.name for field, *_ in rendering.shown(rendering.render(2))}
        if self.habits.reasoning and "reasoning" not in shown:
            raise InputError(
                f"the template leaves out the reasoning ({self.habits.reasoning}) of the last turn - at {at}"
            )

    def _stops(self) -> Iterator[str]:
        """What ends the turn of an answer, and of a call."""
        talks = [_answer(self.habits.reasoning)]
        if self.habits.arguments != "none":
            talks += [_call(""), _call(self.habits.reasoning)]
        for talk in talks:
            rendering = Rendering(self, talk)
            try:
                turn, text = rendering.turn(1, 2), rendering.render(2)
            except InputError:
                continue
            yield from (text.text[a:b] for _, a, b in rendering.pieces(text) if b == turn.stop)

    def _check_dates(self, at: str) -> None:
        """Refuse a template that does more with the date than write it."""

        def written(talk: Conversation, date: str) -> str:
            def today(form: str) -> str:
                return Placeholder(lambda _: placeholder(0), Shown(0, 0, _day(date, at).strftime(form)), is_word=True)

            variables = read_messages(talk, self.habits, at).first(len(talk), lambda field: field.text)
            return self.run({**variables, "add_generation_prompt": False, "strftime_now": today}, at)

        answer = _answer(self.habits.reasoning)
        for talk in (answer, answer[:1]):
            if len({written(talk, date) for date in (self.date, "2031-12-28", "1999-06-15")}) > 1:
                raise InputError(f"the chat template depends on the date, and may only write it - at {at}")


def _day(date: str, at: str) -> datetime:
    try:
        return datetime.strptime(date, "%Y-%m-%d")
    except ValueError:
        raise expected("a date as 2025-01-31", repr(date), at=at) from None


def _answer(reasoning: str) -> Conversation:
    text = Part("text", "b")
    return Message("user", "a"), Message("assistant", (Part("thinking", "c"), text) if reasoning else (text,))


def _call(reasoning: str) -> Conversation:
    user, answer = _answer(reasoning)
    return user, answer._replace(content=answer.content[:-1], tool_calls=(ToolCall("f", '{"k": "v"}', "i"),))


def open_template(
    tokenizer: Tokenizer,
    spec: str,
    revision: str | None = None,
    variables: Mapping[str, Any] | None = None,
    date: str = DATE,
) -> ChatTemplate:
    """The chat template beside the tokenizer.json, in `chat_template.jinja` or `tokenizer_config.json`."""
    text, settings = (_file(spec, name, revision) for name in (_TEMPLATE, _CONFIG))
    try:
        config = msgspec.json.decode(settings or b"{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise expected("a JSON object", str(error), at=f"{spec} {_CONFIG}") from None
    try:
        source = text.decode() if text is not None else _named(config.get("chat_template"))
    except UnicodeDecodeError as error:
        raise expected(f"UTF-8 text in {_TEMPLATE}", str(error), at=f"--tokenizer {spec}") from None
    if source is None:
        raise expected(f"a chat template in {_TEMPLATE} or {_CONFIG}", "none", at=f"--tokenizer {spec}")
    n_bytes = int(tokenizer.n_bytes[tokenizer.encode(["a\nb"]).ids].sum())
    if n_bytes != 3:  # SentencePiece's leading space
        raise InputError(f"the tokenizer puts a space in front of every text, which no template can have - at {spec}")
    special = {key: config[key] for key in _SPECIAL if config.get(key) is not None}
    special |= {key: token.get("content") for key, token in special.items() if isinstance(token, dict)}
    at = f"{spec}'s template"
    added = msgspec.json.decode(tokenizer.json).get("added_tokens") or []
    flags = {token["content"]: (bool(token.get("lstrip")), bool(token.get("rstrip"))) for token in added}
    controls = [Control(name, *flags[name]) for name in tokenizer.controls]
    template = ChatTemplate(source, controls, {**special, **(variables or {})}, date, at)
    for name in variables or ():
        if name not in template.variables:
            raise unknown("variable", name, sorted(template.variables) or ["none"], at)
    return template


def _named(template: Any) -> str | None:
    """The template of that key: text, or a list of named ones of which it is "default"."""
    if isinstance(template, list):
        return next((one.get("template") for one in template if one.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _file(spec: str, name: str, revision: str | None) -> bytes | None:
    """A file of the tokenizer, None where there is none."""
    path = Path(spec).expanduser()
    folder = path.parent if path.is_file() else path
    if folder.is_dir():
        return (folder / name).read_bytes() if (folder / name).is_file() else None
    if spec == "sample" or spec.count("/") != 1:
        return None
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(spec, name, revision=revision)).read_bytes()
    except EntryNotFoundError:
        return None
    except Exception as error:  # the hub's client raises a dozen kinds; all mean that the file is not here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"could not fetch {name} of {spec}: {reason} - at --tokenizer") from None
