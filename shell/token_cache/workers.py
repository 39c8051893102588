"""Several processes that make the shards of one store, and one that makes them beside a run.

A worker is a fresh process rather than a fork or a thread: it shares no lock with the run, keeps its interpreter to
itself, and can be given a lower priority, so that training on two cores is hardly slowed.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

import msgspec

from kernel.errors import InputError
from shell.provenance import HOUSE, Provenance
from shell.token_cache.build import building, finish, unmade
from shell.token_cache.build_spec import BuildSpec
from shell.token_cache.cache import Log, ShardPlan
from shell.token_cache.worker import Answer

NICE = 10
ONE_THREAD = {
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "FASTOKENS_BPE_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


class Workers:
    """Workers of a job; `stop` ends them, and what they were at.

    Args:
        job: what they make.
        n_workers: how many.
        nice: by how much their priority is lower.
    """

    def __init__(self, job: BuildSpec, n_workers: int, nice: int = 0) -> None:
        self._job, self._n_workers, self._nice = job, n_workers, nice
        self._processes: list[subprocess.Popen[str]] = []
        self._lock, self._stopped = Lock(), Event()

    def make(self, numbers: Iterable[int], done: Callable[[], object]) -> bool:
        """Has shards made, each by whichever worker is free.

        Args:
            done: is called for each that is made.

        Returns:
            Whether all were; not, if the crew was stopped.

        Raises:
            InputError: the job cannot be opened, the disk refuses, or a worker ended.

        Touches: starts processes, and ends them.
        """
        left = iter(list(numbers))
        try:
            with ThreadPoolExecutor(self._n_workers, thread_name_prefix="prepare") as pool:
                for one in [pool.submit(self._drive, left, done) for _ in range(self._n_workers)]:
                    one.result()
        finally:
            stopped = self._stopped.is_set()
            self.stop()
        return not stopped

    def stop(self) -> None:
        """Ends the workers, now."""
        with self._lock:
            self._stopped.set()
            for process in self._processes:
                process.kill()
                process.wait()

    def _drive(self, left: Iterator[int], done: Callable[[], object]) -> None:
        process = self._start()
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = msgspec.json.encode(self._job).decode()
            while True:
                process.stdin.write(line + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if not answer:
                    raise BrokenPipeError
                error = msgspec.json.decode(answer, type=Answer).error
                if error:
                    raise InputError(error)
                if not line.startswith("{"):
                    done()
                with self._lock:
                    number = next(left, None)
                if number is None or self._stopped.is_set():
                    return
                line = str(number)
        except InputError:
            raise
        except (OSError, ValueError) as error:
            if not self._stopped.is_set():
                code = process.wait()
                raise InputError(f"expected a process that makes shards to go on, it ended with {code}") from error
        finally:
            with suppress(OSError):
                process.stdin.close()
            process.stdout.close()

    def _start(self) -> "subprocess.Popen[str] | None":
        with self._lock:
            if self._stopped.is_set():
                return None
            command = [sys.executable, "-P", "-m", "shell.token_cache.worker"]
            process = subprocess.Popen(
                command if not self._nice else ["nice", "-n", str(self._nice), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join([str(HOUSE), *sys.path])},
                start_new_session=True,  # Ctrl-C is for the run, which ends its workers itself
            )
            self._processes.append(process)
            return process


def make_whole(
    job: BuildSpec,
    plan: ShardPlan,
    decided_by: Provenance,
    crew: Workers,
    done: Callable[[int, int], object],
    wait: bool = True,
) -> bool:
    """Has all that is missing of a store made, and writes its manifest.

    Args:
        done: is told how many shards of how many are there.
        wait: for another builder; if not, and there is one, the store is left to it.

    Returns:
        Whether the store is whole now, as far as is known here.

    Raises:
        InputError: as `Workers.make`.

    Touches: the store's folder; processes.
    """
    folder = Path(job.folder)
    with building(folder, wait) as waited:
        if waited is None:
            return False
        missing = unmade(folder, plan)
        n_done = plan.n_shards - len(missing)
        done(n_done, plan.n_shards)

        def one_more() -> None:
            nonlocal n_done
            n_done += 1
            done(n_done, plan.n_shards)

        if missing and not crew.make(missing, one_more):
            return False
        finish(folder, plan, decided_by)
        return True


class Beside:
    """A store that is made beside a run, by one process of low priority; a context.

    Args:
        job, plan, decided_by: as in `make_whole`.
        say: is told, in a line, when it is whole or cannot be made. The run goes on either way.
    """

    def __init__(self, job: BuildSpec, plan: ShardPlan, decided_by: Provenance, say: Log) -> None:
        self._given, self._say = (job, plan, decided_by), say
        self._crew = Workers(job, 1, NICE)
        self._thread = Thread(target=self._run, name="prepare", daemon=True)

    def __enter__(self) -> "Beside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.stop()
        self._thread.join()

    def wait(self) -> None:
        """Returns when it is whole, or cannot be made."""
        self._thread.join()

    def _run(self) -> None:
        job, plan, _ = self._given
        try:
            if make_whole(*self._given, self._crew, lambda _done, _of: None, wait=False):
                self._say(f"prepared  all {plan.n_rows:,} rows, in {job.folder}")
        except (InputError, OSError) as error:
            self._say(f"prepared  not all rows, and training goes on without: {error}")
