"""Renders rows to datums: read, rendered, encoded, cut; with an outcome for every row that is not trained whole."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernel.conversation import Conversation
from kernel.datum import Datums, build_datums
from kernel.errors import InputError, expected
from kernel.length_limit import (
    Truncation,
    apply_length_limit,
    n_older_turns,
    n_prompt_characters,
    shortest_cut,
    without_middle,
    without_oldest_turns,
)
from kernel.ragged_batches import Examples, Ragged, concat, reorder, take
from kernel.render.token_program import TokenProgram, assemble
from kernel.renderer_language.pieces import Renderer
from kernel.renderers.inline_markup import read_own_markup
from kernel.row_keys import KeyPolicy
from kernel.row_outcomes import Outcome, RowOutcome
from kernel.row_to_conversation import read_conversation
from shell.data.rows import Rejected, Row
from shell.datums.images import image_lengths
from shell.datums.render_settings import RenderSettings
from shell.text.renderer_by_name import Format, batch_renderer_of, markup_of
from shell.text.tokenizer import Tokenizer

Int64 = NDArray[np.int64]
T_co = TypeVar("T_co", covariant=True)


class Pending(Protocol[T_co]):
    def result(self) -> T_co: ...


class Rendered(NamedTuple):
    """Rows as tokens and weights, before anything is cut. Rows are numbered as in the call."""

    examples: Examples
    rejected: dict[int, str]
    """row -> why it cannot be used"""
    shortened: dict[int, int]
    """row -> the tokens it had before its prompt was shortened"""


class PendingParts(NamedTuple):
    """A batch of which some rows are rendered already, and the others pending; each part has its rows' numbers."""

    parts: list[tuple[Int64, Rendered]]
    others: Int64 = np.empty(0, np.int64)
    rendered: Pending[Rendered] | None = None

    def result(self) -> Rendered:
        """Waits for the others. The examples are in the order of their rows."""
        parts = [*self.parts, *([(self.others, self.rendered.result())] if self.rendered else [])]
        examples = concat([part.examples._replace(rows=numbers[part.examples.rows]) for numbers, part in parts])
        return Rendered(
            reorder(examples, np.argsort(examples.rows, kind="stable")),
            {int(numbers[row]): reason for numbers, part in parts for row, reason in part.rejected.items()},
            {int(numbers[row]): n for numbers, part in parts for row, n in part.shortened.items()},
        )


class BatchResult(NamedTuple):
    """Datums of rows, and what became of the rows that are not trained whole."""

    datums: Datums
    n_rows: int
    outcomes: tuple[RowOutcome, ...] = ()
    """of the rows that are not trained whole, by their numbers in the call"""
    rows: Int64 = np.empty(0, np.int64)
    """int64[E], the row of each example, numbered as in the call"""


