"""Sources of chat data: what `--dataset` names, opened as rows to train on and rows held out.

The rows to train on are shuffled once by the seed before the holdout is taken off, and epoch e shuffles them again by
seed + e: with seed 0 that is the order of tinker-cookbook, row by row. A row held out that is also trained leaves the
holdout: it would measure memory, and to take it from training would move every row after it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.dataset_formats import COLUMN
from kernel.enums import DatasetFormat, MixStopping, Order, UnknownKeys
from kernel.errors import expected, problem, unknown
from kernel.row_outcomes import RowOutcome
from shell.data.arrow_rows import ArrowRows
from shell.data.dataset import Dataset, Stream, head, load_dataset, load_tables
from shell.data.open_file import is_remote, local_copy
from shell.data.open_rows import SUFFIXES, exists, is_saved, open_rows
from shell.data.rows import RowValidation

SAMPLE = Path(__file__).parents[1] / "sample"
ALL_ANSWERS, LAST_ANSWER = "all_assistant_messages", "last_assistant_message"


class DatasetSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to open, in the words of the flags."""

    dataset: str  # a name, a path, or `hf:REPO`.
    dataset_config: str | None = None
    dataset_split: str = "train"
    dataset_column: str = COLUMN
    dataset_format: str = DatasetFormat.AUTO
    dataset_map: str | None = None
    unknown_keys: UnknownKeys = UnknownKeys.REFUSE
    max_bad_rows: int = 0
    test_size: int | float | None = None  # rows to hold out, below 1 a fraction; None: as the dataset says, else none.
    seed: int = 0
    order: str = Order.HF  # FILE: rows to train on are not shuffled
    streaming: bool = False
    shuffle_buffer: int = 10_000
    streaming_length: int | None = None
    mirrors: dict[str, str] = {}
    """Folders in place of repositories of the Hub: `{"allenai/tulu-3-sft-mixture": "/data/tulu"}`."""
    mix_stopping: MixStopping | None = None
    """When a mixture of several sources ends; None: all_exhausted, or with counts each row once."""
    prepared_dir: str | None = None  # the folder of token caches and copies; None: `cache_root`.
    cache_dir: str | None = None  # where `datasets` keeps its tables; None: its usual folder.

    def n_test(self, n_rows: int, default: int = 0) -> int:
        """How many of some rows are held out."""
        size = default if self.test_size is None else self.test_size
        return max(1, round(size * n_rows)) if 0 < size < 1 else int(size)

    def repo(self, name: str) -> str:
        """The folder in place of a repository, or its name."""
        return self.mirrors.get(name, name)

    def validation(self) -> RowValidation:
        """What a row of one source must be."""
        return RowValidation(
            self.dataset_format, self.dataset_column, self.max_bad_rows, self.dataset_map, self.unknown_keys
        )


def spec_of(config: msgspec.Struct, **others: Any) -> DatasetSpec:
    """The spec in some settings: their fields of the same name, and others as given."""
    own = {name: getattr(config, name) for name in DatasetSpec.__struct_fields__ if hasattr(config, name)}
    return DatasetSpec(**own | others)


