"""`import tinsmith`: a run from Python, a folder read back, rows encoded for other trainers."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel.errors import InputError
from kernel.row_outcomes import Outcome
from shell import tinsmith
from shell.run_reader import Run

ROW = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("runs") / "a"
    patch = pytest.MonkeyPatch()
    patch.delenv("TINKER_API_KEY", raising=False)
    yield tinsmith.train(
        tinsmith.Config(log_path=str(folder), batch_size=4, max_steps=2, max_length=64, lora_rank=2, test_size=2)
    )
    patch.undo()


def test_a_run_is_an_object(run: Run) -> None:
    assert run.is_finished
    assert [line["step"] for line in run.metrics] == [0, 1, 2]
    assert run.config.batch_size == 4
    assert run.checkpoints[-1].final
    assert run.totals[None][Outcome.HELD_OUT] == 2
    assert sum(run.totals[0].values()) == run.totals[0][Outcome.NOT_REACHED] + 8
    assert "finished" in repr(run)


def test_its_metrics_are_a_frame(run: Run) -> None:
    pytest.importorskip("pandas")
    assert list(run.frame.index) == [0, 1, 2]
    assert run.frame["train_mean_nll"].notna().sum() == 2


def test_the_same_config_again_is_the_finished_run(run: Run) -> None:
    again = tinsmith.train(
        tinsmith.Config(
            log_path=str(run.folder), batch_size=4, max_steps=2, max_length=64, lora_rank=2, test_size=2,
            behavior_if_log_dir_exists="resume",
        )
    )  # fmt: skip
    assert again.metrics == run.metrics


def test_its_last_weights_answer_messages(run: Run) -> None:
    with run.sampler() as sampler:
        one = sampler("What is 2 and 2?", max_tokens=4)
        two = sampler.many(["What is 2 and 2?", [{"role": "user", "content": "Hi"}]], max_tokens=4)
    assert one["role"] == "assistant"
    assert two[0] == one


def test_a_checkpoint_that_cannot_be_sampled_is_named(run: Run) -> None:
    with pytest.raises(InputError, match=r"no checkpoint of .* at step 7 can be sampled; those of steps 2 can"):
        run.sampler(7).__enter__()


def test_a_folder_without_a_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no run \(no config.json of one\)"):
        tinsmith.Run(tmp_path)


def test_a_run_in_a_thread_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINKER_API_KEY", raising=False)
    config = tinsmith.Config(log_path=str(tmp_path / "run"), batch_size=2, max_steps=1, max_length=32, eval_every=0)
    results: list[Run] = []
    thread = threading.Thread(target=lambda: results.append(tinsmith.train(config)))
    thread.start()
    thread.join(60)
    assert results[0].is_finished


def test_labels_are_the_tokens_not_shifted() -> None:
    encoded = tinsmith.encode([ROW, ROW])
    (first, second) = encoded.dicts()
    assert first == second
    trained = [(i, label) for i, label in enumerate(first["labels"]) if label != -100]
    assert trained
    assert all(first["input_ids"][i] == label for i, label in trained)
    assert encoded.rows.tolist() == [0, 1]
    assert (encoded.labels.dtype, encoded.input_ids.dtype) == (np.int64, np.int32)


@pytest.mark.parametrize("row", [{"messages": []}, {"x": 1}, {"messages": [{"role": "usr", "content": "x"}]}])
def test_a_row_that_cannot_be_encoded_is_named_by_its_number(row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="row 1"):
        tinsmith.encode([ROW, row])
