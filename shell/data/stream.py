"""Rows read as they arrive: for sets that do not fit on the disk, or that are not worth copying whole.

A stream goes forward only. Rows are shuffled within a buffer by `datasets`, so the order depends on the seed, the epoch
and the size of the buffer; skipping is reading past, and resuming at row k of an epoch reads the k rows before it
again. The length of a stream is not known, so it must be told; rows beyond it are left in peace.
"""

from itertools import islice
from typing import Any

from kernel.errors import expected
from shell.data import hub
from shell.data.rows import without_nulls
from shell.data.validation import RowValidation


class Stream:
    """Rows of a `datasets.IterableDataset`, epoch by epoch, each from its start.

    Args:
        table: the iterable dataset.
        n_rows: rows of an epoch; at most as many as there are.
        validation: what every row must be.
        name: what to call the stream in errors.
        seed: of the shuffle.
        buffer_size: rows that the shuffle chooses from; they are kept in memory.
    """

    def __init__(
        self, table: Any, n_rows: int, *, validation: RowValidation, name: str = "stream", seed: int, buffer_size: int
    ) -> None:
        self._table = table.shuffle(seed=seed, buffer_size=buffer_size)
        self._n_rows = n_rows
        self._admission = validation
        self._name = name
        self.set_epoch(0)

    def __len__(self) -> int:
        return self._n_rows

    def set_epoch(self, epoch: int) -> None:
        """Goes to the start of this epoch."""
        self._table.set_epoch(epoch)
        self._admission.forget()
        self._iterator = iter(self._table)
        self._next = 0

    @property
    def n_rejected(self) -> int:
        """Rows of this epoch, of those that have been read, that cannot be."""
        return self._admission.n_rejected

    def read(self, start: int, n: int) -> list[Any]:
        """The n rows from row `start` of the epoch on; those before it that were not read are read past.

        Raises:
            InputError: they have gone by, the stream has ended, or more rows cannot be read than may be.

        Touches: the network, or whatever the stream comes from.
        """
        if start < self._next:
            raise expected(f"a row from {self._next} on, as a stream goes forward only", str(start), at=self._name)
        n_skipped = start - self._next
        with hub.readable(self._name):
            rows = [without_nulls(row) for row in islice(self._iterator, n_skipped, n_skipped + n)]
        if len(rows) < n:
            raise expected(f"{start + n} rows in the stream", "its end", at=f"{self._name} (--streaming-length)")
        self._next = start + n
        return [self._admission.admit(start + i, row, self.place(start + i)) for i, row in enumerate(rows)]

    def place(self, i: int) -> str:
        """Where row i of the epoch stands, for errors."""
        return f"{self._name}, row {i} of the stream"


def head(table: Any, n: int, validation: RowValidation, name: str) -> list[Any]:
    """The first n rows of an iterable dataset, as they come.

    Raises:
        InputError: there are fewer, or more of them cannot be read than may be.

    Touches: the network, or whatever the table comes from.
    """
    with hub.readable(name):
        rows = [without_nulls(row) for row in table.take(n)]
    if len(rows) < n:
        raise expected(f"at least {n} rows", str(len(rows)), at=name)
    return [validation.admit(i, row, f"{name}[{i}]") for i, row in enumerate(rows)]
