"""An open token cache: the shards that are there, and a run's rows read out of them.

A row's checksum is verified as it is read; a damaged shard is deleted. A row that the cache lacks is rendered, with the
same tokens and weights, so a cache may come, go or be half built while a run uses it.
"""

import mmap
import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shell.data.rows import Rows
from shell.datums.render_rows import Pending, PendingParts, Rendered, RowRenderer
from shell.fingerprints import Provenance
from shell.token_cache.shard import FORMAT, HEADER, CachedExamples, Found, RowCounts, Shards, count, read_rows, words_in

Int64 = NDArray[np.int64]
Log = Callable[[str], object]
Render: TypeAlias = Callable[[Int64, Sequence[str]], Pending[Rendered]]
"""(int64[B] numbers in the source, their locations) -> what waits for the rows, numbered as in the call"""

MANIFEST = "manifest.json"
MIN_ROWS, MAX_ROWS, N_SHARDS = 1024, 65536, 256
MAX_MAPPED = 1 << 27
"""bytes of shards that are mapped into memory; the rest is read row by row, which is slower and takes no memory: the
system maps in two megabytes around a row where it can"""
REFRESH_EVERY = 16
"""batches between two looks for new shards"""


class ShardPlan(NamedTuple):
    """How the rows of a cache are divided into shards: a function of their number alone."""

    key: str
    n_rows: int

    @property
    def n_shard(self) -> int:
        """Rows of a shard, but for the last: a power of two, for a few hundred shards where that will do."""
        wanted = -(-self.n_rows // N_SHARDS)
        return min(max(MIN_ROWS, 1 << max(wanted - 1, 0).bit_length()), MAX_ROWS)

    @property
    def n_shards(self) -> int:
        return -(-self.n_rows // self.n_shard)

    def rows_of(self, number: int) -> range:
        return range(number * self.n_shard, min((number + 1) * self.n_shard, self.n_rows))


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Written when a cache is whole and every shard was verified to its last row."""

    format: int
    key: str
    decided_by: Provenance
    n_rows: int
    n_shard: int


class TokenCache:
    """The shards of a cache that are there; `log` gets a line for each that is damaged, which is deleted."""

    def __init__(self, folder: Path, plan: ShardPlan, log: Log = lambda _line: None) -> None:
        self.folder, self.plan, self._log = folder, plan, log
        self._open_shards: dict[int, mmap.mmap | Callable[[], object]] = {}
        self._shards = Shards(np.zeros((plan.n_shards, 4), np.int64), plan.n_shard)
        self.n_bytes = 0
        self._check_manifest()
        self.refresh()

    @property
    def is_whole(self) -> bool:
        return len(self._open_shards) == self.plan.n_shards

    def missing(self) -> list[int]:
        return [number for number in range(self.plan.n_shards) if number not in self._open_shards]

    def refresh(self) -> None:
        """Opens the shards that have come since."""
        present = {path.name for path in self.folder.glob("*.shard")} if self.folder.is_dir() else set()
        for number in self.missing() if present else ():
            if shard_name(number) in present:
                self._open(number)

    def read(self, rows: Int64) -> CachedExamples:
        """The examples of rows, int64[B] numbers in the source, in this order; damaged ones count as missing."""
        cached = read_rows(rows, self._shards)
        damaged = np.unique(rows[cached.found == Found.DAMAGED] // self.plan.n_shard)
        for number in damaged.tolist():
            self._drop(number)
        return self.read(rows) if len(damaged) else cached

    def count(self, rows: Int64) -> tuple[RowCounts, Int64]:
        """RowCounts of the rows that are cached, and the positions in `rows` of the others, by the indices alone."""
        return count(rows, self._shards)

    def _drop(self, number: int) -> None:
        self._log(f"prepared  {self.folder.name}: shard {number} is damaged; it will be built again")
        self._shards.table[number] = 0
        close = self._open_shards.pop(number, None)
        if callable(close):
            close()
        remove(self.folder / MANIFEST)
        remove(self.folder / shard_name(number))

    def _open(self, number: int) -> None:
        n_rows = len(self.plan.rows_of(number))
        try:
            with (self.folder / shard_name(number)).open("rb") as file:
                header, n_bytes = file.read(HEADER.itemsize), file.seek(0, 2)
                n_words = words_in(header, n_bytes, self.plan.key, number, n_rows)
                if n_words is not None:
                    self._hold(number, file.fileno(), n_bytes)
                    self._shards.table[number, 2:] = n_rows, n_words
                    return
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            pass
        self._drop(number)

    def _hold(self, number: int, file: int, n_bytes: int) -> None:
        self.n_bytes += n_bytes
        if self.n_bytes <= MAX_MAPPED:
            mapped = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
            self._open_shards[number] = mapped
            self._shards.table[number, 0] = np.frombuffer(mapped, np.uint8).ctypes.data
            return
        own = os.dup(file)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(own, 0, 0, os.POSIX_FADV_RANDOM)
        self._open_shards[number] = weakref.finalize(self, os.close, own)
        self._shards.table[number, 1] = own + 1

    def _check_manifest(self) -> None:
        """Deletes a manifest that is damaged, so that the shards are verified before it is written again."""
        try:
            found = msgspec.json.decode((self.folder / MANIFEST).read_bytes(), type=Manifest)
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError):
            found = None
        if found is None or found != manifest_of(self.plan, found.decided_by):
            self._log(f"prepared  {self.folder.name}: its manifest is damaged; it will be written again")
            remove(self.folder / MANIFEST)


def manifest_of(plan: ShardPlan, provenance: Provenance) -> Manifest:
    return Manifest(format=FORMAT, key=plan.key, decided_by=provenance, n_rows=plan.n_rows, n_shard=plan.n_shard)


def shard_name(number: int) -> str:
    return f"{number:010d}.shard"


def remove(path: Path) -> None:
    """Deletes a file, if it is there and the disk lets us."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def render_uncached(rows: Rows, row_renderer: RowRenderer) -> Render:
    """Reads, renders and encodes rows whenever they are needed."""
    return lambda numbers, places: row_renderer.submit(rows.take(numbers), places)


class CachedRows:
    """A `Render` that reads rows out of a cache, and hands those that it lacks to `render`."""

    def __init__(self, cache: TokenCache, render: Render) -> None:
        self.cache, self._render, self._n_calls = cache, render, 0

    def __call__(self, numbers: Int64, places: Sequence[str]) -> Pending[Rendered]:
        self._n_calls += 1
        if not self._n_calls % REFRESH_EVERY and not self.cache.is_whole:
            self.cache.refresh()
        examples, found, n_before = self.cache.read(numbers)
        cached = Rendered(examples, {}, {row: int(n_before[row]) for row in np.flatnonzero(n_before).tolist()})
        others = np.flatnonzero(found)
        pending = self._render(numbers[others], [places[i] for i in others.tolist()]) if len(others) else None
        return PendingParts([(np.arange(len(numbers)), cached)], others, pending)
