"""Whole runs with code of the user's: killed and resumed to the same bytes, failing, changed, never returning."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shell.run_dir.progress_display import Screen
from shell.run_dir.run_files import last_checkpoint, read_checkpoints, read_metrics
from shell.settings.cli import main
from shell.train import train
from shell.training.open_run import compile_kernel

ROOT = Path(__file__).parents[2]
PLUGS = ROOT / "recipes" / "plugs"
CODE = (
    "--evaluator", f"sums={PLUGS}/exact_match.py:exact_match",
    "--loss", f"cross_entropy={PLUGS}/first_tokens.py:inputs",
    "--logger", f"{PLUGS}/csv_log.py:CsvLog",
    "--schedule", f"{PLUGS}/stable_then_decay.py:stable_then_decay",
)  # fmt: skip
FLAGS = ("--service", "embedded", "--batch-size", "4", "--max-steps", "6", "--test-size", "5", "--eval-every", "2",
         "--save-every", "2", "--lora-rank", "4", "--max-length", "64")  # fmt: skip
RESUME = ("--behavior-if-log-dir-exists", "resume")
DYING = """
import os, sys
from shell.command import main
from shell.run_dir.progress_display import Screen

def die(screen, row, n_steps):
    shown(screen, row, n_steps)
    if row["step"] == 3:
        os.kill(os.getpid(), 9)

shown, Screen.step = Screen.step, die
sys.exit(main("train", sys.argv[1:]))
"""


class Done(NamedTuple):
    code: int
    said: str
    errors: str


def finish(*argv: object) -> Done:
    said, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(errors):
        code = main(train, [str(word) for word in argv])
    return Done(code, said.getvalue(), errors.getvalue())


def run(folder: Path, *flags: object) -> Done:
    return finish("--log-path", folder, *FLAGS, *flags)


def bytes_of(folder: Path) -> tuple[Any, ...]:
    """All that must not depend on a cut: metrics without times, ledger, checkpoints, weights and optimizer."""
    metrics = [{key: row[key] for key in row if not key.startswith("time/")} for row in read_metrics(folder)]
    checkpoints = [(one.name, one.cursor, one.n_tokens, one.fingerprint) for one in read_checkpoints(folder)]
    with sqlite3.connect(folder / "service" / "state.sqlite3") as state:
        query = "SELECT parameters FROM checkpoints WHERE path = ?"
        weights = state.execute(query, [last_checkpoint(folder).state_path]).fetchone()[0]
    return metrics, (folder / "ledger.jsonl").read_bytes(), checkpoints, weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compile_kernel(lambda _line: None)
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = run(folder, *CODE)
    assert (done.code, done.errors) == (0, "")
    assert "sums (" in done.said
    assert "loss      cross_entropy first_tokens.py:inputs " in done.said
    return folder


def test_all_of_it_takes_part(whole: Path) -> None:
    rows = read_metrics(whole)
    assert [row["step"] for row in rows if "eval/sums/accuracy" in row] == [0, 2, 4, 6]
    assert all("loss/sum" in row for row in rows[:-1])
    rates = [row["learning_rate"] / rows[0]["learning_rate"] for row in rows[:-1]]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1 / 1.2])
    assert [line.split(",")[0] for line in (whole / "loss.csv").read_text().splitlines()] == list("0123456")
    mark = last_checkpoint(whole).fingerprint
    assert mark["loss"].startswith("cross_entropy first_tokens.py:inputs ")
    assert mark["schedule"].startswith("stable_then_decay.py:stable_then_decay ")
    assert not {"evaluator", "logger"} & set(mark)


def test_a_run_killed_and_resumed_equals_the_run_uncut_byte_for_byte(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    argv = [str(word) for word in ("--log-path", folder, *FLAGS, *CODE)]
    killed = subprocess.run([sys.executable, "-c", DYING, *argv], capture_output=True, check=False, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_metrics(folder)) < 7
    done = finish("--config", folder / "config.json", *RESUME)
    assert (done.code, done.errors) == (0, "")
    assert "resumed   from checkpoint 00000" in done.said
    assert bytes_of(folder) == bytes_of(whole)


def test_a_loss_and_an_evaluator_do_what_they_say(whole: Path, tmp_path: Path) -> None:
    """The same run without code of the user's has other weights; with the evaluator and logger alone the same."""
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    assert run(plain).code == 0
    assert run(watched, *CODE[:2], *CODE[4:6]).code == 0
    assert bytes_of(plain)[3] == bytes_of(watched)[3] != bytes_of(whole)[3]


