"""Data of one source or a mixture: `a.jsonl=0.7,b.jsonl=0.3` gives weights, `a.jsonl=5000rows,b.jsonl` counts.

A path may hold commas, equals signs and the marks of patterns: if a file of that name exists, it is meant. Rows are
held out by each source itself, or with `--test-size` of all together, as tinker-cookbook's interleaving does.
"""

import glob
import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from kernel.enums import MixStopping, TrainOnWhat
from kernel.errors import expected, problem
from kernel.mixture_order import Mixture, mix
from kernel.row_outcomes import Intake, Outcome, RowOutcome
from shell.data.dataset import Dataset, Stream
from shell.data.load_dataset import DatasetSpec, Source, open_source
from shell.data.open_rows import SUFFIXES, exists
from shell.data.rows import ConcatRows, Int64, labels_of

_COUNT = re.compile(r"(\d[\d_]*)rows?")
_WEIGHT = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_SHARE = re.compile(r"=[^=,]*$")
_ENDINGS = re.compile(rf"({'|'.join(map(re.escape, sorted(SUFFIXES)[::-1]))})+$")


class Share(NamedTuple):
    """One source of a mixture: a name, a path or `hf:REPO`, and at most one of its weight and the rows to take."""

    dataset: str
    weight: float | None = None
    n_rows: int | None = None

    def __str__(self) -> str:
        share = f"={self.weight:g}" if self.weight is not None else f"={self.n_rows}rows" if self.n_rows else ""
        return self.dataset + share


def read_shares(text: str, exists: Callable[[str], bool] = exists) -> tuple[Share, ...]:
    """The sources that a text names, in its order."""
    shares, pieces = [], text.split(",")
    while pieces:
        tries = [(",".join(pieces[:n]), n) for n in range(len(pieces), 1, -1)]
        whole, n = next((one for one in tries if exists(one[0]) or exists(_SHARE.sub("", one[0]))), (pieces[0], 1))
        shares.append(_share(whole.strip(), exists))
        pieces = pieces[n:]
    _check(shares, text)
    return tuple(shares)


def names(shares: tuple[Share, ...]) -> tuple[str, ...]:
    """The names of the sources in metrics: the last part of each, or all of it if two would be alike."""
    short = [_ENDINGS.sub("", os.path.basename(_plain(share.dataset).rstrip("/"))) for share in shares]
    whole = [share.dataset for share in shares]
    return tuple(a if a and short.count(a) == 1 else b for a, b in zip(short, whole, strict=True))


def _plain(dataset: str) -> str:
    """A source without what is no name: `hf:`, and the parts of a path that are patterns."""
    path = dataset.removeprefix("hf:")
    while glob.has_magic(path) and os.path.dirname(path) and not os.path.lexists(os.path.expanduser(path)):
        path = os.path.dirname(path)
    return path


def _share(text: str, exists: Callable[[str], bool]) -> Share:
    if not text:
        raise problem("there is nothing between two commas", at="--dataset")
    dataset, equals, share = text.rpartition("=")
    if not equals or exists(text):
        return Share(text)
    if count := _COUNT.fullmatch(share):
        return Share(dataset, n_rows=int(count[1]))
    if _WEIGHT.fullmatch(share):
        return Share(dataset, weight=float(share))
    wanted = "a weight such as 0.7 or a count such as 5000rows (or a file of the whole name)"
    raise expected(wanted, repr(share), at=f"--dataset {text}")


def _check(shares: list[Share], text: str) -> None:
    weighted = [share.weight is not None for share in shares]
    if any(weighted) and not all(weighted):
        bare = shares[weighted.index(False)]
        raise problem(f"{bare} has no weight, but other sources have one", at=f"--dataset {text}")
    for i, share in enumerate(shares):
        if share.dataset in [other.dataset for other in shares[:i]]:
            raise problem(f"{share.dataset} is named twice", at=f"--dataset {text}")


class Own(NamedTuple):
    """One source's rows in their own order, and those that it holds out itself."""

    train: Dataset
    test: Dataset


def open_data(spec: DatasetSpec) -> Source:
    """Opens what a spec names, be it one source or a mixture."""
    shares = read_shares(spec.dataset)
    if spec.mix_stopping is not None and len(shares) == 1:
        raise problem(f"--mix-stopping is for several sources; --dataset names one, {shares[0]}")
    if len(shares) == 1 and str(shares[0]) == shares[0].dataset:
        return open_source(msgspec.structs.replace(spec, dataset=shares[0].dataset))
    if spec.streaming:
        raise problem(f"--streaming is for one source; --dataset names {len(shares)}")
    labels = names(shares)
    sources = [open_source(_spec_of(share, spec, shares)) for share in shares]
    own = [own_rows(source) for source in sources]
    mixture = _mixture(shares, [len(one.train) for one in own], spec)
    rows = ConcatRows([one.train.rows for one in own], labels)
    train = Dataset(rows, _indices(rows, [one.train for one in own], *mixture.train))
    held_out = _held_out(rows, own, mixture, spec)
    modes = {source.train_on_what for source in sources}
    return Source(
        train,
        held_out if len(held_out) else None,
        modes.pop() if len(modes) == 1 else "",
        ", ".join(map(str, shares)),
        spec.dataset_column,
        _not_drawn(rows, own, mixture, train),
    )


def intake(source: Source) -> Intake:
    """What an epoch of a source is made of."""
    if isinstance(source.train, Stream):
        return Intake(len(source.train))
    return Intake(len(source.train), len(source.train) - len(np.unique(source.train.indices)))


