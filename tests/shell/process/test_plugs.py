"""Code of the user's: what is wrong with it is one sentence that names their file and line."""

from pathlib import Path

import pytest

from kernel.errors import InputError
from shell.process import plugs
from shell.process.plugs import Named, Plug, absolute, check_trusted, digests, load_plug, split_specs

BROKEN = {
    "def f(:": "{0} is not Python: invalid syntax in line 1 - at --map",
    "import nowhere": "{0}:f raised ModuleNotFoundError: No module named 'nowhere' in {0}:1 - at --map",
    "raise SystemExit(3)": "{0}:f raised SystemExit: 3 in {0}:1 - at --map",
    "def g(row): return row\nff = g": "unknown name in {0} 'f', did you mean 'ff'? - at --map",
    "": "{0} defines no f - at --map",
}


def load(tmp_path: Path, text: str, name: str = "f") -> Plug:
    file = tmp_path / "mine.py"
    file.write_text(text)
    return load_plug(f"{file}:{name}", "--map")


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_gives_no_object_is_one_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, text)
    assert str(error.value) == BROKEN[text].format(tmp_path / "mine.py")


def test_a_missing_file_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"there is no file nowhere\.py with a function in it - at --map"):
        load_plug("nowhere.py:f", "--map", "a function")


def test_an_exception_names_the_line_in_their_file(tmp_path: Path) -> None:
    plug = load(tmp_path, "import json\n\ndef f(row):\n    return json.loads(row)\n")
    assert plug("[1]") == [1]
    with pytest.raises(InputError, match=r"mine\.py:f raised JSONDecodeError: .* in .*mine\.py:4 - at --map"):
        plug("[")


def test_an_exception_without_words_has_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"raised KeyError in .*mine\.py:2"):
        load(tmp_path, "def f(row):\n    raise KeyError\n")({})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("f = 3", r"mine\.py:f is a int, not a function of a row - at --map"),
        ("def f(): ...", r"mine\.py:f\(\) cannot be called with a row - at --map"),
        ("def f(a, b): ...", r"mine\.py:f\(a, b\) cannot be called with a row - at --map"),
        ("def f(*, a): ...", r"mine\.py:f\(\*, a\) cannot be called with a row - at --map"),
    ],
)
def test_a_wrong_signature_is_found_before_the_first_call(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        load(tmp_path, text).check_takes(1, "a row")


@pytest.mark.parametrize("text", ["def f(row, more=1): ...", "f = len", "class f:\n    def __init__(self, row): ..."])
def test_what_can_be_called_is_taken(text: str, tmp_path: Path) -> None:
    load(tmp_path, text).check_takes(1, "a row")


def test_the_digest_is_that_of_the_bytes_and_the_name(tmp_path: Path) -> None:
    first = load(tmp_path, "f = g = len").digest
    assert load(tmp_path, "f = g = len", "g").digest != first
    assert load(tmp_path, "f = g = len ").digest != first
    assert load(tmp_path, "f = g = len").digest == first


def test_a_call_that_does_not_return_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugs, "NOTICE_SECONDS", 0.05)
    plug = load(tmp_path, "import time\n\ndef f(seconds):\n    time.sleep(seconds)\n")
    lines: list[str] = []
    plug.log = lines.append
    plug(0)
    plug(0.5)
    (line,) = lines
    assert line.startswith(f"still waiting for {tmp_path / 'mine.py'}:f after")


def test_a_file_that_does_not_end_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugs, "NOTICE_SECONDS", 0.05)
    lines: list[str] = []
    monkeypatch.setattr("builtins.print", lambda line, **_: lines.append(line))
    load(tmp_path, "import time\ntime.sleep(0.5)\nf = len")
    assert [line.startswith("still waiting for ") for line in lines] == [True]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.py:f", [Named("", "a.py:f")]),
        ("a.py:f, x=b/c.py:g,", [Named("", "a.py:f"), Named("x", "b/c.py:g")]),
        ("qwen3", [Named("", "qwen3")]),
        ("k=v/a.py:f", [Named("k", "v/a.py:f")]),
        ("a=b", [Named("", "a=b")]),
    ],
)
def test_a_list_of_code_is_split_at_commas(text: str, parts: list[Named]) -> None:
    assert list(split_specs(text)) == parts


def test_paths_of_a_settings_file_are_relative_to_it() -> None:
    folder = Path("/a/b")
    assert absolute("x=c.py:f,/d.py:g,../e.py:h", folder) == "x=/a/b/c.py:f,/d.py:g,/a/b/../e.py:h"
    assert absolute("qwen3", folder) == "qwen3"


def test_code_is_trusted_in_its_own_folder_and_as_it_was_recorded(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    file, outside, inside = tmp_path / "run" / "config.json", tmp_path / "mine.py", tmp_path / "run" / "own.py"
    (tmp_path / "run" / "link.py").symlink_to(outside)
    for path in (outside, inside):
        path.write_text("f = len")

    def check(path: Path, recorded: dict[str, str]) -> None:
        check_trusted(f"x={path}:f", file, recorded, "give --allow-code", "config.json $.loss")

    check(inside, {})
    check(outside, digests(f"{outside}:f"))
    for path in (outside, tmp_path / "run" / ".." / "mine.py", tmp_path / "run" / "link.py", tmp_path / "no.py"):
        with pytest.raises(InputError, match=r"json names code that is not in .*: give --allow-code - at config"):
            check(path, {})
    recorded = digests(f"{outside}:f")
    outside.write_text("f = max")
    with pytest.raises(InputError, match="names code that has changed since the run recorded it"):
        check(outside, recorded)
