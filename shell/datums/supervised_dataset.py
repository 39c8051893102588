"""Datums of a dataset, a batch at a time: rows are read, rendered, encoded and cut when a step asks for them.

Where there is a prepared store, rows come out of it instead, with the same tokens and weights. A batch is a pure
function of the data, the settings, the epoch and its number, so a resumed run asks for the next batch and gets what the
whole run would have had there. A stream is the one exception: it goes forward only.
"""

import numpy as np
from numpy.typing import NDArray

from kernel.batches import Tail, n_batches
from kernel.datum import Datums
from kernel.options import Order
from kernel.shuffle import ORDERS
from shell.data.dataset import Dataset
from shell.data.hub import Stream
from shell.data.rows import ConcatRows
from shell.datums.render_rows import BatchResult, RowRenderer
from shell.process.deferred import Deferred
from shell.token_cache.cached_rows import Render, anew

Int64 = NDArray[np.int64]


class SupervisedDataset:
    """Batches of a dataset that can be read at any place.

    Args:
        rows: the rows in the builder's order, holdout taken off.
        maker: rows to datums.
        batch_size: rows of a batch.
        tail: what becomes of an epoch's last, short batch.
        order: "hf" or "cipher", see `kernel.shuffle`; epoch e is shuffled by seed + e.
        seed: of the order.
        render: rows to tokens and weights; None: made anew by the maker.

    Raises:
        InputError: fewer rows than a batch, with the tail dropped.
    """

    def __init__(
        self,
        rows: Dataset,
        maker: RowRenderer,
        batch_size: int,
        tail: Tail = Tail.DROP,
        order: Order = Order.HF,
        seed: int = 0,
        render: Render | None = None,
    ) -> None:
        self.n_rows, self._n_batches = len(rows), n_batches(len(rows), batch_size, tail)
        self._rows, self._maker, self.batch_size = rows, maker, batch_size
        self._order, self._seed = ORDERS[order], seed
        self._render = render or anew(rows.rows, maker)
        self.set_epoch(0)

    def __len__(self) -> int:
        return self._n_batches

    def set_epoch(self, epoch: int) -> None:
        """Shuffles anew, by seed + epoch."""
        self._epoch = epoch

    def rows_of(self, i: int) -> Int64:
        """The places, among the rows in the builder's order, of batch i of the current epoch: int64[B]."""
        places = np.arange(i * self.batch_size, min((i + 1) * self.batch_size, self.n_rows))
        return self._order.rows(self.n_rows, self._seed + self._epoch, places)

    def make_batch(self, i: int) -> BatchResult:
        """Datums of batch i of the current epoch, and what became of rows that are not trained whole.

        Raises:
            InputError: a row cannot be used.

        Touches: what the rows come from.
        """
        return self.submit_batch(i)()

    def submit_batch(self, i: int) -> Deferred[BatchResult]:
        """Begins batch i of the current epoch, and gives what waits for it and is what `make_batch` gives.

        Raises:
            InputError: at once, where rows cannot be read; a row that cannot be used is raised by waiting.

        Touches: what the rows come from.
        """
        numbers = self._rows.indices[self.rows_of(i)]
        places = [self._rows.rows.place(k) for k in numbers.tolist()]
        rendered = self._render(numbers, places)
        return lambda: self._maker.finish(rendered(), places)

    def get_batch(self, i: int) -> Datums:
        """Datums of batch i of the current epoch. Raises and touches as `make_batch`."""
        return self.make_batch(i).datums

    def n_after(self, i: int) -> int:
        """How many rows of an epoch stand behind batch i."""
        return max(self.n_rows - (i + 1) * self.batch_size, 0)

    def left_over(self) -> list[str]:
        """Where the rows stand that the current epoch leaves over in its tail."""
        return [self._rows.place(k) for k in self._rows_behind(self._n_batches - 1).tolist()]

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources; none where there is but one."""
        return self._rows.rows.labels if isinstance(self._rows.rows, ConcatRows) else ()

    def sources_of(self, i: int) -> Int64:
        """The number of the source of each row of batch i of the current epoch, int64[B]."""
        return self._parts_of(self.rows_of(i))

    def sources_after(self, i: int) -> Int64:
        """The number of the source of each row behind batch i in the current epoch, int64[N]."""
        return self._parts_of(self._rows_behind(i))

    def _rows_behind(self, i: int) -> Int64:
        places = np.arange((i + 1) * self.batch_size, self.n_rows)
        return self._order.rows(self.n_rows, self._seed + self._epoch, places)

    def _parts_of(self, places: Int64) -> Int64:
        rows = self._rows.rows
        return rows.part_of(self._rows.indices[places]) if isinstance(rows, ConcatRows) else np.zeros_like(places)


class StreamingSupervisedDataset:
    """Batches of rows that are read as they arrive, forward only. See `shell.data.stream`."""

    def __init__(self, rows: Stream, maker: RowRenderer, batch_size: int, tail: Tail = Tail.DROP) -> None:
        self.n_rows, self._n_batches = len(rows), n_batches(len(rows), batch_size, tail)
        self._rows, self._maker, self.batch_size = rows, maker, batch_size
        self.sources: tuple[str, ...] = ()  # one

    def __len__(self) -> int:
        return self._n_batches

    def set_epoch(self, epoch: int) -> None:
        """Goes to the start of the epoch."""
        self._rows.set_epoch(epoch)

    def make_batch(self, i: int) -> BatchResult:
        """Datums of batch i, as of a `SupervisedDataset`; rows before it that were not asked for are read past.

        Raises:
            InputError: as `Stream.read`, or a row cannot be used.
        """
        return self.submit_batch(i)()

    def submit_batch(self, i: int) -> Deferred[BatchResult]:
        """Reads and begins batch i, and gives what waits for it. Raises as `make_batch`."""
        start = i * self.batch_size
        n = min(self.batch_size, self.n_rows - start)
        places = [self._rows.place(start + k) for k in range(n)]
        rendered = self._maker.submit(self._rows.read(start, n), places)
        return lambda: self._maker.finish(rendered(), places)

    def get_batch(self, i: int) -> Datums:
        """Datums of batch i. Raises as `make_batch`."""
        return self.make_batch(i).datums

    def n_after(self, i: int) -> int:
        """How many rows of an epoch stand behind batch i."""
        return max(self.n_rows - (i + 1) * self.batch_size, 0)

    def sources_of(self, i: int) -> Int64:
        """The number of the source of each row of batch i: 0."""
        return np.zeros(min(self.batch_size, self.n_rows - i * self.batch_size), np.int64)

    def sources_after(self, i: int) -> Int64:
        """The number of the source of each row behind batch i: 0."""
        return np.zeros(self.n_after(i), np.int64)

    def left_over(self) -> list[str]:
        """Where the rows stand that an epoch leaves over in its tail."""
        return [self._rows.place(k) for k in range(self._n_batches * self.batch_size, self.n_rows)]
