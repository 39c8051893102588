"""A store made by a Ray cluster, bit for bit the one that a single machine makes.

The rows of the Ray dataset are the numbers of the shards; each actor opens the data by its name, as any process does,
and puts the shards that it is given into the store's folder, which all machines share. A shard depends on its rows
alone and the manifest lists shards by their numbers, so it does not matter who makes which, or what ends first. What is
there from a build that was cut is kept.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from kernel.errors import InputError
from shell.provenance import HOUSE, Provenance
from shell.token_cache.build import build_shard, building, finish, put_shard, unmade
from shell.token_cache.build_spec import BuildSpec, Work
from shell.token_cache.cache import ShardPlan
from shell.token_cache.workers import ONE_THREAD

LOCAL = "local"


class ShardBuilder:
    """What an actor does: it opens a job once, and makes the shards that it is given."""

    def __init__(self, job: str) -> None:
        self._work: Work | None = None
        self._error = ""
        try:
            self._work = Work(msgspec.json.decode(job, type=BuildSpec))
        except InputError as error:
            self._error = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Makes shard `row["number"]`; the answer has the sentence that says why not, or none."""
        number, work = int(row["number"]), self._work
        if work is None:
            return {"number": number, "error": self._error}
        try:
            put_shard(work.folder, number, build_shard(work.rows, work.maker, work.plan, number))
        except InputError as error:
            return {"number": number, "error": str(error)}
        return {"number": number, "error": ""}


def make_on_ray(
    job: BuildSpec,
    plan: ShardPlan,
    decided_by: Provenance,
    address: str,
    n_workers: int | None,
    done: Callable[[int, int], object],
) -> None:
    """Has all that is missing of a store made by a cluster, and writes its manifest.

    Args:
        job: its folder must be the same one on every machine.
        plan, decided_by: of the store.
        address: "local" for a cluster of this machine alone, else as `ray.init` takes it.
        n_workers: actors at most; None: as many as there are processors.
        done: is told how many shards of how many are there.

    Raises:
        InputError: Ray is not installed, the job cannot be opened, or the disk refuses.

    Touches: the cluster, and through it what the job names.
    """
    with building(Path(job.folder)), connected(address, n_workers):
        missing = unmade(Path(job.folder), plan)
        n_done = plan.n_shards - len(missing)
        done(n_done, plan.n_shards)
        for _number in made(job, missing, n_workers):
            n_done += 1
            done(n_done, plan.n_shards)
        finish(Path(job.folder), plan, decided_by)


def made(job: BuildSpec, numbers: Iterable[int], n_workers: int | None) -> Iterator[int]:
    """The numbers of shards as they are made by the cluster that is connected, in whatever order that is.

    Raises:
        InputError: one cannot be made.
    """
    ray, data = _ray(), import_module("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    items = [{"number": number} for number in numbers]
    if not items:
        return
    n_most = min(n_workers or int(ray.cluster_resources().get("CPU", 1)), len(items))
    dataset = data.from_items(items, override_num_blocks=len(items)).map(
        ShardBuilder, fn_constructor_args=(msgspec.json.encode(job).decode(),), concurrency=(1, n_most)
    )
    for row in dataset.iter_rows():
        if row["error"]:
            raise InputError(row["error"])
        yield row["number"]


@contextmanager
def connected(address: str, n_workers: int | None) -> Iterator[None]:
    """A connection to a cluster, which is left as it was found.

    Raises:
        InputError: Ray is not installed.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    path = os.pathsep.join(part for part in (str(HOUSE), os.environ.get("PYTHONPATH")) if part)
    here = {"num_cpus": n_workers, "include_dashboard": False}
    ray.init(
        **(here if address == LOCAL else {"address": address}),
        runtime_env={"env_vars": {"PYTHONPATH": path, **ONE_THREAD}},
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError:
        raise InputError("a store is made on a cluster with Ray: pip install 'tinsmith[ray]'") from None
