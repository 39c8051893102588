"""`import tinsmith`: a run from Python, a folder read back, rows encoded for other trainers."""

import json
import shutil
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


SMALL = {"batch_size": 2, "max_steps": 2, "max_length": 32, "lora_rank": 2, "test_size": 2, "eval_every": 1}


def test_callables_take_part_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINKER_API_KEY", raising=False)
    seen: list[int] = []
    logged: list[int] = []

    def length(sampler: Any) -> dict[str, float]:
        return {"tokens": len(sampler("Hi", max_tokens=2)["content"])}

    def halves(step: int, n_steps: int) -> float:
        return 1.0 if step < n_steps / 2 else 0.5

    def train(**changes: Any) -> Run:
        given = {"evaluators": {"len": length}, "loggers": [lambda line: logged.append(line["step"])], **changes}
        config = tinsmith.Config(log_path=str(tmp_path / "run"), behavior_if_log_dir_exists="resume", **SMALL)
        return tinsmith.train(config, on_step=lambda line: seen.append(line["step"]), **given)

    run = train(schedule=tinsmith.versioned(halves, "1"))
    assert seen == logged == [0, 1, 2]
    assert all("eval/len/tokens" in line for line in run.metrics)
    assert [line.get("learning_rate") for line in run.metrics] == [0.01, 0.005, None]
    assert run.checkpoints[-1].fingerprint["schedule"] == "halves 1 to step 2"


def test_a_callable_that_decides_steps_is_recognised_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINKER_API_KEY", raising=False)

    def flat(_step: int, _n_steps: int) -> float:
        return 1.0

    def stop(line: Any) -> None:
        if line["step"] == 1 and not run_on:
            raise RuntimeError("enough")

    def train(schedule: Any, **changes: Any) -> Run:
        config = tinsmith.Config(
            log_path=str(tmp_path / "run"), behavior_if_log_dir_exists="resume", save_every=1, **SMALL, **changes
        )
        return tinsmith.train(config, schedule=schedule, on_step=stop)

    run_on = False
    with pytest.raises(InputError, match=r"stop raised RuntimeError: enough in .*api\.py:\d+ - at on_step\. The last"):
        train(tinsmith.versioned(flat, "1"))
    assert tinsmith.Run(tmp_path / "run").checkpoints
    run_on = True
    for changed in (tinsmith.versioned(flat, "2"), flat, None):
        with pytest.raises(InputError, match=r"schedule was flat 1 to step 2 and is .* now"):
            train(changed)
    assert train(tinsmith.versioned(flat, "1")).is_finished


def test_two_evaluators_of_one_name_are_refused(tmp_path: Path) -> None:
    config = tinsmith.Config(log_path=str(tmp_path / "run"))
    with pytest.raises(InputError, match="two evaluators have the same name"):
        tinsmith.train(config, evaluators=[lambda _s: {}, lambda _s: {}])


def test_a_folder_of_somebody_else_runs_no_code_for_a_sampler(run: Run, tmp_path: Path) -> None:
    folder, file = tmp_path / "sent", tmp_path / "mine.py"
    shutil.copytree(run.folder, folder)
    file.write_text("raise SystemExit(3)")
    document = json.loads((folder / "config.json").read_text())
    assert document["model_name"] == "tinsmith/tiny"
    document["config"]["renderer_name"] = f"{file}:MINE"
    (folder / "config.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"names code that is not in .*sent, .*mine\.py:MINE: give allow_code=True"):
        tinsmith.Run(folder).sampler().__enter__()
    with pytest.raises(InputError, match="raised SystemExit"):
        tinsmith.Run(folder).sampler(allow_code=True).__enter__()


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
