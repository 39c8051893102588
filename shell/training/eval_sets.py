"""Named sets to evaluate beside the holdout: what `--eval-dataset` says, opened, and checked against what is trained.

    held.jsonl                           a set by the name of its file
    code=code.jsonl,chat=no_robots       sets by names of their own
    hf:REPO, hf:REPO:SPLIT               the split `test` of a repository, or another

A set is evaluated whole. Of `no_robots` and `sample` it is their test rows; of other data all rows. A row whose
messages are also trained would measure memory, so it leaves the set.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums
from kernel.errors import expected
from kernel.row_outcomes import Entry, Outcome
from shell.data.dataset import Dataset
from shell.data.mixture import own_rows
from shell.data.mixture_spec import Share, exists, names
from shell.data.rows import digests
from shell.data.sources import DatasetSpec, Source, open_source
from shell.datums.render_rows import RowRenderer

TAKEN = ("test", "time", "source")
"""names that metrics have already"""
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


class EvalSet(NamedTuple):
    """A set to evaluate, whole.

    >>> entry = Entry(Outcome.HELD_OUT, "c.jsonl:3", "too_long: 90 tokens, more than 64")
    >>> print(EvalSet("code", None, (entry,), 30, 1))
    code: 30 rows (without 1 that training also has), of which 1 are not evaluated whole (see the ledger)
    """

    name: str
    datums: Datums
    entries: tuple[Entry, ...]
    """what became of its rows"""
    n_rows: int
    n_duplicates: int
    """rows that left it, as they are also trained"""

    def __str__(self) -> str:
        also = f" (without {self.n_duplicates:,} that training also has)" if self.n_duplicates else ""
        n_out = sum(bool(entry.reason) and entry.outcome is Outcome.HELD_OUT for entry in self.entries)
        also += f", of which {n_out:,} are not evaluated whole (see the ledger)" if n_out else ""
        return f"{self.name}: {self.n_rows:,} rows{also}"


def read_names(text: str, at: str = "--eval-dataset") -> dict[str, str]:
    """The names of sets and what each is read from. A path may hold commas or an equals sign, where the file exists.

    Touches: the file system.

    Raises:
        InputError: a name that is taken, or given twice.

    >>> read_names("code=code.jsonl,chat=no_robots,more/x.jsonl")
    {'code': 'code.jsonl', 'chat': 'no_robots', 'x': 'more/x.jsonl'}
    """
    found: dict[str, str] = {}
    pieces = text.split(",")
    while pieces:
        tries = [(",".join(pieces[:n]), n) for n in range(len(pieces), 1, -1)]
        one, n = next((t for t in tries if exists(t[0]) or exists(t[0].partition("=")[2])), (pieces[0], 1))
        pieces = pieces[n:]
        named = None if exists(one) else _NAMED.fullmatch(one.strip())
        name, data = (named[1], named[2]) if named else (names((Share(one.strip()),))[0], one.strip())
        if not data:
            raise expected("NAME=DATA between the commas", "nothing", at=at)
        if name in found or name in TAKEN or "/" in name:
            raise expected("a name of its own for each set (NAME=DATA)", repr(name), at=at)
        found[name] = data
    return found


def open_sets(
    wanted: Mapping[str, str], spec: DatasetSpec, source: Source, maker: RowRenderer, at: str
) -> list[EvalSet]:
    """Opens the sets.

    Args:
        wanted: name -> what it is read from.
        spec: of the data to train on; it says which column holds the messages, and where repositories are.
        source: the data to train on.
        maker: rows to datums.
        at: the flag.

    Raises:
        InputError: data that cannot be read, or a set of which nothing can be evaluated.

    Touches: files; for data of the Hub the network.
    """
    trained = _trained(source, spec.dataset_column) if wanted else None
    return [_open(name, data, spec, trained, maker, at) for name, data in wanted.items()]


def check_names(sets: Sequence[str], others: Sequence[str], at: str) -> None:
    """Refuses a name that both kinds of sets have.

    Raises:
        InputError: the name is taken.
    """
    for name in others:
        if name in sets:
            raise expected("a name of its own for each set (NAME=DATA)", repr(name), at=at)


def _open(
    name: str, data: str, spec: DatasetSpec, trained: NDArray[np.uint64] | None, maker: RowRenderer, at: str
) -> EvalSet:
    own = own_rows(open_source(_spec_of(data, spec)))
    rows = own.test if len(own.test) else own.train
    label = f"evaluation set {name}"
    seen = np.zeros(len(rows), np.bool_)
    if trained is not None:
        seen = np.isin(digests(rows.rows, spec.dataset_column)[rows.indices], trained)
    fresh, left = rows.select(np.flatnonzero(~seen)), rows.select(np.flatnonzero(seen))
    reason = "its content also stands in training"
    entries = [_entry(Outcome.DUPLICATE, place, reason, label) for place in left.places()]
    if not len(fresh):
        got = f"none, as training has all {len(rows):,}" if len(rows) else "none"
        raise expected("at least one row to evaluate", got, at=f"{at} {name}={data}")
    datums, more = _made(fresh, maker, label)
    if not datums.weights.any():
        raise expected(
            f"a set of which {maker.settings.train_on_what.value} trains something", "none", at=f"{at} {name}={data}"
        )
    return EvalSet(name, datums, (*entries, *more), len(fresh), len(left))


def _made(rows: Dataset, maker: RowRenderer, label: str) -> tuple[Datums, list[Entry]]:
    places = rows.places()
    made = maker.make(rows.to_list(), places)
    fell = {one.row: f"{one.outcome.value}: {one.reason}" for one in made.fell}
    return made.datums, [_entry(Outcome.HELD_OUT, place, fell.get(i, ""), label) for i, place in enumerate(places)]


def _entry(outcome: Outcome, place: str, reason: str, label: str) -> Entry:
    return Entry(outcome, place, reason, source=label)


def _trained(source: Source, column: str) -> NDArray[np.uint64] | None:
    """A hash of all that is trained; None where it is not known, as of a stream."""
    if not isinstance(source.train, Dataset):
        return None
    return np.unique(digests(source.train.rows, column)[source.train.indices])


def _spec_of(data: str, spec: DatasetSpec) -> DatasetSpec:
    """How to open a set's data: of the named sets their own test rows, of all else everything."""
    split, config = "train", None
    if data.startswith("hf:"):
        repo, colon, split = data.removeprefix("hf:").partition(":")
        data, split, config = f"hf:{repo}", split if colon else "test", spec.dataset_config
    return msgspec.structs.replace(
        spec,
        dataset=data,
        dataset_config=config,
        dataset_split=split,
        test_size=None if data in ("no_robots", "sample") else 0,
        streaming=False,
        streaming_length=None,
    )
