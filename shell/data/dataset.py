"""Datasets: rows in an order, with the few verbs of `datasets.Dataset` that fine-tuning needs, and streams.

The same calls give the same rows as `datasets` does. Its client tries an unreachable Hub for half a minute before it
looks into its cache, so the Hub is asked once first, with a deadline. A stream goes forward only: its rows are
shuffled within a buffer, and resuming at row k reads past the k rows before it.
"""

import queue
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kernel.errors import InputError, expected, problem, unknown
from kernel.shuffle import hf_permutation
from shell.data.arrow_rows import ArrowRows, without_nulls
from shell.data.open_rows import is_saved
from shell.data.rows import BLOCK, Int64, ListRows, Rejected, Row, Rows, RowValidation

Kind = Literal["dataset", "model"]

SECONDS = 8.0  # the deadline for the Hub's first answer


class Dataset:
    """Rows in an order."""

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
        """The rows at these positions (a range, a list, an int64 array), in this order."""
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
        """Its rows as `blocks`, but each once and in the source's order, while all rows of the source are scanned."""
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
    """The splits of a dataset on the Hugging Face Hub, or in a folder laid out like one."""
    tables = load_tables(repo, config, cache_dir=cache_dir)
    return Splits({split: Dataset(ArrowRows(table, f"{repo}:{split}")) for split, table in tables.items()})


def _count(n: int) -> int:
    if n < 0:
        raise IndexError(f"expected n >= 0 rows, got {n}")
    return n


def load_tables(
    repo: str,
    config: str | None = None,
    *,
    split: str | None = None,
    streaming: bool = False,
    cache_dir: str | None = None,
) -> Any:
    """The tables of `datasets.load_dataset` by split, or that of `split`, which may be a slice (`train[:1%]`)."""
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    folder = Path(repo).expanduser()
    path = str(folder) if folder.is_dir() else repo
    if folder.is_dir() and is_saved(folder):
        with readable(repo):
            return _saved_tables(path, streaming)
    silence = None if folder.is_dir() else unreachable(repo, datasets.config.HF_ENDPOINT)
    if silence is None:
        with readable(f"hf:{repo}"):
            return datasets.load_dataset(path, config, split=split, streaming=streaming, cache_dir=cache_dir)
    before, datasets.config.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE, True
    try:
        return datasets.load_dataset(path, config, split=split, streaming=streaming, cache_dir=cache_dir)
    except Exception as error:
        reason = f"{silence} and no copy in the cache; a JSONL file needs no network: --dataset FILE.jsonl"
        raise expected(f"{repo} from the Hugging Face Hub or the cache", reason) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _saved_tables(path: str, streaming: bool) -> Any:
    """The tables by split of a folder that `save_to_disk` wrote; without splits, "train"."""
    import datasets

    loaded = datasets.load_from_disk(path)
    tables = loaded if isinstance(loaded, dict) else {"train": loaded}
    return {split: table.to_iterable_dataset() if streaming else table for split, table in tables.items()}


@contextmanager
def readable(at: str) -> Iterator[None]:
    """Turns whatever the library raises within into an InputError with a location."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise expected("a dataset that can be read", _reason(error), at=at) from error


def unreachable(repo: str, endpoint: str, seconds: float = SECONDS, kind: Kind = "dataset") -> str | None:
    """Why the Hub cannot be reached, or None if it answers; asked on another thread, as DNS has no deadline."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    def ask() -> str | None:
        try:
            HfApi(endpoint=endpoint).repo_info(repo, repo_type=kind, timeout=seconds, expand=["sha"])  # type: ignore[arg-type]
        except HfHubHTTPError as error:
            status = error.response.status_code
            return f"status {status} from {endpoint}" if status >= 500 else None
        except HFValidationError:
            return None
        except Exception as error:
            return f"no answer from {endpoint} ({_reason(error)})"
        return None

    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(ask()), daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return f"no answer from {endpoint} in {seconds:g} seconds"


def _reason(error: BaseException) -> str:
    """An error of the library in one line. A failure to build a table says why only in its cause."""
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "..."


class Stream:
    """Rows of a `datasets.IterableDataset`, epoch by epoch."""

    def __init__(
        self, table: Any, n_rows: int, *, validation: RowValidation, name: str = "stream", seed: int, buffer_size: int
    ) -> None:
        narrow, self._unread = _narrowed(table, validation)
        self._table = narrow.shuffle(seed=seed, buffer_size=buffer_size)
        self._n_rows = n_rows
        self._validation = validation
        self._name = name
        self.set_epoch(0)

    def __len__(self) -> int:
        return self._n_rows

    def set_epoch(self, epoch: int) -> None:
        """Moves to the start of this epoch."""
        self._table.set_epoch(epoch)
        self._validation.rejected.clear()  # a stream that starts again meets the same rows
        self._iterator = iter(self._table)
        self._next = 0

    @property
    def n_rejected(self) -> int:
        """How many of the rows of this epoch that were read are invalid."""
        return len(self._validation.rejected)

    def read(self, start: int, n: int) -> list[Any]:
        """The n rows from row `start` of the epoch on; rows before it are read past."""
        if start < self._next:
            raise problem(f"a stream goes forward only: row {start} is before row {self._next}", at=self._name)
        n_skipped = start - self._next
        with readable(self._name):
            taken = islice(self._iterator, n_skipped, n_skipped + n)
            rows = [{**without_nulls(row, self._table.features), **self._unread} for row in taken]
        if len(rows) < n:
            raise expected(f"{start + n} rows in the stream", "its end", at=f"{self._name} (--streaming-length)")
        self._next = start + n
        read = [self._validation.admit(start + i, row, self.place) for i, row in enumerate(rows)]
        self._validation.rejected.faults.check(self._next, self._validation.max_bad_rows)
        return read

    def place(self, i: int) -> str:
        """The location of row i of the epoch, for errors."""
        return f"{self._name}, row {i} of the stream"


def _narrowed(table: Any, validation: RowValidation) -> tuple[Any, dict[str, bool]]:
    """A stream without the vectors, bytes, dates and media that are not read, and True for each that is not ignored."""

    def is_date(feature: Any) -> bool:
        return getattr(feature, "dtype", "").startswith(("timestamp", "date", "time", "duration"))

    def is_heavy(feature: Any) -> bool:
        return (
            is_date(feature)
            or getattr(feature, "dtype", "").startswith(("binary", "large_binary"))
            or type(feature).__name__ in ("Image", "Audio", "Video", "Pdf")
            or getattr(getattr(feature, "feature", None), "dtype", "").startswith(("float", "int", "uint"))
        )

    features = table.features or {}
    unread = [name for name, feature in features.items() if not validation.reads(name) and is_heavy(feature)]
    kept = [name for name in features if name not in unread]
    if not unread or not kept:
        return table, {}
    ignored = validation.reader.ignored_columns(unread, [name for name in unread if is_date(features[name])])
    return table.select_columns(kept), {name: True for name in unread if name not in ignored}


def head(table: Any, n: int, validation: RowValidation, name: str) -> list[Any]:
    """The first n rows of an iterable dataset, as they come."""
    narrow, unread = _narrowed(table, validation)
    with readable(name):
        rows = [{**without_nulls(row, narrow.features), **unread} for row in narrow.take(n)]
    if len(rows) < n:
        raise expected(f"at least {n} rows", str(len(rows)), at=name)
    read = [validation.admit(i, row, lambda i: f"{name}[{i}]") for i, row in enumerate(rows)]
    validation.rejected.faults.check(n, validation.max_bad_rows)
    return read
