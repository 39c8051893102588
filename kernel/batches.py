"""The number of steps of a run, and the rows of step k: a function of k, so a resumed run replays nothing."""

import math

import numpy as np
from numpy.typing import NDArray

from kernel.enums import Order
from kernel.enums import Tail as Tail
from kernel.errors import expected, problem, unknown
from kernel.shuffle import shuffled_rows

Int64 = NDArray[np.int64]


def n_batches(n_rows: int, batch_size: int, tail: Tail = Tail.DROP) -> int:
    """The number of batches in an epoch.

    Args:
        n_rows: rows of an epoch.
        batch_size: rows of a batch, >= 1.
        tail: what happens to the n_rows % batch_size rows at the end.

    Returns:
        At least 1.

    Raises:
        InputError: no rows, a batch size below 1, or fewer rows than a batch while the tail is dropped.

    >>> n_batches(500, 128), n_batches(500, 128, "keep")
    (3, 4)
    """
    if tail not in list(Tail):
        raise unknown("tail", tail, list(Tail), at="$.tail")
    if batch_size < 1:
        raise expected("batch_size >= 1", str(batch_size), at="$.batch_size")
    if n_rows < 1:
        raise expected("at least 1 row to train on", str(n_rows), at="$.dataset")
    if tail == "keep":
        return -(-n_rows // batch_size)
    if n_rows < batch_size:
        rows = "1 row is" if n_rows == 1 else f"{n_rows} rows are"
        ways = f"type --batch-size {n_rows}, or --tail keep to train them as one short batch"
        raise problem(f"{rows} fewer than a batch of {batch_size}: {ways}")
    return n_rows // batch_size


def n_steps(n_batches: int, n_epochs: float, max_steps: int | None = None) -> int:
    """The number of steps of a run.

    Args:
        n_batches: batches of an epoch, >= 1.
        n_epochs: > 0; a fraction of an epoch is rounded down to whole batches, at least one.
        max_steps: >= 1, an upper bound; None for none.

    Raises:
        InputError: a size below 1.

    >>> n_steps(3, n_epochs=2), n_steps(3, n_epochs=2, max_steps=4), n_steps(3, n_epochs=1.5)
    (6, 4, 4)
    """
    if not 0 < n_epochs < math.inf:
        raise expected("num_epochs > 0", str(n_epochs), at="$.num_epochs")
    if max_steps is not None and max_steps < 1:
        raise expected("max_steps >= 1", str(max_steps), at="$.max_steps")
    total = max(1, math.floor(n_batches * n_epochs + 1e-9))
    return total if max_steps is None else min(total, max_steps)


def positions(step: int, n_rows: int, batch_size: int, tail: Tail = Tail.DROP) -> tuple[int, Int64]:
    """The epoch of a step, and the positions of that epoch which it trains.

    Args:
        step: >= 0, counted through all epochs.
        n_rows, batch_size, tail: as in `n_batches`, which also raises for them.

    Returns:
        The epoch, and int64[B] with B = batch_size (less in the last batch of an epoch whose tail is kept).

    >>> positions(3, 10, 4)
    (1, array([4, 5, 6, 7]))
    >>> positions(2, 10, 4, "keep")
    (0, array([8, 9]))
    """
    epoch, batch = divmod(step, n_batches(n_rows, batch_size, tail))
    return epoch, np.arange(batch * batch_size, min((batch + 1) * batch_size, n_rows))


def rows_of_step(
    step: int, n_rows: int, batch_size: int, tail: Tail = Tail.DROP, order: str = Order.HF, seed: int = 0
) -> tuple[int, Int64]:
    """The epoch of a step, and the rows that it trains.

    Args:
        step, n_rows, batch_size, tail: as in `positions`.
        order: a name of `kernel.shuffle.ORDERS`.
        seed: >= 0; epoch e is shuffled by seed + e.

    Returns:
        The epoch, and int64[B], each in [0, n_rows).

    Raises:
        InputError: as `n_batches`, or an unknown order.

    >>> rows_of_step(3, 10, 4)
    (1, array([1, 2, 5, 9]))
    """
    epoch, at = positions(step, n_rows, batch_size, tail)
    return epoch, shuffled_rows(order, at, n_rows, seed=seed + epoch)


def rows_after_step(
    step: int, n_rows: int, batch_size: int, tail: Tail = Tail.DROP, order: str = Order.HF, seed: int = 0
) -> Int64:
    """The rows of a step's epoch that come after it, int64[N]; the arguments are those of `rows_of_step`.

    >>> rows_after_step(1, 10, 4)
    array([8, 1])
    """
    epoch, at = positions(step, n_rows, batch_size, tail)
    return shuffled_rows(order, np.arange(at[-1] + 1, n_rows), n_rows, seed=seed + epoch)
