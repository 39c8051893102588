"""What the training loop itself costs a step, with a service that answers at once; and a command to its first line."""

import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from time import perf_counter, time
from typing import Any

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contest, Lap, Tally, race, task
from bench.document import ROOT
from bench.test_arrays import batch
from bench.workload import Workload
from kernel.datum import Datums
from kernel.loss import sum_loss
from kernel.training_steps import TrainPlan
from shell.datums.render_rows import BatchResult
from shell.datums.tinker_datums import datums_to_tinker
from shell.process.signals import Stop
from shell.service.protocol import AdamParams, Logprobs
from shell.training.loop import run_loop
from shell.training.open_run import Progress, TrainingRun
from tests.shell.recording import FakeDataset, Quiet

N_ROUNDS, N_STEPS, N_ROWS = 7, 50, 128


class AtOnce:
    """A service that has answered before it is asked."""

    def __init__(self, logprobs: Logprobs) -> None:
        self._logprobs = logprobs

    def forward_backward(self, _: Datums, loss: object = None) -> "Future[Logprobs]":  # noqa: ARG002
        return _done(self._logprobs)

    forward = forward_backward

    def optim_step(self, _: AdamParams) -> "Future[Mapping[str, float]]":
        return _done({})

    def save_state(self, name: str, _: int | None) -> "Future[str]":
        return _done(f"tinker://{name}")

    save_sampler = save_state

    def check(self) -> None:
        return None

    note_pause = check


def _done(value: Any) -> "Future[Any]":
    done: Future[Any] = Future()
    done.set_result(value)
    return done


class Ready(FakeDataset):
    """A dataset whose every batch is there."""

    def __init__(self, datums: Datums) -> None:
        super().__init__(N_STEPS)
        self._made = BatchResult(datums, N_ROWS)

    def submit(self, _: int) -> "Future[BatchResult]":
        return _done(self._made)


def test_loop(contests: list[Contest], benchmark: BenchmarkFixture) -> None:
    """A step of 128 rows, its lines on disk: the loop beside what of it is the SDK's objects and the metrics."""
    datums, rng = batch(), np.random.default_rng(1)
    logprobs, n_bytes = -rng.random(len(datums.inputs), np.float32), rng.integers(0, 9, 250_000).astype(np.int32)
    folders, root = count(), Path(tempfile.mkdtemp())

    def steps() -> None:
        folder = root / str(next(folders))
        folder.mkdir()
        run_loop(job(folder, datums, AtOnce(logprobs), n_bytes), Progress(0), Stop())

    scored = logprobs, datums.targets, datums.weights
    size = N_STEPS * N_ROWS, N_STEPS * len(datums.inputs)
    ours = task("the loop", steps, *size)
    others = [
        task("metrics of its steps", lambda: sum_loss(*scored, n_bytes), N_ROWS, times=N_STEPS),
        task("tinker.Datum of its steps", lambda: datums_to_tinker(datums), N_ROWS, times=N_STEPS),
    ]
    contest = Contest(f"the loop, {N_STEPS} steps of {N_ROWS} rows", ours.name, rows="rows")
    contests.append(race(benchmark, contest, ours, others, N_ROUNDS))


def job(folder: Path, datums: Datums, client: Any, n_bytes: Any) -> TrainingRun:
    return TrainingRun(
        plan=TrainPlan(N_STEPS),
        submit_ahead=1,
        dataset=Ready(datums),
        held_out={},
        n_bytes=n_bytes,
        adam=lambda _: AdamParams(1e-4, 0.9, 0.95, 1e-8, 0.0, 0.0),
        ttl_seconds=None,
        fingerprint={},
        client=client,
        folder=folder,
        screen=Quiet(),
        clock=perf_counter,
    )


def test_start(workload: Workload, contests: list[Contest], benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """`--help`, beside a Python that does nothing; and a command to its first request, on a prepared store."""

    def started(*command: str) -> None:
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)

    first = FirstRequest(workload, tmp_path)
    ours = task("sl_basic.py --help", lambda: started("recipes/sl_basic.py", "--help"), 1)
    others = [task("python -c pass", lambda: started("-c", "pass"), 1), first]
    contests.append(race(benchmark, Contest("start", ours.name, rows="starts"), ours, others, N_ROUNDS))


class FirstRequest:
    """A run in the box, from the command to the service's having its first forward_backward; the rows are prepared."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        self._folder, self._runs = folder, count()
        data = folder / "chats.jsonl"
        data.write_text("".join(f"{json.dumps(row)}\n" for row in workload.data.to_list()))
        self._command = [
            sys.executable, "recipes/sl_basic.py", "--service", "embedded", "--dataset", str(data),
            "--renderer-name", "qwen3_5", "--tokenizer", str(workload.tokenizer), "--max-steps", "1",
            "--prepare", "always", "--prepared-dir", str(folder / "prepared"), "--batch-size", "16",
        ]  # fmt: skip
        self.laps(0)  # makes the store

    def laps(self, _: int) -> dict[str, Lap]:
        run = self._folder / f"run {next(self._runs)}"
        began = time()
        subprocess.run([*self._command, "--log-path", str(run)], cwd=ROOT, check=True, capture_output=True)
        with sqlite3.connect(run / "service" / "state.sqlite3") as state:
            (at,) = state.execute("SELECT min(accepted) FROM requests WHERE kind = 'forward_backward'").fetchone()
        return {"command to first request, prepared": Lap(at - began, Tally(1, 0))}
