"""Whole runs, with the real SDK and the service in the box."""

import io
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial

import pytest

from shell import train as running
from shell.run_dir.progress_display import Screen
from shell.run_dir.run_files import keep_checkpoints, last_checkpoint, read_checkpoints, read_metrics
from shell.service import local_process
from shell.settings.cli import main
from shell.train import train
from shell.training.checkpoint_queue import deleting
from shell.training.open_run import compile_kernel

DYING = """
import os, sys
from shell.settings.cli import main
from shell.train import train
from shell.run_dir.progress_display import Screen

def die(screen, row, n_steps):
    shown(screen, row, n_steps)
    if row["step"] == 3:
        os.kill(os.getpid(), 9)

shown, Screen.step = Screen.step, die
sys.exit(main(train))
"""
FLAGS = ("--batch-size", "4", "--num-epochs", "2", "--test-size", "5", "--eval-every", "3", "--save-every", "2",
         "--lora-rank", "4", "--max-length", "64")  # fmt: skip
RESUME = ("--behavior-if-log-dir-exists", "resume")
N_STEPS = 8


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Twenty-one conversations: five held out, four batches of four an epoch."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    talks = [[("user", f"How much is {i} and {i + 1}?"), ("assistant", f"It is {2 * i + 1}.")] for i in range(21)]
    lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in talk]}) for talk in talks]
    path.write_text("\n".join(lines) + "\n")
    return path


def arguments(rows, folder, *more):
    return ["--service", "embedded", "--dataset", str(rows), "--log-path", str(folder), *FLAGS, *more]


def finish(*told):
    """Runs to the end: exit code, what stood on screen, what stood on standard error."""
    said, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(errors):
        code = main(train, arguments(*told))
    return code, said.getvalue(), errors.getvalue()


def metrics(folder):
    return [{key: row[key] for key in row if not key.startswith("time/")} for row in read_metrics(folder)]


def final_bytes(folder):
    """Weights and optimizer of the last checkpoint, as the service keeps them."""
    with sqlite3.connect(folder / "service" / "state.sqlite3") as state:
        query = "SELECT parameters FROM checkpoints WHERE path = ?"
        return state.execute(query, [last_checkpoint(folder).state_path]).fetchone()[0]


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory):
    """A run that nothing happens to."""
    compile_kernel(lambda _line: None)  # a busy machine takes its time, and the run would show that
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, *finish(rows, folder)


def test_a_run_says_first_what_it_is_and_last_what_it_learned_and_what_comes_next(whole, rows):
    folder, code, said, errors = whole
    assert (code, errors) == (0, "")
    lines = said.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["service", "model", "data", "steps", "log"]
    assert "local (--service embedded)" in lines[0]
    assert "tinsmith/tiny" in lines[1]
    assert f"{rows.name}: 16 rows to train on, 5 held out" in lines[2]
    assert lines[3] == "steps     8, an epoch is 4 batches of 4 rows"
    assert "training loss" in said
    assert f"--load-checkpoint-path {folder} --log-path {folder}-next" in said
    assert [row["step"] for row in read_metrics(folder)] == list(range(N_STEPS + 1))
    assert [record.name for record in read_checkpoints(folder)] == ["000002", "000004", "000006", "000008", "final"]


