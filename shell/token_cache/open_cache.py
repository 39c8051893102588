"""Whether rows come out of a store, and who makes it: `--prepare always`, `auto` or `never`.

always   the store is made first, by all cores, and then trained from
auto     what is there is used; what is missing is made beside the run, and used as it comes
never    nothing is read or written

A store brings nothing for a few rows, so `auto` begins none for fewer than LEAST_ROWS. Whatever goes wrong with a store
(a full disk, a damaged file) is said in one line, and costs time alone: rows that it lacks are rendered anew.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from kernel.errors import InputError
from shell.data.rows import Rows
from shell.datums.render_rows import RowRenderer
from shell.process.cpus import n_cores
from shell.provenance import Provenance, key_of, provenance_of
from shell.token_cache.build import build
from shell.token_cache.build_spec import BuildSpec
from shell.token_cache.cache import Log, ShardPlan, TokenCache
from shell.token_cache.cached_rows import FromStore, Render, anew
from shell.token_cache.workers import Beside, Workers, make_whole

Prepare: TypeAlias = Literal["always", "auto", "never"]
LEAST_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """The store of some rows, and what is needed to make the rest of it."""

    plan: ShardPlan
    decided_by: Provenance
    store: TokenCache
    render: Render
    job: BuildSpec | None
    """for other processes; None: they cannot open the rows"""

    def beside(self, say: Log) -> AbstractContextManager[object]:
        """A context in which what is missing is made, in a process of its own."""
        if self.job is None or self.store.is_whole:
            return nullcontext()
        return Beside(self.job, self.plan, self.decided_by, say)

    @property
    def description(self) -> str:
        """The store in a line."""
        n_missing = sum(len(self.plan.rows_of(number)) for number in self.store.missing())
        if not n_missing:
            return f"{self.plan.n_rows:,} rows, from {self.store.folder}"
        n_there = self.plan.n_rows - n_missing
        return f"{n_there:,} of {self.plan.n_rows:,} rows, the others while training, in {self.store.folder}"


def open_prepared(
    rows: Rows,
    maker: RowRenderer,
    how: Prepare,
    root: Path,
    job: Callable[[str, Path], BuildSpec] | None = None,
    say: Log = lambda _line: None,
    done: Callable[[int, int], object] = lambda _n_done, _n_rows: None,
) -> CachePlan | None:
    """The store of rows, made first where that is asked for; None where rows are to be rendered anew.

    Args:
        rows: all of a source, in its own order.
        maker: what renders them.
        how: see above.
        root: where stores are.
        job: (key, folder) -> the job for other processes; None: this process makes the store itself, in `always` alone.
        say: is told, in a line, of what went wrong.
        done: is told how many rows of how many are there, in `always`.

    Touches: the folder of the store; what the rows come from, to digest and, in `always`, to read them.
    """
    if how == "never" or (how == "auto" and len(rows) < LEAST_ROWS and not root.is_dir()):
        return None
    decided_by = provenance_of(rows, maker)
    plan = ShardPlan(key_of(decided_by), len(rows))
    folder = root / plan.key
    if how == "auto" and len(rows) < LEAST_ROWS and not folder.is_dir():
        return None
    its_job = job(plan.key, folder) if job else None
    if how == "always":
        try:
            _make(folder, rows, maker, plan, decided_by, its_job, done)
        except InputError as error:
            say(f"prepared  not all rows, and training goes on without: {error}")
    store = TokenCache(folder, plan, say)
    render = FromStore(store, anew(rows, maker))
    return CachePlan(plan=plan, decided_by=decided_by, store=store, render=render, job=its_job)


def _make(
    folder: Path,
    rows: Rows,
    maker: RowRenderer,
    plan: ShardPlan,
    decided_by: Provenance,
    job: BuildSpec | None,
    done: Callable[[int, int], object],
) -> None:
    def tell(n_shards: int, _n_all: int) -> None:
        done(min(n_shards * plan.n_shard, plan.n_rows), plan.n_rows)

    n_workers = min(n_cores(), plan.n_shards)
    if job is None or n_workers < 2:
        build(folder, rows, maker, plan, decided_by, tell)
    else:
        make_whole(job, plan, decided_by, Workers(job, n_workers), tell)
