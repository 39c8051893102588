"""Data of one source or of several: what `--dataset` names, opened, mixed, and its holdout split off before that.

Each source gives its rows in their own order, less what it holds out itself (`no_robots` has a test split, `tulu3`
keeps 1024 rows back). `--test-size` says otherwise: then so many rows are held out of the rows to train on, of all
sources together, as tinker-cookbook's interleaving does, and the sources' own test rows are left alone. A row held out
of one source whose messages are trained in any of them leaves the holdout.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from kernel.errors import expected
from kernel.mixture import Mixture, Strategy, mix
from kernel.render.loss_mask import TrainOnWhat
from kernel.row_outcomes import Entry, Intake, Outcome
from shell.data.concat_rows import ConcatRows, labels_of, runs
from shell.data.dataset import Dataset
from shell.data.mixture_spec import Share, names, read_shares
from shell.data.rows import Int64, digests
from shell.data.sources import DatasetSpec, Source, open_source
from shell.data.stream import Stream


class Own(NamedTuple):
    """One source's rows in their own order, and those that it holds out itself."""

    train: Dataset
    test: Dataset


def open_data(spec: DatasetSpec) -> Source:
    """Opens what a spec names, be it one source or a mixture.

    Raises:
        InputError: as `open_source`, for each source; shares that cannot be taken; a mixture of streams.

    Touches: files; for data of the Hub the network and the cache of `datasets`.
    """
    shares = read_shares(spec.dataset)
    if spec.mix_stopping is not None and len(shares) == 1:
        raise expected("several sources to mix", f"one, {shares[0]}", at="--mix-stopping")
    if len(shares) == 1 and str(shares[0]) == shares[0].dataset:
        return open_source(msgspec.structs.replace(spec, dataset=shares[0].dataset))
    if spec.streaming:
        raise expected("one source to stream", f"a mixture of {len(shares)}", at="--streaming")
    labels = names(shares)
    sources = [open_source(_spec_of(share, spec, shares)) for share in shares]
    own = [own_rows(source) for source in sources]
    mixture = _mixture(shares, [len(one.train) for one in own], spec)
    rows = ConcatRows([one.train.rows for one in own], labels)
    train = Dataset(rows, _indices(rows, [one.train for one in own], *mixture.train))
    test = _test(rows, own, mixture, spec)
    seen = _also_trained(test, train, spec.dataset_column)
    fresh = test.select(np.flatnonzero(~seen))
    return Source(
        train,
        fresh if len(fresh) else None,
        _mode(sources),
        ", ".join(map(str, shares)),
        test.select(np.flatnonzero(seen)),
        not_drawn=_not_drawn(rows, own, mixture, train),
    )


def intake(source: Source) -> Intake:
    """What an epoch of a source is made of."""
    if isinstance(source.train, Stream):
        return Intake(len(source.train))
    return Intake(len(source.train), len(source.train) - len(np.unique(source.train.indices)))


def intakes(source: Source) -> dict[str, Intake]:
    """What an epoch has of each source of a mixture; nothing where there is but one."""
    if isinstance(source.train, Stream) or not isinstance(source.train.rows, ConcatRows):
        return {}
    part_of = source.train.rows.part_of(source.train.indices)
    parts = [source.train.indices[part_of == p] for p in range(len(source.train.rows.parts))]
    return {
        name: Intake(len(part), len(part) - len(np.unique(part)))
        for name, part in zip(source.train.rows.labels, parts, strict=True)
    }


def parts(source: Source) -> list[Dataset]:
    """The rows that are trained, each once, source by source and in their own order; of one source, as they stand."""
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
    """What is trained: as asked, else what suits the data.

    Raises:
        InputError: nothing is asked for, and what suits the sources of a mixture differs.
    """
    if not (asked or source.train_on_what):
        raise expected("--train-on-what, as the sources' own ways differ", "none", at=f"--dataset {source.name}")
    return TrainOnWhat(asked or source.train_on_what)


def _spec_of(share: Share, spec: DatasetSpec, shares: Sequence[Share]) -> DatasetSpec:
    """A source's own spec. What says how to open a repository goes to those that are one."""
    test_size = spec.test_size if spec.test_size is None else 0
    own = msgspec.structs.replace(spec, dataset=share.dataset, test_size=test_size)
    if share.dataset.startswith("hf:") or not any(other.dataset.startswith("hf:") for other in shares):
        return own
    return msgspec.structs.replace(own, dataset_config=None, dataset_split="train")


