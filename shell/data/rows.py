"""Rows: numbered plain dicts that are read on demand, each with a location that a person can find.

Rows never change and have no order of their own; orders are index arrays (`shell.data.dataset`).
"""

import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.dataset_formats import COLUMN, RowReader, fitting, format_of, missing
from kernel.dataset_formats.dataset_map import read_map
from kernel.enums import UnknownKeys
from kernel.errors import InputError
from shell.data.row_faults import FaultCounts, Rejections
from shell.data.row_faults import Rejected as Rejected

Row: TypeAlias = dict[str, Any]
Int64: TypeAlias = NDArray[np.int64]

BLOCK = 1024  # rows that are read together
_CANONICAL = msgspec.json.Encoder(order="sorted", enc_hook=lambda x: float(x) if isinstance(x, float) else repr(x))


class RowValidation:
    """Row validation: what rows look like, what becomes of unknown keys, and how many invalid rows to tolerate."""

    def __init__(
        self,
        dataset_format: str = "auto",
        column: str = COLUMN,
        max_bad_rows: int = 0,
        dataset_map: str | None = None,
        unknown_keys: UnknownKeys = UnknownKeys.REFUSE,
    ) -> None:
        self.dataset_format, self.column, self.max_bad_rows = dataset_format, column, max_bad_rows
        self.dataset_map, self.unknown_keys = dataset_map, unknown_keys
        self.reader = RowReader(dataset_format, column, read_map(dataset_map) if dataset_map else None, unknown_keys)
        self.rejected = Rejections(max_bad_rows)
        """the invalid rows among those that were read"""

    @property
    def description(self) -> str:
        """What decides the messages that are read of a row."""
        how = "" if self.unknown_keys is UnknownKeys.REFUSE else f" {self.unknown_keys} unknown keys"
        return f"{self.dataset_format} {self.column}" + (f" {self.dataset_map}" if self.dataset_map else "") + how

    def reads(self, key: str) -> bool:
        """Whether a key of a row is read: columns of other keys are not."""
        return key in self.reader.read_keys

    def part(self, first: int) -> "RowValidation":
        """The same validation for a file whose row 0 is row `first` of all."""
        own = copy.copy(self)
        own.rejected = self.rejected.part(first)
        return own

    def check_columns(self, columns: Sequence[str], name: str) -> None:
        """Checks the columns of a table; raises InputError if no row of it can be valid."""
        self.reader.columns = frozenset(columns)
        if self.reader.map:
            self.reader.map.check_columns(dict.fromkeys(columns), at=name)
        elif self.column != COLUMN and self.column not in columns:
            raise missing(self.column, dict.fromkeys(columns), at=name)
        elif self.column == COLUMN and self.dataset_format == "auto" and not fitting(set(columns)):
            format_of(dict.fromkeys(columns), at=name)

    def reject(self, i: int, error: InputError) -> Rejected:
        """Notes that row i cannot be read."""
        return self.rejected.put(i, error)

    def admit(self, i: int, row: Row, place: Callable[[int], str]) -> Any:
        """Row i with its messages, or a `Rejected`."""
        try:
            return self.reader.read(row, "")
        except InputError as error:
            return self.reject(i, error.under(place(i)))


def any_key(_: str) -> bool:
    """All keys are read."""
    return True


class Rows:
    """A source of rows, numbered from 0 in its own order."""

    name: str  # what to call the source in errors
    fingerprint: str
    """a digest of all content, in hex: sources with the same fingerprint hold the same rows in the same order"""
    validation: RowValidation | None = None
    is_slow = False  # whether a row costs so much that a look through the data stops once it knows enough
    unread_columns: tuple[str, ...] = ()
    """columns of a table that are ignored, so that they are not even read"""

    def __len__(self) -> int:
        raise NotImplementedError

    def take(self, indices: Int64) -> list[Any]:
        """The rows of these indices, int64[B], in this order: a `Row` each, or a `Rejected` in its place."""
        raise NotImplementedError

    def place(self, i: int) -> str:
        """The location of row i, for errors: `train.jsonl:17`."""
        raise NotImplementedError

    @property
    def n_rejected(self) -> int:
        """How many of the rows that were read are invalid."""
        return self.faults.n

    @property
    def faults(self) -> FaultCounts:
        """What is wrong with the rows that were read and are invalid."""
        return self.validation.rejected.faults if self.validation else FaultCounts()

    def scan(self, column: str = "") -> Iterator[tuple[int, list[Any]]]:
        """All rows, each read once, in blocks: the number of the first, and the rows."""
        column = column or (self.validation.column if self.validation else COLUMN)
        found = np.empty(len(self), np.uint64)
        if self.validation:
            self.validation.reader.take_counts()
        for start, stop in self._blocks():
            rows = self._block(start, stop)
            for i, row in enumerate(rows, start):
                found[i] = _digest(row, column, f"{self.name} {i}")
            yield start, rows
        self._digests = column, found
        self._ignored = self.validation.reader.take_counts() if self.validation else {}

    @property
    def ignored(self) -> dict[str, int]:
        """The keys of rows that are ignored -> in how many rows, of those that have been scanned."""
        return {**self._ignored, **dict.fromkeys(self.unread_columns, len(self))}

    def check(self) -> None:
        """Reads all rows unless they are slow to read; raises InputError if more are invalid than may be."""
        self._look()
        if self.validation:
            self.faults.check(len(self), self.validation.max_bad_rows)

    def _look(self) -> None:
        if not self.is_slow and self._digests is None:
            for _ in self.scan():
                pass

    _digests: tuple[str, NDArray[np.uint64]] | None = None
    _ignored: Mapping[str, int] = MappingProxyType({})

    def digests(self, column: str) -> NDArray[np.uint64]:
        """A hash of every row's content in one column, uint64[n]: equal content, equal hash, in any order of keys."""
        if self._digests is None or self._digests[0] != column:
            for _ in self.scan(column):
                pass
        assert self._digests is not None
        return self._digests[1]

    def _blocks(self) -> Iterable[tuple[int, int]]:
        return ((start, min(start + BLOCK, len(self))) for start in range(0, len(self), BLOCK))

    def _block(self, start: int, stop: int) -> list[Any]:
        return self.take(np.arange(start, stop))


