"""Rows and settings that cannot be used, in every recipe: one sentence with the location, and nothing is written."""

import json

import pytest

from shell.text.tokenizer import SAMPLE
from tests.recipes.running import (
    ANSWER,
    GOOD,
    RUNS,
    SMALL,
    USER,
    calling,
    finish,
    line,
    process_of,
    saying,
    write,
)
from tests.shell.packing import packed_by_gzip

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
    "NaN": (b'{"messages": NaN}', "expected a number that JSON has, got NaN - at {}:1 $.messages"),
    "no messages": (
        GOOD + b'\n{"txt": "a"}',
        "expected the key 'messages', those of another shape (see --dataset-format), or --dataset-map "
        "user=KEY,assistant=KEY, got 'txt' - at {}:2",
    ),
    "raw text among conversations": (
        GOOD + b'\n{"text": "a"}',
        "raw text needs --renderer-name text; qwen3_instruct renders conversations - at {}:2 $.text",
    ),
    "two calls that differ": (
        line(USER, {**ANSWER, "function_call": {"name": "f"}, "tool_calls": [{"name": "g"}]}),
        "the calls here and those under 'tool_calls' differ: keep one of them - at {}:1 $.messages[1].function_call",
    ),
    "a key that is not read": (
        line(USER, {**ANSWER, "mood": "glad"}),
        "the key 'mood' is not read (remove it, or pass --unknown-keys ignore) - at {}:1 $.messages[1].mood",
    ),
    "a refusal": (
        line(USER, {**ANSWER, "refusal": "no"}),
        "expected one value under 'content' and 'refusal', which mean the same, got two that differ "
        "- at {}:1 $.messages[1].refusal",
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
        packed_by_gzip(GOOD)[:-4],
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
        "expected the JSON text of a list of messages, got text that is not JSON "
        "(Expecting value: line 1 column 1 (char 0)) - at {}:1 $.messages",
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
        "expected 'role' and 'content', or 'from' and 'value' (--dataset-map role=KEY,content=KEY names other keys), "
        "got 'content' - at {}:1 $.messages[0]",
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
    "UTF-16": (
        GOOD.decode().encode("utf-16-le"),
        "expected a JSONL file, got text in UTF-16 without a byte order mark (iconv -f UTF-16LE -t UTF-8 FILE) - at {}",
    ),
    "broken arguments": (
        calling([{"function": {"name": "look", "arguments": "{at"}}]),
        "expected a JSON object, got text that is not JSON (Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)) - at {}:1 $.messages[1].tool_calls[0].function.arguments",
    ),
    "calls that are text": (
        calling("look()"),
        "expected the JSON text of a list of tool calls, got text that is not JSON "
        "(Expecting value: line 1 column 1 (char 0)) - at {}:1 $.messages[1].tool_calls",
    ),
    "an image in a text format": (
        saying([{"type": "image", "image": "x.png"}]),
        "expected text (qwen3_instruct is a text renderer), got an image - at {}:1 $.messages[0].content",
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
    kinds = "a folder with JSONL, JSON, CSV, TSV, Parquet or Arrow files"
    files = {"none.jsonl": ("a JSONL file", "no file of that name"), "folder.jsonl": (kinds, "an empty folder")}
    for path, (what, got) in files.items():
        told = ask(name, "--dataset", path, *flags)
        assert told == (2, "", f"error: expected {what}, got {got} - at {path}\n")
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
    (
        "--batch-size 9",
        "8 rows are fewer than a batch of 9: type --batch-size 8, or --tail keep to train them as one short batch",
    ),
    ("--batch-size 0", "expected an integer >= 1, got 0 - at --batch-size"),
    ("--num-epochs -1", "expected an integer >= 1 or a number > 0, got -1 - at --num-epochs"),
    ("--lora-rank 0", "expected an integer >= 1, got 0 - at --lora-rank"),
    ("--lora-rank 257", "expected a rank of at most 256 (local service), got 257 - at --lora-rank"),
    ("--test-size 8", "8 rows are all there is, and 8 would be held out: type a smaller --test-size, or 0"),
    ("--test-size -1", "expected an integer >= 0 or a number > 0 and < 1 or none, got -1 - at --test-size"),
    ("--learning-rate 0", "expected a number > 0 or 'auto', got 0 - at --learning-rate"),
    ("--learning-rate nan", "expected a number > 0 or 'auto', got 'nan' - at --learning-rate"),
    ("--learning-rate inf", "expected a number below 2**31, got 'inf' - at --learning-rate"),
    ("--warmup-steps 9", "expected warmup_steps from 0 to the run's 4 steps, got 9"),
    ("--lr-schedule linaer", "unknown lr_schedule 'linaer', did you mean 'linear', 'cosine'? - at --lr-schedule"),
    ("--no-train-mlp --no-train-attn --no-train-unembed", "expected at least one kind of layer to adapt, got none"),
    ("--load-checkpoint-path nowhere", "expected a tinker:// path or the folder of a run that has saved, got nowhere"),
    ("--load-checkpoint-path tinker://x/weights/final", "expected the folder of the run that saved it (each run has "),
    ("--service x", "unknown service 'x', expected one of 'auto', 'tinker', 'embedded', 'http://HOST:PORT'"),
    ("--service tinker", "expected a key for https://tinker.thinkingmachines.dev/services/tinker-prod, got none: "),
    ("--api-key secret --service http://localhost:1", "expected a key that begins with 'tml-', got one that does not"),
    ("--service http://127.0.0.1:1", "there is no Tinker service at http://127.0.0.1:1: [Errno 111] Connection ref"),
    (
        "--train-on-what customized",
        "expected true or false on every message (customized), got nothing - at good.jsonl:",
    ),
    ("--dataset unanswered.jsonl", "expected a message that all_assistant_messages trains, got none in 8 rows - at un"),
    ("--streaming", "--streaming, --dataset-config and --dataset-split need --dataset hf:REPO, not good.jsonl"),
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
    if err.startswith("error: 8 of 8 rows cannot be used"):  # a table, with the sentence as its one reason
        assert f"  8  {sentence.partition(' - at ')[0]} at good.jsonl:1" in " ".join(err.split()).replace(
            " 8 ", "  8  "
        )
    else:
        assert err.startswith(f"error: {sentence}")
        assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", RUNS)
def test_bad_input_is_told_by_the_process_itself(name, tmp_path):
    write(tmp_path / "chats.jsonl", GOOD, b"{")
    flags = ("--log-path", "run", *SMALL) if name == "sl_basic" else ()
    sentence = "expected a JSON object, got broken JSON (expecting property name enclosed in double quotes)"
    told = finish(process_of(name, "--dataset", "chats.jsonl", *flags, cwd=tmp_path))
    compiling = "compiling the kernel's loops: once per machine, then cached\n"  # on a busy machine
    assert told._replace(out=told.out.replace(compiling, "")) == (2, "", f"error: {sentence} - at chats.jsonl:2:2\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["chats.jsonl"]
