"""Rows: a numbered collection of plain dicts that are read when asked for, each with a place that a person can find.

Everything that data comes from (a JSONL file, a table of `datasets`, a list) is brought to this one small form. Rows
never change and have no order of their own; orders are index arrays over them (`shell.data.dataset`). What a row means
is not looked at here: the kernel reads it as a conversation.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from shell.data.validation import RowValidation

Row: TypeAlias = dict[str, Any]
Int64: TypeAlias = NDArray[np.int64]

_BLOCK = 1024
_CANONICAL = msgspec.json.Encoder(order="sorted", enc_hook=repr)


class Rejected(NamedTuple):
    """What stands where a row should that cannot be read, once the user lets a run go on past such rows."""

    reason: str
    """the sentence that would have stopped the run; it names the place"""


class Rows(Protocol):
    """What a source of rows can do. Indices are counted from 0 in the source's own order."""

    @property
    def name(self) -> str:
        """What to call the source in errors."""
        ...

    @property
    def fingerprint(self) -> str:
        """A digest of all content, in hex: sources of the same fingerprint hold the same rows in the same order."""
        ...

    def __len__(self) -> int: ...

    @property
    def n_rejected(self) -> int:
        """How many rows are known that cannot be read; never more than were allowed."""
        ...

    def take(self, indices: Int64) -> list[Any]:
        """The rows of these indices, int64[B], in this order: a `Row` each, or a `Rejected` in its place."""
        ...

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        """One column's values in rows start to stop, once brought to messages; a `Rejected` for a row that is one."""
        ...

    def place(self, i: int) -> str:
        """Where row i stands, for errors: `train.jsonl:17`."""
        ...


class ListRows:
    """Rows from a list, passed on as they are; some of them may be rejections."""

    def __init__(self, rows: Sequence[Row | Rejected], name: str = "rows") -> None:
        self._rows = list(rows)
        self.name = name

    @cached_property
    def fingerprint(self) -> str:
        return content_digest(_CANONICAL.encode(row) for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def n_rejected(self) -> int:
        return sum(isinstance(row, Rejected) for row in self._rows)

    def take(self, indices: Int64) -> list[Any]:
        return [self._rows[i] for i in indices.tolist()]

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        return [row if isinstance(row, Rejected) else row[name] for row in self._rows[start:stop]]

    def place(self, i: int) -> str:
        return f"{self.name}[{i}]"


class ArrowRows:
    """Rows of a table of the `datasets` library, read as plain values.

    In an Arrow table every row has every key, so a key that a row never had stands there as None. `take` therefore
    drops keys whose value is None, at every depth. The price: a null that was meant cannot be told from one that was
    filled in. JSONL is read by `shell.data.jsonl`, where it can.

    Args:
        table: a `datasets.Dataset`.
        name: what to call it in errors; row 17 stands at `name[17]`, as `table[17]` would find it.
        validation: what a row must be, and in which shape; None: rows are passed on as they are.
    """

    def __init__(self, table: Any, name: str, validation: "RowValidation | None" = None) -> None:
        self._table = table.with_format("arrow")
        self.name = name
        self.validation = validation
        self.columns: tuple[str, ...] = tuple(table.column_names)
        self.fingerprint: str = table._fingerprint  # the library's own: of the files, and of what was done to them

    def __len__(self) -> int:
        return len(self._table)

    def admitted(self, validation: "RowValidation") -> "ArrowRows":
        """The same rows, as an validation lets them in."""
        return ArrowRows(self._table, self.name, validation)

    @property
    def n_rejected(self) -> int:
        """Of the rows that have been read: a table is not gone through when it is opened."""
        return 0 if self.validation is None else self.validation.n_rejected

    def take(self, indices: Int64) -> list[Any]:
        numbers = indices.tolist()
        rows = [without_nulls(row) for row in self._table[numbers].to_pylist()]
        if self.validation is None:
            return rows
        return [self.validation.admit(i, row, self.place(i)) for i, row in zip(numbers, rows, strict=True)]

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        if self.validation is None or (name in self.columns and self.validation.keeps(name, self.columns)):
            values: list[Any] = self._table[start:stop][name].to_pylist()
            return values
        rows = self.take(np.arange(start, min(stop, len(self))))
        return [row if isinstance(row, Rejected) else row[name] for row in rows]

    def place(self, i: int) -> str:
        return f"{self.name}[{i}]"


class Places(Sequence[str]):
    """Where some rows stand, each said when it is asked for: `rows.place(numbers[i])`."""

    def __init__(self, rows: Rows, numbers: Int64) -> None:
        self._rows, self._numbers = rows, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, i: int) -> str: ...

    @overload
    def __getitem__(self, i: slice) -> "Places": ...

    def __getitem__(self, i: int | slice) -> "str | Places":
        if isinstance(i, slice):
            return Places(self._rows, self._numbers[i])
        return self._rows.place(int(self._numbers[i]))


def without_nulls(value: Any) -> Any:
    """The value without the keys that hold None, at every depth; a None inside a list stays."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def digests(rows: Rows, column: str) -> NDArray[np.uint64]:
    """A hash of every row's content in one column: equal content, equal hash, however its keys are ordered.

    Rows that cannot be read have no content, so each has a hash of its own.

    64 bits: among a million rows and a thousand held out, two differing ones share a hash once in 10^10 data sets.

    Returns:
        uint64[n], aligned with the rows.
    """
    blocks = (rows.column(column, start, start + _BLOCK) for start in range(0, len(rows), _BLOCK))
    values = (value for block in blocks for value in block)
    encoded = (
        f"{rows.name} {i}".encode() if isinstance(value, Rejected) else _CANONICAL.encode(value)
        for i, value in enumerate(values)
    )
    return np.frombuffer(b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in encoded), np.uint64)


def content_digest(chunks: Iterable[bytes]) -> str:
    """A hash of byte strings one behind the other, each with its length: 128 bits in hex.

    >>> content_digest([b"a", b"b"]) == content_digest([b"ab"])
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        digest.update(len(chunk).to_bytes(8, "little"))
        digest.update(chunk)
    return digest.hexdigest()
