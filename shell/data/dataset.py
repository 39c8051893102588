"""Datasets: rows of any source in an order, with the few verbs of `datasets.Dataset` that fine-tuning needs.

A `Dataset` is rows and an int64 array of indices into them. `shuffle`, `take`, `skip` and `select` make new index
arrays (8 bytes a row) and read nothing. The same calls give the same rows in the same order as `datasets` does, so a
run can be compared with tinker-cookbook's.

    no_robots = load_dataset("HuggingFaceH4/no_robots")
    held_out, train = (part := no_robots["train"].shuffle(0)).take(100), part.skip(100)
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kernel.errors import unknown
from kernel.shuffle import hf_permutation
from shell.data import hub
from shell.data.arrow_rows import ArrowRows
from shell.data.rows import BLOCK, Int64, ListRows, Rejected, Row, Rows


class Dataset:
    """Rows in an order.

    Args:
        rows: where they come from.
        indices: int64[n], which of them, in order; None: all, as they come.
    """

    def __init__(self, rows: Rows, indices: Int64 | None = None) -> None:
        self.rows = rows
        self.indices: Int64 = np.arange(len(rows)) if indices is None else indices

    @classmethod
    def from_list(cls, rows: Sequence[Row | Rejected], name: str = "rows") -> "Dataset":
        """A dataset of the given rows, called `name` in errors."""
        return cls(ListRows(rows, name))

    def __len__(self) -> int:
        return len(self.indices)

    def shuffle(self, seed: int) -> "Dataset":
        """All rows, in the order of `datasets.Dataset.shuffle(seed)`."""
        return Dataset(self.rows, self.indices[hf_permutation(len(self), seed)])

    def take(self, n: int) -> "Dataset":
        """The first n rows, or all if there are fewer."""
        return Dataset(self.rows, self.indices[: _count(n)])

    def skip(self, n: int) -> "Dataset":
        """All but the first n rows; none if there are fewer."""
        return Dataset(self.rows, self.indices[_count(n) :])

    def select(self, positions: Iterable[int]) -> "Dataset":
        """The rows at these positions (a range, a list, an int64 array), in this order.

        Raises:
            IndexError: a position outside [0, n).
        """
        chosen = np.asarray(positions if isinstance(positions, Sequence | np.ndarray) else list(positions), np.int64)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise IndexError(f"expected places in [0, {len(self)}), got {chosen.min()} to {chosen.max()}")
        return Dataset(self.rows, self.indices[chosen])

    def read(self, positions: Int64) -> list[Any]:
        """The rows at these positions, int64[B], or a `Rejected` each. Touches: what the rows come from."""
        return self.rows.take(self.indices[positions])

    def to_list(self) -> list[Any]:
        """All rows. Touches: what the rows come from."""
        return self.rows.take(self.indices)

    def blocks(self) -> Iterator[tuple[Int64, list[Any]]]:
        """All rows in order, in blocks: their numbers in `self.rows`, int64[k], and the rows."""
        for start in range(0, len(self), BLOCK):
            numbers = self.indices[start : start + BLOCK]
            yield numbers, self.rows.take(numbers)

    def scan(self) -> Iterator[tuple[Int64, list[Any]]]:
        """Its rows as `blocks`, but each once and in the source's order, while all rows of the source are scanned.

        Raises:
            InputError: more rows of the source are invalid than may be.
        """
        own = np.unique(self.indices)
        for start, rows in self.rows.scan():
            numbers = own[slice(*np.searchsorted(own, [start, start + len(rows)]))]
            if len(numbers):
                yield numbers, [rows[i - start] for i in numbers.tolist()]

    def places(self) -> list[str]:
        """The locations of all rows, in order."""
        return [self.rows.place(k) for k in self.indices.tolist()]

    def place(self, i: int) -> str:
        """The location of the row at position i, for errors: `train.jsonl:17`."""
        return self.rows.place(int(self.indices[i]))


class Splits(dict[str, Dataset]):
    """Datasets by the name of their split; the error for an unknown name lists the known ones."""

    def __missing__(self, name: str) -> Dataset:
        raise unknown("split", name, self, at="--dataset-split")


def load_dataset(repo: str, config: str | None = None, cache_dir: str | None = None) -> Splits:
    """The splits of a dataset on the Hugging Face Hub, or in a folder laid out like one.

    Args:
        repo: `owner/name`, or the folder's path.
        config: which of the dataset's configurations, if it has several.
        cache_dir: where `datasets` keeps its tables; None: its usual folder.

    Raises:
        InputError: it cannot be reached or read.

    Touches: the network, the cache of `datasets` and its environment variables (HF_HOME, HF_TOKEN, HF_ENDPOINT, ...).
    """
    tables = hub.load(repo, config, cache_dir=cache_dir)
    return Splits({split: Dataset(ArrowRows(table, f"{repo}:{split}")) for split, table in tables.items()})


def _count(n: int) -> int:
    if n < 0:
        raise IndexError(f"expected n >= 0 rows, got {n}")
    return n