@dataclass(frozen=True)
class Source:
    """Opened data: rows to train on in the builder's order, and rows held out."""

    train: Dataset | Stream
    held_out: Dataset | None  # None where nothing is
    train_on_what: str  # the value of TrainOnWhat that suits the data by default; empty: its sources differ.
    name: str
    column: str = COLUMN  # the key of the messages.
    not_drawn: tuple[RowOutcome, ...] = ()  # rows of a mixture's sources that no epoch draws.

    @cached_property
    def _duplicated(self) -> NDArray[np.bool_]:
        """bool[n]: which rows held out have messages that are also trained."""
        if self.held_out is None or not isinstance(self.train, Dataset):
            return np.zeros(len(self.held_out or ()), np.bool_)
        trained = self.train.rows.digests(self.column)
        same = self.held_out.rows is self.train.rows
        held = trained if same else self.held_out.rows.digests(self.column)
        return np.isin(held[self.held_out.indices], trained[self.train.indices])

    @property
    def test(self) -> Dataset | None:
        """The rows to evaluate: those held out, less the duplicates. Reads all rows, unless they have been scanned."""
        if self.held_out is None or self._duplicated.all():
            return None
        return self.held_out.select(np.flatnonzero(~self._duplicated))

    @property
    def duplicates(self) -> Dataset | None:
        """Rows held out that are also trained; None: not looked for (a stream). Reads as `test` does."""
        if self.held_out is None or not isinstance(self.train, Dataset):
            return None
        return self.held_out.select(np.flatnonzero(self._duplicated))

    @property
    def description(self) -> str:
        """The data in one line, for the first lines of a run."""
        text = f"{self.name}: {len(self.train):,} rows to train on, {len(self.test or ()):,} held out"
        if self.duplicates:
            text += f" (without {len(self.duplicates):,} that training also has)"
        return text


def open_source(spec: DatasetSpec) -> Source:
    """Opens the data that a spec names."""
    if spec.test_size is not None and spec.test_size < 0:
        raise expected("test_size >= 0 rows", str(spec.test_size), at="--test-size")
    if spec.dataset_format not in list(DatasetFormat):
        raise unknown("dataset_format", spec.dataset_format, list(DatasetFormat), at="--dataset-format")
    if spec.dataset == "hf:":
        raise expected("hf:REPO", "hf: alone", at="--dataset")
    if spec.dataset.startswith("hf:"):
        return (_open_stream if spec.streaming else _open_hub)(spec)
    if spec.streaming or spec.dataset_config or (spec.dataset in NAMED and spec.dataset_split != "train"):
        raise problem(f"--streaming, --dataset-config and --dataset-split need --dataset hf:REPO, not {spec.dataset}")
    if spec.dataset in NAMED:
        return NAMED[spec.dataset](spec)
    return _open_file(spec)


def _open_no_robots(spec: DatasetSpec) -> Source:
    splits = load_dataset(spec.repo("HuggingFaceH4/no_robots"), cache_dir=spec.cache_dir)
    return _with_own_test(spec, splits["train"], splits["test"])


def _open_tulu3(spec: DatasetSpec) -> Source:
    splits = load_dataset(spec.repo("allenai/tulu-3-sft-mixture"), cache_dir=spec.cache_dir)
    return _with_holdout(spec, splits["train"], 1024, LAST_ANSWER)


def _open_sample(spec: DatasetSpec) -> Source:
    train, test = (Dataset(open_rows(SAMPLE / f"{split}.jsonl", spec.validation())) for split in ("train", "test"))
    return _with_own_test(spec, train, test)


def _open_file(spec: DatasetSpec) -> Source:
    name = spec.dataset
    if is_remote(name):
        name = str(local_copy(name, Path(spec.prepared_dir).expanduser() if spec.prepared_dir else None))
    if not exists(name):
        if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not set(Path(name).suffixes) & SUFFIXES:
            raise expected("a dataset or a JSONL file", f"no file {name} (of the Hub: hf:{name})", at="--dataset")
        if "/" not in name and not Path(name).suffix:
            raise unknown("dataset", name, [*NAMED, "hf:REPO", "FILE.jsonl"], at="--dataset")
    return _with_holdout(spec, Dataset(open_rows(name, spec.validation(), spec.dataset_split)), 0)


def _open_hub(spec: DatasetSpec) -> Source:
    repo = spec.repo(spec.dataset.removeprefix("hf:"))
    if is_saved(repo):
        return _open_file(msgspec.structs.replace(spec, dataset=repo))
    split = spec.dataset_split
    if not re.search(r"[\[+]", split):
        return _with_holdout(spec, load_dataset(repo, spec.dataset_config, spec.cache_dir)[split], 0)
    # a slice such as train[:1%], which only the library can take
    table = load_tables(repo, spec.dataset_config, split=split, cache_dir=spec.cache_dir)
    return _with_holdout(spec, Dataset(ArrowRows(table, f"{repo}:{split}")), 0)


