"""The rows of several sources as one numbered collection, each under the name of its source.

Everything that works on rows works on these unchanged: places, digests, fingerprints, orders over index arrays.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from shell.data.rows import Int64, Row, Rows, content_digest


class ConcatRows:
    """Rows of several sources, one source behind the other.

    Args:
        parts: the sources' rows.
        labels: the name of each part's source; parts may share one.
    """

    def __init__(self, parts: Sequence[Rows], labels: Sequence[str]) -> None:
        self.parts, self.labels = tuple(parts), tuple(labels)
        self.offsets: Int64 = np.cumsum([0, *map(len, parts)])
        """int64[P + 1], where each part begins"""
        self.name = ", ".join(dict.fromkeys(part.name for part in parts))

    @cached_property
    def fingerprint(self) -> str:
        return content_digest(part.fingerprint.encode() for part in self.parts)

    @property
    def n_rejected(self) -> int:
        """Rows of all parts that cannot be read, as far as is known."""
        return sum(part.n_rejected for part in self.parts)

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def part_of(self, indices: Int64) -> Int64:
        """The number of the part in which each row stands, int64[B]."""
        return np.searchsorted(self.offsets, indices, side="right") - 1

    def labels_of(self, indices: Int64) -> list[str]:
        """The name of each row's source."""
        return [self.labels[p] for p in self.part_of(indices).tolist()]

    def take(self, indices: Int64) -> list[Row]:
        """The rows of these indices, int64[B], in this order; each part is asked once."""
        part_of = self.part_of(indices)
        rows: list[Any] = [None] * len(indices)
        for p in np.unique(part_of).tolist():
            places = np.flatnonzero(part_of == p)
            for place, row in zip(places.tolist(), self.parts[p].take(indices[places] - self.offsets[p]), strict=True):
                rows[place] = row
        return rows

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        """One column's values in rows start to stop."""
        values: list[Any] = []
        for part, first, end in zip(self.parts, self.offsets.tolist(), self.offsets[1:].tolist(), strict=False):
            low, high = max(start, first), min(stop, end)
            if low < high:
                values += part.column(name, low - first, high - first)
        return values

    def place(self, i: int) -> str:
        """Where row i stands, in the words of its source."""
        p = int(self.part_of(np.array([i]))[0])
        return self.parts[p].place(i - int(self.offsets[p]))


def labels_of(rows: Rows, indices: Int64) -> list[str]:
    """The name of each row's source; empty names where there is but one source."""
    return rows.labels_of(indices) if isinstance(rows, ConcatRows) else [""] * len(indices)


def runs(indices: Int64) -> Iterable[tuple[int, int]]:
    """Rising indices as runs of neighbours: the first and the last of each.

    >>> list(runs(np.array([3, 4, 5, 9])))
    [(3, 5), (9, 9)]
    """
    for run in np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1):
        if len(run):
            yield int(run[0]), int(run[-1])