FAILING = """
STEP = 4

def score(sampler):
    global STEP
    STEP -= 2
    return {"a": 1 / STEP}

def inputs(example):
    raise KeyError("advantages")

def never(sampler):
    import time
    while True:
        time.sleep(0.1)
"""


def mine(tmp_path: Path, text: str = FAILING) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(text)
    return file


def test_an_exception_in_an_evaluator_is_one_sentence_and_the_run_resumes_with_it_mended(
    whole: Path, tmp_path: Path
) -> None:
    folder, file = tmp_path / "run", mine(tmp_path)
    done = run(folder, *CODE[2:], "--evaluator", f"{file}:score")
    assert done.code == 2
    assert done.errors.count("\n") == 1
    assert (
        f"error: {file}:score raised ZeroDivisionError: division by zero in {file}:7 - at --evaluator. " in done.errors
    )
    assert "The last checkpoint is 000002; resume with: " in done.errors
    assert f"--config {folder}/config.json --behavior-if-log-dir-exists resume --allow-code\n" in done.errors
    mine(tmp_path, "def score(sampler): return {'a': 1}")
    changed = finish("--config", folder / "config.json", *RESUME)
    assert changed.code == 2
    assert (
        f"config.json names code that has changed since the run recorded it, {file}:score: repeat --evaluator, or give "
        f"--allow-code - at {folder}/config.json $.evaluator\n"
    ) in changed.errors
    assert finish("--config", folder / "config.json", *RESUME, "--allow-code").code == 0
    assert bytes_of(folder)[3] == bytes_of(whole)[3]
    assert json.loads((folder / "config.json").read_text())["config"]["allow_code"] is False


def test_an_exception_in_a_loss_is_one_sentence(tmp_path: Path) -> None:
    folder, file = tmp_path / "run", mine(tmp_path)
    done = run(folder, "--loss", f"cross_entropy={file}:inputs")
    assert done.code == 2
    assert done.errors == f"error: {file}:inputs raised KeyError: 'advantages' in {file}:10 - at --loss\n"
    assert not folder.exists(), "nothing was trained"


@pytest.mark.parametrize("which", ["loss", pytest.param("schedule", marks=pytest.mark.slow)])
def test_code_that_decides_steps_and_has_changed_is_refused_by_name(tmp_path: Path, which: str) -> None:
    folder = tmp_path / "run"
    text = "def f(*args): return {} if len(args) == 1 else 1.0"
    flag = f"--{which}", f"{'cross_entropy=' * (which == 'loss')}{mine(tmp_path, text)}:f"
    assert run(folder, *flag, "--max-steps", "2").code == 0
    mine(tmp_path, f"{text}  # a change")
    done = run(folder, *flag, "--max-steps", "2", *RESUME, "--eval-every", "1")
    assert done.code == 0, "a finished run is left as it is"
    (folder / "checkpoints.jsonl").write_text((folder / "checkpoints.jsonl").read_text().splitlines(True)[0])
    done = run(folder, *flag, "--max-steps", "2", *RESUME)
    assert done.code == 2
    assert f"since checkpoint 000002: {which} was " in done.errors
    assert "mine.py:f " in done.errors
    assert f"--accept-changes {which}" in done.errors
    assert run(folder, *flag, "--max-steps", "2", *RESUME, "--accept-changes", which).code == 0


