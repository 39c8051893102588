"""The one pass over the rows of a run before anything is paid for: what is in them, and whether they can be used.

Each row is read once and rendered at most once. Those that a run needs first, the rows of the first batch and the
held-out ones, are rendered to the end and kept.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernel.errors import InputError, expected
from kernel.ragged_batches import Examples, take
from kernel.render.token_program import TokenProgram
from shell.data.dataset import Dataset
from shell.data.load_dataset import Source
from shell.data.mixture_spec import parts
from shell.data.row_faults import FaultCounts, Rejected
from shell.data.rows import ConcatRows, Rows
from shell.datums.note_counts import NoteCounts
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


class RowPass:
    """What the pass finds: the faults of rows beside those of reading, sources that train nothing, and notes."""

    def __init__(self, renderer: RowRenderer, kept: KeptRows) -> None:
        self.renderer, self.kept = copy(renderer), kept
        self.renderer.settings = replace(renderer.settings, lenient=True)  # it goes on, so that all faults are found
        self.is_lenient = renderer.settings.lenient
        self.faults, self.notes = FaultCounts(), NoteCounts(renderer)
        self.untrained: InputError | None = None

    def check(self, rows: Rows, max_bad_rows: int) -> None:
        """Raises InputError for the rows that cannot be used, together, or for data in which nothing is trained."""
        self.faults.merge(rows.faults)
        self.faults.check(len(rows), max_bad_rows)
        if self.untrained:
            raise self.untrained


def check_source(
    source: Source, renderer: RowRenderer, max_bad_rows: int, prepared: CachePlan | None, kept: KeptRows
) -> tuple[RowCounts, NoteCounts | None]:
    """The counts of all sources, and their notes if every row was read.

    A whole token cache knows the counts, and only rows that it does not hold are read. `renderer.keys` has then counted
    the keys of messages that are ignored in the rows that were read.
    """
    assert isinstance(source.train, Dataset)
    renderer.keys.counts.clear()
    rows, counts, found = source.train.rows, RowCounts(), RowPass(renderer, kept)
    firsts = rows.offsets.tolist() if isinstance(rows, ConcatRows) else [0]
    for part, first in zip(parts(source), firsts, strict=False):
        known, others = (
            prepared.cache.count(part.indices + first)
            if prepared and prepared.cache.is_whole
            else (RowCounts(), NO_ROWS)
        )
        if not known.n_trained:
            counts = check_rows(part, found, counts, first)
            continue
        counts = counts.plus(*known)
        if len(others):
            counts = check_rows(part.select(others), found, counts, first, is_cached=True)
    found.check(rows, max_bad_rows)
    renderer.keys.counts = found.renderer.keys.counts
    is_whole = found.notes.n_rows + counts.n_bad == counts.n_rows
    return counts, found.notes if is_whole else None


def check_rows(rows: Dataset, found: RowPass, before: RowCounts, first: int, is_cached: bool = False) -> RowCounts:
    """Counts the rows of one source, and notes what cannot be used."""
    counts, kept = before, found.kept
    held_out = NO_ROWS if is_cached else kept.held_out - first
    held_out = held_out[(held_out >= 0) & (held_out < len(rows.rows))]
    both = Dataset(rows.rows, np.concatenate([rows.indices, held_out]))
    for numbers, block in both.blocks() if is_cached or rows.rows.is_slow else both.scan():
        is_own = ~np.isin(numbers, held_out)
        n_examples, is_hit, rejected = _rendered(numbers, block, rows, found, first, is_own)
        for i, reason in sorted(rejected.items()):
            if not isinstance(block[i], Rejected):
                found.faults.add(InputError(reason))
        n_bad = sum(bool(is_own[i]) for i in rejected)
        n, n_trained = n_examples[is_own], int(is_hit[is_own].sum())
        counts = counts.plus(len(n), int((n > 1).sum()), int(n.sum()), n_trained, n_bad)
        is_enough = counts.n_trained > before.n_trained and rows.rows.is_slow
        if is_enough and not found.is_lenient and not is_cached:
            return counts
    if counts.n_trained == before.n_trained and not is_cached:
        wanted = f"a message that {found.renderer.settings.train_on_what} trains"
        found.untrained = found.untrained or expected(wanted, f"none in {len(rows)} rows", at=rows.rows.name)
    return counts


def _rendered(
    numbers: Int64, block: list[Any], rows: Dataset, found: RowPass, first: int, is_own: NDArray[np.bool_]
) -> tuple[Int64, NDArray[np.bool_], dict[int, str]]:
    """Of each row of a block the number of its examples, and whether any trains something; and the rejected rows."""
    n_examples, is_hit, rejected = np.zeros(len(block), np.int64), np.zeros(len(block), np.bool_), dict[int, str]()
    renderer, kept = found.renderer, found.kept
    is_wanted = np.isin(numbers + first, kept.wanted)

    def add(which: Int64, examples: TokenProgram | Examples, bad: dict[int, str]) -> None:
        summed = np.concatenate([[0], np.cumsum(examples.weights != 0)])
        n_examples[which] = np.bincount(examples.rows, minlength=len(which))
        is_hit[which[examples.rows[np.diff(summed[examples.offsets]) > 0]]] = True
        rejected.update((int(which[i]), reason) for i, reason in bad.items())

    for which in (np.flatnonzero(~is_wanted), np.flatnonzero(is_wanted)):
        if not len(which):
            continue
        own, locations = [block[i] for i in which.tolist()], [rows.rows.place(k) for k in numbers[which].tolist()]
        program, bad = renderer.program(own, locations)
        talks = renderer.talks
        if is_wanted[which[0]]:
            rendered = renderer.encoded(own, locations, program, bad).result()
            kept.keep(numbers[which] + first, rendered)
            add(which, rendered.examples, rendered.rejected)
        else:
            add(which, program, bad)
        for i, talk in talks.items():
            if is_own[which[i]] and int(which[i]) not in rejected:
                found.notes.add(talk)
    return n_examples, is_hit, rejected
