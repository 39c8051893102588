"""A prepared store opened: the shards that are there, mapped into memory as far as they are small, and their rows.

Whatever is opened was checked: the manifest (once the store is whole), each file's size and header, and of every row
that is read its sum. A shard that fails is let go and taken off the disk; its rows count as not there, and whoever
builds makes it again. Nothing here is an error for the user, who has the rows themselves.
"""

import mmap
import os
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.errors import InputError
from shell.provenance import Provenance
from shell.token_cache.read_shards import Counts, Found, Gathered, Shards, count, gather
from shell.token_cache.shard import FORMAT, HEADER, Sizes, read_sizes

Int64 = NDArray[np.int64]
Log = Callable[[str], object]

MANIFEST = "manifest.json"
LEAST, MOST, N_CHUNKS = 1024, 65536, 256
MOST_MAPPED = 1 << 27
"""bytes of shards that are mapped into memory; the rest is read from its files, row for row, which takes longer and no
memory: the system maps in two megabytes around a row where it can"""


class ShardPlan(NamedTuple):
    """How the rows of a store are cut into shards: a function of their number alone."""

    key: str
    n_rows: int

    @property
    def n_shard(self) -> int:
        """Rows of a shard, but for the last: a power of two, so that there are a few hundred where that will do.

        >>> [ShardPlan("", n).n_shard for n in (10, 10**6, 10**7, 10**9)]
        [1024, 4096, 65536, 65536]
        """
        wanted = -(-self.n_rows // N_CHUNKS)
        return min(max(LEAST, 1 << max(wanted - 1, 0).bit_length()), MOST)

    @property
    def n_shards(self) -> int:
        return -(-self.n_rows // self.n_shard)

    def rows_of(self, number: int) -> range:
        """The rows of a shard, by their numbers in the source."""
        return range(number * self.n_shard, min((number + 1) * self.n_shard, self.n_rows))


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is written when a store is whole: what decided it, and every shard with its digest."""

    format: int
    key: str
    decided_by: Provenance
    n_rows: int
    n_shard: int
    shards: list[str]
    """digests, in order"""


class TokenCache:
    """The shards of a store that are there.

    Args:
        folder: the store's own.
        plan: what it must hold.
        say: is told, in a line, of what was found damaged.

    Touches: the folder's files: those that are damaged are removed.
    """

    def __init__(self, folder: Path, plan: ShardPlan, say: Log = lambda _line: None) -> None:
        self.folder, self.plan, self._say = folder, plan, say
        self._held: dict[int, tuple[mmap.mmap, NDArray[np.uint8]] | Callable[[], object]] = {}
        self._chunks = Shards(np.zeros((plan.n_shards, 4), np.int64), plan.n_shard)
        self._n_bytes = 0
        self._digests = self._listed()
        self.refresh()

    @property
    def is_whole(self) -> bool:
        """Whether every row is there."""
        return len(self._held) == self.plan.n_shards

    @property
    def n_bytes(self) -> int:
        """Of the shards that are there."""
        return self._n_bytes

    def missing(self) -> list[int]:
        """The numbers of the shards that are not there."""
        return [number for number in range(self.plan.n_shards) if number not in self._held]

    def refresh(self) -> None:
        """Takes up the shards that have come since. Touches: the folder."""
        present = {path.name for path in self.folder.glob("*.shard")} if self.folder.is_dir() else set()
        for number in self.missing() if present else ():
            if shard_name(number) in present:
                self._open(number)

    def read(self, rows: Int64) -> Gathered:
        """The examples of rows, int64[B] numbers in the source, in this order; those that are damaged count as missing.

        Touches: the shards.
        """
        gathered = gather(rows, self._chunks)
        damaged = rows[gathered.found == Found.DAMAGED]
        if not len(damaged):
            return gathered
        for number in np.unique(damaged // self.plan.n_shard).tolist():
            self.drop(number, "is not what was written")
        return self.read(rows)

    def count(self, rows: Int64) -> tuple[Counts, Int64]:
        """Counts of the rows that are kept, and which places of `rows` hold others. Touches: the shards."""
        return count(rows, self._chunks)

    def drop(self, number: int, why: str) -> None:
        """Lets a shard go. Touches: its file, which is removed."""
        self._say(f"prepared  {self.folder.name}: shard {number} {why}; it will be made again")
        self._chunks.table[number] = 0
        held = self._held.pop(number, None)
        if callable(held):
            held()
        remove(self.folder / MANIFEST)
        remove(self.folder / shard_name(number))

    def _open(self, number: int) -> None:
        path = self.folder / shard_name(number)
        try:
            with path.open("rb") as file:
                sizes, digest = read_sizes(file.read(HEADER.itemsize), self.plan.key, number)
                n_bytes = file.seek(0, 2)
                is_right = n_bytes == sizes.n_bytes and sizes.n_rows == len(self.plan.rows_of(number))
                if not is_right or (self._digests and self._digests[number] != digest):
                    raise InputError("another size or digest")
                self._hold(number, file.fileno(), sizes)
        except FileNotFoundError:
            return
        except (InputError, OSError, ValueError):
            self.drop(number, "is damaged")
            return

    def _hold(self, number: int, file: int, sizes: Sizes) -> None:
        self._n_bytes += sizes.n_bytes
        if self._n_bytes <= MOST_MAPPED:
            mapped = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
            view = np.frombuffer(mapped, np.uint8)
            self._held[number] = mapped, view
            self._chunks.table[number] = view.ctypes.data, sizes.n_rows, sizes.n_words, 0
            return
        own = os.dup(file)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(own, 0, 0, os.POSIX_FADV_RANDOM)
        self._held[number] = weakref.finalize(self, os.close, own)
        self._chunks.table[number] = 0, sizes.n_rows, sizes.n_words, own + 1

    def _listed(self) -> list[str]:
        """The digests of the manifest; none where there is no manifest, or one that is not this store's."""
        try:
            manifest = msgspec.json.decode((self.folder / MANIFEST).read_bytes(), type=Manifest)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, ValueError):
            manifest = None
        if manifest and manifest_of(self.plan, manifest.decided_by, manifest.shards) == manifest:
            return manifest.shards
        self._say(f"prepared  {self.folder.name}: its manifest is damaged; it will be written again")
        remove(self.folder / MANIFEST)
        return []


def manifest_of(plan: ShardPlan, decided_by: Provenance, digests: Iterable[str]) -> Manifest:
    """The manifest of a store whose shards have these digests."""
    shards = list(digests)
    assert len(shards) == plan.n_shards or not shards
    return Manifest(
        format=FORMAT, key=plan.key, decided_by=decided_by, n_rows=plan.n_rows, n_shard=plan.n_shard, shards=shards
    )


def shard_name(number: int) -> str:
    """The name of a shard's file.

    >>> shard_name(7)
    '0000000007.shard'
    """
    return f"{number:010d}.shard"


def remove(path: Path) -> None:
    """Takes a file off the disk, if it is there and the disk lets us. Touches: the file."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
