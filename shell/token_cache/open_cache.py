"""Whether a run's rows come out of a token cache, and who builds it: `--prepare always`, `auto` or `never`.

always   the cache is built first, by all cores, and then trained from
auto     what is there is used; what is missing is built in the background, and used as it comes
never    nothing is read or written

A cache is no gain for a few rows, so `auto` begins none for fewer than LEAST_ROWS. Whatever goes wrong with one (a full
disk, a damaged file) is logged in a line and only costs time: rows that it lacks are rendered.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from kernel.errors import InputError
from shell.data.rows import Rows
from shell.datums.render_rows import RowRenderer
from shell.process.runtime import n_cores
from shell.provenance import Provenance, key_of, provenance_of
from shell.token_cache.build import BuildSpec, Progress, build_cache, in_this_process
from shell.token_cache.cache import CachedRows, Log, Render, ShardPlan, TokenCache, render_uncached
from shell.token_cache.workers import BackgroundBuild, Workers

Prepare: TypeAlias = Literal["always", "auto", "never"]
LEAST_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """The cache of a run's rows, and what is needed to build the rest of it."""

    plan: ShardPlan
    provenance: Provenance
    cache: TokenCache
    render: Render
    spec: BuildSpec | None
    """for other processes; None: they cannot open the rows"""

    def background_build(self, log: Log) -> AbstractContextManager[object]:
        """A context in which another process builds what is missing."""
        if self.spec is None or self.cache.is_whole:
            return nullcontext()
        return BackgroundBuild(self.spec, self.plan, self.provenance, log)

    @property
    def description(self) -> str:
        """The cache in a line."""
        n_missing = sum(len(self.plan.rows_of(number)) for number in self.cache.missing())
        if not n_missing:
            return f"{self.plan.n_rows:,} rows, from {self.cache.folder}"
        n_there = self.plan.n_rows - n_missing
        return f"{n_there:,} of {self.plan.n_rows:,} rows, the others while training, in {self.cache.folder}"


def open_cache(
    rows: Rows,
    row_renderer: RowRenderer,
    how: Prepare,
    root: Path,
    spec_of: Callable[[str, Path], BuildSpec] | None = None,
    log: Log = lambda _line: None,
    progress: Progress = lambda _n_done, _n_rows: None,
) -> CachePlan | None:
    """The cache of rows, built first where that is asked for; None where rows are to be rendered without one.

    Args:
        rows: all of a source, in its own order.
        root: where caches are.
        spec_of: (key, folder) -> the spec for other processes; None: this process builds, in `always` alone.
        log: gets a line for what went wrong.
        progress: of `always`.
    """
    if how == "never" or (how == "auto" and len(rows) < LEAST_ROWS and not root.is_dir()):
        return None
    provenance = provenance_of(rows, row_renderer)
    plan = ShardPlan(key_of(provenance), len(rows))
    folder = root / plan.key
    if how == "auto" and len(rows) < LEAST_ROWS and not folder.is_dir():
        return None
    spec = spec_of(plan.key, folder) if spec_of else None
    if how == "always":
        n_workers = min(n_cores(), plan.n_shards)
        build_shards = in_this_process(folder, rows, row_renderer, plan)
        if spec is not None and n_workers > 1:
            build_shards = Workers(spec, n_workers).build
        try:
            build_cache(folder, plan, provenance, build_shards, progress, log)
        except InputError as error:
            log(f"prepared  not all rows, and training goes on without: {error}")
    cache = TokenCache(folder, plan, log)
    render = CachedRows(cache, render_uncached(rows, row_renderer))
    return CachePlan(plan=plan, provenance=provenance, cache=cache, render=render, spec=spec)
