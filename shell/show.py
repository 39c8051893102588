"""The show command: examples as the model will see them, with what is trained and what becomes of each row.

As text, trained tokens are in colour (or between «marks»); as JSON, one object per datum, in the order of the rows.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from kernel.conversation import Conversation
from kernel.length_limit import apply_length_limit
from kernel.render.spans import spoofs_turn
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderer_language.pieces import Renderer
from kernel.row_keys import ignored_keys
from kernel.row_outcomes import Outcome
from shell.data.dataset import Stream
from shell.data.load_dataset import Source, spec_of
from shell.data.mixture_spec import mode_of, open_data
from shell.datums.note_counts import NoteCounts
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import render_settings
from shell.run_dir.progress_display import Console, training_on
from shell.settings.config import N_SHOWN, ShowConfig
from shell.text.renderer_by_name import format_names
from shell.text.tokenizer import Tokenizer

BLOCK = 64
PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
PICTURES |= dict.fromkeys(range(127, 160), "\ufffd")
"""replacements of characters that a terminal would execute"""
TRAINED, UNTRAINED, MARKS = "bold green", "dim", "«»"


class ShownDatum(NamedTuple):
    """One datum, as it will be sent."""

    row: int  # number of its row in the source, from 0
    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]
    token_weights: NDArray[np.float32]
    """the same before the reduction"""
    target_tokens: NDArray[np.int64]
    n_cut: int  # tokens cut at the right
    shortened: str  # how the prompt of its row was shortened, or empty
    n_siblings: int  # other datums of the same row
    conversation: Conversation  # what its row says


def show(config: ShowConfig) -> int:
    """Prints the examples of a config, and on standard error the rows that have none.

    Returns:
        The exit code, 0.

    Raises:
        InputError: data, renderer or tokenizer cannot be used.

    >>> show(ShowConfig(dataset="sample", limit=1, format="json"))  # doctest: +SKIP
    0
    """
    names = format_names(config)
    renderer, tokenizer = names.open()
    source = open_data(spec_of(config))
    if not isinstance(source.train, Stream):
        source.train.rows.check()
    settings = render_settings(config, mode_of(source, config.train_on_what))
    settings = replace(settings, length_policy=settings.length_policy._replace(send_zero_loss=True))
    row_renderer = RowRenderer(renderer, tokenizer, settings)
    limit = N_SHOWN if config.limit is None and config.format == "text" else config.limit
    skipped: list[str] = []
    datums = (datum for rows in _blocks(source, limit) for datum in read_datums(row_renderer, *rows, skipped))
    if config.format == "json":
        print_json(datums)
    else:
        title = f"{source.name}, {names.renderer}, {training_on(settings.train_on_what.value)}"
        print_text(datums, tokenizer, title, row_renderer)
    ignored = {**({} if isinstance(source.train, Stream) else source.train.rows.ignored), **row_renderer.keys.counts}
    if ignored:
        print(f"ignored: {ignored_keys(ignored)}", file=sys.stderr)
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    return 0


def read_datums(
    row_renderer: RowRenderer, first: int, rows: list[Any], places: list[str], skipped: list[str]
) -> list[ShownDatum]:
    """The datums of consecutive rows from number `first`; `skipped` gets the reasons of rows that have none."""
    rendered = row_renderer.render(rows, places)
    result = row_renderer.finish(rendered, places)
    settings = row_renderer.settings
    sent = apply_length_limit(rendered.examples, settings.max_length, settings.length_policy).examples
    full = np.diff(sent.offsets)
    skipped += [
        one.reason if one.outcome is Outcome.REJECTED else f"{one.location}: {one.reason}"
        for one in result.outcomes
        if one.outcome in (Outcome.REJECTED, Outcome.TOO_LONG)
    ]
    siblings = np.bincount(result.rows, minlength=len(rows))
    talks = {i: row_renderer.read(rows[i], places[i]) for i in sorted(set(result.rows.tolist()))}
    reasons = {one.row: one.reason for one in result.outcomes if one.row in rendered.shortened}
    shown = []
    for b, row in enumerate(result.rows.tolist()):
        tokens, targets, weights = result.datums.example(b)
        shown.append(
            ShownDatum(
                row=first + row,
                tokens=tokens,
                weights=weights,
                token_weights=sent.weights[sent.offsets[b] + 1 :][: len(weights)],
                target_tokens=targets,
                n_cut=int(full[b]) - len(tokens) - 1,
                shortened=reasons.get(row, ""),
                n_siblings=int(siblings[row]) - 1,
                conversation=talks[row],
            )
        )
    return shown


def print_json(datums: Iterator[ShownDatum]) -> None:
    """Prints one object per line: row, tokens, weights, target_tokens."""
    for datum in datums:
        arrays = {name: getattr(datum, name).tolist() for name in ("tokens", "weights", "target_tokens")}
        line = {"row": datum.row, **arrays}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


def print_text(datums: Iterator[ShownDatum], tokenizer: Tokenizer, title: str, row_renderer: RowRenderer) -> None:
    """Prints the examples, trained tokens marked, and totals."""
    plain = row_renderer.chat_format if isinstance(row_renderer.chat_format, Renderer) else None
    literal, notes = row_renderer.markup.controls, NoteCounts(row_renderer)
    console = Console(soft_wrap=True, highlight=False, emoji=False)
    marks = "" if console.color_system and not console.no_color else MARKS
    console.print(f"{title}; trained tokens are {f'marked {marks}' if marks else 'green'}", markup=False)
    n_datums = n_tokens = n_trained = n_cut = n_spoofed = 0
    rows, split, shortened = set[int](), set[int](), set[int]()
    for datum in datums:
        n_loss = int((datum.weights > 0).sum())
        cut = f", {datum.n_cut:,} cut off" if datum.n_cut else ""
        cut += f"; its prompt was shortened, to {datum.shortened}" if datum.shortened else ""
        cut += "" if n_loss else "; skipped in a run, unless --zero-loss send"
        console.print(f"\nrow {datum.row}: {len(datum.tokens):,} tokens, {n_loss:,} trained{cut}", style="cyan")
        console.print(coloured(datum, tokenizer, marks, literal))
        if datum.row not in rows:
            notes.add(datum.conversation)
            n_spoofed += sum(spoofs_turn(plain, message) for message in datum.conversation) if plain else 0
        rows.add(datum.row)
        split |= {datum.row} if datum.n_siblings else set()
        shortened |= {datum.row} if datum.shortened else set()
        n_datums, n_tokens, n_trained = n_datums + 1, n_tokens + len(datum.tokens), n_trained + n_loss
        n_cut += bool(datum.n_cut)
    totals = f"{_counted(len(rows), 'row')}, {_counted(n_datums, 'example')}, {_counted(n_tokens, 'token')}"
    lines = [f"{totals}, {n_trained:,} of them trained"]
    lines += [f"{_counted(len(split), 'conversation', 'was', 'were')} split, one example per turn"] if split else []
    lines += [f"{_counted(n_cut, 'example', 'was', 'were')} cut"] if n_cut else []
    lines += [f"{_counted(len(shortened), 'prompt', 'was', 'were')} shortened"] if shortened else []
    spoof = _counted(n_spoofed, "message", "spoofs", "spoof")
    lines += [f"{spoof} a turn: the format is plain text"] if n_spoofed else []
    lines += notes.lines()
    console.print("\n" + "\n".join(lines), markup=False)


def _counted(n: int, noun: str, verb_of_one: str = "", verb: str = "") -> str:
    """A number of things, with its verb: 1 row, 2 rows."""
    return f"{n:,} {noun} {verb_of_one}".rstrip() if n == 1 else f"{n:,} {noun}s {verb}".rstrip()


def coloured(datum: ShownDatum, tokenizer: Tokenizer, marks: str = "", literal: re.Pattern[str] | None = None) -> Text:
    """A datum's text, trained tokens in colour and between marks; the first token is never trained.

    A backslash is shown before text that spells a control token, found by `literal`.
    """
    ids = [int(datum.tokens[0]), *datum.target_tokens.tolist()]
    weights = [0.0, *datum.token_weights.tolist()]
    text = Text()
    for on, run in groupby(range(len(ids)), key=weights.__getitem__):
        style = TRAINED if on else UNTRAINED
        text.append(marks[:1] if on else "")
        for segment in tokenizer.segments([ids[i] for i in run]):
            underline = " underline" if segment.kind is SpanKind.CONTROL else ""
            shown = segment.text.translate(PICTURES)
            if literal is not None and segment.kind is not SpanKind.CONTROL:
                shown = literal.sub(r"\\\1", shown)
            text.append(shown, style + underline)
        text.append(marks[1:] if on else "")
        text.append(f"×{on:.6g}" if on not in (0, 1) else "", style="yellow")
    return text


def _blocks(source: Source, limit: int | None) -> Iterator[tuple[int, list[Any], list[str]]]:
    """The first `limit` rows of a source in its order, in blocks: number of the first, rows, locations."""
    if isinstance(source.train, Stream):
        train = source.train
        n = len(train) if limit is None else min(limit, len(train))
        for start in range(0, n, BLOCK):
            numbers = range(start, min(start + BLOCK, n))
            yield start, train.read(start, len(numbers)), [train.place(i) for i in numbers]
        return
    rows = source.train.rows
    n = len(rows) if limit is None else min(limit, len(rows))
    for start in range(0, n, BLOCK):
        places = np.arange(start, min(start + BLOCK, n))
        yield start, rows.take(places), [rows.place(i) for i in places.tolist()]
