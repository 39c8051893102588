"""Builds by other processes: the bytes of one, whoever makes them; a build beside a run; and what may go wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel.errors import InputError
from shell.data.json_rows import open_rows
from shell.data.rows import Rows
from shell.data.sources import DatasetSpec
from shell.datums.open_dataset import OpenDataset, open_dataset
from shell.settings.config import Config
from shell.text.formats import FormatNames
from shell.token_cache.build import build
from shell.token_cache.build_spec import BuildSpec
from shell.token_cache.cache import ShardPlan, TokenCache
from shell.token_cache.open_cache import LEAST_ROWS
from shell.token_cache.workers import Beside, Workers, make_whole
from tests.shell.token_cache.stores import TOKENIZER, begun, content, maker_of, row

N = 1100  # two shards


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    path.write_text("".join(json.dumps(row(i)) + "\n" for i in range(N)))
    return path


@pytest.fixture(scope="module")
def whole(path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The store as one process builds it."""
    rows, maker = open_rows(path), maker_of()
    folder, plan, decided_by = begun(tmp_path_factory.mktemp("whole"), rows, maker)
    build(folder, rows, maker, plan, decided_by)
    return content(folder)


def job_of(path: Path, root: Path) -> tuple[BuildSpec, ShardPlan, dict[str, Any]]:
    rows: Rows = open_rows(path)
    folder, plan, decided_by = begun(root, rows, maker_of())
    job = BuildSpec(
        key=plan.key,
        folder=str(folder),
        spec=DatasetSpec(dataset=str(path)),
        names=FormatNames("qwen3", "sample"),
        settings=maker_of().settings.of_cache,
    )
    return job, plan, decided_by


def test_a_crew_makes_the_bytes_that_one_process_makes(path: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    job, plan, decided_by = job_of(path, tmp_path)
    told: list[tuple[int, int]] = []
    assert make_whole(job, plan, decided_by, Workers(job, 2), lambda *so_far: told.append(so_far))
    assert content(Path(job.folder)) == whole
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_a_store_is_made_beside_a_run(path: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    job, plan, decided_by = job_of(path, tmp_path)
    said: list[str] = []
    beside = Beside(job, plan, decided_by, said.append)
    with beside:
        beside.wait()
    assert content(Path(job.folder)) == whole
    assert said == [f"prepared  all 1,100 rows, in {job.folder}"]


def test_leaving_a_run_ends_what_is_made_beside_it(path: Path, tmp_path: Path) -> None:
    job, plan, decided_by = job_of(path, tmp_path)
    said: list[str] = []
    with Beside(job, plan, decided_by, said.append):
        pass
    assert not said
    assert TokenCache(Path(job.folder), plan).missing()


def test_a_worker_refuses_data_that_was_changed(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "chats.jsonl"
    copy.write_bytes(path.read_bytes())
    job, plan, decided_by = job_of(copy, tmp_path)
    copy.write_text(json.dumps(row(1)) + "\n")
    with pytest.raises(InputError, match="that the store was begun with"):
        make_whole(job, plan, decided_by, Workers(job, 1), lambda _done, _of: None)


def test_a_worker_that_dies_is_an_error_and_not_a_wait(path: Path, tmp_path: Path) -> None:
    job, plan, decided_by = job_of(path, tmp_path)
    crew = Workers(job, 1)

    def kill(n_done: int, _of: int) -> None:
        if n_done == 1:
            crew._processes[0].kill()

    with pytest.raises(InputError, match="it ended with -9"):
        make_whole(job, plan, decided_by, crew, kill)
    assert make_whole(job, plan, decided_by, Workers(job, 1), lambda _done, _of: None)


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
    assert again.preparation.store.is_whole
    assert_alike(again, never)


def test_few_rows_are_not_prepared_unless_that_is_asked_for(path: Path, tmp_path: Path) -> None:
    assert N < LEAST_ROWS
    assert opened(path, tmp_path, "auto").preparation is None
    assert not list(tmp_path.iterdir())


def test_what_decides_no_token_does_not_decide_the_store(path: Path, tmp_path: Path) -> None:
    keys = set()
    for more in (
        {},
        {"max_length": 60},
        {"batch_size": 3},
        {"order": "cipher"},
        {"reduction": "none"},
        {"tail": "keep"},
    ):
        preparation = opened(path, tmp_path, "always", **more).preparation
        assert preparation
        keys.add(preparation.plan.key)
    assert len(keys) == 1
    preparation = opened(path, tmp_path, "always", train_on_what="all_tokens").preparation
    assert preparation
    assert preparation.plan.key not in keys


def test_a_disk_that_refuses_is_said_in_a_line_and_data_opens_all_the_same(path: Path, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file where a folder should be")
    said: list[str] = []
    data = opened(path, tmp_path / "root", "always", said)
    assert_alike(data, opened(path, tmp_path, "never"))
    assert len(said) == 1
    assert said[0].startswith("prepared  not all rows, and training goes on without: expected a disk")
