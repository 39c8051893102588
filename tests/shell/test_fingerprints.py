"""Provenance: what decides a token changes it, nothing else does, and it is the same in every process."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from kernel.enums import TrainOnWhat
from kernel.length_limit import LengthPolicy, Truncation
from kernel.renderer_language.pieces import Header
from kernel.renderers import RENDERERS, find_renderer
from kernel.renderers.follow_template import following_template
from shell.data.rows import ListRows
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.fingerprints import ROOT, deciding_modules, format_digest, key_of, provenance_of
from shell.text.renderer_by_name import open_format
from shell.text.tokenizer import Tokenizer, open_tokenizer

SAMPLE = open_tokenizer("sample")
QWEN3 = find_renderer("qwen3")


def maker_of(**more: object) -> RowRenderer:
    renderer, tokenizer = more.pop("renderer", QWEN3), more.pop("tokenizer", SAMPLE)
    given = {"train_on_what": TrainOnWhat.ALL_ASSISTANT_MESSAGES, "max_length": 99}
    return RowRenderer(renderer, tokenizer, RenderSettings(**{**given, **more}))  # type: ignore[arg-type]


def key(**more: object) -> str:
    return key_of(provenance_of(ListRows([]), maker_of(**more)))


def other_tokenizer() -> Tokenizer:
    return Tokenizer(SAMPLE.json + b"\n", "sample")


@pytest.mark.parametrize(
    "more",
    [
        {"renderer": find_renderer("qwen3_instruct")},
        {"renderer": following_template(QWEN3)},
        {"renderer": replace(QWEN3, cue=(Header("<|im_start|>assistant\n\n"),))},
        {"renderer": replace(QWEN3, before=lambda talk: talk)},
        {"tokenizer": other_tokenizer()},
        {"train_on_what": TrainOnWhat.ALL_TOKENS},
        {"column": "conversations"},
        {"split_turns": False},
        {"length_policy": LengthPolicy(Truncation.KEEP_ANSWER)},
    ],
    ids=["renderer", "template", "piece", "function", "tokenizer", "mode", "column", "split", "shortening"],
)
def test_what_decides_a_token_changes_the_identity(more: dict[str, object]) -> None:
    assert key(**more) != key()


def test_the_length_prompts_are_shortened_to_decides_and_the_length_of_a_cut_does_not() -> None:
    shortens = LengthPolicy(Truncation.KEEP_ANSWER)
    assert key(length_policy=shortens) != key(length_policy=shortens, max_length=98)
    assert key(max_length=98) == key()


@pytest.mark.parametrize(
    "more",
    [{"reduction": "none"}, {"lenient": True}, {"length_policy": LengthPolicy(Truncation.DROP, False, True)}],
    ids=["reduction", "lenient", "treatment"],
)
def test_what_decides_no_token_does_not(more: dict[str, object]) -> None:
    assert key(**more) == key()


def test_no_two_renderers_share_a_digest() -> None:
    assert len({format_digest(renderer) for renderer in RENDERERS.values()}) == len(RENDERERS)


def test_digests_are_the_same_in_every_process() -> None:
    code = "from kernel.renderers import RENDERERS as R\n"
    code += "from shell.fingerprints import format_digest as d, code_digest\n"
    code += "print(code_digest(), *[d(r) for r in R.values()])"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert runs[0].decode().split()[1:] == [format_digest(renderer) for renderer in RENDERERS.values()]


OWN = """
from dataclasses import replace
from kernel.renderers.qwen3 import QWEN3
from {helper} import turned
MINE = replace(QWEN3, name="mine", before=turned)
"""


def test_a_renderer_of_ones_own_is_also_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = []
    for i, body in enumerate(("return talk", "return talk", "return talk[:1]")):
        (tmp_path / f"helper_{i}.py").write_text(f"def turned(talk):\n    {body}\n")
        (tmp_path / "mine.py").write_text(OWN.format(helper=f"helper_{i}"))
        mine = open_format(f"{tmp_path}/mine.py:MINE", SAMPLE, "sample")
        digests.append(format_digest(replace(mine, before=partial(mine.before))))  # type: ignore[arg-type]
    assert len(set(digests)) == 3  # the module's name is another each time


def test_a_changed_file_of_ones_own_changes_the_digest(tmp_path: Path) -> None:
    digests = []
    for body in ("return talk", "return talk[:1]", "return talk"):
        (tmp_path / "mine.py").write_text(
            "from dataclasses import replace\nfrom kernel.renderers.qwen3 import QWEN3\n"
            f"def turned(talk):\n    {body}\nMINE = replace(QWEN3, before=turned)\n"
        )
        digests.append(format_digest(open_format(f"{tmp_path}/mine.py:MINE", SAMPLE, "sample")))
    assert digests[0] == digests[2] != digests[1]


RENDERS = """
import sys
from shell.data.mixture_spec import open_data
from shell.data.load_dataset import DatasetSpec
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.text.renderer_by_name import FormatNames
from kernel.enums import TrainOnWhat
import numpy as np
_, data, tokenizer = sys.argv
for renderer in ("qwen3", "hf_template"):
    rows = open_data(DatasetSpec(dataset=data)).train.rows
    settings = RenderSettings(train_on_what=TrainOnWhat.ALL_TOKENS)
    renderer = RowRenderer(*FormatNames(renderer, tokenizer).open(), settings)
    assert len(renderer.batch(rows.take(np.arange(2)), ["", ""]).datums.inputs)
names = [name for name in sys.modules if name.startswith(("kernel", "shell")) and "." in name]
print(*(sys.modules[name].__file__ for name in names))
"""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    "kind", ["jsonl", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("json", "parquet"))]
)
def test_every_module_that_is_loaded_to_make_tokens_of_rows_is_digested(tmp_path: Path, kind: str) -> None:
    """A module that decides tokens and is found in another way than by an import in the source fails this test."""
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * 2
    data = tmp_path / f"data.{kind}"
    if kind == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), data)
    else:
        data.write_text(json.dumps(rows) if kind == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tokenizer.json").write_bytes(SAMPLE.json)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    done = subprocess.run(
        [sys.executable, "-c", RENDERS, str(data), str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {Path(file).relative_to(ROOT).as_posix() for file in done.stdout.split()}
    packages = {
        path
        for path in loaded
        if path.endswith("/__init__.py")
        and "\nimport" not in (text := (ROOT / path).read_text())
        and "\nfrom" not in text
    }
    assert len(loaded) > 50
    assert loaded - packages <= set(deciding_modules())


def test_what_decides_no_token_is_not_digested() -> None:
    others = ("kernel/loss.py", "kernel/training_steps.py", "shell/training/", "shell/token_cache/", "shell/service/")
    assert not [path for path in deciding_modules() if path.startswith(others)]