def test_an_evaluator_that_never_returns_is_said_and_ended_by_one_ctrl_c(tmp_path: Path) -> None:
    folder, file = tmp_path / "run", mine(tmp_path)
    quick = "import sys\nfrom shell.process import plugs\nplugs.NOTICE_SECONDS = 0.5\nfrom shell.command import main\n"
    argv = [str(word) for word in ("--log-path", folder, *FLAGS, "--evaluator", f"{file}:never")]
    program = [sys.executable, "-c", f"{quick}sys.exit(main('train', sys.argv[1:]))", *argv]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process:
        assert process.stdout
        for line in process.stdout:
            if f"still waiting for {file}:never after 0.5 s; Ctrl-C ends it" in line:
                break
        else:
            raise AssertionError("not said")
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.stdout.read()
        assert process.wait(30) == 130
        assert time.monotonic() - began < 20
    assert not folder.exists(), "no step was finished"


def test_a_folder_that_came_from_elsewhere_runs_nothing_of_this_machine(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    elsewhere = mine(tmp_path, f"open({str(marker)!r}, 'w')\ndef f(step, n): return 1.0")
    folder = tmp_path / "sent"
    folder.mkdir()
    for name, spec in {"run.toml": "../mine.py:f", "other.toml": f"{elsewhere}:f"}.items():
        (folder / name).write_text(f"schedule = '{spec}'\nallow_code = true\n")
        done = run(tmp_path / "run", "--config", folder / name)
        assert done.code == 2
        assert f"{name} names code that is not in {folder}, " in done.errors
        assert not marker.exists()
    (folder / "mine.py").write_text("def f(step, n): return 0.5")
    (folder / "run.toml").write_text("schedule = 'mine.py:f'\n")
    assert run(tmp_path / "run", "--config", folder / "run.toml", "--max-steps", "1", "--eval-every", "0").code == 0
    assert read_metrics(tmp_path / "run")[0]["learning_rate"] == 0.005


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_a_loss_of_ones_own_through_the_sdk_is_killed_and_resumed(tmp_path: Path, monkeypatch: Any) -> None:
    loss = "--loss", f"{PLUGS}/focal_loss.py:focal_loss"
    done = run(tmp_path / "whole", *loss)
    assert (done.code, done.errors) == (0, "")
    assert "which costs one more forward pass a step" in done.said
    assert {"loss/mean", "loss/sum", "train_mean_nll"} <= set(read_metrics(tmp_path / "whole")[0])
    shown = Screen.step

    def interrupt(screen: Screen, row: Any, n_steps: int) -> None:
        shown(screen, row, n_steps)
        if row["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Screen, "step", interrupt)
    assert run(tmp_path / "run", *loss).code == 130
    monkeypatch.undo()
    assert finish("--config", tmp_path / "run" / "config.json", *RESUME).code == 0
    assert bytes_of(tmp_path / "run")[0] == bytes_of(tmp_path / "whole")[0]
    assert bytes_of(tmp_path / "run")[3] == bytes_of(tmp_path / "whole")[3]


TORCH = {
    "raise KeyError('x')": "raised KeyError: 'x' in ",
    "return logprobs[0].sum()": "returned Tensor, not a loss and its metrics",
    "return logprobs[0].sum().detach(), {}": "returned the loss tensor(",
    "return sum(p.sum() for p in logprobs), {'a': 'b'}": "returned 'b' for 'a', not a finite number",
}


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
@pytest.mark.slow
@pytest.mark.parametrize("body", TORCH)
def test_a_loss_of_ones_own_that_fails_leaves_a_run_that_resumes(body: str, tmp_path: Path) -> None:
    good, counting = (
        "return -sum(p.sum() for p in logprobs), {}",
        "N = 0\ndef f(data, logprobs):\n    global N\n    N += 1\n",
    )
    file = mine(tmp_path, f"{counting}    if N > 3:\n        {body}\n    {good}\n")
    done = run(tmp_path / "run", "--loss", f"{file}:f")
    assert done.code == 2
    assert f"{file}:f {TORCH[body]}" in done.errors
    assert "The last checkpoint is 000002; resume with: " in done.errors
    mine(tmp_path, f"{counting}    {good}\n")
    more: Sequence[str] = (*RESUME, "--allow-code", "--accept-changes", "loss")
    assert finish("--config", tmp_path / "run" / "config.json", *more).code == 0
    assert os.path.exists(tmp_path / "run" / "metrics.jsonl")
