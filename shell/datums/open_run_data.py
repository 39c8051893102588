"""Opens the data of a run: the rows to train on, and those held out.

What can be wrong with the data is found here, as far as that costs little, before anything is paid for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kernel.batches import rows_of_step
from kernel.datum import Datums
from kernel.enums import Tail
from kernel.errors import expected
from kernel.row_outcomes import Outcome, RowOutcome
from shell.data.dataset import Dataset, Stream
from shell.data.load_dataset import Source, spec_of
from shell.data.mixture_spec import mode_of, open_data, outside_entries
from shell.data.open_file import prepared_root
from shell.data.rows import ConcatRows, labels_of
from shell.datums.check_rows import NO_ROWS, KeptRows, check_source
from shell.datums.note_counts import note_lines
from shell.datums.render_rows import BatchResult, RowRenderer
from shell.datums.render_settings import render_settings
from shell.datums.supervised_dataset import Batches, StreamingSupervisedDataset, SupervisedDataset
from shell.text.renderer_by_name import Format, FormatNames
from shell.text.tokenizer import Tokenizer
from shell.token_cache.build import BuildSpec
from shell.token_cache.cache import Log, Render, render_uncached
from shell.token_cache.open_cache import CachePlan, open_cache
from shell.token_cache.shard import RowCounts

if TYPE_CHECKING:
    from shell.settings.config import Config

Int64 = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class OpenDataset:
    """Data to train on, data held out, and what is known about it."""

    source: Source
    renderer: RowRenderer
    train: Batches
    test: Datums | None
    test_sources: Mapping[str, Int64]  # the numbers in `test` of the examples of each source, if there are several
    n_left_over: int  # rows after the last batch of each epoch
    row_counts: RowCounts
    split_factor: float  # how many times the tokens of the first batch there are because conversations are split
    outside: tuple[RowOutcome, ...]  # of the rows that belong to no epoch
    ignored: Mapping[str, int]  # the keys that are ignored -> in how many rows, of those that were looked at
    notes: tuple[str, ...] = ()  # what to know of the rows to train on, a line each
    preparation: CachePlan | None = None


def open_dataset(
    config: "Config",
    chat_format: Format,
    tokenizer: Tokenizer,
    names: FormatNames | None = None,
    log: Log = lambda _line: None,
    progress: Callable[[int, int], object] = lambda _n_done, _n_rows: None,
) -> OpenDataset:
    """Opens the data of a run; with the names of format and tokenizer, other processes can fill its token cache."""
    spec = spec_of(config)
    source = open_data(spec)
    renderer = RowRenderer(chat_format, tokenizer, render_settings(config, mode_of(source, config.train_on_what)))
    train: Batches
    row_counts, factor, prepared, kept, counted = RowCounts(), 1.0, None, None, None
    if isinstance(source.train, Stream):
        train = StreamingSupervisedDataset(source.train, renderer, config.batch_size, config.tail)
    else:
        root = prepared_root(spec.prepared_dir)
        build_spec = partial(BuildSpec, spec=spec, names=names, settings=renderer.settings.of_cache) if names else None
        prepared = open_cache(source.train.rows, renderer, config.prepare, root, build_spec, log, progress)
        kept = _kept_rows(source, config, prepared.render if prepared else render_uncached(source.train.rows, renderer))
        row_counts, counted = check_source(source, renderer, config.max_bad_rows, prepared, kept)
        how = config.batch_size, config.tail, config.order, config.seed
        train = SupervisedDataset(source.train, renderer, *how, kept)
        _check_trains(train)
        factor = split_factor(train.batch(0)) if row_counts.n_split else 1.0
    test, test_sources, outside = _held_out(source, renderer, kept)
    return OpenDataset(
        source=source,
        renderer=renderer,
        train=train,
        test=test,
        test_sources=test_sources,
        n_left_over=len(source.train) % config.batch_size if config.tail == "drop" else 0,
        row_counts=row_counts,
        split_factor=factor,
        outside=outside,
        ignored=ignored_of(source, renderer),
        notes=tuple(counted.lines() if counted else note_lines(source, renderer)),
        preparation=prepared,
    )


def ignored_of(source: Source, renderer: RowRenderer) -> dict[str, int]:
    """The keys of rows and, as far as these were rendered, of their messages that are ignored -> in how many rows."""
    rows = source.train.rows.ignored if isinstance(source.train, Dataset) else {}
    return {**rows, **renderer.keys.counts}


def _kept_rows(source: Source, config: "Config", render: Render) -> KeptRows:
    """Where the pass over the rows keeps those of the first batch, and the held-out ones of the same source."""
    assert isinstance(source.train, Dataset)
    n = len(source.train)
    _, first = rows_of_step(0, n, min(config.batch_size, n), Tail.KEEP, config.order, config.seed)
    is_same = source.held_out is not None and source.held_out.rows is source.train.rows
    return KeptRows(
        render, source.train.indices[first], source.held_out.indices if source.held_out and is_same else NO_ROWS
    )


def _held_out(
    source: Source, renderer: RowRenderer, kept: KeptRows | None
) -> tuple[Datums | None, dict[str, Int64], tuple[RowOutcome, ...]]:
    """The datums to evaluate, the numbers of each source's, and the outcomes of the rows that belong to no epoch."""
    outcomes = outside_entries(source)
    if source.test is None:
        return None, {}, tuple(outcomes)
    rows, train = source.test.rows, source.train
    is_same = isinstance(train, Dataset) and train.rows is rows
    render = kept if kept and is_same else render_uncached(rows, renderer)
    locations = source.test.places()
    result = renderer.finish(render(source.test.indices, locations).result(), locations)
    reasons = {one.row: f"{one.outcome.value}: {one.reason}" for one in result.outcomes}
    of = labels_of(rows, source.test.indices)
    outcomes += [
        RowOutcome(Outcome.HELD_OUT, location, reasons.get(i, ""), source=of[i]) for i, location in enumerate(locations)
    ]
    whose = np.array(of)[result.rows]
    names = dict.fromkeys(of) if isinstance(rows, ConcatRows) else {}
    sources = {name: np.flatnonzero(whose == name) for name in names}
    return result.datums if result.datums.n_examples else None, sources, tuple(outcomes)


def _check_trains(train: SupervisedDataset) -> None:
    """Refuses data of which the cut leaves no trained token. The first batch, which is kept, nearly always has one."""
    for step in range(len(train)):
        result = train.batch(step)
        if result.datums.weights.any():
            return
    got = next((f"none, as {one.location}: {one.reason}" for one in result.outcomes), "none")
    raise expected(f"an example that trains something in the {train.n_rows} rows", got, at="--max-length, --dataset")


def split_factor(result: BatchResult) -> float:
    """How many times the tokens a batch has because rows are split: over those of the longest example of each row."""
    lengths, longest = np.diff(result.datums.offsets), np.zeros(result.n_rows, np.int64)
    np.maximum.at(longest, result.rows, lengths)
    return float(lengths.sum() / longest.sum()) if len(lengths) else 1.0
