"""Other processes that build the shards of a cache: workers of this machine, or actors of a Ray cluster.

A worker is a spawned process: it shares no lock with the run, has an interpreter of its own and may have a lower
priority, so that training on two cores is hardly slowed. It ends with its parent, however that ends.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from kernel.errors import InputError

if TYPE_CHECKING:
    from shell.fingerprints import Provenance
    from shell.token_cache.build import BuildSpec, ShardBuilder
    from shell.token_cache.cache import ShardPlan

NICE = 10
ONE_THREAD = {
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "FASTOKENS_BPE_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


class Workers:
    """Processes that build shards of `spec`, at a priority lower by `nice`."""

    def __init__(self, spec: "BuildSpec", n_workers: int, nice: int = 0) -> None:
        self._spec, self._n_workers, self._nice = msgspec.json.encode(spec).decode(), n_workers, nice
        self._theirs, self._ours = multiprocessing.get_context("spawn").Pipe(duplex=False)
        self._stopped = threading.Event()

    def build(self, numbers: Sequence[int]) -> Generator[int]:
        """Builds shards, each by whichever worker is free; gives their numbers as they are done, fewer if stopped."""
        try:
            if numbers and not self._stopped.is_set():
                yield from self._run(numbers)
        except BrokenProcessPool:
            if not self._stopped.is_set():
                raise InputError("a process that builds the token cache ended unexpectedly") from None
        finally:
            self._ours.close()

    def stop(self) -> None:
        """Ends the workers at once."""
        self._stopped.set()
        self._ours.close()

    def _run(self, numbers: Sequence[int]) -> Generator[int]:
        given = (self._spec, self._theirs, self._nice)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self._n_workers, context, _open_spec, given) as pool:
            try:
                with _starting():
                    futures = {pool.submit(_build, number): number for number in numbers}
                for future in as_completed(futures):
                    error = future.result()
                    if error:
                        raise InputError(error)
                    yield futures[future]
            except BaseException:
                self._ours.close()
                raise


_lock = threading.Lock()


@contextmanager
def _starting() -> Iterator[None]:
    """Inside, a process starts without running the user's script again, and deaf to Ctrl-C, which is for the parent."""
    with _lock:
        main = sys.modules["__main__"]
        blocked = (
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
        )
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            if blocked is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


_builder: "ShardBuilder"


def _open_spec(spec: str, parent: Connection, nice: int) -> None:
    global _builder
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(nice)
    null = os.open(os.devnull, os.O_WRONLY)  # the screen is the run's
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.environ.update(ONE_THREAD)
    from shell.token_cache.build import ShardBuilder

    _builder = ShardBuilder(spec)
    gc.freeze()  # so that the collector does not walk libraries again and again


def _end_with_parent(parent: Connection) -> None:
    """Ends the process when the other end of the pipe is closed."""
    try:
        parent.recv()
    except (EOFError, OSError):
        os._exit(1)


def _build(number: int) -> str:
    return _builder.build(number)


class BackgroundBuild:
    """Builds a cache in the background of a run, by one process of low priority; leaving the context ends the build."""

    def __init__(
        self, spec: "BuildSpec", plan: "ShardPlan", provenance: "Provenance", log: Callable[[str], object]
    ) -> None:
        self._spec, self._plan, self._provenance, self._log = spec, plan, provenance, log
        self._workers = Workers(spec, 1, NICE)
        self._thread = threading.Thread(target=self._run, name="prepare", daemon=True)

    def __enter__(self) -> "BackgroundBuild":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.stop()
        self._thread.join()

    def _run(self) -> None:
        from shell.token_cache.build import build_cache

        folder = Path(self._spec.folder)
        try:
            if build_cache(folder, self._plan, self._provenance, self._workers.build, log=self._log, wait=False):
                self._log(f"prepared  all {self._plan.n_rows:,} rows, in {folder}")
        except (InputError, OSError) as error:
            self._log(f"prepared  not all rows, and training goes on without: {error}")


def build_on_ray(spec: "BuildSpec", address: str, n_workers: int | None, numbers: Sequence[int]) -> Generator[int]:
    """Builds shards on a cluster, all of whose machines share the folder; gives their numbers as they are done."""
    from shell.token_cache.build import ShardBuilder

    with connected(address, n_workers) as ray:
        data = import_module("ray.data")
        data.DataContext.get_current().enable_progress_bars = False
        items = [{"number": number} for number in numbers]
        if not items:
            return
        n_most = min(n_workers or int(ray.cluster_resources().get("CPU", 1)), len(items))
        dataset = data.from_items(items, override_num_blocks=len(items)).map(
            ShardBuilder, fn_constructor_args=(msgspec.json.encode(spec).decode(),), concurrency=(1, n_most)
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
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
    here = {"num_cpus": n_workers, "include_dashboard": False}
    ray.init(
        **(here if address == "local" else {"address": address}),
        runtime_env={"env_vars": {"PYTHONPATH": path, **ONE_THREAD}},
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield ray
    finally:
        ray.shutdown()
