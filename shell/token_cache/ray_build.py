"""Builds a token cache on a Ray cluster: bit for bit the one that a single machine builds.

The rows of the Ray dataset are the numbers of the shards; each actor opens the data by its name and writes the shards
that it is given into the cache's folder, which all machines share.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import msgspec

from kernel.errors import InputError
from shell.provenance import ROOT
from shell.token_cache.build import BuildSpec, ShardBuilder
from shell.token_cache.workers import ONE_THREAD

LOCAL = "local"


class ShardActor(ShardBuilder):
    """What an actor does: it opens a spec once, and builds the shards that it is given."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Builds shard `row["number"]`; the answer has the sentence that says why not, or an empty one."""
        number = int(row["number"])
        return {"number": number, "error": self.build(number)}


def build_on_ray(spec: BuildSpec, address: str, n_workers: int | None, numbers: Sequence[int]) -> Generator[int]:
    """Builds shards on a cluster; gives their numbers as they are done, in any order.

    Args:
        spec: its folder must be the same one on every machine.
        address: "local" for a cluster of this machine alone, else as `ray.init` takes it.
        n_workers: actors at most; None: as many as there are processors.

    Raises:
        InputError: Ray is not installed, the spec cannot be opened, or the disk refuses.
    """
    with connected(address, n_workers) as ray:
        data = import_module("ray.data")
        data.DataContext.get_current().enable_progress_bars = False
        items = [{"number": number} for number in numbers]
        if not items:
            return
        n_most = min(n_workers or int(ray.cluster_resources().get("CPU", 1)), len(items))
        dataset = data.from_items(items, override_num_blocks=len(items)).map(
            ShardActor, fn_constructor_args=(msgspec.json.encode(spec).decode(),), concurrency=(1, n_most)
        )
        for row in dataset.iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield row["number"]


@contextmanager
def connected(address: str, n_workers: int | None) -> Iterator[Any]:
    """Ray, connected to a cluster, which is left as it was found. Raises InputError where Ray is not installed."""
    try:
        ray = import_module("ray")
    except ImportError:
        raise InputError("building a token cache on a cluster needs Ray: pip install 'tinsmith[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    here = {"num_cpus": n_workers, "include_dashboard": False}
    ray.init(
        **(here if address == LOCAL else {"address": address}),
        runtime_env={"env_vars": {"PYTHONPATH": path, **ONE_THREAD}},
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield ray
    finally:
        ray.shutdown()
