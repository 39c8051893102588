"""The settings of a dataset, and what they open: the data to train on, the data held out, and a look through its rows.

A builder is a struct that, called, gives the runtime object. Everything that can be wrong with the data is found here,
as far as it costs little, before anything is paid for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from kernel.batch import Tail
from kernel.datum import Datums, Reduction
from kernel.errors import expected
from kernel.ledger import Entry, Outcome
from kernel.truncation import Treatment, Truncation
from shell.data.adapter import Dataset
from shell.data.cache import prepared_root
from shell.data.mixed import MixedRows, labels_of
from shell.data.mixing import mode_of, open_data, outside_entries, parts
from shell.data.rows import ArrowRows, Rows
from shell.data.sources import DatasetSpec, Source
from shell.data.stream import Stream
from shell.datums.dataset import StreamingSupervisedDataset, SupervisedDataset
from shell.datums.maker import DatumMaker
from shell.prepared.gather import Counts
from shell.prepared.job import Job
from shell.prepared.preparation import Preparation, Prepare, open_prepared
from shell.prepared.rendering import anew
from shell.prepared.store import Say
from shell.text.formats import Format, FormatNames
from shell.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a builder makes: data to train on, data held out, and what to say about it."""

    source: Source
    maker: DatumMaker
    train: SupervisedDataset | StreamingSupervisedDataset
    test: Datums | None
    n_left_over: int
    """rows that each epoch leaves over in its tail"""
    census: "Census"
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
        test, outside = held_out(source, maker, prepared)
        left_over = len(source.train) % self.batch_size if self.tail == "drop" else 0
        return Opened(
            source=source,
            maker=maker,
            train=train,
            test=test,
            n_left_over=left_over,
            census=census,
            outside=outside,
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


def held_out(
    source: Source, maker: DatumMaker, prepared: Preparation | None = None
) -> tuple[Datums | None, tuple[Entry, ...]]:
    """The datums to evaluate, all of them, and an entry for every row that was held out.

    Args:
        source, maker: the data and what renders it.
        prepared: the store of the rows to train on, which holds the others too where they are of the same file.

    Raises:
        InputError: a row that cannot be used.

    Touches: what the rows come from.
    """
    entries = outside_entries(source)
    if source.test is None:
        return None, tuple(entries)
    places = source.test.places()
    test, train = source.test, source.train
    is_prepared = prepared and isinstance(train, Dataset) and train.rows is test.rows
    render = prepared.render if prepared and is_prepared else anew(test.rows, maker)
    made = maker.finish(render(test.indices, places)(), places)
    fell = {one.place: f"{one.outcome.value}: {one.reason}" for one in made.fell}
    of = labels_of(source.test.rows, source.test.indices)
    entries += [
        Entry(Outcome.HELD_OUT, place, fell.get(place, ""), source=label)
        for place, label in zip(places, of, strict=True)
    ]
    return (made.datums if made.datums.n_examples else None), tuple(entries)


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


class Census(NamedTuple):
    """What a look through the rows found before anything was paid for."""

    n_rows: int = 0
    """rows looked at"""
    n_split: int = 0
    """conversations that became more than one example"""
    n_examples: int = 0
    n_trained: int = 0
    """rows in which something is trained"""
    n_bad: int = 0
    """rows that cannot be used"""

    def plus(self, counts: Counts) -> "Census":
        """With rows that a store has counted, none of them bad."""
        n_rows, n_examples, n_split, n_trained = (a + b for a, b in zip(self._counts, counts, strict=True))
        return Census(n_rows, n_split, n_examples, n_trained, self.n_bad)

    @property
    def _counts(self) -> Counts:
        return Counts(self.n_rows, self.n_examples, self.n_split, self.n_trained)


def census_of(source: Source, maker: DatumMaker, max_bad_rows: int, prepared: Preparation | None) -> Census:
    """What `take_census` finds in all sources; where there is a whole store, only rows that it does not keep are read.

    Raises:
        InputError: as `take_census`.

    Touches: the store; what the rows come from.
    """
    assert isinstance(source.train, Dataset)
    rows, census = source.train.rows, Census()
    firsts = rows.offsets.tolist() if isinstance(rows, MixedRows) else [0]
    for part, first in zip(parts(source), firsts, strict=False):
        if prepared is None or not prepared.store.is_whole:
            census = take_census(part, maker, max_bad_rows, census)
            continue
        counts, others = prepared.store.count(part.indices + first)
        if not counts.n_trained:
            census = take_census(part, maker, max_bad_rows, census)
            continue
        census = census.plus(counts)
        if len(others):
            census = take_census(part.select(others), maker, max_bad_rows, census, is_trained=True)
    return census


def take_census(
    rows: Dataset,
    maker: DatumMaker,
    max_bad_rows: int = 0,
    before: Census = Census(),  # noqa: B008 - immutable
    block: int = 1024,
    is_trained: bool = False,
) -> Census:
    """Look through data, and refuse it with a row that cannot be used, or in which nothing is trained.

    All rows of a JSONL file are looked at; of a table of `datasets`, whose rows cost ten times as much, only until one
    is trained, unless bad rows are to be counted: the others are checked in the batch they come in.

    Args:
        rows: of one source.
        maker: rows to datums.
        max_bad_rows: how many there may be in all.
        before: what was found in other sources; it is counted in.
        block: rows looked at together.
        is_trained: whether something is known to be trained in others of its rows, so that all of these are looked at.

    Raises:
        InputError: naming the row, or the data in which nothing is trained, or more bad rows than allowed.

    Touches: what the rows come from.
    """
    census = before
    for start in range(0, len(rows), block):
        places = np.arange(start, min(start + block, len(rows)))
        names = [rows.place(k) for k in places.tolist()]
        script, rejected = maker.script(rows.read(places), names)
        n_bad = census.n_bad + len(rejected)
        if n_bad > max_bad_rows:
            wanted = f"at most {max_bad_rows} bad rows"
            raise expected(wanted, f"{n_bad}, the last: {list(rejected.values())[-1]}", at="--max-bad-rows")
        n_examples = np.bincount(script.rows, minlength=len(places))
        summed = np.concatenate([[0], np.cumsum(script.weights, dtype=np.int64)])
        hits = np.diff(summed[script.offsets]) > 0
        census = Census(
            census.n_rows + len(places),
            census.n_split + int((n_examples > 1).sum()),
            census.n_examples + len(script.rows),
            census.n_trained + len(np.unique(script.rows[hits])),
            n_bad,
        )
        is_enough = census.n_trained > before.n_trained and isinstance(rows.rows, ArrowRows)
        if is_enough and not maker.lenient and not is_trained:
            return census
    if census.n_trained == before.n_trained and not is_trained:
        raise expected(f"a message that {maker.mode} trains", f"none in {len(rows)} rows", at=rows.rows.name)
    return census
