"""Builds by other processes: the bytes of one, whoever builds; a build beside a run; and what may go wrong."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel.errors import InputError
from shell.data.load_dataset import DatasetSpec
from shell.data.open_rows import open_rows
from shell.data.rows import Rows
from shell.datums.open_run_data import OpenDataset, open_dataset
from shell.fingerprints import ROOT, Provenance
from shell.settings.config import Config
from shell.text.renderer_by_name import FormatNames
from shell.token_cache.build import BuildSpec, build_cache
from shell.token_cache.cache import ShardPlan, TokenCache
from shell.token_cache.open_cache import LEAST_ROWS
from shell.token_cache.workers import BackgroundBuild, Workers
from tests.shell.token_cache.caches import TOKENIZER, begun, built, content, maker_of, row

N = 1100  # two shards


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    path.write_text("".join(json.dumps(row(i)) + "\n" for i in range(N)))
    return path


@pytest.fixture(scope="module")
def whole(path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The cache as one process builds it."""
    return content(built(tmp_path_factory.mktemp("whole"), open_rows(path), maker_of()).folder)


def spec_of(path: Path, root: Path) -> tuple[BuildSpec, ShardPlan, Provenance]:
    rows: Rows = open_rows(path)
    folder, plan, provenance = begun(root, rows, maker_of())
    spec = BuildSpec(
        key=plan.key,
        folder=str(folder),
        spec=DatasetSpec(dataset=str(path)),
        names=FormatNames("qwen3", "sample"),
        settings=maker_of().settings.of_cache,
    )
    return spec, plan, provenance


