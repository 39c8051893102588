"""The train recipe as a newcomer meets it: its files, its folder, its service, its signals."""

import json
import os
import shutil
import signal
import socket
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shell.service import connect
from tests.recipes.running import SMALL, finish, process_of, read


@pytest.mark.parametrize("behavior", ["ask", "resume", "delete", "raise"])
def test_a_folder_of_something_else_is_left_as_it_is(behavior, ask, good, tmp_path):
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "config.json").write_text('{"model": "mine"}')
    told = ask("sl_basic", "--log-path", other, "--dataset", good, *SMALL, "--behavior-if-log-dir-exists", behavior)
    sentence = f"expected a new or empty folder, or one that a run of ours made, got {other} - at --log-path"
    assert told == (2, "", f"error: {sentence}\n")
    assert [path.read_text() for path in other.iterdir()] == ['{"model": "mine"}']


def test_a_path_that_cannot_be_written_and_a_full_disk_are_told(ask, good, monkeypatch):
    for path in (good / "run", "/proc/run"):
        told = ask("sl_basic", "--log-path", path, "--dataset", good, *SMALL)
        assert told.code == 2
        assert told.err.startswith("error: expected a disk that can be written, got ")
        assert told.err.endswith(f" - at {path}\n")
    assert ask("sl_basic", "--log-path", good, "--dataset", good, *SMALL).err.startswith("error: expected a folder")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: (10**9, 10**9, 10**5))
    told = ask("sl_basic", "--log-path", "run", "--dataset", good, *SMALL)
    assert told == (2, "", "error: expected 64 MB free on the disk of run, got 0.1 MB - at --log-path\n")
    assert not Path("run").exists()


@pytest.fixture
def answering():
    """Makes servers on this machine that answer everything with one status."""
    servers = []

    def answering(status):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_): ...

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield answering
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "{0} refuses the key (HTTP 401) - at --service {0}, with the key of "),
        (403, "{0} refuses the key (HTTP 403) - at --service {0}, with the key of "),
        (402, "{0} cannot bill the account (HTTP 402) - at --service {0}, with the key of --api-key"),
        (404, "there is no Tinker service at {0}: HTTP 404 - at --service {0}, with the key of --api-key"),
        (500, "there is no Tinker service at {0}: HTTP 500 - at --service {0}, with the key of --api-key"),
        (200, "there is no Tinker service at {0}: an answer of another kind - at --service {0}, with the key of "),
    ],
)
def test_a_service_that_refuses_is_told_and_the_key_is_not(status, sentence, ask, good, answering):
    url = answering(status)
    told = ask("sl_basic", "--log-path", "run", "--dataset", good, "--service", url, "--api-key", "tml-secret-xyz")
    assert told.code == 2
    assert told.err.startswith(f"error: {sentence.format(url)}")
    assert told.err.count("\n") == 1
    assert "secret" not in told.err + told.out
    assert not Path("run").exists()


def test_a_service_that_never_answers_is_told_in_time(ask, good, monkeypatch):
    assert connect.PREFLIGHT_SECONDS < 7, "ten seconds, less what it takes to start"
    monkeypatch.setattr("shell.train.check_service", partial(connect.check_service, limit_seconds=0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        told = ask("sl_basic", "--log-path", "run", "--dataset", good, "--service", url)
    sentence = f"there is no Tinker service at {url}: no answer in 0.2 s - at --service {url}, with no key"
    assert told == (2, "", f"error: {sentence}\n")


def test_a_run_on_a_service_by_its_address_keeps_the_key_out_of_every_file(service, ask, good, tmp_path):
    flags = ("--service", service.url, "--model-name", "tinsmith/tiny", "--dataset", good, *SMALL[2:])
    told = ask("sl_basic", "--log-path", "run", *flags, "--max-steps", 1, "--api-key", "tml-secret-xyz")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(f"service   {service.url} (--service {service.url}, with the key of --api-key)\n")
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert b"secret-xyz" not in path.read_bytes(), path
    assert "secret-xyz" not in told.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--load-checkpoint-path tinker://x/weights/final",
            "expected tinker://x/weights/final, got a refusal (there is no checkpoint 'tinker://x/weights/final' in ",
        ),
        (
            "--lora-rank 257",
            "expected a model that {} trains, got a refusal (expected a LoRA rank from 1 to 256, got 2",
        ),
        ("--model-name Qwen/Qwen3-8B --tokenizer sample", "unknown model 'Qwen/Qwen3-8B', expected one of 'tinsmith/t"),
    ],
)
def test_what_a_service_refuses_is_told_and_the_new_folder_taken_back(words, sentence, service, ask, good, tmp_path):
    flags = ("--service", service.url, "--model-name", "tinsmith/tiny", "--dataset", good, *SMALL[2:])
    told = ask("sl_basic", "--log-path", "new/run", *flags, *words.split())
    assert told.code == 2
    assert told.err.startswith(f"error: {sentence.format(service.url)}")
    assert told.err.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["good.jsonl"]


