"""Which rows of a source are let in, in which shape, and how many may fail before that stops the run.

A row that cannot be read keeps its number and its place, so that no order moves; a `Rejected` with the reason stands
for it. By default none may fail, and the first that does is the error.
"""

from collections.abc import Sequence
from typing import Any

from kernel.dataset_formats import COLUMN, fitting, missing, shape_of, shaped
from kernel.errors import InputError, expected
from shell.data.rows import Rejected, Row

N_TOLD = 3
"""How many reasons are given when too many rows have failed."""


class RowValidation:
    """What is asked of the rows of one source, and which of them failed.

    Args:
        shape: "auto", or the one that every row must have; see `kernel.dataset_formats`.
        column: the key of the messages.
        max_bad_rows: how many rows may fail.
    """

    def __init__(self, shape: str = "auto", column: str = COLUMN, max_bad_rows: int = 0) -> None:
        self.shape, self.column, self.max_bad_rows = shape, column, max_bad_rows
        self._rejected: dict[int, Rejected] = {}

    @property
    def n_rejected(self) -> int:
        """Rows that failed, of those that have been looked at."""
        return len(self._rejected)

    def keeps(self, column: str, columns: Sequence[str]) -> bool:
        """Whether rows of a table with these columns have in this one what they will have once they are let in."""
        if "system" in columns:
            return False
        if self.shape == "auto" and self.column == COLUMN:
            return column == COLUMN and fitting(set(columns)) == ["messages"]
        return self.shape in ("auto", "messages") and column == self.column

    def check_columns(self, columns: Sequence[str], name: str) -> None:
        """Looks at the columns of a table, whose rows are looked at as they are read.

        Raises:
            InputError: no row of such a table can be let in.
        """
        if self.column != COLUMN and self.column not in columns:
            raise missing(self.column, dict.fromkeys(columns), at=name)
        if self.column == COLUMN and self.shape == "auto" and not fitting(set(columns)):
            shape_of(dict.fromkeys(columns), at=name)

    def check(self, i: int, row: Row, place: str) -> None:
        """Looks at row i, of a source that is gone through when it is opened.

        Raises:
            InputError: it fails, and is one too many.
        """
        try:
            shaped(row, place, self.shape, self.column)
        except InputError as error:
            self.reject(i, error)

    def reject(self, i: int, error: InputError) -> Rejected:
        """Notes that row i cannot be read.

        Raises:
            InputError: it is one too many.
        """
        if self.max_bad_rows == 0:
            raise error
        rejected = self._rejected[i] = Rejected(str(error))
        if len(self._rejected) > self.max_bad_rows:
            told = [bad.reason for bad in list(self._rejected.values())[:N_TOLD]]
            more = len(self._rejected) - len(told)
            got = f"{len(self._rejected)}: {'; '.join(told)}{f'; and {more} more' if more else ''}"
            raise expected(f"at most {self.max_bad_rows} rows that cannot be read (--max-bad-rows)", got) from error
        return rejected

    def admit(self, i: int, row: Row, place: str) -> Any:
        """Row i with its messages, or why it cannot be read.

        Raises:
            InputError: it fails, and is one too many.
        """
        try:
            return shaped(row, place, self.shape, self.column)
        except InputError as error:
            return self.reject(i, error)

    def rejection(self, i: int) -> Rejected | None:
        """Why row i cannot be read, if that is known."""
        return self._rejected.get(i)

    def forget(self) -> None:
        """Begins to count anew: a stream that starts again meets the same rows."""
        self._rejected.clear()
