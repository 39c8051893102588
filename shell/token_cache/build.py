"""Building a store: the shards that are not there, one at a time, each aside and then renamed into its place.

A shard is a function of its rows, so whoever makes it makes the same bytes, and a rename puts it there whole or not at
all: a build can be cut anywhere and gone on with by anyone. A lock keeps two builds from doing the same work; it is the
system's, so a crash cannot leave it stuck, and where a file system has none it only costs the work. What a build finds
from an earlier one is looked at to the last byte before it is kept.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import replace as replaced
from pathlib import Path

import msgspec
import numpy as np

from kernel.errors import expected
from kernel.examples import Examples, concat
from shell.data.rows import Rows
from shell.datums.render_rows import Rendered, RowRenderer
from shell.provenance import Provenance
from shell.run_dir.files import PART, InUseError, NoLocksError, locked, replace, writing
from shell.token_cache.cache import MANIFEST, ShardPlan, TokenCache, manifest_of, remove, shard_name
from shell.token_cache.shard import HEADER, is_shard, read_sizes, write_shard

BLOCK = 1024
LOCK = "build.lock"


def build_shard(rows: Rows, maker: RowRenderer, plan: ShardPlan, number: int) -> bytes:
    """The bytes of a shard. A row that cannot be used is no error here: it is left to whoever asks for it.

    Touches: what the rows come from.
    """
    maker = lenient(maker)
    own = plan.rows_of(number)
    blocks = [range(start, min(start + BLOCK, own.stop)) for start in range(own.start, own.stop, BLOCK)]
    rendered = [_rendered(rows, maker, block) for block in blocks]
    return write_shard(behind_each_other(rendered), len(own), own.start, plan.key, number)


def lenient(maker: RowRenderer) -> RowRenderer:
    """The same maker, but that rows which cannot be used are set aside."""
    if maker.settings.lenient:
        return maker
    twin = copy(maker)
    twin.settings = replaced(maker.settings, lenient=True)
    return twin


def put_shard(folder: Path, number: int, content: bytes) -> None:
    """Puts a shard into its place.

    Touches: its file, and one beside it until it is whole.

    Raises:
        InputError: the disk refuses.
    """
    replace(folder / shard_name(number), content)


def finish(folder: Path, plan: ShardPlan, decided_by: Provenance) -> None:
    """Writes the manifest of a store whose shards are all there.

    Touches: the folder.

    Raises:
        InputError: the disk refuses, or a shard is missing.
    """
    digests = [_digest(folder / shard_name(number), plan, number) for number in range(plan.n_shards)]
    text = msgspec.json.format(msgspec.json.encode(manifest_of(plan, decided_by, digests)), indent=1)
    replace(folder / MANIFEST, text + b"\n")


def build(
    folder: Path,
    rows: Rows,
    maker: RowRenderer,
    plan: ShardPlan,
    decided_by: Provenance,
    done: Callable[[int, int], object] = lambda _n_done, _n_chunks: None,
) -> None:
    """Makes what is missing of a store, in this process; waits for another build of it, and uses what that made.

    Args:
        done: is told how many shards of how many are there.

    Touches: the folder; what the rows come from.

    Raises:
        InputError: the disk refuses.
    """
    with building(folder) as waited:
        assert waited is not None
        missing = unmade(folder, plan)
        done(plan.n_shards - len(missing), plan.n_shards)
        for i, number in enumerate(missing, 1):
            put_shard(folder, number, build_shard(rows, maker, plan, number))
            done(plan.n_shards - len(missing) + i, plan.n_shards)
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
    with ExitStack() as lock:
        waited = False
        try:
            lock.enter_context(locked(folder / LOCK))
        except InUseError:
            if not wait:
                yield None
                return
            waited = True
            lock.enter_context(locked(folder / LOCK, wait=True))
        except NoLocksError:
            pass
        for part in folder.glob(f"*{PART}"):
            remove(part)
        yield waited


def unmade(folder: Path, plan: ShardPlan) -> list[int]:
    """The shards that are missing, or that are not what they should be to the last byte; the latter are removed.

    Where there is a manifest, the store was looked at when that was written, and sizes and headers are enough.
    """
    store = TokenCache(folder, plan)
    if not (folder / MANIFEST).exists():
        for number in set(range(plan.n_shards)) - set(store.missing()):
            with suppress(FileNotFoundError):  # a run that found it damaged has taken it away meanwhile
                if is_shard((folder / shard_name(number)).read_bytes(), plan.key, number):
                    continue
            store.drop(number, "is damaged")
    return store.missing()


def _digest(path: Path, plan: ShardPlan, number: int) -> str:
    try:
        with path.open("rb") as file:
            return read_sizes(file.read(HEADER.itemsize), plan.key, number)[1]
    except FileNotFoundError:
        raise expected("every shard of the store", f"no {path.name}", at=str(path.parent)) from None


def _rendered(rows: Rows, maker: RowRenderer, numbers: range) -> Rendered:
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
    return Rendered(concat(parts), rejected, shortened)