class RowRenderer:
    """Renders rows: `render` gives all tokens of all their examples, which can be kept; `finish` cuts and reduces."""

    def __init__(self, chat_format: Format, tokenizer: Tokenizer, settings: RenderSettings) -> None:
        tokenizer.check_controls(chat_format.name, chat_format.controls)
        self.chat_format, self.tokenizer, self.settings = chat_format, tokenizer, settings
        self.markup = markup_of(chat_format)
        self._batch_renderer = batch_renderer_of(chat_format, settings.split_turns)
        self._constants = tokenizer.encode_constants([])
        self.keys = KeyPolicy(settings.unknown_keys)
        self.talks: dict[int, Conversation] = {}
        """the conversations of the last `program`, by the numbers of their rows"""

    def program(self, rows: Sequence[Row | Rejected], locations: Sequence[str]) -> tuple[TokenProgram, dict[int, str]]:
        """Rows rendered but not encoded, and the rejected ones (number -> reason)."""
        rejected = {i: row.reason for i, row in enumerate(rows) if isinstance(row, Rejected)}
        if rejected and not self.settings.lenient:
            raise InputError(next(iter(rejected.values())))
        good: dict[int, Row] = {i: row for i, row in enumerate(rows) if not isinstance(row, Rejected)}
        counts = self.keys.counts.copy()
        try:
            return self._program(good, locations), rejected
        except InputError:
            if not self.settings.lenient:
                raise
        for i in list(good):
            try:
                self._program({i: good[i]}, locations)
            except InputError as error:
                rejected[i] = str(error)
                del good[i]
        self.keys.counts = counts  # each row counts once
        return self._program(good, locations), dict(sorted(rejected.items()))

    def submit(self, rows: Sequence[Row | Rejected], locations: Sequence[str]) -> "PendingRows":
        """Rows whose texts are encoded on other threads. Unless lenient, it or `result` raises for an unusable row."""
        return self.encoded(rows, locations, *self.program(rows, locations))

    def encoded(
        self, rows: Sequence[Row | Rejected], locations: Sequence[str], program: TokenProgram, rejected: dict[int, str]
    ) -> "PendingRows":
        """The same for rows of which `program` was rendered."""
        try:
            return PendingRows(self, rows, locations, rejected, self._encode(program))
        except InputError:  # an image
            if not self.settings.lenient:
                raise
            return PendingRows(self, rows, locations, rejected, None)

    def render(self, rows: Sequence[Row | Rejected], locations: Sequence[str]) -> Rendered:
        return self.submit(rows, locations).result()

    def finish(self, rendered: Rendered, locations: Sequence[str]) -> BatchResult:
        """The datums of rendered rows; InputError for an example that is too long where that is an error."""
        settings = self.settings
        limited = apply_length_limit(rendered.examples, settings.max_length, settings.length_policy)
        outcomes = {
            i: RowOutcome(Outcome.REJECTED, locations[i], reason, row=i) for i, reason in rendered.rejected.items()
        }
        for row, n_before in rendered.shortened.items():
            n_now = int(np.diff(rendered.examples.offsets)[rendered.examples.rows == row].sum())
            reason = f"{n_now} of {n_before} tokens, its answer whole"
            outcomes[row] = RowOutcome(Outcome.TRUNCATED, locations[row], reason, row=row)
        for one in limited.outcomes:
            is_error = settings.length_policy.truncation is Truncation.ERROR
            if is_error and one.outcome in (Outcome.TOO_LONG, Outcome.TRUNCATED):
                wanted = f"examples of at most {settings.max_length} tokens (--truncation error)"
                raise expected(wanted, f"{one.n_tokens} tokens", at=locations[one.row])
            n_tokens = rendered.shortened.get(one.row, one.n_tokens)
            reason = _reason(one.outcome, n_tokens, one.n_kept, settings)
            outcomes[one.row] = one._replace(location=locations[one.row], reason=reason)
        datums = self.cut(limited.examples, locations)
        return BatchResult(datums, len(locations), tuple(outcomes[i] for i in sorted(outcomes)), limited.examples.rows)

    def batch(self, rows: Sequence[Row | Rejected], locations: Sequence[str]) -> BatchResult:
        return self.finish(self.render(rows, locations), locations)

    def cut(self, examples: Examples, locations: Sequence[str]) -> Datums:
        """Examples cut to length, shifted and reduced; the weights of a row's examples are reduced together."""
        return build_datums(
            examples.tokens,
            examples.weights,
            examples.offsets,
            max_length=self.settings.max_length,
            reduction=self.settings.reduction,
            units=examples.rows,
            media=examples.media,
            places=locations,
        )

    def read(self, row: Row, location: str) -> Conversation:
        """The conversation of a row, with the format's own markup in its texts read; InputError for what is none."""
        return self._read(row, location, KeyPolicy(self.settings.unknown_keys))

    def _read(self, row: Row, location: str, keys: KeyPolicy) -> Conversation:
        return read_own_markup(self.markup, read_conversation(row, location, self.settings.column, keys))

    def _program(self, rows: dict[int, Row], locations: Sequence[str]) -> TokenProgram:
        """Some rows of a call rendered, numbered by their keys."""
        at = [locations[i] for i in rows]
        talks = [self._read(*pair, self.keys) for pair in zip(rows.values(), at, strict=True)]
        self.talks = dict(zip(rows, talks, strict=True))
        program = self._batch_renderer.render(talks, self.settings.train_on_what, at)
        return program._replace(rows=np.array(list(rows), np.int64)[program.rows], places=locations)

    def _encode(self, program: TokenProgram) -> "Encoding":
        if len(self._batch_renderer.constant_texts) + 1 > len(self._constants.offsets):
            self._constants = self.tokenizer.encode_constants(self._batch_renderer.constant_texts)
        texts, chat_format = self.tokenizer.submit(program.texts), self.chat_format
        lengths = image_lengths(program.images, chat_format) if isinstance(chat_format, Renderer) else None
        return Encoding(program, self._constants, texts, lengths)

    def one_by_one(
        self, rows: Sequence[Row | Rejected], locations: Sequence[str], rejected: dict[int, str]
    ) -> tuple[Examples, dict[int, str]]:
        """The examples of the rows that can be used, each tried alone, and the rejected ones."""
        parts, rejected = [self._encode(self._program({}, locations)).result()], dict(rejected)
        for i, row in enumerate(rows):
            try:
                if i not in rejected and not isinstance(row, Rejected):
                    parts.append(self._encode(self._program({i: row}, locations)).result())
            except InputError as error:
                rejected[i] = str(error)
        return concat(parts), dict(sorted(rejected.items()))

    def shorten(self, rendered: Rendered, rows: Sequence[Any], locations: Sequence[str]) -> Rendered:
        """The same with the prompts of rows that are too long made shorter, as far as that helps."""
        examples, lengths = rendered.examples, np.diff(rendered.examples.offsets)
        shorter: dict[int, Examples] = {}
        for row in np.unique(examples.rows[lengths > self.settings.max_length]).tolist():
            talk = self.read(rows[row], locations[row])
            short = self._shorter(talk, locations[row])
            if short is not None:
                shorter[row] = short._replace(rows=np.full(len(short.rows), row))
        if not shorter:
            return rendered
        n_before = {row: int(lengths[examples.rows == row].sum()) for row in shorter}
        kept = take(examples, ~np.isin(examples.rows, list(shorter)))
        mixed = concat([kept, *shorter.values()])
        return rendered._replace(examples=reorder(mixed, np.argsort(mixed.rows, kind="stable")), shortened=n_before)

    def _alone(self, talk: Conversation, at: str) -> Examples:
        return self._encode(self._batch_renderer.render([talk], self.settings.train_on_what, [at])).result()

    def _shorter(self, talk: Conversation, at: str) -> Examples | None:
        """The examples of a conversation shortened as little as lets them fit; None where the answer is too long."""

        def fits(shorter: Conversation) -> bool:
            lengths = np.diff(self._alone(shorter, at).offsets)
            return int(lengths.max()) <= (self.settings.max_length or 0)

        n_turns = n_older_turns(talk)
        n = shortest_cut(lambda n: fits(without_oldest_turns(talk, n)), n_turns)
        if n is not None:
            return self._alone(without_oldest_turns(talk, n), at)
        last = without_oldest_turns(talk, n_turns)
        n = shortest_cut(lambda n: fits(without_middle(last, n)), n_prompt_characters(last))
        return None if n is None else self._alone(without_middle(last, n), at)


