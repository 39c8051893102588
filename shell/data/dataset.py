"""The dataset adapter: the few verbs of `datasets.Dataset` that fine-tuning needs, over rows of any source.

A `Dataset` is rows and an int64 array that says which of them stand here, in which order. `shuffle`, `take`, `skip` and
`select` make new index arrays (8 bytes a row) and read nothing; rows are read when they are asked for. The same calls
give the same rows in the same order as `datasets` does, which is what makes a run comparable with tinker-cookbook's.

    no_robots = load_dataset("HuggingFaceH4/no_robots")
    held_out, train = (part := no_robots["train"].shuffle(0)).take(100), part.skip(100)
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kernel.errors import unknown
from kernel.shuffle import hf_permutation
from shell.data import hub
from shell.data.rows import ArrowRows, Int64, ListRows, Rejected, Row, Rows


class Dataset:
    """Rows in an order.

    Args:
        rows: where they come from.
        indices: int64[n], which of them stand here; None: all, as they come.
    """

    def __init__(self, rows: Rows, indices: Int64 | None = None) -> None:
        self.rows = rows
        self.indices: Int64 = np.arange(len(rows)) if indices is None else indices

    @classmethod
    def from_list(cls, rows: Sequence[Row | Rejected], name: str = "rows") -> "Dataset":
        """A dataset of the given rows; `name` stands for them in errors."""
        return cls(ListRows(rows, name))

    def __len__(self) -> int:
        return len(self.indices)

    def shuffle(self, seed: int) -> "Dataset":
        """All rows, in the order of this seed: that of `datasets.Dataset.shuffle`."""
        return Dataset(self.rows, self.indices[hf_permutation(len(self), seed)])

    def take(self, n: int) -> "Dataset":
        """The first n rows, or all if there are fewer."""
        return Dataset(self.rows, self.indices[: _count(n)])

    def skip(self, n: int) -> "Dataset":
        """All but the first n rows; none if there are fewer."""
        return Dataset(self.rows, self.indices[_count(n) :])

    def select(self, places: Iterable[int]) -> "Dataset":
        """The rows at these places of this dataset (a range, a list, an int64 array), in this order.

        Raises:
            IndexError: a place outside [0, n).
        """
        chosen = np.asarray(places if isinstance(places, Sequence | np.ndarray) else list(places)).astype(np.int64)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise IndexError(f"expected places in [0, {len(self)}), got {chosen.min()} to {chosen.max()}")
        return Dataset(self.rows, self.indices[chosen])

    def read(self, places: Int64) -> list[Any]:
        """The rows at these places, int64[B], or a `Rejected` each. Touches: what the rows come from."""
        return self.rows.take(self.indices[places])

    def to_list(self) -> list[Any]:
        """All rows. Touches: what the rows come from."""
        return self.rows.take(self.indices)

    def places(self) -> list[str]:
        """Where all rows come from, in order."""
        return [self.rows.place(k) for k in self.indices.tolist()]

    def place(self, i: int) -> str:
        """Where the row that stands at place i comes from, for errors: `train.jsonl:17`."""
        return self.rows.place(int(self.indices[i]))


class Splits(dict[str, Dataset]):
    """Datasets by the name of their split; asking for one that is not there names those that are."""

    def __missing__(self, name: str) -> Dataset:
        raise unknown("split", name, self, at="--dataset-split")


def load_dataset(repo: str, config: str | None = None, cache_dir: str | None = None) -> Splits:
    """The splits of a dataset on the Hugging Face Hub, or in a folder laid out like one.

    Args:
        repo: `owner/name`, or the folder's path.
        config: which of the dataset's configurations, if it has several.
        cache_dir: where `datasets` keeps its tables; None: where it always does.

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
