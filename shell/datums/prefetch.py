"""The batches of a run in the order of its steps, built while the service is at work.

One thread builds, in order, a little ahead of the loop: enough to keep rendering and tokenising off the critical path,
and little enough that a forward-only dataset is never read far beyond what is trained. While the texts of some batches
are encoded, on a thread each, it renders the next, so that Python is busy beside the encoders rather than between them.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums
from kernel.row_outcomes import Entry, Outcome
from shell.datums.render_rows import BatchResult
from shell.process.cpus import n_threads
from shell.process.deferred import Deferred, begun

T = TypeVar("T")
Int64 = NDArray[np.int64]


MOST_ROWS_BEGUN = 512
"""rows of batches that are begun beyond the one that is waited for, if it is not a single batch: enough to render while
others are encoded, and few enough that their texts and images are no matter"""


class Dataset(Protocol):
    """What the loop needs of a dataset; `len` is the number of batches in an epoch."""

    @property
    def batch_size(self) -> int: ...

    @property
    def sources(self) -> tuple[str, ...]:
        """the names of its sources; none where there is but one"""
        ...

    def sources_of(self, i: int) -> Int64: ...

    def sources_after(self, i: int) -> Int64: ...

    def __len__(self) -> int: ...

    def set_epoch(self, epoch: int) -> None: ...

    def submit_batch(self, i: int) -> Deferred[BatchResult]: ...

    def left_over(self) -> list[str]: ...

    def n_after(self, i: int) -> int: ...


class Part(NamedTuple):
    """What a batch has of one source of a mixture."""

    name: str
    n_rows: int
    n_whole: int
    """rows that are trained whole"""
    examples: Int64
    """int64[E], their numbers in the batch"""


class Batch(NamedTuple):
    """The rows of a step, what became of them, and the seconds that the thread which builds was busy with them."""

    datums: Datums
    seconds: float
    n_rows: int = 0
    entries: tuple[Entry, ...] = ()
    """the rows that are not trained whole; behind an epoch's last batch, those that it leaves over"""
    parts: tuple[Part, ...] = ()
    """of each source that it has rows of, where there are several"""

    @property
    def n_whole(self) -> int:
        """How many rows are trained whole."""
        return self.n_rows - sum(entry.n_rows for entry in self.entries if entry.outcome is not Outcome.LEFT_OVER)


def batches(dataset: Dataset, steps: range, clock: Callable[[], float] = time.perf_counter) -> Iterator[Batch]:
    """The batches of some steps; asking from the middle of an epoch gives what the whole run would give there.

    Args:
        steps: rising.
        clock: seconds.

    Raises:
        InputError: a row cannot be used; the batches before its own have been given by then.
    """
    waiting: deque[Deferred[Batch]] = deque()
    n_begun = max(1, min(n_threads(), MOST_ROWS_BEGUN // dataset.batch_size))
    n_given, epoch_set = 0, None
    for step in steps:
        epoch = step // len(dataset)
        if epoch != epoch_set:
            dataset.set_epoch(epoch)
            epoch_set = epoch
        waiting.append(_submit(dataset, step, clock))
        if len(waiting) > min(n_begun, n_given):  # the first at once, and from there on one more ahead each time
            yield waiting.popleft()()
            n_given += 1
    while waiting:
        yield waiting.popleft()()


def _submit(dataset: Dataset, step: int, clock: Callable[[], float]) -> Deferred[Batch]:
    """Begins the batch of a step, of the dataset's current epoch."""
    began = clock()
    epoch, i = divmod(step, len(dataset))
    names, of = dataset.sources or ("",), dataset.sources_of(i) if dataset.sources else None
    submitted = begun(lambda: dataset.submit_batch(i))
    left_over = tuple(_left_over(dataset, epoch, step)) if i == len(dataset) - 1 else ()
    took = clock() - began

    def wait() -> Batch:
        waits = clock()
        made = submitted()
        whose = [names[0 if of is None else of[fell.row]] for fell in made.fell]
        entries = tuple(
            Entry(fell.outcome, fell.place, fell.reason, epoch=epoch, step=step, source=source)
            for fell, source in zip(made.fell, whose, strict=True)
        )
        parts = () if of is None else tuple(_parts(names, of, made))
        return Batch(made.datums, took + clock() - waits, made.n_rows, entries + left_over, parts)

    return wait


def _parts(names: Sequence[str], of: Int64, made: BatchResult) -> Iterator[Part]:
    fell = np.zeros(made.n_rows, np.bool_)
    fell[[one.row for one in made.fell]] = True
    for s in np.unique(of).tolist():
        examples = np.flatnonzero(of[made.rows] == s)
        yield Part(names[s], int((of == s).sum()), int(((of == s) & ~fell).sum()), examples)


def _left_over(dataset: Dataset, epoch: int, step: int) -> Iterator[Entry]:
    places = dataset.left_over()
    behind = dataset.sources_after(len(dataset) - 1).tolist() if dataset.sources else [0] * len(places)
    names = dataset.sources or ("",)
    for place, s in zip(places, behind, strict=True):
        yield Entry(Outcome.LEFT_OVER, place, epoch=epoch, step=step, source=names[s])


def not_reached(dataset: Dataset, n_steps: int) -> tuple[Entry, ...]:
    """An entry for the rows of the last epoch that a run of so many steps ends before, one a source, if there are any.

    Args:
        n_steps: >= 1.
    """
    epoch, i = divmod(n_steps - 1, len(dataset))
    if i == len(dataset) - 1:
        return ()
    counts = {"": dataset.n_after(i)}
    if dataset.sources:
        dataset.set_epoch(epoch)
        of = np.bincount(dataset.sources_after(i), minlength=len(dataset.sources))
        counts = {name: n for name, n in zip(dataset.sources, of.tolist(), strict=True) if n}
    place = f"rows behind step {n_steps - 1}"
    return tuple(
        Entry(Outcome.NOT_REACHED, place, n_rows=n, epoch=epoch, step=n_steps, source=name)
        for name, n in counts.items()
    )


def prefetched(items: Iterator[T], n_ahead: int = 1) -> Generator[T]:
    """The same items, with the next `n_ahead` already being made on a thread of their own when one is taken.

    Closing it stops the making. What making an item raises is raised when the item is taken.
    """
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
