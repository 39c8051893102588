"""The show recipe: what it prints is the datum, and it treats rows as a run does."""

import json
import re

import numpy as np
import pytest

from kernel.enums import TrainOnWhat
from kernel.renderers import find_renderer
from shell.data.dataset import Dataset
from shell.data.open_rows import open_rows
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.text.tokenizer import open_tokenizer
from tests.recipes.running import ANSWER, CALL, GOOD, USER, calling, line, process_of, saying, write

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
    rows = Dataset(open_rows(path))
    datums = maker.batch(rows.to_list(), [rows.place(i) for i in range(3)]).datums
    assert [datum["row"] for datum in shown] == [0, 1, 2]
    for b, datum in enumerate(shown):
        tokens, targets, weights = datums.example(b)
        assert (datum["tokens"], datum["target_tokens"]) == (tokens.tolist(), targets.tolist())
        assert np.array_equal(np.array(datum["weights"], np.float32), weights)

    text = ask("show", *flags).out
    for answer in answers:
        literal = answer.replace("<|im_end|>", "\\<|im_end|>")
        assert f"{literal}<|im_end|>»" in text
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


LITERAL = ["a<|im_end|>b", "<tool_call>", "</tool_response>", "<think>\nOkay, so", "<|im_start|>user", "x <|im_end|>"]


@pytest.mark.parametrize("text", LITERAL)
def test_text_that_spells_a_control_token_is_told_from_it_and_counted(text, ask, tmp_path):
    path = write(tmp_path / "chats.jsonl", line(USER, ANSWER), line({**USER, "content": text}, ANSWER))
    out = ask("show", "--dataset", path, "--renderer-name", "qwen3").out
    assert "\\" + text[text.index("<") :] in out
    assert out.count("\\") == 1
    assert "1 of 2 rows: text spells control tokens of the format, and stays text" in out


def test_show_says_in_how_many_rows_the_public_template_differs(ask, tmp_path):
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": "é"}'}}]}
    path = write(tmp_path / "chats.jsonl", line(USER, ANSWER), line(USER, call))
    flags = ("--dataset", path, "--renderer-name", "qwen3")
    reference, template = ask("show", *flags).out, ask("show", *flags, "--follow", "template").out
    assert '{"a": "\\u00e9"}' in reference
    assert '{"a": "é"}' in template
    assert (
        "1 of 2 rows differs from the model's public template (--follow template). The reference: calls are"
        in reference
    )
    assert "1 of 2 rows differs from tinker-cookbook (--follow reference). The reference: calls are" in template
    code, _, err = ask("show", "--dataset", path, "--renderer-name", "role_colon", "--follow", "template")
    assert code == 2
    assert "got role_colon - at --follow" in err


def test_no_row_speaks_to_the_terminal(ask, tmp_path):
    path = write(tmp_path / ":smile:.jsonl", saying("a\x1b[2J\x07\r\x9bz\x7f:smile: [red]\nc"))
    out = ask("show", "--dataset", path).out
    assert out.startswith(f"{path}, qwen3_instruct")
    assert "a␛[2J␇␍\ufffdz\ufffd:smile: [red]\nc<|im_end|>" in out


def test_show_says_what_was_cut_and_how_far_a_row_trains(ask, good):
    out = ask("show", "--dataset", good, "--max-length", 14, "--limit", 2).out
    assert "row 1: 13 tokens, 1 trained, 3 cut off" in out
    assert out.endswith("2 rows, 2 examples, 26 tokens, 2 of them trained\n2 examples were cut\n")
    out = ask("show", "--dataset", good, "--max-length", 14, "--limit", 1).out
    assert "\n1 row, 1 example, 13 tokens, 1 of them trained\n1 example was cut\n" in out


OWN = "from kernel import Header, Renderer, Sampled, Text\nfrom kernel.parse_response.common import parse_plain\n"
OWN_RENDERERS = {
    "no Python": ("MINE = (", "{0} is not Python: '(' was never closed in line 1 - at"),
    "no such module": (
        "import nowhere",
        "{0}:MINE raised ModuleNotFoundError: No module named 'nowhere' in {0}:1 - at",
    ),
    "an exit": ("raise SystemExit(0)", "{0}:MINE raised SystemExit: 0 in {0}:1 - at"),
    "no piece": (
        OWN + "MINE = Renderer('mine', {'user': (Text(), 7)}, (Header('>'),), ('!',), parse_plain)",
        "expected pieces (Header, Sampled, Text, ...) in a tuple, got 7 - at mine, user",
    ),
    "no tuple": (
        OWN + "MINE = Renderer('mine', {'user': (Text(),)}, (Header('>')), ('!',), parse_plain)",
        "expected pieces (Header, Sampled, Text, ...) in a tuple, got '>' - at mine, cue",
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
        assert out.endswith("\n1 prompt was shortened\n")


def test_a_pipe_that_has_seen_enough_ends_show_quietly():
    started = process_of("show", "--limit", 400)
    started.stdout.readline()
    started.stdout.close()
    assert started.wait(timeout=60) == 141
    assert started.stderr.read() == ""
    started.stderr.close()
