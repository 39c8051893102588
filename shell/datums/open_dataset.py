"""Opens the data of a run: the rows to train on, and those held out.

What can be wrong with the data is found here, as far as that costs little, before anything is paid for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums
from kernel.errors import expected
from kernel.row_outcomes import Entry, Outcome
from shell.data.cache_folders import prepared_root
from shell.data.dataset import Dataset
from shell.data.hub import Stream
from shell.data.mixture import mode_of, open_data, outside_entries
from shell.data.rows import ConcatRows, labels_of
from shell.data.sources import DatasetSpec, Source, spec_of
from shell.datums.preflight import RowCounts, check_source
from shell.datums.render_rows import RenderSettings, RowRenderer, render_settings
from shell.datums.supervised_dataset import StreamingSupervisedDataset, SupervisedDataset
from shell.text.formats import Format, FormatNames
from shell.text.tokenizer import Tokenizer
from shell.token_cache.build_spec import BuildSpec
from shell.token_cache.cache import Log
from shell.token_cache.cached_rows import anew
from shell.token_cache.open_cache import CachePlan, open_prepared

if TYPE_CHECKING:
    from shell.settings.config import Config

Int64 = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class OpenDataset:
    """What a builder makes: data to train on, data held out, and what to say about it."""

    source: Source
    maker: RowRenderer
    train: SupervisedDataset | StreamingSupervisedDataset
    test: Datums | None
    test_sources: Mapping[str, Int64]
    """the examples of each source in `test`, where there are several, by their numbers in it"""
    n_left_over: int
    """rows that each epoch leaves over in its tail"""
    row_counts: RowCounts
    outside: tuple[Entry, ...]
    """the rows that belong to no epoch"""
    preparation: CachePlan | None = None
    """the store that the rows come from; None: they are rendered anew"""


def open_dataset(
    config: "Config",
    chat_format: Format,
    tokenizer: Tokenizer,
    names: FormatNames | None = None,
    log: Log = lambda _line: None,
    progress: Callable[[int, int], object] = lambda _n_done, _n_rows: None,
) -> OpenDataset:
    """Opens the data of a run.

    Args:
        config: what to open, and how it is rendered, ordered and cut into batches.
        chat_format, tokenizer: what renders it; the tokenizer must hold the control tokens.
        names: where both were found, so that other processes can fill a token cache; None: only this one does.
        log, progress: of filling the token cache, see `shell.token_cache.open_cache`.

    Raises:
        InputError: in one sentence, for data that cannot be opened, read, rendered or trained.

    Touches: files; for data of the Hub the network; the token cache.
    """
    spec = spec_of(config)
    source = open_data(spec)
    settings = render_settings(config, mode_of(source, config.train_on_what))
    maker = RowRenderer(chat_format, tokenizer, settings)
    train: SupervisedDataset | StreamingSupervisedDataset
    row_counts, prepared = RowCounts(), None
    if isinstance(source.train, Stream):
        train = StreamingSupervisedDataset(source.train, maker, config.batch_size, config.tail)
    else:
        job = partial(_build_spec, spec, names, settings) if names else None
        root = prepared_root(spec.prepared_dir)
        prepared = open_prepared(source.train.rows, maker, config.prepare, root, job, log, progress)
        row_counts = check_source(source, maker, config.max_bad_rows, prepared)
        train = SupervisedDataset(
            source.train,
            maker,
            config.batch_size,
            config.tail,
            config.order,
            config.seed,
            prepared.render if prepared else None,
        )
        check_trains(train)
    holdout = held_out(source, maker, prepared)
    return OpenDataset(
        source=source,
        maker=maker,
        train=train,
        test=holdout.datums,
        test_sources=holdout.sources,
        n_left_over=len(source.train) % config.batch_size if config.tail == "drop" else 0,
        row_counts=row_counts,
        outside=holdout.entries,
        preparation=prepared,
    )


def _build_spec(spec: DatasetSpec, names: FormatNames, settings: RenderSettings, key: str, folder: Path) -> BuildSpec:
    return BuildSpec(key=key, folder=str(folder), spec=spec, names=names, settings=settings.of_cache)


class Holdout(NamedTuple):
    """What is held out of the data, to evaluate."""

    datums: Datums | None
    """all of it; None where there is none"""
    entries: tuple[Entry, ...]
    """one for every row that belongs to no epoch"""
    sources: Mapping[str, Int64] = MappingProxyType({})
    """the examples of each source, where there are several, by their numbers in `datums`"""


def held_out(source: Source, maker: RowRenderer, prepared: CachePlan | None = None) -> Holdout:
    """The datums to evaluate, all of them, and what became of every row that was held out.

    Args:
        source, maker: the data and what renders it.
        prepared: the store of the rows to train on, which holds the others too where they are of the same file.

    Raises:
        InputError: a row that cannot be used.

    Touches: what the rows come from.
    """
    entries = outside_entries(source)
    if source.test is None:
        return Holdout(None, tuple(entries))
    places = source.test.places()
    test, train = source.test, source.train
    is_prepared = prepared and isinstance(train, Dataset) and train.rows is test.rows
    render = prepared.render if prepared and is_prepared else anew(test.rows, maker)
    made = maker.finish(render(test.indices, places)(), places)
    fell = {one.place: f"{one.outcome.value}: {one.reason}" for one in made.fell}
    rows = source.test.rows
    of = labels_of(rows, source.test.indices)
    entries += [
        Entry(Outcome.HELD_OUT, place, fell.get(place, ""), source=label)
        for place, label in zip(places, of, strict=True)
    ]
    whose = np.array(of)[made.rows]
    sources = (
        {name: np.flatnonzero(whose == name) for name in dict.fromkeys(of)} if isinstance(rows, ConcatRows) else {}
    )
    return Holdout(made.datums if made.datums.n_examples else None, tuple(entries), sources)


def check_trains(train: SupervisedDataset) -> None:
    """Refuses data of which nothing that is trained is left by the cut. It seldom builds more than one batch.

    Raises:
        InputError: nothing is trained in a whole epoch.
    """
    for i in range(len(train)):
        made = train.make_batch(i)
        if made.datums.weights.any():
            return
    one = next(iter(made.fell), None)
    got = "none" if one is None else f"none, as {one.place}: {one.reason}"
    raise expected(f"an example that trains something in the {train.n_rows} rows", got, at="--max-length, --dataset")
