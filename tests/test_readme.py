"""The README says what is true: its example runs, its commands are CI's, its map names files that are there."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from kernel import InputError, Message, Renderer, Segment, SpanKind, TrainOnWhat
from shell import tinsmith
from shell.text.renderer_by_name import open_format
from shell.text.tokenizer import open_tokenizer
from tests.spans import weigh, write

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


PYTHON, KERNEL, FORMAT = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_example_from_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas")
    monkeypatch.setitem(sys.modules, "tinsmith", tinsmith)  # in a checkout that is not installed
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TINKER_API_KEY", raising=False)
    scope: dict[str, Any] = {}
    exec(PYTHON, scope)
    run = scope["run"]
    assert run.is_finished
    assert [line["step"] for line in run.metrics if "eval/sums/right" in line] == [0, 2, 4]
    assert [line["learning_rate"] for line in run.metrics[:4]] == [0.01, 0.01, 0.005, 0.005]
    assert "'step': 4, " in capsys.readouterr().out


def test_the_example_of_the_kernel_runs() -> None:
    scope: dict[str, object] = {}
    exec(KERNEL, scope)
    assert scope["targets"][scope["weights"] > 0].tolist() == [ord("4"), scope["control_ids"]["<|eot_id|>"]]  # type: ignore[index, operator]


def test_the_format_of_your_own_trains_and_parses(tmp_path: Path) -> None:
    path = tmp_path / "my_format.py"
    path.write_text(FORMAT)
    mine = open_format(f"{path}:MINE", open_tokenizer("sample"), "sample")
    assert isinstance(mine, Renderer)
    talk = (Message("user", "<|end|>"), Message("assistant", "4"))
    spans = write(mine, talk)
    assert [span.text for span in spans if span.kind is SpanKind.CONTROL] == [
        "<|user|>",
        "<|end|>",
        "<|assistant|>",
        "<|end|>",
    ]
    weights = weigh(mine, talk, spans, TrainOnWhat.ALL_ASSISTANT_MESSAGES)
    assert "".join(span.text for span, weight in zip(spans, weights, strict=True) if weight) == "4<|end|>\n"
    assert mine.parse([Segment(SpanKind.MESSAGE, "4"), Segment(SpanKind.CONTROL, "<|end|>")]).message.content == "4"


@pytest.mark.parametrize(("spec", "sentence"), [("no.py:MINE", "no file no.py"), ("{}:YOURS", "unknown name in")])
def test_a_file_without_the_renderer_is_refused(tmp_path: Path, spec: str, sentence: str) -> None:
    path = tmp_path / "my_format.py"
    path.write_text("MINE = 3")
    with pytest.raises(InputError, match=sentence):
        open_format(spec.format(path), open_tokenizer("sample"), "sample")


def test_ci_runs_the_readmes_test_command() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README, re.M)
    assert len(commands) == 2
    test_command = commands[1].replace(".venv", ".ci-venv")
    assert test_command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_map_names_modules_that_are_there() -> None:
    (block,) = re.findall(r"## The map\n\n```\n(.*?)```", README, re.S)
    layer = ""
    for line in block.splitlines():
        top = re.match(r"(\w+)/ ", line)
        layer = top.group(1) if top else layer
        for name in re.findall(r"\b(\w+\.py)\b", line):
            assert (ROOT / layer / name).is_file(), name
        folder = re.match(r"  (\w+)/ ", line)
        assert folder is None or (ROOT / layer / folder[1]).is_dir(), line


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
