"""Rows to datums: read, rendered, encoded, cut; and of every row that is not trained whole, what became of it.

Two steps, so that what costs can be kept and what a run decides cannot be missed: `render` gives all tokens of all
examples of a row, `finish` chooses, cuts, shifts and reduces them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernel.chat_format.pieces import Renderer
from kernel.conversation import Conversation
from kernel.datum import Datums, Reduction, build_datums
from kernel.errors import InputError, expected
from kernel.examples import Examples, concat, reorder, take
from kernel.length_limit import LengthPolicy, apply_length_limit
from kernel.options import Truncation
from kernel.render.assemble import TokenProgram, assemble
from kernel.render.loss_mask import TrainOnWhat
from kernel.row_outcomes import Outcome
from kernel.row_reader import read_conversation
from kernel.shorten_prompt import (
    n_older_turns,
    n_prompt_characters,
    shortest_cut,
    without_middle,
    without_oldest_turns,
)
from shell.data.rows import Rejected, Row
from shell.datums.images import image_lengths
from shell.process.deferred import Deferred, begun
from shell.text.formats import Format, batch_renderer_of
from shell.text.tokenizer import Tokenizer

T = TypeVar("T")
Int64 = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """What decides the examples of rows, beside the chat format and the tokenizer."""

    train_on_what: TrainOnWhat
    max_length: int | None = None
    """the most tokens of an example; None: any number"""
    reduction: Reduction = Reduction.MEAN
    column: str = "messages"
    """the rows' key of messages"""
    split_turns: bool = True
    """whether a conversation may become several examples"""
    length_policy: LengthPolicy = LengthPolicy()  # noqa: RUF009 - immutable
    lenient: bool = False
    """whether a row that cannot be used is set aside, with its reason, rather than raised"""

    @property
    def shortened_to(self) -> int | None:
        """The length to which prompts are shortened before examples are rendered; None: they are not."""
        return self.max_length if self.length_policy.truncation is Truncation.KEEP_ANSWER else None

    @property
    def of_cache(self) -> "RenderSettings":
        """The same for a token cache, which holds examples before they are cut and reduced."""
        policy = LengthPolicy(Truncation.RIGHT if self.shortened_to is None else Truncation.KEEP_ANSWER)
        return replace(self, max_length=self.shortened_to, reduction=Reduction.MEAN, length_policy=policy, lenient=True)


def render_settings(config: Any, mode: TrainOnWhat) -> RenderSettings:
    """The settings that a recipe's config gives; what it does not have is as by default.

    Args:
        config: of training, of showing examples, or of preparing a token cache.
        mode: what is trained, see `shell.data.mixture.mode_of`.

    >>> from shell.settings.config import ShowConfig
    >>> render_settings(ShowConfig(split_turns="never"), TrainOnWhat.ALL_TOKENS).split_turns
    False
    """
    trains_cut = getattr(config, "cut_answers", "train") == "train"
    return RenderSettings(
        train_on_what=mode,
        max_length=config.max_length,
        reduction=getattr(config, "reduction", Reduction.MEAN),
        column=config.dataset_column,
        split_turns=config.split_turns == "auto",
        length_policy=LengthPolicy(
            Truncation(config.truncation), trains_cut, getattr(config, "zero_loss", "skip") == "send"
        ),
        lenient=config.max_bad_rows > 0,
    )


class Rendered(NamedTuple):
    """Rows as tokens and weights, before anything is cut. Rows are numbered as in the call."""

    examples: Examples
    rejected: dict[int, str]
    """row -> the sentence that would have stopped the run"""
    shortened: dict[int, int]
    """row -> the tokens it had before its prompt was shortened"""


class Fell(NamedTuple):
    """What became of a row that is not trained whole."""

    place: str
    """where it stands in its source"""
    outcome: Outcome
    reason: str
    row: int = 0
    """its number in the call"""


class BatchResult(NamedTuple):
    """Datums of rows, and what became of the rows that are not trained whole."""

    datums: Datums
    n_rows: int
    fell: tuple[Fell, ...] = ()
    rows: Int64 = np.empty(0, np.int64)
    """int64[E], the row of each example, numbered as in the call"""


