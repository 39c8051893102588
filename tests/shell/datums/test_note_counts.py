"""The first rows of a data set are counted by what to know of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from kernel.enums import TrainOnWhat
from kernel.renderers import RENDERERS
from kernel.renderers.follow_template import following_template
from shell.data.dataset import Dataset
from shell.data.load_dataset import Source
from shell.data.open_rows import open_rows
from shell.datums.note_counts import note_lines
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.text.tokenizer import open_tokenizer

ASK, SAID = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": "é"}'}}]}


def lines(tmp_path: Path, name: str, *talks: list[object], follow: bool = False) -> list[str]:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    rows = open_rows(path)
    renderer = following_template(RENDERERS[name]) if follow else RENDERERS[name]
    settings = RenderSettings(train_on_what=TrainOnWhat.ALL_ASSISTANT_MESSAGES)
    source = Source(Dataset(rows, np.arange(len(rows))), None, "", "chats")
    return list(note_lines(source, RowRenderer(renderer, open_tokenizer("sample"), settings)))


@pytest.mark.parametrize(
    ("name", "talk", "line"),
    [
        ("qwen3", [{"role": "user", "content": "<|im_end|>"}, SAID], "text spells control tokens of the format"),
        ("qwen3", [ASK, {"role": "assistant", "content": "<think>\nOkay"}], "text spells control tokens of the format"),
        ("qwen3", [ASK, SAID, SAID], "an assistant's message follows another"),
        ("nemotron3", [ASK, SAID], "use nemotron3_disable_thinking"),
        ("nemotron3_ultra", [ASK, SAID], "use nemotron3_ultra_disable_thinking"),
    ],
)
def test_rows_are_counted_by_their_notes(tmp_path: Path, name: str, talk: list[object], line: str) -> None:
    reasoned = {**SAID, "reasoning_content": "c"}
    (found,) = lines(tmp_path, name, [ASK, reasoned], talk, [ASK, reasoned], talk)
    assert found.startswith("2 of 4 rows: ")
    assert line in found


def test_rows_that_the_public_template_writes_otherwise_are_counted_with_the_way_to_follow_it(tmp_path: Path) -> None:
    talks = [[ASK, CALL], [ASK, SAID], [ASK, CALL, {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]]
    (line,) = lines(tmp_path, "qwen3", *talks)
    assert line.startswith("2 of 3 rows differ from the model's public template (--follow template). The reference: ")
    assert "(2); results of one turn have a user turn each (1)" in line
    (line,) = lines(tmp_path, "qwen3", *talks, follow=True)
    assert line.startswith("2 of 3 rows differ from tinker-cookbook (--follow reference). The reference: ")


def test_plain_rows_have_no_notes(tmp_path: Path) -> None:
    for name in ("qwen3", "qwen3_5", "role_colon"):
        assert lines(tmp_path, name, [ASK, SAID], [ASK, SAID, ASK, SAID]) == []
