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

from kernel.batch import Tail
from kernel.datum import Datums, Reduction
from kernel.errors import expected
from kernel.ledger import Entry, Outcome
from kernel.truncation import Treatment, Truncation
from shell.data.adapter import Dataset
from shell.data.cache import prepared_root
from shell.data.mixed import MixedRows, labels_of
from shell.data.mixing import mode_of, open_data, outside_entries
from shell.data.rows import Rows
from shell.data.sources import DatasetSpec, Source
from shell.data.stream import Stream
from shell.datums.census import Census, census_of
from shell.datums.dataset import StreamingSupervisedDataset, SupervisedDataset
from shell.datums.maker import DatumMaker
from shell.prepared.job import Job
from shell.prepared.preparation import Preparation, Prepare, open_prepared
from shell.prepared.rendering import anew
from shell.prepared.store import Say
from shell.text.formats import Format, FormatNames
from shell.text.tokenizer import Tokenizer

Int64 = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a builder makes: data to train on, data held out, and what to say about it."""

    source: Source
    maker: DatumMaker
    train: SupervisedDataset | StreamingSupervisedDataset
    test: Datums | None
    test_sources: Mapping[str, Int64]
    """the examples of each source in `test`, where there are several, by their numbers in it"""
    n_left_over: int
    """rows that each epoch leaves over in its tail"""
    census: Census
    outside: tuple[Entry, ...]
    """the rows that belong to no epoch"""
    preparation: Preparation | None = None
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
        say: Say = lambda _line: None,
        done: Callable[[int, int], object] = lambda _n_done, _n_rows: None,
    ) -> Opened:
        """Opens the data.

        Args:
            renderer: the chat format.
            tokenizer: must hold its control tokens.
            say, done: are told how preparing goes, see `shell.prepared.preparation`.

        Raises:
            InputError: in one sentence, for data that cannot be opened, read, rendered or trained.

        Touches: files; for data of the Hub the network; the store of prepared rows.
        """
        source = open_data(self.spec)
        mode = mode_of(source, self.train_on_what)
        maker = DatumMaker(
            renderer,
            tokenizer,
            mode,
            self.max_length,
            self.reduction,
            self.spec.dataset_column,
            self.split_turns == "auto",
            Treatment(self.truncation, self.cut_answers == "train", self.zero_loss == "send"),
            lenient=self.max_bad_rows > 0,
        )
        train: SupervisedDataset | StreamingSupervisedDataset
        census, prepared = Census(), None
        if isinstance(source.train, Stream):
            train = StreamingSupervisedDataset(source.train, maker, self.batch_size, self.tail)
        else:
            prepared = self._prepared(source.train.rows, maker, say, done)
            census = census_of(source, maker, self.max_bad_rows, prepared)
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
        return Opened(
            source=source,
            maker=maker,
            train=train,
            test=holdout.datums,
            test_sources=holdout.sources,
            n_left_over=left_over,
            census=census,
            outside=holdout.entries,
            preparation=prepared,
        )

    def _prepared(
        self, rows: Rows, maker: DatumMaker, say: Say, done: Callable[[int, int], object]
    ) -> Preparation | None:
        names, shortens = self.names, self.truncation is Truncation.KEEP_ANSWER

        def job(key: str, folder: Path) -> Job:
            assert names is not None
            return Job(
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


def held_out(source: Source, maker: DatumMaker, prepared: Preparation | None = None) -> Holdout:
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
    sources = {name: np.flatnonzero(whose == name) for name in dict.fromkeys(of)} if isinstance(rows, MixedRows) else {}
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