def test_workers_build_the_bytes_that_one_process_builds(path: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    spec, plan, provenance = spec_of(path, tmp_path)
    seen: list[tuple[int, int]] = []
    workers = Workers(spec, 2)
    assert build_cache(Path(spec.folder), plan, provenance, workers.build, lambda *so_far: seen.append(so_far))
    assert content(Path(spec.folder)) == whole
    assert seen == [(0, N), (1024, N), (N, N)]
    assert not multiprocessing.active_children()


def test_a_cache_is_built_beside_a_run_whose_workers_ignore_ctrl_c(
    path: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    spec, plan, provenance = spec_of(path, tmp_path)
    log: list[str] = []
    with BackgroundBuild(spec, plan, provenance, log.append) as build:
        while build._thread.is_alive() and not multiprocessing.active_children():
            time.sleep(0.001)
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGINT)
        build._thread.join()
    assert content(Path(spec.folder)) == whole
    assert log == [f"prepared  all 1,100 rows, in {spec.folder}"]


def test_leaving_a_run_ends_what_is_built_beside_it(path: Path, tmp_path: Path) -> None:
    spec, plan, provenance = spec_of(path, tmp_path)
    log: list[str] = []
    with BackgroundBuild(spec, plan, provenance, log.append):
        pass
    assert not log
    assert TokenCache(Path(spec.folder), plan).missing()
    with BackgroundBuild(spec, plan, provenance, log.append) as build:
        while build._thread.is_alive() and not multiprocessing.active_children():
            time.sleep(0.001)
    assert not log
    assert not multiprocessing.active_children()


def test_a_worker_refuses_data_that_was_changed(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "chats.jsonl"
    copy.write_bytes(path.read_bytes())
    spec, plan, provenance = spec_of(copy, tmp_path)
    copy.write_text(json.dumps(row(1)) + "\n")
    with pytest.raises(InputError, match="that the cache was begun with"):
        build_cache(Path(spec.folder), plan, provenance, Workers(spec, 1).build)


def test_a_worker_that_dies_is_an_error_and_not_a_wait(path: Path, tmp_path: Path) -> None:
    spec, plan, provenance = spec_of(path, tmp_path)

    def kill() -> None:
        while not multiprocessing.active_children():
            time.sleep(0.001)
        multiprocessing.active_children()[0].kill()

    threading.Thread(target=kill).start()
    with pytest.raises(InputError, match="ended unexpectedly"):
        build_cache(Path(spec.folder), plan, provenance, Workers(spec, 1).build)
    assert build_cache(Path(spec.folder), plan, provenance, Workers(spec, 1).build)


SCRIPT = """
import multiprocessing, sys
from pathlib import Path
from shell.settings.cli import main
from shell.prepare import prepare
from shell.settings.config import PrepareConfig
print("once", flush=True)
def progress(n_done, n_rows):
    print(n_done, *(one.pid for one in multiprocessing.active_children()), flush=True)
    if WAITS and n_done:
        sys.stdin.read()
config = PrepareConfig(dataset=sys.argv[1], renderer_name="qwen3", tokenizer="sample", prepared_dir=sys.argv[2],
    train_on_what="all_assistant_messages", workers=2)
prepare(config, progress)
"""


def started(path: Path, folder: Path, waits: bool) -> "subprocess.Popen[str]":
    """A script of a user's, without a guard of its main module, that prepares."""
    script = folder / "script.py"
    script.write_text(SCRIPT.replace("WAITS", str(waits)))
    return subprocess.Popen(
        [sys.executable, str(script), str(path), str(folder / "root")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_script_without_a_main_guard_prepares_and_is_run_once(
    path: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    with started(path, tmp_path, waits=False) as process:
        lines = process.communicate()[0].splitlines()
    assert process.returncode == 0
    assert lines.count("once") == 1
    assert lines[-1].startswith("prepared  1,100 rows")
    assert content(next((tmp_path / "root").iterdir())) == whole


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended (one that nobody waited for is Z)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_workers_end_with_a_parent_that_is_killed(path: Path, tmp_path: Path) -> None:
    with started(path, tmp_path, waits=True) as process:
        assert process.stdout
        assert process.stdin
        for line in process.stdout:
            pids = line.split()[1:]
            if pids:
                break
        workers = [int(pid) for pid in pids]
        assert len(workers) == 2
        assert all(map(is_running, workers))
        process.kill()
        process.wait()
        until = time.monotonic() + 20
        while any(map(is_running, workers)) and time.monotonic() < until:
            time.sleep(0.01)
        assert not any(map(is_running, workers))


def opened(path: Path, root: Path, how: str, said: list[str] | None = None, **more: Any) -> OpenDataset:
    names = more.pop("names", FormatNames("qwen3", "sample"))
    given = {"dataset": str(path), "prepared_dir": str(root), "batch_size": 50, "prepare": how, **more}
    log = (said if said is not None else []).append
    return open_dataset(Config(log_path="unused", **given), maker_of().chat_format, TOKENIZER, names, log)


def assert_alike(one: OpenDataset, other: OpenDataset) -> None:
    assert one.row_counts == other.row_counts
    assert one.outside == other.outside
    for epoch in range(2):
        for i in range(0, len(one.train), 5):
            step = epoch * len(one.train) + i
            ours, theirs = one.train.batch(step), other.train.batch(step)
            assert ours.outcomes == theirs.outcomes
            assert all(np.array_equal(a, b) for a, b in zip(ours.datums[:4], theirs.datums[:4], strict=True))
    assert (one.test is None) == (other.test is None)
    if one.test and other.test:
        assert all(np.array_equal(a, b) for a, b in zip(one.test[:4], other.test[:4], strict=True))


@pytest.mark.parametrize("more", [{}, {"test_size": 70, "max_length": 40, "tail": "keep", "order": "cipher"}])
def test_prepared_data_is_that_of_data_never_prepared(path: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    never = opened(path, tmp_path, "never", **more)
    assert not list(tmp_path.iterdir())
    assert_alike(opened(path, tmp_path, "always", **more), never)
    again = opened(path, tmp_path, "auto", **more)
    assert again.preparation
    assert again.preparation.cache.is_whole
    assert_alike(again, never)


def test_few_rows_are_not_prepared_unless_that_is_asked_for(path: Path, tmp_path: Path) -> None:
    assert N < LEAST_ROWS
    assert opened(path, tmp_path, "auto").preparation is None
    assert not list(tmp_path.iterdir())


def test_what_decides_no_token_does_not_decide_the_cache(path: Path, tmp_path: Path) -> None:
    keys = set()
    for more in (
        {},
        {"max_length": 60, "batch_size": 3, "order": "cipher", "reduction": "none", "tail": "keep"},
    ):
        preparation = opened(path, tmp_path, "always", **more).preparation
        assert preparation
        keys.add(preparation.cache.plan.key)
    assert len(keys) == 1
    preparation = opened(path, tmp_path, "always", train_on_what="all_tokens").preparation
    assert preparation
    assert preparation.cache.plan.key not in keys


def test_a_disk_that_refuses_is_said_in_a_line_and_data_opens_all_the_same(path: Path, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file where a folder should be")
    said: list[str] = []
    data = opened(path, tmp_path / "root", "always", said)
    assert_alike(data, opened(path, tmp_path, "never"))
    assert len(said) == 1
    assert said[0].startswith("prepared  not all rows, and training goes on without: expected a disk")
