"""The settings of a dataset, and what they open: the data to train on, and the data held out.

A builder is a struct that, called, gives the runtime object. Everything that can be wrong with the data is found here,
as far as it costs little, before anything is paid for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.batches import Tail
from kernel.datum import Datums, Reduction
from kernel.errors import expected
from kernel.length_limit import LengthPolicy, Truncation
from kernel.row_outcomes import Entry, Outcome
from shell.data.cache_folders import prepared_root
from shell.data.concat_rows import ConcatRows, labels_of
from shell.data.dataset import Dataset
from shell.data.mixture import mode_of, open_data, outside_entries
from shell.data.rows import Rows
from shell.data.sources import DatasetSpec, Source
from shell.data.stream import Stream
from shell.datums.preflight import RowCounts, check_source
from shell.datums.render_rows import RowRenderer
from shell.datums.supervised_dataset import StreamingSupervisedDataset, SupervisedDataset
from shell.text.formats import Format, FormatNames
from shell.text.tokenizer import Tokenizer
from shell.token_cache.build_spec import BuildSpec
from shell.token_cache.cache import Log
from shell.token_cache.cached_rows import anew
from shell.token_cache.open_cache import CachePlan, Prepare, open_prepared

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


class ChatDatasetBuilder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a dataset; called with a renderer and a tokenizer, it opens it."""

    spec: DatasetSpec
    batch_size: int
    max_length: int | None = 32768
    train_on_what: str | None = None
    """None: what suits the data"""
    reduction: Reduction = "mean"
    tail: Tail = "drop"
    order: Literal["hf", "cipher"] = "hf"
    split_turns: Literal["auto", "never"] = "auto"
    truncation: Truncation = Truncation.RIGHT
    cut_answers: Literal["train", "skip"] = "train"
    zero_loss: Literal["skip", "send"] = "skip"
    max_bad_rows: int = 0
    prepare: Prepare = "never"
    names: FormatNames | None = None
    """where the renderer and the tokenizer were found, so that other processes can prepare; None: only this one does"""

    def __call__(
        self,
        renderer: Format,
        tokenizer: Tokenizer,
        say: Log = lambda _line: None,
        done: Callable[[int, int], object] = lambda _n_done, _n_rows: None,
    ) -> OpenDataset:
        """Opens the data.

        Args:
            renderer: the chat format.
            tokenizer: must hold its control tokens.
            say, done: are told how preparing goes, see `shell.token_cache.open_cache`.

        Raises:
            InputError: in one sentence, for data that cannot be opened, read, rendered or trained.

        Touches: files; for data of the Hub the network; the store of prepared rows.
        """
        source = open_data(self.spec)
        mode = mode_of(source, self.train_on_what)
        maker = RowRenderer(
            renderer,
            tokenizer,
            mode,
            self.max_length,
            self.reduction,
            self.spec.dataset_column,
            self.split_turns == "auto",
            LengthPolicy(self.truncation, self.cut_answers == "train", self.zero_loss == "send"),
            lenient=self.max_bad_rows > 0,
        )
        train: SupervisedDataset | StreamingSupervisedDataset
        row_counts, prepared = RowCounts(), None
        if isinstance(source.train, Stream):
            train = StreamingSupervisedDataset(source.train, maker, self.batch_size, self.tail)
        else:
            prepared = self._prepared(source.train.rows, maker, say, done)
            row_counts = check_source(source, maker, self.max_bad_rows, prepared)
            train = SupervisedDataset(
                source.train,
                maker,
                self.batch_size,
                self.tail,
                self.order,
                self.spec.seed,
                prepared.render if prepared else None,
            )
            check_trains(train)
        holdout = held_out(source, maker, prepared)
        left_over = len(source.train) % self.batch_size if self.tail == "drop" else 0
        return OpenDataset(
            source=source,
            maker=maker,
            train=train,
            test=holdout.datums,
            test_sources=holdout.sources,
            n_left_over=left_over,
            row_counts=row_counts,
            outside=holdout.entries,
            preparation=prepared,
        )

    def _prepared(
        self, rows: Rows, maker: RowRenderer, say: Log, done: Callable[[int, int], object]
    ) -> CachePlan | None:
        names, shortens = self.names, self.truncation is Truncation.KEEP_ANSWER

        def job(key: str, folder: Path) -> BuildSpec:
            assert names is not None
            return BuildSpec(
                key=key,
                folder=str(folder),
                spec=self.spec,
                names=names,
                train_on_what=maker.mode.value,
                split_turns=maker.split_turns,
                shortened_to=maker.max_length if shortens else None,
            )

        root = prepared_root(self.spec.prepared_dir)
        return open_prepared(rows, maker, self.prepare, root, job if names else None, say, done)


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