def intakes(source: Source) -> dict[str, Intake]:
    """What an epoch has of each source of a mixture; empty if there is only one."""
    if isinstance(source.train, Stream) or not isinstance(source.train.rows, ConcatRows):
        return {}
    part_of = source.train.rows.part_of(source.train.indices)
    parts = [source.train.indices[part_of == p] for p in range(len(source.train.rows.parts))]
    return {
        name: Intake(len(part), len(part) - len(np.unique(part)))
        for name, part in zip(source.train.rows.labels, parts, strict=True)
    }


def parts(source: Source) -> list[Dataset]:
    """The rows that are trained: of a mixture each once, source by source and in their own order."""
    assert isinstance(source.train, Dataset)
    rows = source.train.rows
    if not isinstance(rows, ConcatRows):
        return [source.train]
    indices = np.unique(source.train.indices)
    bounds = np.searchsorted(indices, rows.offsets)
    return [
        Dataset(part, indices[start:stop] - first)
        for part, first, start, stop in zip(rows.parts, rows.offsets, bounds, bounds[1:], strict=False)
    ]


def mode_of(source: Source, asked: str | None) -> TrainOnWhat:
    """What is trained: as asked, else the default of the data."""
    if not (asked or source.train_on_what):
        raise problem("the sources differ in what they train: --train-on-what is needed", f"--dataset {source.name}")
    return TrainOnWhat(asked or source.train_on_what)


def _spec_of(share: Share, spec: DatasetSpec, shares: Sequence[Share]) -> DatasetSpec:
    """A source's own spec; how to open a repository is left to those that are one."""
    test_size = spec.test_size if spec.test_size is None else 0
    own = msgspec.structs.replace(spec, dataset=share.dataset, test_size=test_size)
    if share.dataset.startswith("hf:") or not any(other.dataset.startswith("hf:") for other in shares):
        return own
    return msgspec.structs.replace(own, dataset_config=None, dataset_split="train")


def own_rows(source: Source) -> Own:
    """One source's rows in their own order: those to train on, and those it holds out."""
    assert isinstance(source.train, Dataset)
    train = Dataset(source.train.rows, np.sort(source.train.indices))
    return Own(train, source.held_out or train.take(0))


def _mixture(shares: Sequence[Share], sizes: Sequence[int], spec: DatasetSpec) -> Mixture:
    weights = [share.weight for share in shares if share.weight is not None]
    counts = [share.n_rows for share in shares]
    has_counts, once = any(count is not None for count in counts), MixStopping.ALL_EXHAUSTED_WITHOUT_REPLACEMENT
    for share, size in zip(shares, sizes, strict=True):
        if share.n_rows is not None and not 0 < share.n_rows <= size:
            raise expected(f"a count of 1 to {size:,} rows", f"{share.n_rows:,}", at=f"--dataset {share}")
    return mix(
        sizes,
        weights or None,
        counts=counts if has_counts else None,
        strategy=spec.mix_stopping or (once if has_counts else MixStopping.ALL_EXHAUSTED),
        seed=spec.seed,
        n_test=spec.n_test(sum(sizes)),
    )


def _indices(rows: ConcatRows, datasets: Sequence[Dataset], sources: Int64, places: Int64) -> Int64:
    """The numbers, among all rows, of the rows at positions of the sources' datasets."""
    indices = np.empty(len(places), np.int64)
    for s, dataset in enumerate(datasets):
        of_source = sources == s
        indices[of_source] = dataset.indices[places[of_source]] + rows.offsets[s]
    return indices


def _held_out(rows: ConcatRows, own: Sequence[Own], mixture: Mixture, spec: DatasetSpec) -> Dataset:
    """What is held out: of all sources together, or what each source holds out itself, one after the other."""
    if spec.test_size is not None:
        return Dataset(rows, _indices(rows, [one.train for one in own], *mixture.test))
    tests = ConcatRows([one.test.rows for one in own], rows.labels)
    return Dataset(tests, np.concatenate([one.test.indices + tests.offsets[s] for s, one in enumerate(own)]))


def _not_drawn(rows: ConcatRows, own: Sequence[Own], mixture: Mixture, train: Dataset) -> tuple[RowOutcome, ...]:
    """An entry for each run of neighbouring rows that no epoch draws."""
    entries = []
    datasets = [one.train for one in own]
    everything = np.concatenate([one.indices + rows.offsets[s] for s, one in enumerate(datasets)])
    held = _indices(rows, datasets, *mixture.test)
    idle = np.setdiff1d(everything, np.concatenate([held, train.indices]))
    cuts = (np.diff(idle) > 1) | (np.diff(rows.part_of(idle)) > 0)
    for run in np.split(idle, np.flatnonzero(cuts) + 1) if len(idle) else ():
        first, last = int(run[0]), int(run[-1])
        place = rows.place(first) if first == last else f"{rows.place(first)} to {rows.place(last)}"
        source = labels_of(rows, run[:1])[0]
        entries.append(RowOutcome(Outcome.NOT_DRAWN, place, n_rows=last - first + 1, source=source))
    return tuple(entries)


def outside_entries(source: Source) -> list[RowOutcome]:
    """An entry for every row that belongs to no epoch, but those held out to be evaluated."""
    entries = list(source.not_drawn)
    if (again := source.duplicates) is not None:
        reason = "its content also stands in training"
        labels = labels_of(again.rows, again.indices)
        for place, label in zip(again.places(), labels, strict=True):
            entries.append(RowOutcome(Outcome.DUPLICATE, place, reason, source=label))
    return entries
