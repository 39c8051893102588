"""Batches of a dataset: the rows of a step are read, rendered, encoded and cut when the step asks for them.

Where there is a token cache, rows come out of it instead, with the same tokens and weights. A batch is a function of
the data, the settings and the step, so a resumed run gets the batches of the whole run. A stream goes forward only.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kernel.batches import Tail, n_batches, positions, rows_after_step, rows_of_step
from kernel.datum import Datums
from kernel.enums import Order
from shell.data.dataset import Dataset, Stream
from shell.data.rows import ConcatRows
from shell.datums.render_rows import BatchResult, Pending, Rendered, RowRenderer
from shell.token_cache.cache import Render, render_uncached

Int64 = NDArray[np.int64]


class PendingBatch(NamedTuple):
    renderer: RowRenderer
    rendered: Pending[Rendered]
    locations: Sequence[str]

    def result(self) -> BatchResult:
        return self.renderer.finish(self.rendered.result(), self.locations)


class SupervisedDataset:
    """Batches of rows that can be read in any order; without `render`, each is rendered when it is asked for."""

    def __init__(
        self,
        rows: Dataset,
        renderer: RowRenderer,
        batch_size: int,
        tail: Tail = Tail.DROP,
        order: str = Order.HF,
        seed: int = 0,
        render: Render | None = None,
    ) -> None:
        self.n_rows, self._n_batches = len(rows), n_batches(len(rows), batch_size, tail)
        self.batch_size, self._tail, self._order, self._seed = batch_size, tail, order, seed
        self._rows, self._renderer, self._epoch = rows, renderer, 0
        self._render = render or render_uncached(rows.rows, renderer)

    def __len__(self) -> int:
        return self._n_batches

    def submit(self, step: int) -> PendingBatch:
        """Begins to render the rows of a step. Raises InputError: rows cannot be read or used."""
        numbers = self._rows.indices[self.rows_of(step)]
        locations = [self._rows.rows.place(k) for k in numbers.tolist()]
        return PendingBatch(self._renderer, self._render(numbers, locations), locations)

    def batch(self, step: int) -> BatchResult:
        return self.submit(step).result()

    def rows_of(self, step: int) -> Int64:
        """The positions of a step's rows in the dataset: int64[B]."""
        return rows_of_step(step, self.n_rows, self.batch_size, self._tail, self._order, self._seed)[1]

    def rows_after(self, step: int) -> Int64:
        """The positions, in the dataset, of the rows that its epoch has after a step: int64[N]."""
        return rows_after_step(step, self.n_rows, self.batch_size, self._tail, self._order, self._seed)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of `get_batch`, as in tinker-cookbook."""
        self._epoch = epoch

    def get_batch(self, i: int) -> Datums:
        """Datums of batch i of the epoch that was set. Raises as `submit`."""
        return self.batch(self._epoch * len(self) + i).datums

    def locations(self, rows: Int64) -> list[str]:
        """The locations of some rows, by their positions in the dataset."""
        return [self._rows.place(i) for i in rows.tolist()]

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources; none if there is only one."""
        return self._rows.rows.labels if isinstance(self._rows.rows, ConcatRows) else ()

    def sources_of(self, rows: Int64) -> Int64:
        """The numbers of the sources of some rows, by their positions in the dataset: int64[N]."""
        own = self._rows.rows
        return own.part_of(self._rows.indices[rows]) if isinstance(own, ConcatRows) else np.zeros_like(rows)


class StreamingSupervisedDataset:
    """Batches of rows that are read as they arrive, forward only. See `shell.data.stream`."""

    sources: tuple[str, ...] = ()

    def __init__(self, rows: Stream, renderer: RowRenderer, batch_size: int, tail: Tail = Tail.DROP) -> None:
        self.n_rows, self._n_batches = len(rows), n_batches(len(rows), batch_size, tail)
        self._rows, self._renderer, self.batch_size, self._tail = rows, renderer, batch_size, tail
        self._epoch = 0

    def __len__(self) -> int:
        return self._n_batches

    def submit(self, step: int) -> PendingBatch:
        """Reads the rows of a step, skipping rows before it, and begins to render them. Raises as `Stream.read`."""
        epoch, at = positions(step, self.n_rows, self.batch_size, self._tail)
        if epoch != self._epoch:
            self._rows.set_epoch(epoch)
            self._epoch = epoch
        locations = self.locations(at)
        rows = self._rows.read(int(at[0]), len(at))
        return PendingBatch(self._renderer, self._renderer.submit(rows, locations), locations)

    def batch(self, step: int) -> BatchResult:
        return self.submit(step).result()

    def rows_of(self, step: int) -> Int64:
        """The positions of a step's rows in its epoch: int64[B]."""
        return positions(step, self.n_rows, self.batch_size, self._tail)[1]

    def rows_after(self, step: int) -> Int64:
        """The positions, in its epoch, of the rows after a step: int64[N]."""
        return np.arange(self.rows_of(step)[-1] + 1, self.n_rows)

    def locations(self, rows: Int64) -> list[str]:
        """The locations of some rows, by their positions in an epoch."""
        return [self._rows.place(i) for i in rows.tolist()]

    def sources_of(self, rows: Int64) -> Int64:
        """The numbers of the sources of some rows: 0."""
        return np.zeros_like(rows)


Batches: TypeAlias = SupervisedDataset | StreamingSupervisedDataset
