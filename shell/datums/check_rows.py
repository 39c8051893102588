"""The one pass over the rows of a run before anything is paid for: what is in them, and whether they can be used.

Each row is read once and rendered at most once. Those that a run needs first, the rows of the first batch and the
held-out ones, are rendered to the end and kept.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernel.errors import InputError, expected
from kernel.ragged_batches import Examples, take
from kernel.render.token_program import TokenProgram
from shell.data.dataset import Dataset
from shell.data.load_dataset import Source
from shell.data.mixture_spec import parts
from shell.data.rows import ConcatRows
from shell.datums.render_rows import Pending, PendingParts, Rendered, RowRenderer
from shell.token_cache.cache import Render
from shell.token_cache.open_cache import CachePlan
from shell.token_cache.shard import RowCounts

Int64 = NDArray[np.int64]
BLOCK = 1024
NO_ROWS: Int64 = np.empty(0, np.int64)


class KeptRows:
    """Rows rendered in the pass: those of the first batch, and the held-out ones of the same source, by their numbers.

    It is a `Render`: rows that were not kept are rendered when they are asked for.
    """

    def __init__(self, render: Render, first: Int64, held_out: Int64 = NO_ROWS) -> None:
        self.wanted, self.held_out, self._render = np.union1d(first, held_out), held_out, render
        self._kept: dict[int, Rendered] = {}

    def keep(self, numbers: Int64, rendered: Rendered) -> None:
        for i, number in enumerate(numbers.tolist()):
            examples = take(rendered.examples, rendered.examples.rows == i)
            self._kept[number] = Rendered(
                examples._replace(rows=np.zeros(len(examples.rows), np.int64)),
                {0: rendered.rejected[i]} if i in rendered.rejected else {},
                {0: rendered.shortened[i]} if i in rendered.shortened else {},
            )

    def __call__(self, numbers: Int64, locations: Sequence[str]) -> Pending[Rendered]:
        kept = [(i, self._kept[number]) for i, number in enumerate(numbers.tolist()) if number in self._kept]
        others = np.setdiff1d(np.arange(len(numbers)), [i for i, _ in kept])
        if not kept:
            return self._render(numbers, locations)
        rendered = self._render(numbers[others], [locations[i] for i in others.tolist()]) if len(others) else None
        return PendingParts([(np.array([i]), one) for i, one in kept], others, rendered)


def check_source(
    source: Source, renderer: RowRenderer, max_bad_rows: int, prepared: CachePlan | None, kept: KeptRows
) -> RowCounts:
    """The counts of all sources. A whole token cache knows them, and only rows that it does not hold are read.

    `renderer.keys` has then counted the keys of messages that are ignored in the rows that were read.
    """
    assert isinstance(source.train, Dataset)
    renderer.keys.counts.clear()
    rows, counts = source.train.rows, RowCounts()
    firsts = rows.offsets.tolist() if isinstance(rows, ConcatRows) else [0]
    for part, first in zip(parts(source), firsts, strict=False):
        known, others = (
            prepared.cache.count(part.indices + first)
            if prepared and prepared.cache.is_whole
            else (RowCounts(), NO_ROWS)
        )
        if not known.n_trained:
            counts = check_rows(part, renderer, max_bad_rows, kept, counts, first)
            continue
        counts = counts.plus(*known)
        if len(others):
            counts = check_rows(part.select(others), renderer, max_bad_rows, kept, counts, first, is_cached=True)
    return counts


def check_rows(
    rows: Dataset,
    renderer: RowRenderer,
    max_bad_rows: int,
    kept: KeptRows,
    before: RowCounts,
    first: int,
    is_cached: bool = False,
) -> RowCounts:
    """Counts the rows of one source, and refuses a row that cannot be used, or data in which nothing is trained."""
    counts = before
    held_out = NO_ROWS if is_cached else kept.held_out - first
    held_out = held_out[(held_out >= 0) & (held_out < len(rows.rows))]
    both = Dataset(rows.rows, np.concatenate([rows.indices, held_out]))
    for numbers, block in both.blocks() if is_cached or rows.rows.is_slow else both.scan():
        is_own = ~np.isin(numbers, held_out)
        n_examples, is_hit, rejected = _rendered(numbers, block, rows, renderer, kept, first)
        bad = [reason for i, reason in sorted(rejected.items()) if is_own[i]]
        n_bad = counts.n_bad + len(bad)
        if n_bad > max_bad_rows:
            raise expected(f"at most {max_bad_rows} bad rows", f"{n_bad}, the last: {bad[-1]}", at="--max-bad-rows")
        n, n_trained = n_examples[is_own], int(is_hit[is_own].sum())
        counts = counts.plus(len(n), int((n > 1).sum()), int(n.sum()), n_trained, len(bad))
        is_enough = counts.n_trained > before.n_trained and rows.rows.is_slow
        if is_enough and not renderer.settings.lenient and not is_cached:
            return counts
    if counts.n_trained == before.n_trained and not is_cached:
        wanted = f"a message that {renderer.settings.train_on_what} trains"
        raise expected(wanted, f"none in {len(rows)} rows", at=rows.rows.name)
    return counts


def _rendered(
    numbers: Int64, block: list[Any], rows: Dataset, renderer: RowRenderer, kept: KeptRows, first: int
) -> tuple[Int64, NDArray[np.bool_], dict[int, str]]:
    """Of each row of a block the number of its examples, and whether any trains something; and the rejected rows."""
    n_examples, is_hit, rejected = np.zeros(len(block), np.int64), np.zeros(len(block), np.bool_), dict[int, str]()
    is_wanted = np.isin(numbers + first, kept.wanted)

    def add(which: Int64, found: TokenProgram | Examples, bad: dict[int, str]) -> None:
        summed = np.concatenate([[0], np.cumsum(found.weights != 0)])
        n_examples[which] = np.bincount(found.rows, minlength=len(which))
        is_hit[which[found.rows[np.diff(summed[found.offsets]) > 0]]] = True
        rejected.update((int(which[i]), reason) for i, reason in bad.items())

    try:
        for which in (np.flatnonzero(~is_wanted), np.flatnonzero(is_wanted)):
            own, locations = [block[i] for i in which.tolist()], [rows.rows.place(k) for k in numbers[which].tolist()]
            if len(which) and is_wanted[which[0]]:
                rendered = renderer.render(own, locations)
                kept.keep(numbers[which] + first, rendered)
                add(which, rendered.examples, rendered.rejected)
            elif len(which):
                add(which, *renderer.program(own, locations))
    except InputError:
        # raises for the first of the rows that cannot be used
        renderer.program(block, [rows.rows.place(k) for k in numbers.tolist()])
        raise
    return n_examples, is_hit, rejected