def test_the_recipe_trains_and_leaves_its_files(whole, talks):
    folder, (code, out, err) = whole
    assert (code, err) == (0, "")
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.jsonl", "ledger.jsonl", "checkpoints.jsonl", "logs.log", "run.lock", "service",
    }  # fmt: skip
    document = json.loads((folder / "config.json").read_text())
    assert document["config"]["dataset"] == str(talks)
    assert (document["sources"]["dataset"], document["sources"]["seed"]) == ("flag --dataset", "default")
    assert document["sources"]["learning_rate"] == "preset embedded"
    assert [(row["name"], row["cursor"]) for row in read(folder / "checkpoints.jsonl")] == [
        ("000002", 2), ("000004", 4), ("final", 4),
    ]  # fmt: skip
    metrics = read(folder / "metrics.jsonl")
    assert [row["step"] for row in metrics] == [0, 1, 2, 3, 4]
    assert ["test/nll" in row for row in metrics] == [True, False, False, True, True]
    assert metrics[3]["train_mean_nll"] < metrics[0]["train_mean_nll"]
    assert metrics[4]["test/nll"] < metrics[0]["test/nll"]
    said = [text.split(" ", 2)[2] for text in (folder / "logs.log").read_text().splitlines()]
    assert said == [text for text in out.splitlines() if not text.startswith("compiling ")]


def test_counts_in_metrics_are_those_of_the_examples_that_show_prints(whole, talks, ask):
    metrics = read(whole[0] / "metrics.jsonl")
    shown = map(json.loads, ask("show", "--dataset", talks, "--format", "json").out.splitlines())
    n_tokens, n_trained = zip(*[(len(d["tokens"]), sum(w > 0 for w in d["weights"])) for d in shown], strict=True)
    trained = [row for row in metrics if "num_tokens" in row]
    held_out = sum(n_tokens) - sum(row["num_tokens"] for row in trained)
    assert held_out in n_tokens
    assert sum(row["num_loss_tokens"] for row in trained) == sum(n_trained) - n_trained[n_tokens.index(held_out)]
    assert all(row["num_sequences"] == 2 for row in trained)


def test_the_next_command_that_a_run_prints_goes_on_from_its_weights(whole, ask):
    folder, told = whole
    (words,) = [text for text in told.out.splitlines() if text.startswith("next")]
    argv = words.partition("sl_basic.py ")[2].removesuffix(" trains on from these weights").split()
    os.chdir(folder.parent)
    assert ask("sl_basic", *argv, "--max-steps", 1).code == 0
    assert read(Path("run-next") / "metrics.jsonl")[0]["test/nll"] == read(folder / "metrics.jsonl")[-1]["test/nll"]


def test_the_same_command_again_leaves_the_run_and_names_the_flag(whole, talks, ask):
    before = {path: path.read_bytes() for path in whole[0].rglob("*") if path.is_file()}
    told = ask("sl_basic", "--log-path", whole[0], "--dataset", talks, *SMALL)
    assert (told.code, told.out) == (2, "")
    assert "use --behavior-if-log-dir-exists resume, delete or raise" in told.err
    assert {path: path.read_bytes() for path in whole[0].rglob("*") if path.is_file()} == before


def test_ctrl_c_stops_after_a_checkpoint_and_a_second_run_meanwhile_is_refused(talks, ask, tmp_path):
    flags = ("--log-path", tmp_path / "run", "--dataset", talks, *SMALL, "--num-epochs", 30)
    resume = ("--behavior-if-log-dir-exists", "resume")
    started = process_of("sl_basic", *flags)
    next(text for text in started.stdout if text.startswith("step 2/"))
    told = ask("sl_basic", *flags, *resume)
    assert told.code == 2
    assert told.err.endswith("run is in use by another run\n")
    started.send_signal(signal.SIGINT)
    code, out, err = finish(started)
    assert code == 130
    assert err == "\nstopping after the steps in flight, with a checkpoint; once more to stop now\n"
    n_done = len(read(tmp_path / "run" / "metrics.jsonl"))
    assert 2 <= n_done < 120
    assert f"stopped   after {n_done} of 120 steps. The last checkpoint is {n_done:06}; resume with: " in out

    flags = (*flags[:-1], -(-n_done // 4) + 1)
    told = ask("sl_basic", *flags, *resume)
    assert told.code == 2
    assert "schedule was linear to step 120 and is linear to step " in told.err
    code, out, err = ask("sl_basic", *flags, *resume, "--accept-changes", "schedule")
    assert (code, err) == (0, "")
    assert f"resumed   from checkpoint {n_done:06}, at step {n_done}" in out
    assert [row["step"] for row in read(tmp_path / "run" / "metrics.jsonl")] == list(range(4 * (-(-n_done // 4) + 1)))
