"""The recipes as a newcomer meets them: they train, they show, and what is not fit is told in one sentence.

Most of it runs in this process, through the recipes' own `run` and `shell.settings.cli.main`; a handful are real
processes.
"""

import gzip
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import namedtuple
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from kernel.formats import find_renderer
from kernel.render.loss_mask import TrainOnWhat
from shell.data.dataset import Dataset
from shell.data.jsonl import JsonlRows
from shell.datums.render_rows import RenderSettings, RowRenderer
from shell.local_service import process
from shell.service import preflight
from shell.settings.cli import main
from shell.settings.config import Config, ShowConfig
from shell.text.tokenizer import SAMPLE, open_tokenizer

RECIPES = Path(__file__).parents[1] / "recipes"
USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello there"}
CALL = {"type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}}
SMALL = ("--service", "embedded", "--batch-size", "2", "--lora-rank", "2")


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNS = {"sl_basic": (recipe("sl_basic").run, Config), "show": (recipe("show").run, ShowConfig)}
Told = namedtuple("Told", "code out err")


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch):
    """No credentials, no answer from any hub, and a folder of one's own to stand in."""
    for name in ("TINKER_API_KEY", "TINKER_BASE_URL", "TINKER_CREDENTIAL_CMD", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ask(capsys):
    """Runs a recipe in this process: exit code, standard output, standard error."""

    def ask(name, *argv):
        run, config_type = RUNS[name]
        code = main(run, [str(word) for word in argv], config_type)
        return Told(code, *capsys.readouterr())

    return ask


def line(*messages, **more):
    return json.dumps({"messages": messages, **more}).encode()


def write(path, *lines):
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


GOOD = line(USER, ANSWER)


def saying(content, role="user"):
    return line({"role": role, "content": content}, ANSWER)


def calling(call, content=""):
    return line(USER, {"role": "assistant", "content": content, "tool_calls": call}, ANSWER)


ROWS = {
    "empty file": (b"", "expected a JSONL file, got an empty file - at {}"),
    "blank line": (GOOD + b"\n\n" + GOOD, "expected a JSON object, got a blank line - at {}:2"),
    "broken line": (
        GOOD + b'\n{"messages": [}',
        "expected a JSON object, got broken JSON (expecting value) - at {}:2:15",
    ),
    "line cut short": (
        GOOD + b'\n{"mess',
        "expected a JSON object, got broken JSON (unterminated string starting at) - at {}:2:2",
    ),
    "a list": (
        GOOD + b"\n[1]",
        "expected a JSON object, got a list (JSONL has one object a line, with no brackets around) - at {}:2",
    ),
    "a number": (b"3", "expected a JSON object, got 3 - at {}:1"),
    "NaN": (b'{"messages": NaN}', "expected a JSON object, got broken JSON (not a JSON value) - at {}:1:14"),
    "no messages": (
        GOOD + b'\n{"txt": "a"}',
        "expected the key 'messages', or those of another shape (see --dataset-format), got 'txt' - at {}:2",
    ),
    "raw text among conversations": (
        GOOD + b'\n{"text": "a"}',
        "expected a conversation, for qwen3_instruct writes turns, got raw text (--renderer-name text trains it) "
        "- at {}:2 $.text",
    ),
    "a call in the old way": (
        line(USER, {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{}"}}),
        "expected calls in the list 'tool_calls', got one under 'function_call' - at {}:1 $.messages[1].function_call",
    ),
    "tools in the old way": (
        line(USER, ANSWER, functions=[{"name": "f"}]),
        "expected tools in the list 'tools', got some under 'functions' - at {}:1 $.functions",
    ),
    "a refusal": (
        line(USER, {**ANSWER, "refusal": "no"}),
        "expected what is said under 'content' alone, got a refusal beside it - at {}:1 $.messages[1].refusal",
    ),
    "two shapes in a row": (
        GOOD + b'\n{"text": "a", "messages": []}',
        "expected a row of one shape (--dataset-format says which), got messages and text: 'text', 'messages' "
        "- at {}:2",
    ),
    "a null of ShareGPT's": (
        b'{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": null}]}',
        "expected text, got null - at {}:1 $.conversations[1].value",
    ),
    "an unknown speaker": (
        b'{"conversations": [{"from": "hmuan", "value": "a"}]}',
        "unknown speaker 'hmuan', did you mean 'human'? - at {}:1 $.conversations[0].from",
    ),
    "an unknown role in a prompt": (
        b'{"prompt": [{"role": "usr", "content": "a"}], "completion": "b"}',
        "unknown role 'usr', did you mean 'user'? - at {}:1 $.prompt[0].role",
    ),
    "no output": (b'{"instruction": "a", "output": null}', "expected text, got null - at {}:1 $.output"),
    "tools for a format without": (
        line(USER, {"role": "usr", "content": ""}, ANSWER, tools=[{"name": "f"}]),
        "unknown role 'usr', did you mean 'user'? - at {}:1 $.messages[1].role",
    ),
    "an array that breaks": (
        b"[" + GOOD + b', {"messages": [}]',
        f"expected a JSON object, got broken JSON (expecting value) - at {{}}:1:{len(GOOD) + 18}",
    ),
    "an array cut short": (
        b"[\n" + GOOD + b",\n",
        "expected the end of the array, ], got the end of the file - at {}:4:1",
    ),
    "a zip archive": (b"PK\x03\x04", "expected a JSONL file, got a zip archive (unpack it first) - at {}"),
    "gzip cut short": (
        gzip.compress(GOOD)[:-4],
        "expected a whole file packed by gzip, got one that ends in the middle (was it copied whole?) - at {}",
    ),
    "another column": (
        b'{"conversations": []}',
        "expected a list of at least one message, got an empty list - at {}:1 $.conversations",
    ),
    "empty messages": (
        GOOD + b"\n" + line(),
        "expected a list of at least one message, got an empty list - at {}:2 $.messages",
    ),
    "messages that are text": (
        b'{"messages": "hi"}',
        "expected a list of at least one message, got text - at {}:1 $.messages",
    ),
    "a message that is a number": (
        b'{"messages": [1]}',
        "expected a message object with role and content, got a number - at {}:1 $.messages[0]",
    ),
    "unknown role": (
        saying("x", role="usr"),
        "unknown role 'usr', did you mean 'user'? - at {}:1 $.messages[0].role",
    ),
    "no role": (
        line({"content": "x"}),
        "expected text, got nothing (the key is missing) - at {}:1 $.messages[0].role",
    ),
    "null content": (saying(None), "expected text, got null - at {}:1 $.messages[0].content"),
    "missing content": (
        line(USER, {"role": "assistant"}),
        "expected text, got nothing (the key is missing) - at {}:1 $.messages[1].content",
    ),
    "null content beside an empty list of calls": (
        calling([], content=None),
        "expected text, got null - at {}:1 $.messages[1].content",
    ),
    "a number for content": (saying(3), "expected text, got a number - at {}:1 $.messages[0].content"),
    "lone surrogate": (saying("a\ud800"), "expected text, got half a surrogate pair, \\ud800 - at {}:1:45"),
    "invalid UTF-8": (GOOD + b'\n{"messages": "\xff"}', "expected UTF-8, got the byte 0xff - at {}:2:15"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "expected UTF-8, got the byte 0xff - at {}:1:1"),
    "broken arguments": (
        calling([{"function": {"name": "look", "arguments": "{at"}}]),
        "expected a JSON object, got text that is not JSON (Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)) - at {}:1 $.messages[1].tool_calls[0].function.arguments",
    ),
    "calls that are text": (
        calling("look()"),
        "expected a list of tool calls, got text - at {}:1 $.messages[1].tool_calls",
    ),
    "an image in a text format": (
        saying([{"type": "image", "image": "x.png"}]),
        "expected text (qwen3_instruct is a text renderer), got an image - at {}:1 $.messages[0].content",
    ),
    "trainable where nothing reads it": (
        line(USER, {**ANSWER, "trainable": True}),
        "expected no 'trainable' field (only customized reads it, the mode is all_assistant_messages), got one "
        "- at {}:1 $.messages[1].trainable",
    ),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("what", ROWS)
def test_rows_that_cannot_be_used_are_told_with_file_line_and_path(what, name, ask, tmp_path):
    content, sentence = ROWS[what]
    path = write(tmp_path / "chats.jsonl", content) if content else tmp_path / "chats.jsonl"
    path.touch()
    flags = ("--log-path", "new/run", *SMALL) if name == "sl_basic" else ()
    code, out, err = ask(name, "--dataset", path, *flags)
    assert (code, err) == (2, f"error: {sentence.format(path)}\n")
    assert name == "show" or out == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["chats.jsonl"]


@pytest.mark.parametrize("name", RUNS)
def test_what_is_no_file_is_told(name, ask, tmp_path):
    flags = ("--log-path", "run", *SMALL) if name == "sl_basic" else ()
    (tmp_path / "folder.jsonl").mkdir()
    for path, got in (("none.jsonl", "no file of that name"), ("folder.jsonl", "a directory")):
        told = ask(name, "--dataset", path, *flags)
        assert told == (2, "", f"error: expected a JSONL file, got {got} - at {path}\n")
    told = ask(name, "--dataset", "no_robot", *flags)
    assert told == (2, "", "error: unknown dataset 'no_robot', did you mean 'no_robots'? - at --dataset\n")


FLAGS = [
    ("--max-length 1", "expected an integer >= 2"),
    ("--renderer-name qwne3", "unknown renderer 'qwne3', did you mean 'qwen3', "),
    ("--datset x", "unknown flag '--datset', did you mean '--dataset'"),
    ("datset=x", "unknown setting 'datset', did you mean 'dataset'"),
    ("--train-on-what all_assistant", "unknown train_on_what 'all_assistant', did you mean 'all_assistant_messages', "),
    ("--reduction sum", "unknown reduction 'sum', expected one of 'mean', 'none' - at --reduction"),
    ("--tokenizer none.json", "expected a tokenizer: a path to a tokenizer.json, or a repository's name, got 'none.j"),
    ("--tokenizer bare.json", "expected a tokenizer with the control tokens of qwen3_instruct, got bare.json without "),
    ("--tokenizer good.jsonl", "expected a tokenizer.json, got something else (JSON is malformed: trailing characters"),
    ("--dataset-column talk", "expected the key 'talk', got 'messages' - at good.jsonl:1"),
    ("--dataset hf:", "expected hf:REPO, got hf: alone - at --dataset"),
    ("--dataset-column=", "expected text that is not empty, got '' - at --dataset-column"),
    ("--model-name tinsmith/tyny", "unknown model 'tinsmith/tyny', did you mean 'tinsmith/tiny'? (any other works wit"),
    ("--config none.toml", "expected a file of settings, got no such file or directory - at none.toml"),
    ("--config", "expected a value, got none - at --config"),
]
RUN_FLAGS = [
    ("--batch-size 9", "expected batch_size <= 8 rows, got 9 - at $.batch_size (--tail keep trains them as one short "),
    ("--batch-size 0", "expected an integer >= 1, got 0 - at --batch-size"),
    ("--num-epochs -1", "expected an integer >= 1, got -1 - at --num-epochs"),
    ("--lora-rank 0", "expected an integer >= 1, got 0 - at --lora-rank"),
    ("--lora-rank 257", "expected a rank of at most 256 (local service), got 257 - at --lora-rank"),
    ("--test-size 8", "expected test_size < 8 rows, got 8 - at --test-size"),
    ("--test-size -1", "expected an integer >= 0 or none, got -1 - at --test-size"),
    ("--learning-rate 0", "expected a number > 0 or 'auto', got 0 - at --learning-rate"),
    ("--learning-rate nan", "expected a number > 0 or 'auto', got 'nan' - at --learning-rate"),
    ("--learning-rate inf", "expected a number below 2**31, got 'inf' - at --learning-rate"),
    ("--warmup-steps 9", "expected warmup_steps from 0 to the run's 4 steps, got 9"),
    ("--lr-schedule linaer", "unknown lr_schedule 'linaer', did you mean 'linear', 'cosine'? - at --lr-schedule"),
    ("--no-train-mlp --no-train-attn --no-train-unembed", "expected at least one kind of layer to adapt, got none"),
    ("--load-checkpoint-path nowhere", "expected a tinker:// path or the folder of a run that has saved, got nowhere"),
    ("--load-checkpoint-path tinker://x/weights/final", "expected the folder of the run that saved it (in the box "),
    ("--service x", "unknown service 'x', expected one of 'auto', 'tinker', 'embedded', 'http://HOST:PORT'"),
    ("--service tinker", "expected a key for https://tinker.thinkingmachines.dev/services/tinker-prod, got none: "),
    ("--api-key secret --service http://localhost:1", "expected a key that begins with 'tml-', got one that does not"),
    ("--service http://127.0.0.1:1", "expected a Tinker service at http://127.0.0.1:1, got [Errno 111] Connection ref"),
    (
        "--train-on-what customized",
        "expected true or false on every message (customized), got nothing - at good.jsonl:",
    ),
    ("--dataset unanswered.jsonl", "expected a message that all_assistant_messages trains, got none in 8 rows - at un"),
    ("--streaming", "expected --dataset hf:REPO with --streaming, --dataset-config, --dataset-split, got good.jsonl"),
]


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [("show", *case) for case in FLAGS] + [("sl_basic", *case) for case in [*FLAGS, *RUN_FLAGS]],
)
def test_settings_that_cannot_be_used_are_told_and_nothing_is_written(name, words, sentence, ask, tmp_path):
    write(tmp_path / "good.jsonl", *[GOOD] * 8)
    write(tmp_path / "unanswered.jsonl", *[line(USER)] * 8)
    spec = json.loads(SAMPLE.read_bytes())
    (tmp_path / "bare.json").write_text(json.dumps({**spec, "added_tokens": []}))
    before = sorted(tmp_path.rglob("*"))
    flags = ("--log-path", "new/run", *SMALL) if name == "sl_basic" else ()
    code, out, err = ask(name, "--dataset", "good.jsonl", *flags, *words.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good.jsonl", *[GOOD] * 8)


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
        (401, "expected a key that {0} takes, got one that it refuses (HTTP 401) - at --service {0}, with the key of "),
        (403, "expected a key that {0} takes, got one that it refuses (HTTP 403) - at --service {0}, with the key of "),
        (402, "expected an account that {0} can bill, got HTTP 402 - at --service {0}, with the key of --api-key"),
        (404, "expected a Tinker service at {0}, got HTTP 404 - at --service {0}, with the key of --api-key"),
        (500, "expected a Tinker service at {0}, got HTTP 500 - at --service {0}, with the key of --api-key"),
        (200, "expected a Tinker service at {0}, got an answer of another kind - at --service {0}, with the key of "),
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
    assert preflight.LIMIT_SECONDS < 7, "ten seconds, less what it takes to start"
    monkeypatch.setattr("shell.train.check_service", partial(preflight.check_service, limit_seconds=0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        told = ask("sl_basic", "--log-path", "run", "--dataset", good, "--service", url)
    sentence = f"expected a Tinker service at {url}, got no answer in 0.2 s - at --service {url}, with no key"
    assert told == (2, "", f"error: {sentence}\n")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with process.start(tmp_path_factory.mktemp("state")) as running:
        yield running


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


KINDS = {
    "no final newline": GOOD,
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "CRLF": GOOD + b"\r\n" + GOOD + b"\r\n",
    "blank lines at the end": GOOD + b"\n\n\n",
    "parts": saying([{"type": "text", "text": "a"}]),
    "calls with null content": calling([CALL], content=None),
    "calls as plain objects": calling([{"name": "look", "arguments": {"at": "x"}}]),
    "a tool's answer without a name": line(USER, {"role": "tool", "content": "ok"}, ANSWER),
    "tools as text": line(USER, ANSWER, tools=json.dumps([CALL["function"] | {"parameters": {}}])),
    "a row of 2 MB": line(USER, {"role": "assistant", "content": "word " * 400_000}),
}


@pytest.mark.parametrize("what", KINDS)
def test_rows_as_people_have_them_are_shown(what, ask, tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_bytes(KINDS[what])
    code, out, err = ask("show", "--dataset", path, "--max-length", 500, "--format", "json")
    assert (code, err) == (0, "")
    for shown in map(json.loads, out.splitlines()):
        assert len(shown["tokens"]) == len(shown["weights"]) == len(shown["target_tokens"]) < 500
        assert sum(shown["weights"]) == pytest.approx(1)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_what_show_prints_is_the_datum(reduction, ask, tmp_path):
    answers = ["Yes.", "No, <|im_end|> no", "Ça va ? 🙂"]
    path = write(tmp_path / "chats.jsonl", *[line(USER, {**ANSWER, "content": answer}) for answer in answers])
    flags = ("--dataset", path, "--renderer-name", "qwen3", "--reduction", reduction)
    shown = [json.loads(text) for text in ask("show", *flags, "--format", "json").out.splitlines()]

    settings = RenderSettings(train_on_what=TrainOnWhat.ALL_ASSISTANT_MESSAGES, reduction=reduction)
    maker = RowRenderer(find_renderer("qwen3"), open_tokenizer("sample"), settings)
    rows = Dataset(JsonlRows(path))
    datums = maker.datums(rows.to_list(), [rows.place(i) for i in range(3)])
    assert [datum["row"] for datum in shown] == [0, 1, 2]
    for b, datum in enumerate(shown):
        tokens, targets, weights = datums.example(b)
        assert (datum["tokens"], datum["target_tokens"]) == (tokens.tolist(), targets.tolist())
        assert np.array_equal(np.array(datum["weights"], np.float32), weights)

    text = ask("show", *flags).out
    for answer in answers:
        assert f"{answer}<|im_end|>»" in text
    n_trained = sum(int((np.array(datum["weights"]) > 0).sum()) for datum in shown)
    assert f"3 rows, 3 examples, {len(datums.inputs)} tokens, {n_trained} of them trained" in text


def test_trained_tokens_are_marked_wherever_there_is_no_colour(ask, good, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    coloured = ask("show", "--dataset", good, "--limit", 1).out
    assert "trained tokens are green" in coloured
    assert "\x1b[1;32mHello there" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    marked = re.sub("\x1b[^m]*m", "", ask("show", "--dataset", good, "--limit", 1).out)
    assert "trained tokens are marked «»" in marked
    assert "«Hello there<|im_end|>»" in marked


def test_no_row_speaks_to_the_terminal(ask, tmp_path):
    path = write(tmp_path / ":smile:.jsonl", saying("a\x1b[2J\x07\r\x9bz\x7f:smile: [red]\nc"))
    out = ask("show", "--dataset", path).out
    assert out.startswith(f"{path}, qwen3_instruct")
    assert "a␛[2J␇␍\ufffdz\ufffd:smile: [red]\nc<|im_end|>" in out


def test_show_says_what_was_cut_and_how_far_a_row_trains(ask, good):
    out = ask("show", "--dataset", good, "--max-length", 14, "--limit", 2).out
    assert "row 1: 13 tokens, 1 trained, 3 cut off" in out
    assert out.endswith("2 rows, 2 examples, 26 tokens, 2 of them trained\n2 examples were cut\n")


OWN = "from kernel import Given, Renderer, Said, Text\nfrom kernel.parsing.plain import parse_plain\n"
OWN_RENDERERS = {
    "no Python": ("MINE = (", "expected a Python file that runs, {0}, got SyntaxError: '(' was never closed"),
    "no such module": ("import nowhere", "{0}, got ModuleNotFoundError: No module named 'nowhere' - at"),
    "an exit": ("raise SystemExit(0)", "expected a Python file that runs, {0}, got SystemExit: 0 - at"),
    "no piece": (
        OWN + "MINE = Renderer('mine', {'user': (Text(), 7)}, (Given('>'),), ('!',), parse_plain)",
        "expected pieces (Given, Said, Text, ...) in a tuple, got 7 - at mine, user",
    ),
    "no tuple": (
        OWN + "MINE = Renderer('mine', {'user': (Text(),)}, (Given('>')), ('!',), parse_plain)",
        "expected pieces (Given, Said, Text, ...) in a tuple, got '>' - at mine, cue",
    ),
}


@pytest.mark.parametrize("what", OWN_RENDERERS)
def test_a_renderer_of_ones_own_that_is_none_is_told_in_one_sentence(what, ask, good, tmp_path):
    text, sentence = OWN_RENDERERS[what]
    file = tmp_path / "mine.py"
    file.write_text(text)
    code, _, err = ask("show", "--dataset", good, "--renderer-name", f"{file}:MINE")
    assert code == 2
    assert sentence.format(file) in err
    assert err.count("\n") == 1


TREATED = {
    "right": "row 1: 29 tokens, 0 trained, 46 cut off; skipped in a run, unless --zero-loss send\n",
    "drop": "skipped: {0}:2: 76 tokens, more than 30\nskipped: {0}:3: 76 tokens, more than 30\n",
    "keep_answer": "row 1: 29 tokens, 4 trained; its prompt was shortened, to 30 of 76 tokens, its answer whole\n",
    "error": "error: expected examples of at most 30 tokens (--truncation error), got 76 tokens - at {0}:2\n",
    "train": "row 2: 29 tokens, 17 trained, 46 cut off\n",
    "skip": "row 2: 29 tokens, 0 trained, 46 cut off; skipped in a run, unless --zero-loss send\n",
}


@pytest.mark.parametrize("how", TREATED)
def test_show_treats_what_is_too_long_as_a_run_does(how, ask, tmp_path):
    short, question, answer = saying("Hello"), saying("word " * 60), line(USER, {**ANSWER, "content": "long " * 60})
    path = write(tmp_path / "chats.jsonl", short, question, answer)
    flag = "--cut-answers" if how in ("skip", "train") else "--truncation"
    code, out, err = ask("show", "--dataset", path, "--max-length", 30, flag, how)
    assert TREATED[how].format(path) in out + err
    assert (code, "row 0: " in out) == ((2, False) if how == "error" else (0, True))
    if how == "keep_answer":
        assert f"skipped: {path}:3: 76 tokens, and without its prompt still more than 30\n" in err
        assert out.endswith("\n1 prompts were shortened\n")


def process_of(name, *argv, **more):
    return subprocess.Popen(
        [sys.executable, str(RECIPES / f"{name}.py"), *map(str, argv)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def finish(started):
    out, err = started.communicate(timeout=120)
    return Told(started.returncode, out, err)


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    """Nine conversations of different lengths."""
    rows = [line(USER, {**ANSWER, "content": "It is so. " * n}) for n in range(1, 10)]
    return write(tmp_path_factory.mktemp("data") / "talks.jsonl", *rows)


@pytest.fixture(scope="module")
def whole(talks, tmp_path_factory):
    """A run as it is typed, from a folder that is not the repository's."""
    here = tmp_path_factory.mktemp("here")
    flags = ("--dataset", talks, *SMALL, "--test-size", 1, "--eval-every", 3, "--save-every", 2)
    return here / "run", finish(process_of("sl_basic", "--log-path", "run", *flags, cwd=here))


def read(path):
    return [json.loads(text) for text in path.read_text().splitlines()]


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
    assert said == out.splitlines()


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


@pytest.mark.parametrize("name", RUNS)
def test_bad_input_is_told_by_the_process_itself(name, tmp_path):
    write(tmp_path / "chats.jsonl", GOOD, b"{")
    flags = ("--log-path", "run", *SMALL) if name == "sl_basic" else ()
    sentence = "expected a JSON object, got broken JSON (expecting property name enclosed in double quotes)"
    told = finish(process_of(name, "--dataset", "chats.jsonl", *flags, cwd=tmp_path))
    assert told == (2, "", f"error: {sentence} - at chats.jsonl:2:2\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["chats.jsonl"]


def test_a_pipe_that_has_seen_enough_ends_show_quietly():
    started = process_of("show", "--limit", 400)
    started.stdout.readline()
    started.stdout.close()
    assert started.wait(timeout=60) == 141
    assert started.stderr.read() == ""
    started.stderr.close()
