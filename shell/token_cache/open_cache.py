"""The token cache of a run: whether there is one (`--prepare always`, `auto` or `never`), and who builds it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kernel.errors import InputError
from shell.data.rows import Rows
from shell.datums.render_rows import RowRenderer
from shell.fingerprints import Provenance, key_of, provenance_of
from shell.process.gc_and_cpus import n_cores
from shell.token_cache.build import BuildSpec, Progress, build_cache, in_this_process
from shell.token_cache.cache import CachedRows, Log, Render, ShardPlan, TokenCache, render_uncached
from shell.token_cache.workers import BackgroundBuild, Workers

LEAST_ROWS = 4096  # a cache is no gain for fewer, so `--prepare auto` begins none


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """The cache of a run's rows, and what is needed to build the rest of it."""

    provenance: Provenance
    cache: TokenCache
    render: Render
    spec: BuildSpec | None  # for other processes; None: they cannot open the rows

    def background_build(self, log: Log) -> AbstractContextManager[object]:
        """A context in which another process builds what is missing."""
        if self.spec is None or self.cache.is_whole:
            return nullcontext()
        return BackgroundBuild(self.spec, self.cache.plan, self.provenance, log)

    @property
    def description(self) -> str:
        """The cache in a line."""
        n_rows, folder = self.cache.plan.n_rows, self.cache.folder
        n_missing = sum(len(self.cache.plan.rows_of(number)) for number in self.cache.missing())
        if not n_missing:
            return f"{n_rows:,} rows, from {folder}"
        return f"{n_rows - n_missing:,} of {n_rows:,} rows, the others while training, in {folder}"


def open_cache(
    rows: Rows,
    row_renderer: RowRenderer,
    how: Literal["always", "auto", "never"],
    root: Path,
    build_spec: Callable[..., BuildSpec] | None = None,
    log: Log = lambda _line: None,
    progress: Progress = lambda _n_done, _n_rows: None,
) -> CachePlan | None:
    """The cache of rows, or None. What goes wrong is logged and costs time only: rows that it lacks are rendered."""
    if how == "never" or (how == "auto" and len(rows) < LEAST_ROWS and not root.is_dir()):
        return None
    provenance = provenance_of(rows, row_renderer)
    plan = ShardPlan(key_of(provenance), len(rows))
    folder = root / plan.key
    if how == "auto" and len(rows) < LEAST_ROWS and not folder.is_dir():
        return None
    spec = build_spec(key=plan.key, folder=str(folder)) if build_spec else None
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
    return CachePlan(provenance=provenance, cache=cache, render=render, spec=spec)
