"""The pass before the first step: every row is read once and rendered once, and what it finds is used."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel.errors import InputError
from kernel.render.batch_renderer import BatchRenderer
from kernel.renderers import find_renderer
from shell.data.json_rows import JsonRows
from shell.datums.open_run_data import OpenDataset, open_dataset
from shell.settings.config import Config
from shell.text.tokenizer import open_tokenizer

TOKENIZER = open_tokenizer("sample")
N = 3000


def row(i: int) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"answer {i}"}]
    return {"messages": turns * (1 + i % 3)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row(i)) + "\n" for i in range(N)))
    return file


def opened(path: Path, **more: Any) -> OpenDataset:
    given = {"dataset": str(path), "batch_size": 64, "test_size": 100, "prepare": "never", **more}
    return open_dataset(Config(log_path="unused", **given), find_renderer("qwen3"), TOKENIZER)


class Counted:
    """How often each row is taken from the file, and each conversation rendered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: Counter[int] = Counter()
        self.rendered: Counter[str] = Counter()
        take, render = JsonRows.take, BatchRenderer.render

        def counting_take(rows: JsonRows, indices: Any) -> list[Any]:
            self.taken.update(indices.tolist())
            return take(rows, indices)

        def counting_render(renderer: BatchRenderer, conversations: Any, *rest: Any) -> Any:
            firsts = [str(talk[0].content) for talk in conversations]
            self.rendered.update(first for first in firsts if first.endswith("?"))  # not the samples of notes
            return render(renderer, conversations, *rest)

        monkeypatch.setattr(JsonRows, "take", counting_take)
        monkeypatch.setattr(BatchRenderer, "render", counting_render)


def test_before_the_first_step_every_row_is_rendered_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    data = opened(path)
    data.train.submit(0).result()
    assert len(counted.rendered) == N
    assert set(counted.rendered.values()) == {1}
    held_out = {i for i in range(N) if f"a.jsonl:{i + 1}" in {Path(one.location).name for one in data.outside}}
    assert len(held_out) == 100
    # looking for duplicates of the held-out rows reads each once, the pass once more, and the first batch is read then
    assert max(counted.taken.values()) <= 3
    assert sum(counted.taken.values()) <= 2 * N + data.train.batch_size


def test_what_is_kept_is_what_would_be_rendered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = opened(path)
    monkeypatch.setattr("shell.datums.check_rows.KeptRows.keep", lambda *_: None)
    fresh = opened(path)
    assert kept.row_counts == fresh.row_counts
    assert kept.split_factor == fresh.split_factor > 1
    assert kept.outside == fresh.outside
    pairs = [(kept.train.submit(step).result().datums, fresh.train.submit(step).result().datums) for step in (0, 1)]
    for one, other in [*pairs, (kept.test, fresh.test)]:
        assert one is not None
        assert other is not None
        assert all(np.array_equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))


def test_bad_rows_are_counted_wherever_they_fall(path: Path) -> None:
    lines = path.read_text().splitlines()
    bad = list(range(0, N, 7))
    for i in bad:
        lines[i] = json.dumps({"messages": [{"role": "humna", "content": f"x {i}"}]})
    path.write_text("\n".join(lines))
    data = opened(path, max_bad_rows=N)
    n_held_out = sum("rejected" in one.reason for one in data.outside)
    assert n_held_out > 0
    assert data.row_counts.n_bad == len(bad) - n_held_out
    result = data.train.submit(0).result()
    assert [one.outcome.value for one in result.outcomes] == ["rejected"] * len(result.outcomes)
    assert len(result.outcomes) > 0
    with pytest.raises(
        InputError, match=r"^429 of 3,000 rows (.|\n)*  429  unknown role 'humna'(.|\n)*\.role,\s+:8, :15, ...$"
    ):
        opened(path, test_size=0, batch_size=N)


def test_the_rows_of_a_mixture_are_counted_by_source_and_rendered_once(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "b.jsonl"
    other.write_text("".join(json.dumps(row(N + i)) + "\n" for i in range(500)))
    counted = Counted(monkeypatch)
    data = opened(Path(f"{path}=2000rows,{other}"))
    data.train.submit(0).result()
    assert set(counted.rendered.values()) == {1}
    assert data.row_counts.n_rows == data.train.n_rows


def test_keys_of_rows_and_messages_that_are_ignored_are_counted_once_a_row(tmp_path: Path) -> None:
    rows = [row(i) | {"source": "s"} for i in range(500)]
    for one in rows[:10]:
        for message in one["messages"]:
            message["id"] = 3
    file = tmp_path / "b.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert opened(file).ignored == {"source": 500, "messages[].id": 10}


def test_a_key_that_nothing_reads_stops_a_run_before_it_starts_unless_it_is_to_be_ignored(tmp_path: Path) -> None:
    rows = [row(i) | ({"hint": "h"} if i % 2 else {}) for i in range(300)]
    file = tmp_path / "b.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    with pytest.raises(
        InputError, match=r"  150  nothing reads the key 'hint': (.|\n)*b.jsonl:2 \$.hint,\s+:4, :6, ...$"
    ):
        opened(file)
    assert opened(file, unknown_keys="ignore").ignored == {"hint": 150}


def test_faults_of_reading_and_of_rendering_are_in_one_table_and_one_alone_is_its_sentence(tmp_path: Path) -> None:
    file, rows = tmp_path / "b.jsonl", [row(i) for i in range(2000)]

    def refused(**more: Any) -> str:
        file.write_text("".join(json.dumps(one) + "\n" for one in rows))
        with pytest.raises(InputError) as caught:
            opened(file, **more)
        return str(caught.value)

    rows[1500] = {"messages": [{"role": "humna", "content": "x"}]}
    assert "\n" not in (one := refused())
    assert one.endswith("b.jsonl:1501 $.messages[0].role")
    rows[3] = rows[1700] = {"prompts": "a"}  # unreadable
    first, *table = refused(max_bad_rows=2).splitlines()
    assert first == "3 of 2,000 rows cannot be used, and --max-bad-rows allows 2:"
    assert [line.split()[0] for line in table if line[2] != " "] == ["2", "1"]
    assert "b.jsonl:4, :1701" in " ".join(" ".join(table).split())
    assert opened(file, max_bad_rows=3).row_counts.n_rows == 1900


def test_notes_count_all_rows_that_the_pass_reads(tmp_path: Path) -> None:
    rows = [row(i) for i in range(N)]
    rows[0] = rows[N - 1] = {"messages": [{"role": "user", "content": "<|im_end|>"}, *row(0)["messages"][1:]]}
    file = tmp_path / "b.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    (note,) = opened(file, test_size=0).notes
    assert note.startswith("2 of 3,000 rows: text spells control tokens")