class ListRows(Rows):
    """Rows from a list, as they are; some of them may be rejections."""

    def __init__(self, rows: Sequence[Row | Rejected], name: str = "rows") -> None:
        self._rows = list(rows)
        self.name = name

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        return content_digest(_CANONICAL.encode(row) for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def faults(self) -> FaultCounts:
        counts = FaultCounts()
        for row in self._rows:
            if isinstance(row, Rejected):
                counts.add(InputError(row.reason))
        return counts

    def take(self, indices: Int64) -> list[Any]:
        return [self._rows[i] for i in indices.tolist()]

    def place(self, i: int) -> str:
        return f"{self.name}[{i}]"


class ChainedRows(Rows):
    """Rows of several places, one after the other, as one source."""

    def __init__(self, parts: Sequence[Rows], name: str, validation: RowValidation | None = None) -> None:
        self.parts, self.name, self.validation = tuple(parts), name, validation
        self.offsets: Int64 = np.cumsum([0, *map(len, parts)])
        """int64[P + 1], where each part begins"""

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        return content_digest(part.fingerprint.encode() for part in self.parts)

    @property
    def ignored(self) -> dict[str, int]:
        counts = Counter[str]()
        for part in self.parts:
            counts.update(part.ignored)
        return dict(counts)

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def part_of(self, indices: Int64) -> Int64:
        """The number of each row's part, int64[B]."""
        return np.searchsorted(self.offsets, indices, side="right") - 1

    def take(self, indices: Int64) -> list[Any]:
        part_of = self.part_of(indices)
        rows: list[Any] = [None] * len(indices)
        for p in np.unique(part_of).tolist():
            where = np.flatnonzero(part_of == p)
            for k, row in zip(where.tolist(), self.parts[p].take(indices[where] - self.offsets[p]), strict=True):
                rows[k] = row
        return rows

    def scan(self, column: str = "") -> Iterator[tuple[int, list[Any]]]:
        for part, first in zip(self.parts, self.offsets.tolist(), strict=False):
            for start, rows in part.scan(column):
                yield first + start, rows

    def _look(self) -> None:
        for part in self.parts:
            part._look()

    def digests(self, column: str) -> NDArray[np.uint64]:
        return np.concatenate([part.digests(column) for part in self.parts])

    def place(self, i: int) -> str:
        p = int(self.part_of(np.array([i]))[0])
        return self.parts[p].place(i - int(self.offsets[p]))


class ConcatRows(ChainedRows):
    """Rows of several sources, one after the other."""

    def __init__(self, parts: Sequence[Rows], labels: Sequence[str]) -> None:
        super().__init__(parts, ", ".join(dict.fromkeys(part.name for part in parts)))
        self.labels = tuple(labels)

    @property
    def faults(self) -> FaultCounts:
        counts = FaultCounts()
        for part in self.parts:
            counts.merge(part.faults)
        return counts

    def check(self) -> None:
        self._look()
        limits = [part.validation.max_bad_rows for part in self.parts if part.validation]
        if any(part.n_rejected > limit for part, limit in zip(self.parts, limits, strict=False)):
            self.faults.check(len(self), min(limits))


def labels_of(rows: Rows, indices: Int64) -> list[str]:
    """The name of each row's source; empty names if there is one source only."""
    if not isinstance(rows, ConcatRows):
        return [""] * len(indices)
    return [rows.labels[p] for p in rows.part_of(indices).tolist()]


def content_digest(chunks: Iterable[bytes]) -> str:
    """A hash of a sequence of byte strings, each with its length: 128 bits in hex."""
    digest = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        digest.update(len(chunk).to_bytes(8, "little"))
        digest.update(chunk)
    return digest.hexdigest()


def _digest(row: Any, column: str, name: str) -> int:
    text = name.encode() if isinstance(row, Rejected) else _CANONICAL.encode(row.get(column))
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
