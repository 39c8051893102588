"""Builds the batches of a run in order, while the service is at work.

One thread builds a little ahead of the loop; while the texts of some batches are encoded, on a thread each, it renders
the next.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums
from kernel.row_outcomes import Outcome, RowOutcome
from shell.datums.render_rows import BatchResult, Pending
from shell.datums.supervised_dataset import Batches
from shell.process.gc_and_cpus import n_threads

T = TypeVar("T")
Int64 = NDArray[np.int64]

MOST_ROWS_SUBMITTED = 512
"""rows of batches that are submitted beyond the awaited one (one batch at least): enough to render while others are
encoded, few enough that the memory for their texts and images does not matter"""


class Part(NamedTuple):
    """What a batch has of one source of a mixture."""

    name: str
    n_rows: int
    n_whole: int
    examples: Int64  # int64[E], their numbers in the batch


class Batch(NamedTuple):
    """The rows of a step, what became of them, and the seconds that the building thread was busy with them."""

    datums: Datums
    seconds: float
    n_rows: int = 0
    outcomes: tuple[RowOutcome, ...] = ()
    """of the rows that are not trained whole; with an epoch's last batch, also of those that it leaves over"""
    parts: tuple[Part, ...] = ()  # of each source that it has rows of, if there are several

    @property
    def n_whole(self) -> int:
        """Rows that are trained whole."""
        return self.n_rows - sum(one.n_rows for one in self.outcomes if one.outcome is not Outcome.LEFT_OVER)


def batches(dataset: Batches, steps: range, clock: Callable[[], float] = time.perf_counter) -> Iterator[Batch]:
    """The batches of some rising steps. InputError for a row that cannot be used comes after the batches before it."""
    waiting: deque[_Submitted] = deque()
    n_submitted = max(1, min(n_threads(), MOST_ROWS_SUBMITTED // dataset.batch_size))
    n_done = 0
    for step in steps:
        waiting.append(_submit(dataset, step, clock))
        if len(waiting) > min(n_submitted, n_done):  # the first at once, and from there on one more ahead each time
            yield _finish(dataset, waiting.popleft(), clock)
            n_done += 1
    while waiting:
        yield _finish(dataset, waiting.popleft(), clock)


class _Submitted(NamedTuple):
    step: int
    pending: Pending[BatchResult] | Exception
    seconds: float


def _submit(dataset: Batches, step: int, clock: Callable[[], float]) -> _Submitted:
    began = clock()
    try:
        pending: Pending[BatchResult] | Exception = dataset.submit(step)
    except Exception as error:  # raised when it is the step's turn
        pending = error.with_traceback(None)
    return _Submitted(step, pending, clock() - began)


def _finish(dataset: Batches, submitted: _Submitted, clock: Callable[[], float]) -> Batch:
    step, pending, seconds = submitted
    began = clock()
    if isinstance(pending, Exception):
        raise pending
    result = pending.result()
    names = dataset.sources or ("",)
    of = dataset.sources_of(dataset.rows_of(step)) if dataset.sources else np.zeros(result.n_rows, np.int64)
    epoch, i = divmod(step, len(dataset))
    outcomes = [one._replace(epoch=epoch, step=step, source=names[of[one.row]]) for one in result.outcomes]
    if i == len(dataset) - 1:
        rows = dataset.rows_after(step)
        left = zip(dataset.locations(rows), dataset.sources_of(rows).tolist(), strict=True)
        outcomes += [RowOutcome(Outcome.LEFT_OVER, at, epoch=epoch, step=step, source=names[s]) for at, s in left]
    parts = tuple(_parts(names, of, result)) if dataset.sources else ()
    return Batch(result.datums, seconds + clock() - began, result.n_rows, tuple(outcomes), parts)


def _parts(names: Sequence[str], of: Int64, result: BatchResult) -> Iterator[Part]:
    is_whole = np.ones(result.n_rows, np.bool_)
    is_whole[[one.row for one in result.outcomes]] = False
    for s in np.unique(of).tolist():
        examples = np.flatnonzero(of[result.rows] == s)
        yield Part(names[s], int((of == s).sum()), int(((of == s) & is_whole).sum()), examples)


def not_reached(dataset: Batches, n_steps: int) -> tuple[RowOutcome, ...]:
    """The outcome of the rows of the last epoch that a run of so many steps, >= 1, does not reach, one per source."""
    epoch, i = divmod(n_steps - 1, len(dataset))
    if i == len(dataset) - 1:
        return ()
    counts = {"": dataset.n_rows - (i + 1) * dataset.batch_size}
    if dataset.sources:
        of = dataset.sources_of(dataset.rows_after(n_steps - 1))
        by_source = np.bincount(of, minlength=len(dataset.sources)).tolist()
        counts = {name: n for name, n in zip(dataset.sources, by_source, strict=True) if n}
    location = f"rows behind step {n_steps - 1}"
    return tuple(
        RowOutcome(Outcome.NOT_REACHED, location, n_rows=n, epoch=epoch, step=n_steps, source=name)
        for name, n in counts.items()
    )


def prefetched(items: Iterator[T], n_ahead: int = 1) -> Generator[T]:
    """The same items, while a thread builds the next `n_ahead` of them."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    end = object()
    ahead: deque[Future[T | object]] = deque()
    try:
        while True:
            while len(ahead) <= n_ahead:
                ahead.append(pool.submit(next, items, end))
            item = ahead.popleft().result()
            if item is end:
                return
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
