"""Builds a token cache, shard by shard.

A build can be interrupted anywhere and resumed by anyone, since every shard is a function of its rows. A lock keeps two
builds from doing the same work; where a file system has none it only costs the work.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from copy import copy
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from kernel.errors import InputError, expected
from shell.data.dataset import Stream
from shell.data.load_dataset import DatasetSpec
from shell.data.mixture_spec import open_data
from shell.data.rows import Rows
from shell.datums.render_rows import PendingParts, RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.fingerprints import Provenance, key_of, provenance_of
from shell.run_dir.atomic_files import PART, InUseError, NoLocksError, locked, replace, writing
from shell.text.renderer_by_name import FormatNames
from shell.token_cache.cache import MANIFEST, Log, ShardPlan, TokenCache, manifest_of, remove, shard_name
from shell.token_cache.shard import FORMAT, write_shard

BLOCK = 1024
LOCK = "build.lock"
Progress: TypeAlias = Callable[[int, int], object]  # (rows that are done, all rows)
BuildShards: TypeAlias = Callable[[Sequence[int]], Generator[int]]
"""the numbers of the shards to build -> each once its shard is on disk; fewer, if it was stopped"""


def build_cache(
    folder: Path,
    plan: ShardPlan,
    provenance: Provenance,
    build_shards: BuildShards,
    progress: Progress = lambda _n_done, _n_rows: None,
    log: Log = lambda _line: None,
    wait: bool = True,
) -> bool:
    """Builds what is missing of a cache, and writes its manifest; False: left to another build, or stopped."""
    with building(folder, wait) as is_ours:
        if not is_ours:
            return False
        missing = missing_shards(folder, plan)
        if len(missing) == plan.n_shards and has_older(folder, provenance):
            log("token cache: made by an older version, building it again")
        n_done = plan.n_shards - len(missing)
        progress(min(n_done * plan.n_shard, plan.n_rows), plan.n_rows)
        with closing(build_shards(missing)) as built:
            for _number in built:
                n_done += 1
                progress(min(n_done * plan.n_shard, plan.n_rows), plan.n_rows)
        if n_done < plan.n_shards:
            return False
        finish(folder, plan, provenance)
        return True


def in_this_process(folder: Path, rows: Rows, row_renderer: RowRenderer, plan: ShardPlan) -> BuildShards:
    """Builds shards one by one, here."""

    def build_shards(numbers: Sequence[int]) -> Generator[int]:
        for number in numbers:
            put_shard(folder, number, build_shard(rows, row_renderer, plan, number))
            yield number

    return build_shards


def build_shard(rows: Rows, row_renderer: RowRenderer, plan: ShardPlan, number: int) -> bytes:
    """The bytes of a shard. A row that cannot be used is no error here: it is not cached."""
    lenient = copy(row_renderer)
    lenient.settings = replaced(row_renderer.settings, lenient=True)
    own = plan.rows_of(number)
    blocks = [np.arange(start, min(start + BLOCK, own.stop)) for start in range(own.start, own.stop, BLOCK)]
    rendered = [lenient.render(rows.take(block), [rows.place(i) for i in block.tolist()]) for block in blocks]
    parts = [(block - own.start, one) for block, one in zip(blocks, rendered, strict=True)]
    return write_shard(PendingParts(parts).result(), len(own), own.start, plan.key, number)


def put_shard(folder: Path, number: int, content: bytes) -> None:
    """Writes a shard whole, or not at all."""
    replace(folder / shard_name(number), content)


def finish(folder: Path, plan: ShardPlan, provenance: Provenance) -> None:
    """Writes the manifest. Raises InputError if a shard is missing."""
    if missing := TokenCache(folder, plan).missing():
        raise expected("every shard of the cache", f"no {shard_name(missing[0])}", at=str(folder))
    text = msgspec.json.format(msgspec.json.encode(manifest_of(plan, provenance)), indent=1)
    replace(folder / MANIFEST, text + b"\n")


@contextmanager
def building(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Locks a cache and deletes what an interrupted build left; gives False if another has it, and `wait` is False."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as lock:
        try:
            lock.enter_context(locked(folder / LOCK, wait))
        except InUseError:
            yield False
            return
        except NoLocksError:
            pass
        for part in folder.glob(f"*{PART}"):
            remove(part)
        yield True


def missing_shards(folder: Path, plan: ShardPlan) -> list[int]:
    """The shards that are missing or damaged; the latter are deleted. Without a manifest every row is verified."""
    cache = TokenCache(folder, plan)
    if not (folder / MANIFEST).exists():
        for number in range(plan.n_shards):
            cache.read(np.array(plan.rows_of(number)))
        cache = TokenCache(folder, plan)  # a run may have deleted a damaged shard meanwhile
    return cache.missing()


def has_older(folder: Path, provenance: Mapping[str, Any]) -> bool:
    """Whether there is another cache of the same rows and settings, built by another version of the code."""
    for path in folder.parent.glob(f"*/{MANIFEST}"):
        try:
            older = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            before = dict(older["decided_by"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        free = {"code", "libraries"} | ({"renderer"} if older.get("format") != FORMAT else set())
        changed = {name for name in provenance if before.get(name) != provenance[name]}
        if changed and changed <= free:
            return True
    return False


class BuildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A cache to build, as plain data: the names of everything, for another process to open again."""

    key: str
    folder: str
    spec: DatasetSpec
    names: FormatNames
    settings: RenderSettings


class ShardBuilder:
    """Opens a `BuildSpec`, given as JSON, and builds its shards. What goes wrong is in the answers."""

    def __init__(self, spec: str) -> None:
        self._error = ""
        try:
            self._open(msgspec.json.decode(spec, type=BuildSpec))
        except InputError as error:
            self._error = str(error)

    def _open(self, spec: BuildSpec) -> None:
        chat_format, tokenizer = spec.names.open()
        train = open_data(
            msgspec.structs.replace(spec.spec, test_size=0, max_bad_rows=1 << 40)
        ).train  # bad rows are left to whoever reads them
        assert not isinstance(train, Stream)
        self._rows, self._folder = train.rows, Path(spec.folder)
        self._row_renderer = RowRenderer(chat_format, tokenizer, spec.settings)
        self._plan = ShardPlan(key_of(provenance_of(self._rows, self._row_renderer)), len(self._rows))
        if self._plan.key != spec.key:
            wanted = "the data and the renderer that the cache was begun with"
            raise expected(wanted, "others", at=spec.folder)

    def build(self, number: int) -> str:
        """Builds a shard; the answer is the sentence that says why not, or empty."""
        if not self._error:
            try:
                put_shard(self._folder, number, build_shard(self._rows, self._row_renderer, self._plan, number))
            except InputError as error:
                return str(error)
        return self._error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The same for a row of a Ray dataset."""
        number = int(row["number"])
        return {"number": number, "error": self.build(number)}
