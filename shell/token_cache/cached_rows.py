"""What a step asks for: rows rendered, out of the store as far as they are there, made anew where they are not.

Both ways give the same tokens and weights, so a store may come, go or be half built while a run uses it.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shell.data.rows import Rows
from shell.datums.render_rows import PendingParts, Rendered, RowRenderer
from shell.process.deferred import Pending
from shell.token_cache.cache import TokenCache

Int64 = NDArray[np.int64]
Render: TypeAlias = Callable[[Int64, Sequence[str]], Pending[Rendered]]
"""(int64[B] numbers in the source, their places) -> what waits for the rows, numbered as in the call"""

EVERY = 16
"""batches between two looks for shards that have come"""


def anew(rows: Rows, maker: RowRenderer) -> Render:
    """Rows read, rendered and encoded whenever they are asked for. Touches: what the rows come from."""
    return lambda numbers, places: maker.submit(rows.take(numbers), places)


class FromStore:
    """Rows out of a store.

    Args:
        store: of these rows, made by this maker.
        render: for the rows that the store does not have.
    """

    def __init__(self, store: TokenCache, render: Render) -> None:
        self.store, self._render, self._n_calls = store, render, 0

    def __call__(self, numbers: Int64, places: Sequence[str]) -> Pending[Rendered]:
        """What waits for the rows, numbered as in the call.

        Touches: the store; for rows that it does not have, what they come from.

        Raises:
            InputError: a row cannot be used, where that is an error.
        """
        self._n_calls += 1
        if not self._n_calls % EVERY and not self.store.is_whole:
            self.store.refresh()
        examples, found, before = self.store.read(numbers)
        cached = Rendered(examples, {}, {row: int(before[row]) for row in np.flatnonzero(before).tolist()})
        others = np.flatnonzero(found)
        rendered = self._render(numbers[others], [places[i] for i in others.tolist()]) if len(others) else None
        return PendingParts([(np.arange(len(numbers)), cached)], others, rendered)
