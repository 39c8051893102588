"""A look through the rows of a run before anything is paid for: what is in them, and whether they can be used."""

from typing import NamedTuple

import numpy as np

from kernel.errors import expected
from shell.data.dataset import Dataset
from shell.data.mixture import parts
from shell.data.rows import ConcatRows
from shell.data.sources import Source
from shell.datums.render_rows import RowRenderer
from shell.token_cache.open_cache import CachePlan
from shell.token_cache.read_shards import Counts


class RowCounts(NamedTuple):
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

    def plus(self, counts: Counts) -> "RowCounts":
        """With rows that a store has counted, none of them bad."""
        n_rows, n_examples, n_split, n_trained = (a + b for a, b in zip(self._counts, counts, strict=True))
        return RowCounts(n_rows, n_split, n_examples, n_trained, self.n_bad)

    @property
    def _counts(self) -> Counts:
        return Counts(self.n_rows, self.n_examples, self.n_split, self.n_trained)


def check_source(source: Source, maker: RowRenderer, max_bad_rows: int, prepared: CachePlan | None) -> RowCounts:
    """What `check_rows` finds in all sources; where there is a whole store, only rows that it does not keep are read.

    Raises:
        InputError: as `check_rows`.

    Touches: the store; what the rows come from.
    """
    assert isinstance(source.train, Dataset)
    rows, row_counts = source.train.rows, RowCounts()
    firsts = rows.offsets.tolist() if isinstance(rows, ConcatRows) else [0]
    for part, first in zip(parts(source), firsts, strict=False):
        if prepared is None or not prepared.store.is_whole:
            row_counts = check_rows(part, maker, max_bad_rows, row_counts)
            continue
        counts, others = prepared.store.count(part.indices + first)
        if not counts.n_trained:
            row_counts = check_rows(part, maker, max_bad_rows, row_counts)
            continue
        row_counts = row_counts.plus(counts)
        if len(others):
            row_counts = check_rows(part.select(others), maker, max_bad_rows, row_counts, is_trained=True)
    return row_counts


def check_rows(
    rows: Dataset,
    maker: RowRenderer,
    max_bad_rows: int = 0,
    before: RowCounts = RowCounts(),  # noqa: B008 - immutable
    is_trained: bool = False,
) -> RowCounts:
    """Look through data, and refuse it with a row that cannot be used, or in which nothing is trained.

    All rows of a JSONL file are looked at; of a table of `datasets`, whose rows cost ten times as much, only until one
    is trained, unless bad rows are to be counted: the others are checked in the batch they come in.

    Args:
        rows: of one source.
        maker: rows to datums.
        max_bad_rows: how many there may be in all.
        before: what was found in other sources; it is counted in.
        is_trained: whether something is known to be trained in others of its rows, so that all of these are looked at.

    Raises:
        InputError: naming the row, or the data in which nothing is trained, or more bad rows than allowed.

    Touches: what the rows come from.
    """
    row_counts = before
    for numbers, found in rows.blocks() if is_trained or rows.rows.is_slow else rows.scan():
        script, rejected = maker.script(found, [rows.rows.place(k) for k in numbers.tolist()])
        n_bad = row_counts.n_bad + len(rejected)
        if n_bad > max_bad_rows:
            wanted = f"at most {max_bad_rows} bad rows"
            raise expected(wanted, f"{n_bad}, the last: {list(rejected.values())[-1]}", at="--max-bad-rows")
        n_examples = np.bincount(script.rows, minlength=len(numbers))
        summed = np.concatenate([[0], np.cumsum(script.weights, dtype=np.int64)])
        hits = np.diff(summed[script.offsets]) > 0
        row_counts = RowCounts(
            row_counts.n_rows + len(numbers),
            row_counts.n_split + int((n_examples > 1).sum()),
            row_counts.n_examples + len(script.rows),
            row_counts.n_trained + len(np.unique(script.rows[hits])),
            n_bad,
        )
        is_enough = row_counts.n_trained > before.n_trained and rows.rows.is_slow
        if is_enough and not maker.settings.lenient and not is_trained:
            return row_counts
    if row_counts.n_trained == before.n_trained and not is_trained:
        raise expected(
            f"a message that {maker.settings.train_on_what} trains", f"none in {len(rows)} rows", at=rows.rows.name
        )
    return row_counts