class RowRenderer:
    """Rows to datums, for one chat format, one tokenizer and one way to train.

    Args:
        chat_format: a renderer of pieces or a template.
        tokenizer: must hold its control tokens.
        settings: which tokens are trained, and what becomes of examples that are too long.

    Raises:
        InputError: a control token is missing.
    """

    def __init__(self, chat_format: Format, tokenizer: Tokenizer, settings: RenderSettings) -> None:
        tokenizer.check_controls(chat_format.name, chat_format.controls)
        self.chat_format, self.tokenizer, self.settings = chat_format, tokenizer, settings
        self._batch_renderer = batch_renderer_of(chat_format, settings.split_turns)
        self._statics = tokenizer.encode_constants([])

    def script(self, rows: Sequence[Row | Rejected], places: Sequence[str]) -> tuple[TokenProgram, dict[int, str]]:
        """Rows rendered but not encoded, and those that were set aside (number -> reason).

        Raises:
            InputError: a row that cannot be read, written or trained, unless the maker is lenient.
        """
        script, good, rejected = self._tried(rows, places, self._script_of)()
        return script._replace(rows=np.array(list(good), np.int64)[script.rows]), rejected

    def examples(self, rows: Sequence[Row], places: Sequence[str]) -> Examples:
        """Tokens and weights of rows, one or more examples each, nothing shortened.

        Raises:
            InputError: a row that cannot be read, written or trained.
        """
        return self._examples(self._talks(rows, places), places)()

    def render(self, rows: Sequence[Row | Rejected], places: Sequence[str]) -> Rendered:
        """Tokens and weights of rows, and the rows that were set aside or shortened.

        Raises:
            InputError: a row that cannot be used, unless the maker is lenient.
        """
        return self.submit(rows, places)()

    def submit(self, rows: Sequence[Row | Rejected], places: Sequence[str]) -> Deferred[Rendered]:
        """Begins to render rows, whose texts are then encoded on other threads.

        Returns:
            What waits for the rows and gives what `render` gives; errors are raised by waiting.
        """
        tried = self._tried(rows, places, self._of)

        def wait() -> Rendered:
            examples, good, rejected = tried()
            rendered = Rendered(examples, rejected, {})
            if self.settings.length_policy.truncation is not Truncation.KEEP_ANSWER or self.settings.max_length is None:
                return rendered
            return self._shortened(rendered, good, places)

        return wait

    def finish(self, rendered: Rendered, places: Sequence[str]) -> BatchResult:
        """The datums of rendered rows.

        Args:
            rendered: what `render` gave for these places.

        Raises:
            InputError: an example of fewer than two tokens, or one that is too long where that is an error.
        """
        kind = self.settings.length_policy.truncation
        settled = apply_length_limit(rendered.examples, self.settings.max_length, self.settings.length_policy)
        fell = {i: Fell(places[i], Outcome.REJECTED, reason, i) for i, reason in rendered.rejected.items()}
        for row, n_before in rendered.shortened.items():
            n_now = int(np.diff(rendered.examples.offsets)[rendered.examples.rows == row].sum())
            reason = f"{n_now} of {n_before} tokens, its answer whole"
            fell[row] = Fell(places[row], Outcome.TRUNCATED, reason, row)
        for fate in settled.fates:
            if kind is Truncation.ERROR and fate.outcome in (Outcome.TOO_LONG, Outcome.TRUNCATED):
                wanted = f"examples of at most {self.settings.max_length} tokens (--truncation error)"
                raise expected(wanted, f"{fate.n_tokens} tokens", at=places[fate.row])
            before = rendered.shortened.get(fate.row, fate.n_tokens)
            reason = _reason(fate.outcome, before, fate.n_kept, self.settings)
            fell[fate.row] = Fell(places[fate.row], fate.outcome, reason, fate.row)
        datums = self.cut(settled.examples, places)
        return BatchResult(datums, len(places), tuple(fell[row] for row in sorted(fell)), settled.examples.rows)

    def make(self, rows: Sequence[Row | Rejected], places: Sequence[str]) -> BatchResult:
        """Datums of rows, and what became of those that are not trained whole. Raises as `render` and `finish`."""
        return self.finish(self.render(rows, places), places)

    def datums(self, rows: Sequence[Row | Rejected], places: Sequence[str]) -> Datums:
        """The datums alone. Raises as `make`."""
        return self.make(rows, places).datums

    def cut(self, examples: Examples, places: Sequence[str]) -> Datums:
        """Examples cut to length, shifted and reduced; the weights of a row's examples are reduced together.

        Raises:
            InputError: an example of fewer than two tokens.
        """
        return build_datums(
            examples.tokens,
            examples.weights,
            examples.offsets,
            max_length=self.settings.max_length,
            reduction=self.settings.reduction,
            units=examples.rows,
            media=examples.media,
            places=places,
        )

    def _tried(
        self,
        rows: Sequence[Row | Rejected],
        places: Sequence[str],
        begin: Callable[[dict[int, Row], Sequence[str]], Deferred[T]],
    ) -> Deferred[tuple[T, dict[int, Row], dict[int, str]]]:
        """What is built of rows, the rows it is built of by number, and those set aside with the reasons."""
        rejected = {i: row.reason for i, row in enumerate(rows) if isinstance(row, Rejected)}
        good = {i: row for i, row in enumerate(rows) if not isinstance(row, Rejected)}
        built = begun(lambda: begin(good, places))

        def wait() -> tuple[T, dict[int, Row], dict[int, str]]:
            try:
                return built(), good, rejected
            except InputError:
                if not self.settings.lenient:
                    raise
            alone = {i: begun(partial(begin, {i: row}, places)) for i, row in good.items()}
            for i, wait_for in alone.items():
                try:
                    wait_for()
                except InputError as error:
                    rejected[i] = str(error)
                    del good[i]
            return begin(good, places)(), good, dict(sorted(rejected.items()))

        return wait

    def _script_of(self, rows: dict[int, Row], places: Sequence[str]) -> Deferred[TokenProgram]:
        own = [places[i] for i in rows]
        script = self._batch_renderer.render(self._talks(rows.values(), own), self.settings.train_on_what, own)
        return lambda: script

    def _talks(self, rows: Iterable[Row], places: Sequence[str]) -> list[Conversation]:
        return [read_conversation(row, at, self.settings.column) for row, at in zip(rows, places, strict=True)]

    def _examples(self, talks: Sequence[Conversation], places: Sequence[str]) -> Deferred[Examples]:
        script = self._batch_renderer.render(talks, self.settings.train_on_what, places)
        if len(self._batch_renderer.constant_texts) + 1 > len(self._statics.offsets):
            self._statics = self.tokenizer.encode_constants(self._batch_renderer.constant_texts)
        statics, texts = self._statics, self.tokenizer.submit(script.texts)
        lengths = image_lengths(script.images, self.chat_format) if isinstance(self.chat_format, Renderer) else None
        return lambda: assemble(script, statics, texts(), lengths)

    def _of(self, rows: dict[int, Row], places: Sequence[str]) -> Deferred[Examples]:
        """The examples of some rows, numbered by their keys; each has at least two tokens to predict from."""
        own = [places[i] for i in rows]
        assembled = self._examples(self._talks(rows.values(), own), own)

        def wait() -> Examples:
            examples, numbers = assembled(), np.array(list(rows), np.int64)
            examples = examples._replace(rows=numbers[examples.rows])
            for b in np.flatnonzero(np.diff(examples.offsets) < 2)[:1]:
                n = int(np.diff(examples.offsets)[b])
                raise expected("at least 2 tokens", f"{n}", at=places[int(examples.rows[b])])
            return examples

        return wait

    def _shortened(self, rendered: Rendered, rows: dict[int, Row], places: Sequence[str]) -> Rendered:
        """The same with the prompts of rows that are too long made shorter, as far as that helps."""
        examples, lengths = rendered.examples, np.diff(rendered.examples.offsets)
        shorter: dict[int, Examples] = {}
        for row in np.unique(examples.rows[lengths > self.settings.max_length]).tolist():
            short = self._shorter(read_conversation(rows[row], places[row], self.settings.column), places[row])
            if short is not None:
                shorter[row] = short._replace(rows=np.full(len(short.rows), row))
        if not shorter:
            return rendered
        n_before = {row: int(lengths[examples.rows == row].sum()) for row in shorter}
        kept = take(examples, ~np.isin(examples.rows, list(shorter)))
        mixed = concat([kept, *shorter.values()])
        return rendered._replace(examples=reorder(mixed, np.argsort(mixed.rows, kind="stable")), shortened=n_before)

    def _shorter(self, talk: Conversation, at: str) -> Examples | None:
        """The examples of a conversation made as little shorter as lets them fit; None where the answer is too long."""

        def fits(shorter: Conversation) -> bool:
            return int(np.diff(self._examples([shorter], [at])().offsets).max()) <= (self.settings.max_length or 0)

        n_turns = n_older_turns(talk)
        n = shortest_cut(lambda n: fits(without_oldest_turns(talk, n)), n_turns)
        if n is not None:
            return self._examples([without_oldest_turns(talk, n)], [at])()
        last = without_oldest_turns(talk, n_turns)
        n = shortest_cut(lambda n: fits(without_middle(last, n)), n_prompt_characters(last))
        return None if n is None else self._examples([without_middle(last, n)], [at])()


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