def own_rows(source: Source) -> Own:
    """One source's rows in their own order: those to train on, and those it holds out."""
    assert isinstance(source.train, Dataset)
    train = Dataset(source.train.rows, np.sort(source.train.indices))
    tests = [test for test in (source.test, source.duplicates) if test]
    if not tests:
        return Own(train, train.take(0))
    return Own(train, Dataset(tests[0].rows, np.concatenate([test.indices for test in tests])))


def _mixture(shares: Sequence[Share], sizes: Sequence[int], spec: DatasetSpec) -> Mixture:
    weights = [share.weight for share in shares if share.weight is not None]
    counts = [share.n_rows for share in shares]
    has_counts = any(count is not None for count in counts)
    for share, size in zip(shares, sizes, strict=True):
        if share.n_rows is not None and not 0 < share.n_rows <= size:
            raise expected(f"a count of 1 to {size:,} rows", f"{share.n_rows:,}", at=f"--dataset {share}")
    once: Strategy = "all_exhausted_without_replacement"
    return mix(
        sizes,
        weights or None,
        counts=counts if has_counts else None,
        strategy=spec.mix_stopping or (once if has_counts else "all_exhausted"),
        seed=spec.seed,
        n_test=spec.test_size or 0,
    )


def _indices(rows: ConcatRows, datasets: Sequence[Dataset], sources: Int64, places: Int64) -> Int64:
    """The numbers, among all rows, of the rows that stand at places of the sources' datasets."""
    indices = np.empty(len(places), np.int64)
    for s, dataset in enumerate(datasets):
        of_source = sources == s
        indices[of_source] = dataset.indices[places[of_source]] + rows.offsets[s]
    return indices


def _test(rows: ConcatRows, own: Sequence[Own], mixture: Mixture, spec: DatasetSpec) -> Dataset:
    """What is held out: of all sources together, or what each source holds out itself, one behind the other."""
    if spec.test_size is not None:
        return Dataset(rows, _indices(rows, [one.train for one in own], *mixture.test))
    apart = [s for s, one in enumerate(own) if len(one.test) and one.test.rows is not one.train.rows]
    every = ConcatRows(
        [*rows.parts, *(own[s].test.rows for s in apart)], [*rows.labels, *(rows.labels[s] for s in apart)]
    )
    part = [len(rows.parts) + apart.index(s) if s in apart else s for s in range(len(own))]
    held = [one.test.indices + every.offsets[part[s]] for s, one in enumerate(own)]
    return Dataset(every, np.concatenate(held))


def _also_trained(test: Dataset, train: Dataset, column: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """bool[n]: which rows held out have messages that are also trained, whatever the source."""
    if not len(test):
        return np.zeros(0, np.bool_)
    of_every = digests(test.rows, column)  # the rows to train on come first in both
    return np.isin(of_every[test.indices], of_every[train.indices])


def _mode(sources: Sequence[Source]) -> str:
    """The way to train that suits all sources; empty where they differ."""
    modes = {source.train_on_what for source in sources}
    return modes.pop() if len(modes) == 1 else ""


def _not_drawn(rows: ConcatRows, own: Sequence[Own], mixture: Mixture, train: Dataset) -> tuple[Entry, ...]:
    """An entry for each run of neighbours of which no epoch draws a row."""
    entries = []
    datasets = [one.train for one in own]
    everything = np.concatenate([one.indices + rows.offsets[s] for s, one in enumerate(datasets)])
    held = _indices(rows, datasets, *mixture.test)
    idle = np.setdiff1d(everything, np.concatenate([held, train.indices]))
    for p, label in enumerate(rows.labels):
        of_part = idle[(idle >= rows.offsets[p]) & (idle < rows.offsets[p + 1])]
        for first, last in runs(of_part):
            place = rows.place(first) if first == last else f"{rows.place(first)} to {rows.place(last)}"
            entries.append(Entry(Outcome.NOT_DRAWN, place, n_rows=last - first + 1, source=label))
    return tuple(entries)


def outside_entries(source: Source) -> list[Entry]:
    """An entry for every row that belongs to no epoch, but those held out to be evaluated."""
    entries = list(source.not_drawn)
    if source.duplicates is not None:
        of = labels_of(source.duplicates.rows, source.duplicates.indices)
        reason = "its content also stands in training"
        entries += [
            Entry(Outcome.DUPLICATE, place, reason, source=label)
            for place, label in zip(source.duplicates.places(), of, strict=True)
        ]
    return entries