def _open_stream(spec: DatasetSpec) -> Source:
    if spec.streaming_length is None or spec.streaming_length <= 0:
        raise expected("the number of rows of an epoch", str(spec.streaming_length), at="--streaming-length")
    if 0 < (spec.test_size or 0) < 1 or spec.order == Order.FILE:
        flag = "--order file" if spec.order == Order.FILE else "a fraction as --test-size"
        raise problem(f"{flag} needs all rows, which a stream never has: leave out --streaming, or the flag")
    repo, n_test = spec.repo(spec.dataset.removeprefix("hf:")), int(spec.test_size or 0)
    splits = load_tables(repo, spec.dataset_config, streaming=True, cache_dir=spec.cache_dir)
    if spec.dataset_split not in splits:
        raise unknown("split", spec.dataset_split, splits, at="--dataset-split")
    table, name = splits[spec.dataset_split], f"{repo}:{spec.dataset_split}"
    validation = spec.validation()
    validation.reader.columns = frozenset(table.column_names or ())
    first = head(table, max(n_test, 1), validation, name)
    train = Stream(
        table.skip(n_test) if n_test else table,
        spec.streaming_length,
        validation=validation,
        name=name,
        seed=spec.seed,
        buffer_size=spec.shuffle_buffer,
    )
    test = Dataset.from_list(first, name) if n_test else None
    return Source(train, test, ALL_ANSWERS, spec.dataset)


NAMED: dict[str, Callable[[DatasetSpec], Source]] = {
    "no_robots": _open_no_robots,
    "tulu3": _open_tulu3,
    "sample": _open_sample,
}


def _with_own_test(spec: DatasetSpec, train: Dataset, test: Dataset) -> Source:
    """Data with test rows of its own; `test_size` takes the first of them."""
    train, test = _validated(spec, train), _validated(spec, test)
    if spec.test_size is not None:
        if 0 < spec.test_size < 1:
            raise problem(f"{spec.dataset} has test rows of its own: give a number of them", at="--test-size")
        if spec.test_size > len(test):
            raise expected(f"test_size <= {len(test)} rows", str(spec.test_size), at="--test-size")
        test = test.take(int(spec.test_size))
    return _source(spec, _in_order(spec, train.shuffle(spec.seed)), test, ALL_ANSWERS)


def _with_holdout(spec: DatasetSpec, rows: Dataset, test_size: int, train_on_what: str = ALL_ANSWERS) -> Source:
    """Data whose first rows, once shuffled, are held out."""
    rows = _validated(spec, rows)
    n_test = spec.n_test(len(rows), test_size)
    if n_test >= len(rows):
        kept = "1 row is" if len(rows) == 1 else f"{len(rows)} rows are"
        raise problem(f"{kept} all there is, and {n_test} would be held out: type a smaller --test-size, or 0")
    shuffled = rows.shuffle(spec.seed)
    return _source(spec, _in_order(spec, shuffled.skip(n_test)), shuffled.take(n_test), train_on_what)


def _in_order(spec: DatasetSpec, shuffled: Dataset) -> Dataset:
    """The rows to train on, back in the order of their file where that was asked for."""
    return Dataset(shuffled.rows, np.sort(shuffled.indices)) if spec.order == Order.FILE else shuffled


def _validated(spec: DatasetSpec, dataset: Dataset) -> Dataset:
    """The dataset with its rows validated; those of files are already."""
    rows = dataset.rows
    if not len(dataset):
        raise expected("at least one row", "none", at=rows.name)
    if not isinstance(rows, ArrowRows) or rows.validation is not None:
        return dataset
    validation = spec.validation()
    validation.check_columns(rows.columns, rows.name)
    return Dataset(rows.validated(validation), dataset.indices)


def _source(spec: DatasetSpec, train: Dataset, held_out: Dataset, train_on_what: str) -> Source:
    return Source(train, held_out if len(held_out) else None, train_on_what, spec.dataset, spec.dataset_column)