class Encoding(NamedTuple):
    """A rendered batch whose texts are being encoded."""

    program: TokenProgram
    constants: Ragged
    texts: Callable[[], Ragged]
    image_lengths: Int64 | None

    def result(self) -> Examples:
        """The examples, each of at least two tokens: one to predict from the other."""
        examples = assemble(self.program, self.constants, self.texts(), self.image_lengths)
        lengths = np.diff(examples.offsets)
        for b in np.flatnonzero(lengths < 2)[:1]:
            raise expected("at least 2 tokens", f"{lengths[b]}", at=self.program.places[int(examples.rows[b])])
        return examples


class PendingRows(NamedTuple):
    """Rows of a call that are rendered, while their texts are being encoded."""

    renderer: RowRenderer
    rows: Sequence[Row | Rejected]
    locations: Sequence[str]
    rejected: dict[int, str]
    encoding: Encoding | None
    """None where a row cannot be encoded, so that each is tried alone"""

    def result(self) -> Rendered:
        examples, rejected, settings = None, self.rejected, self.renderer.settings
        try:
            examples = self.encoding.result() if self.encoding else None
        except InputError:
            if not settings.lenient:
                raise
        if examples is None:
            examples, rejected = self.renderer.one_by_one(self.rows, self.locations, rejected)
        rendered = Rendered(examples, rejected, {})
        return rendered if settings.shortened_to is None else self.renderer.shorten(rendered, self.rows, self.locations)


def _reason(outcome: Outcome, n_tokens: int, n_kept: int, settings: RenderSettings) -> str:
    longest, mode = settings.max_length, settings.train_on_what.value
    match outcome:
        case Outcome.TRUNCATED:
            return f"{n_kept} of {n_tokens} tokens"
        case Outcome.TOO_LONG if settings.length_policy.truncation is Truncation.KEEP_ANSWER:
            return f"{n_tokens} tokens, and without its prompt still more than {longest}"
        case Outcome.TOO_LONG:
            return f"{n_tokens} tokens, more than {longest}"
        case _ if longest is not None and n_tokens > longest:
            whole = "" if settings.length_policy.train_cut_answers else " whole"
            return f"{mode} trains nothing{whole} in the first {longest} of {n_tokens} tokens"
        case _:
            return f"{mode} trains nothing in its {n_tokens} tokens"
