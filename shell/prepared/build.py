"""Building a store: the chunks that are not there, one at a time, each aside and then renamed into its place.

A chunk is a function of its rows, so whoever makes it makes the same bytes, and a rename puts it there whole or not at
all: a build can be cut anywhere and gone on with by anyone. A lock keeps two builds from doing the same work; it is the
system's, so a crash cannot leave it stuck, and where a file system has none it only costs the work. What a build finds
from an earlier one is looked at to the last byte before it is kept.
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path

import msgspec
import numpy as np

from kernel.errors import expected
from kernel.script import Examples
from kernel.selection import joined
from shell.data.rows import Rows
from shell.datums.maker import DatumMaker, Rendered
from shell.prepared.chunk import HEADER, is_chunk, read_sizes, write_chunk
from shell.prepared.identity import Identity
from shell.prepared.store import MANIFEST, Plan, Store, chunk_name, manifest_of, remove
from shell.record.files import replace, writing

BLOCK = 1024
PART = ".part"
LOCK = "build.lock"


def build_chunk(rows: Rows, maker: DatumMaker, plan: Plan, number: int) -> bytes:
    """The bytes of a chunk. A row that cannot be used is no error here: it is left to whoever asks for it.

    Touches: what the rows come from.
    """
    maker = lenient(maker)
    own = plan.rows_of(number)
    blocks = [range(start, min(start + BLOCK, own.stop)) for start in range(own.start, own.stop, BLOCK)]
    rendered = [_rendered(rows, maker, block) for block in blocks]
    return write_chunk(behind_each_other(rendered), len(own), own.start, plan.key, number)


def lenient(maker: DatumMaker) -> DatumMaker:
    """The same maker, but that rows which cannot be used are set aside."""
    if maker.lenient:
        return maker
    twin = copy(maker)
    twin.lenient = True
    return twin


def put_chunk(folder: Path, number: int, content: bytes) -> None:
    """Puts a chunk into its place.

    Touches: its file, and one beside it until it is whole.

    Raises:
        InputError: the disk refuses.
    """
    path = folder / chunk_name(number)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    with writing(folder):
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            remove(part)


def finish(folder: Path, plan: Plan, decided_by: Identity) -> None:
    """Writes the manifest of a store whose chunks are all there.

    Touches: the folder.

    Raises:
        InputError: the disk refuses, or a chunk is missing.
    """
    digests = [_digest(folder / chunk_name(number), plan, number) for number in range(plan.n_chunks)]
    text = msgspec.json.format(msgspec.json.encode(manifest_of(plan, decided_by, digests)), indent=1)
    replace(folder / MANIFEST, text + b"\n")


def build(
    folder: Path,
    rows: Rows,
    maker: DatumMaker,
    plan: Plan,
    decided_by: Identity,
    done: Callable[[int, int], object] = lambda _n_done, _n_chunks: None,
) -> None:
    """Makes what is missing of a store, in this process; waits for another build of it, and uses what that made.

    Args:
        done: is told how many chunks of how many are there.

    Touches: the folder; what the rows come from.

    Raises:
        InputError: the disk refuses.
    """
    with building(folder) as waited:
        assert waited is not None
        missing = unmade(folder, plan)
        done(plan.n_chunks - len(missing), plan.n_chunks)
        for i, number in enumerate(missing, 1):
            put_chunk(folder, number, build_chunk(rows, maker, plan, number))
            done(plan.n_chunks - len(missing) + i, plan.n_chunks)
        finish(folder, plan, decided_by)


@contextmanager
def building(folder: Path, wait: bool = True) -> Iterator[bool | None]:
    """Holds a store against other builders, and clears away what a build that was cut left half-written.

    Args:
        wait: for another builder to end.

    Yields:
        Whether it had to wait; None where another is building and `wait` is False.

    Touches: the folder, which is made.

    Raises:
        InputError: it cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        waited = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield None
                return
            waited = True
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        for part in folder.glob(f"*{PART}"):
            remove(part)
        yield waited
    finally:
        os.close(lock)


def unmade(folder: Path, plan: Plan) -> list[int]:
    """The chunks that are missing, or that are not what they should be to the last byte; the latter are removed.

    Where there is a manifest, the store was looked at when that was written, and sizes and headers are enough.
    """
    store = Store(folder, plan)
    if not (folder / MANIFEST).exists():
        for number in set(range(plan.n_chunks)) - set(store.missing()):
            with suppress(FileNotFoundError):  # a run that found it damaged has taken it away meanwhile
                if is_chunk((folder / chunk_name(number)).read_bytes(), plan.key, number):
                    continue
            store.drop(number, "is damaged")
    return store.missing()


def _digest(path: Path, plan: Plan, number: int) -> str:
    try:
        with path.open("rb") as file:
            return read_sizes(file.read(HEADER.itemsize), plan.key, number)[1]
    except FileNotFoundError:
        raise expected("every chunk of the store", f"no {path.name}", at=str(path.parent)) from None


def _rendered(rows: Rows, maker: DatumMaker, numbers: range) -> Rendered:
    places = [rows.place(i) for i in numbers]
    return maker.render(rows.take(np.array(numbers, np.int64)), places)


def behind_each_other(blocks: Iterable[Rendered]) -> Rendered:
    """Blocks of BLOCK rows each, but for the last, as one."""
    parts: list[Examples] = []
    rejected: dict[int, str] = {}
    shortened: dict[int, int] = {}
    for i, block in enumerate(blocks):
        n = i * BLOCK
        parts.append(block.examples._replace(rows=block.examples.rows + n))
        rejected |= {row + n: reason for row, reason in block.rejected.items()}
        shortened |= {row + n: n_before for row, n_before in block.shortened.items()}
    return Rendered(joined(parts), rejected, shortened)