def test_a_finished_run_says_so_and_is_left_as_it_is(whole, rows):
    folder = whole[0]
    before = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "checkpoints.jsonl", "config.json")}
    code, said, _ = finish(rows, folder, *RESUME)
    assert code == 0
    assert said.startswith("finished  all 8 steps are done\nlearned   training loss")
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_run_killed_and_stopped_and_resumed_equals_the_run_uncut_bit_for_bit(whole, rows, tmp_path, monkeypatch):
    folder = tmp_path / "cut"
    killed = subprocess.run([sys.executable, "-c", DYING, *arguments(rows, folder)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL

    def interrupt(screen, row, n_steps):
        shown(screen, row, n_steps)
        if row["step"] == 4:
            signal.raise_signal(signal.SIGINT)

    shown = Screen.step
    monkeypatch.setattr(Screen, "step", interrupt)
    assert finish(rows, folder, *RESUME)[0] == 130
    assert read_checkpoints(folder)[-1].cursor == len(read_metrics(folder)) < N_STEPS
    monkeypatch.undo()

    assert finish(rows, folder, *RESUME)[0] == 0
    assert metrics(folder) == metrics(whole[0])
    assert final_bytes(folder) == final_bytes(whole[0])


@pytest.mark.slow
def test_a_service_in_the_box_that_is_killed_under_a_run_leaves_no_trace_in_it(whole, rows, tmp_path, monkeypatch):
    folder = tmp_path / "killed"
    killing(monkeypatch, at_steps=(1, 4))
    code, said, errors = finish(rows, folder)
    assert (code, errors) == (0, "")
    assert said.count("the local service ended (code -9) and was restarted from its state") == 2
    assert metrics(folder) == metrics(whole[0])
    assert final_bytes(folder) == final_bytes(whole[0])


@pytest.mark.slow
def test_one_that_dies_too_often_ends_the_run_with_what_is_durable_and_how_to_go_on(whole, rows, tmp_path, monkeypatch):
    folder = tmp_path / "cut"
    killing(monkeypatch, at_steps=(4,))
    monkeypatch.setattr(local_process, "MAX_RESTARTS", 0)
    code, _, errors = finish(rows, folder)
    assert code == 1
    assert "failed: the local service has ended (code -9). The last checkpoint is 00000" in errors
    assert f"--config {folder}/config.json --behavior-if-log-dir-exists resume" in errors
    monkeypatch.undo()

    assert main(train, ["--config", f"{folder}/config.json", *RESUME]) == 0
    assert metrics(folder) == metrics(whole[0])
    assert final_bytes(folder) == final_bytes(whole[0])


def killing(monkeypatch, at_steps):
    """Kills the service in the box when a step is shown, with what is queued behind it in flight."""
    started, start, shown = [], local_process.start, Screen.step

    def kill(screen, row, n_steps):
        shown(screen, row, n_steps)
        if row["step"] in at_steps:
            started[-1].process.kill()

    monkeypatch.setattr(
        local_process, "start", lambda *told, **more: started.append(start(*told, **more)) or started[-1]
    )
    monkeypatch.setattr(Screen, "step", kill)


@pytest.mark.slow
def test_rolling_checkpoints_change_no_step_and_only_those_that_last_are_kept(whole, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "deleting", partial(deleting, limit_seconds=60))  # a busy machine is no reason
    folder = tmp_path / "rolling"
    code, _, errors = finish(rows, folder, "--rolling-save-every", "1", "--save-every", "3")
    assert (code, errors) == (0, "")
    assert metrics(folder) == metrics(whole[0])
    assert final_bytes(folder) == final_bytes(whole[0])
    recorded = [(record.name, record.rolling) for record in read_checkpoints(folder)]
    assert recorded == [
        ("rolling-000001", True), ("rolling-000002", True), ("000003", False),
        ("rolling-000004", True), ("rolling-000005", True), ("000006", False),
        ("rolling-000007", True), ("rolling-000008", True), ("final", False),
    ]  # fmt: skip
    with sqlite3.connect(folder / "service" / "state.sqlite3") as state:
        kept = state.execute("SELECT name FROM checkpoints WHERE kind = 'training' AND listed ORDER BY name").fetchall()
    assert kept == [("000003",), ("000006",), ("final",)]


def test_another_runs_weights_are_where_a_new_run_begins(whole, rows, tmp_path):
    folder = tmp_path / "next"
    code, _, errors = finish(rows, folder, "--load-checkpoint-path", str(whole[0]), "--max-steps", "1")
    assert (code, errors) == (0, "")
    assert read_metrics(folder)[0]["test/nll"] == read_metrics(whole[0])[-1]["test/nll"]
    assert read_metrics(folder)[0]["learning_rate"] == read_metrics(whole[0])[0]["learning_rate"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--renderer-name", "qwne3"), "unknown renderer 'qwne3', did you mean 'qwen3'"),
        (("--batch-size", "17"), "16 rows are fewer than a batch of 17"),
        (("--load-checkpoint-path", "/nowhere"), "/nowhere (no such folder) - at --load-checkpoint-path"),
        (("--warmup-steps", "9"), "expected warmup_steps from 0 to the run's 8 steps, got 9"),
        (("--service", "http://127.0.0.1:1"), "there is no Tinker service at http://127.0.0.1:1: [Errno 111]"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_a_run_that_was_to_be_deleted(whole, rows, flags, sentence):
    folder = whole[0]
    before = sorted(path.name for path in folder.iterdir())
    code, said, errors = finish(rows, folder, "--behavior-if-log-dir-exists", "delete", *flags)
    assert (code, said) == (2, "")
    assert sentence in errors
    assert errors.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.fixture
def begun(whole, tmp_path):
    """The whole run again, as it stood after its second checkpoint."""
    folder = tmp_path / "begun"
    shutil.copytree(whole[0], folder)
    keep_checkpoints(folder, 2)
    return folder


def files_of(folder):
    names = ("metrics.jsonl", "ledger.jsonl", "checkpoints.jsonl", "config.json")
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.slow
def test_resuming_before_the_first_checkpoint_says_that_it_begins_anew(whole, rows, tmp_path):
    folder = tmp_path / "run"
    code, said, _ = finish(rows, folder, "--max-steps", "2", *RESUME)
    assert (code, "starts again" in said) == (0, False)
    (folder / "checkpoints.jsonl").unlink()
    code, said, _ = finish(rows, folder, *RESUME)
    assert code == 0
    assert "resumed   there was no checkpoint yet: the run starts again" in said
    assert metrics(folder) == metrics(whole[0])


def test_a_run_whose_steps_would_be_others_is_refused_part_by_part_unless_that_is_accepted(begun, rows):
    before = files_of(begun)
    other = (*RESUME, "--batch-size", "2", "--learning-rate", "1e-3", "--max-steps", "8")
    code, said, errors = finish(rows, begun, *other, "--accept-changes", "learning_rate")
    assert (code, said) == (2, "")
    assert errors == (
        "error: since checkpoint 000004: batch_size was 4 and is 2 now. The steps would not be those of an "
        "uninterrupted run: change it back, or resume anyway with --accept-changes learning_rate,batch_size\n"
    )
    assert files_of(begun) == before

    code, said, errors = finish(rows, begun, *other, "--accept-changes", "learning_rate,batch_size")
    assert (code, errors) == (0, "")
    assert "accepted  batch_size was 4 and is 2 now\naccepted  learning_rate was 0.01 and is 0.001 now\n" in said
    assert json.loads((begun / "config.json").read_text())["config"]["accept_changes"] is None
    assert read_checkpoints(begun)[-1].fingerprint["batch_size"] == "2"


@pytest.mark.slow
def test_what_decides_no_step_may_be_otherwise(begun, rows):
    other = ("--submit-ahead", "3", "--eval-every", "1", "--save-every", "0", "--ttl-seconds", "60")
    code, said, errors = finish(rows, begun, *RESUME, *other, "--recipe-name", "other", "--max-bad-rows", "1")
    assert (code, errors) == (0, "")
    assert "accepted" not in said


@pytest.mark.slow
def test_a_finished_run_is_lengthened_where_that_is_accepted(whole, rows, tmp_path):
    folder = tmp_path / "longer"
    shutil.copytree(whole[0], folder)
    code, _, errors = finish(rows, folder, *RESUME, "--num-epochs", "3")
    assert code == 2
    assert "since checkpoint final: schedule was linear to step 8 and is linear to step 12 now. " in errors
    assert finish(rows, folder, *RESUME, "--num-epochs", "3", "--accept-changes", "schedule")[0] == 0
    assert [row["step"] for row in read_metrics(folder)] == list(range(13))


def vanish(folder, *names, expired=False):
    """Checkpoints go, in the service alone."""
    with sqlite3.connect(folder / "service" / "state.sqlite3") as state:
        for name in names:
            change = "UPDATE checkpoints SET expires = 1" if expired else "DELETE FROM checkpoints"
            assert state.execute(f"{change} WHERE path LIKE ?", [f"%/weights/{name}"]).rowcount == 1


@pytest.mark.parametrize("expired", [pytest.param(True, marks=pytest.mark.slow), False])
def test_where_the_last_checkpoint_is_gone_the_one_before_is_taken_up(whole, begun, rows, expired):
    vanish(begun, "000004", expired=expired)
    code, said, errors = finish(rows, begun, *RESUME)
    assert (code, errors) == (0, "")
    gone = r"has expired \(ttl_seconds\)" if expired else "in this service"
    assert re.search(rf"gone      checkpoint 000004 \(.*{gone}\): trying the one before\n", said)
    assert "resumed   from checkpoint 000002, at step 2\n" in said
    assert metrics(begun) == metrics(whole[0])
    assert files_of(begun)["ledger.jsonl"] == files_of(whole[0])["ledger.jsonl"]
    assert final_bytes(begun) == final_bytes(whole[0])
    assert [record.name for record in read_checkpoints(begun)] == ["000002", "000004", "000006", "000008", "final"]


def test_a_record_is_taken_back_before_the_lines_below_it_are(begun, rows, monkeypatch):
    vanish(begun, "000004")

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as cutting:
        cutting.setattr("shell.train.rewind", cut)
        assert finish(rows, begun, *RESUME)[0] == 130
    last = read_checkpoints(begun)[-1]
    assert (last.name, len(read_metrics(begun)) >= last.cursor) == ("000002", True)


def test_a_run_that_another_has_moved_on_meanwhile_is_not_taken_back(begun, rows, monkeypatch):
    def meanwhile(*_):
        keep_checkpoints(begun, 1)

    monkeypatch.setattr("shell.train.check_room", meanwhile)
    code, _, errors = finish(rows, begun, *RESUME)
    assert code == 2
    assert errors.endswith(f"another run has changed {begun} since this one looked - at --log-path\n")
    assert len(read_metrics(begun)) == N_STEPS + 1


def test_where_every_checkpoint_is_gone_the_run_is_left_and_the_ways_on_are_named(begun, rows):
    vanish(begun, "000002", "000004")
    before = files_of(begun)
    code, _, errors = finish(rows, begun, *RESUME)
    assert code == 2
    assert errors == (
        f"error: the service has none of the checkpoints of {begun}: use the --service that saved them, or start "
        "again with --behavior-if-log-dir-exists delete\n"
    )
    assert files_of(begun) == before


def test_a_run_that_is_to_be_deleted_stays_until_the_service_has_taken_the_new_one(whole, rows, service, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    replacing = ("--behavior-if-log-dir-exists", "delete")
    other = ("--service", service.url, "--model-name", "tinsmith/tiny", "--learning-rate", "1e-2")
    code, _, errors = finish(rows, folder, *replacing, *other, "--lora-rank", "257")
    assert code == 2
    assert "got a refusal" in errors
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    code, said, errors = finish(rows, folder, *replacing, *other)
    assert (code, errors) == (0, "")
    assert not (folder / "service").exists()
    assert metrics(folder) == metrics(whole[0])
    assert [line.split(" ", 2)[2] for line in (folder / "logs.log").read_text().splitlines()] == said.splitlines()


def test_a_run_that_may_not_go_on_is_left_as_it_is(begun, rows):
    before = files_of(begun)
    other = ("--model-name", "tinsmith/other", "--tokenizer", "sample", "--renderer-name", "qwen3_instruct")
    code, _, errors = finish(rows, begun, *RESUME, *other, "--accept-changes", "all")
    assert code == 2
    assert "model_name was tinsmith/tiny and is tinsmith/other now. " in errors
    assert errors.endswith("change it back (model_name cannot change in a run)\n")
    assert files_of(begun) == before


def test_without_a_terminal_a_run_that_is_there_is_not_touched(whole, rows):
    code, _, errors = finish(rows, whole[0])
    assert code == 2
    assert "use --behavior-if-log-dir-exists resume, delete or raise" in errors


@pytest.mark.slow
def test_a_run_from_a_token_cache_is_the_run_without_one_bit_for_bit(whole, rows, tmp_path):
    folder, root = tmp_path / "run", tmp_path / "root"
    code, said, errors = finish(rows, folder, "--prepare", "always", "--prepared-dir", str(root))
    assert (code, errors) == (0, "")
    assert f"prepared  21 rows, from {root}" in said
    assert [file.name for file in root.glob("*/*.shard")] == ["0000000000.shard"]
    assert metrics(folder) == metrics(whole[0])
    assert final_bytes(folder) == final_bytes(whole[0])
