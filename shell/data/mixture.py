"""Data of one source or a mixture of several: what `--dataset` names, opened.

Each source has its rows in their own order, less what it holds out itself (`no_robots` has a test split, `tulu3` keeps
1024 rows back). With `--test-size`, that many rows are held out of all sources together instead, as tinker-cookbook's
interleaving does. A row held out of one source whose messages are trained in any of them leaves the holdout.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from kernel.errors import expected, problem
from kernel.mixture import Mixture, mix
from kernel.options import MixStopping, TrainOnWhat
from kernel.row_outcomes import Intake, Outcome, RowOutcome
from shell.data.dataset import Dataset
from shell.data.hub import Stream
from shell.data.mixture_spec import Share, names, read_shares
from shell.data.rows import ConcatRows, Int64, labels_of
from shell.data.sources import DatasetSpec, Source, open_source


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
        n_test=spec.test_size or 0,
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
