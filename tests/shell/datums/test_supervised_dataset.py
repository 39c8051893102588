"""Datasets: the reference's rows in the reference's order, whole batches, and errors that name the row."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from datasets import Dataset as HFDataset

from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.renderers import find_renderer
from shell.data import json_rows
from shell.data.dataset import Dataset
from shell.datums.open_run_data import OpenDataset, open_dataset
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.datums.supervised_dataset import StreamingSupervisedDataset, SupervisedDataset
from shell.settings.config import Config
from shell.text.tokenizer import open_tokenizer

TOKENIZER = open_tokenizer("sample")


def row(i: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"answer {i}"}]}


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return str(path)


def built(
    dataset: str, renderer: str = "role_colon", seed: int = 0, test_size: int | None = None, **more: Any
) -> OpenDataset:
    given = {"dataset": dataset, "seed": seed, "test_size": test_size, "batch_size": 4, "prepare": "never", **more}
    return open_dataset(Config(log_path="unused", **given), find_renderer(renderer), TOKENIZER)


def answers(datums: Any) -> list[str]:
    """What each datum trains."""
    out = []
    for b in range(datums.n_examples):
        _, targets, weights = datums.example(b)
        out.append(TOKENIZER.decode(targets[weights > 0]).removesuffix("\n\nUser:").strip())
    return out


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("n_test", [0, 5])
def test_batches_are_the_references_rows_in_every_epoch(tmp_path: Path, seed: int, n_test: int) -> None:
    rows = [row(i) for i in range(23)]
    data = built(jsonl(tmp_path / "a.jsonl", rows), seed=seed, test_size=n_test)
    table = HFDataset.from_list([{"i": i} for i in range(23)]).shuffle(seed=seed)
    held_out, table = table.take(n_test), table.skip(n_test)
    for epoch in range(3):
        order = table.shuffle(seed=seed + epoch)["i"][:]
        for i in range(len(data.train)):
            assert answers(data.train.batch(epoch * len(data.train) + i).datums) == [
                f"answer {k}" for k in order[4 * i : 4 * i + 4]
            ]
    assert len(data.train) == (23 - n_test) // 4
    if n_test:
        assert data.test is not None
        assert answers(data.test) == [f"answer {k}" for k in held_out["i"]]


@pytest.mark.parametrize("order", ["hf", "cipher"])
def test_every_row_is_visited_once_an_epoch_when_the_tail_is_kept(tmp_path: Path, order: str) -> None:
    data = built(jsonl(tmp_path / "a.jsonl", [row(i) for i in range(10)]), tail="keep", order=order)
    seen = [answer for i in range(len(data.train)) for answer in answers(data.train.batch(i).datums)]
    assert sorted(seen) == sorted(f"answer {i}" for i in range(10))
    assert data.n_left_over == 0


def test_a_batch_depends_on_its_step_alone(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [row(i) for i in range(12)])
    one, other = built(path), built(path)
    other.train.batch(5)
    for a, b in zip(one.train.batch(1).datums, other.train.batch(1).datums, strict=True):
        assert np.array_equal(a, b)
    for a, b in zip(one.train.batch(4).datums, other.train.batch(4).datums, strict=True):
        assert np.array_equal(a, b)


def test_a_dataset_of_a_stream_goes_to_the_epoch_of_a_step_when_it_begins() -> None:
    class Recorded:
        epochs: ClassVar[list[int]] = []

        def __len__(self) -> int:
            return 5

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def read(self, start: int, n: int) -> list[Any]:
            return [row(start + i) for i in range(n)]

        def place(self, i: int) -> str:
            return f"row {i}"

    renderer = RowRenderer(find_renderer("role_colon"), TOKENIZER, RenderSettings(train_on_what=TrainOnWhat.ALL_TOKENS))
    data = StreamingSupervisedDataset(Recorded(), renderer, batch_size=2)  # type: ignore[arg-type]
    assert [data.batch(step).n_rows for step in range(1, 5)] == [2] * 4
    assert Recorded.epochs == [1, 2]
    assert data.locations(data.rows_after(3)) == ["row 4"]


def test_examples_of_a_split_row_share_its_step_and_its_unit_of_weight(tmp_path: Path) -> None:
    talk = {"messages": row(1)["messages"] + row(2)["messages"]}
    path = jsonl(tmp_path / "a.jsonl", [talk, row(3)])
    data = built(path, "qwen3", batch_size=2)
    datums = data.train.batch(0).datums
    assert datums.n_examples == 3
    assert data.row_counts.n_split == 1
    assert data.row_counts.n_examples == 3
    sums = sorted(float(datums.example(b)[2].sum()) for b in range(3))
    assert sums == pytest.approx([0.5, 0.5, 1.0], abs=0.1)
    assert sum(sums[:2]) == pytest.approx(1.0)
    never = built(path, "qwen3", batch_size=2, split_turns="never")
    assert never.train.batch(0).datums.n_examples == 2


def test_a_row_that_cannot_be_used_is_named_before_anything_runs(tmp_path: Path) -> None:
    rows = [row(i) for i in range(4)] + [{"messages": [{"role": "humna", "content": "x"}]}]
    with pytest.raises(InputError, match=r"unknown role 'humna'.* - at .*a\.jsonl:5 \$\.messages\[0\]\.role"):
        built(jsonl(tmp_path / "a.jsonl", rows))


def test_data_in_which_nothing_is_trained_is_refused(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "anyone?"}]}] * 4
    with pytest.raises(
        InputError, match=r"a message that all_assistant_messages trains, got none in 4 rows - at .*a\.jsonl"
    ):
        built(jsonl(tmp_path / "a.jsonl", rows))


def test_fewer_rows_than_a_batch_are_refused_unless_the_tail_is_kept(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [row(0), row(1)])
    with pytest.raises(InputError, match=r"2 rows are fewer than a batch of 4"):
        built(path)
    assert built(path, tail="keep").train.batch(0).datums.n_examples == 2


def test_an_example_too_short_to_train_is_named() -> None:
    maker = RowRenderer(find_renderer("role_colon"), TOKENIZER, RenderSettings(train_on_what=TrainOnWhat.ALL_TOKENS))
    examples = maker.render([row(0)], ["a.jsonl:1"]).examples
    cut = examples._replace(tokens=examples.tokens[:1], weights=examples.weights[:1], offsets=np.array([0, 1]))
    with pytest.raises(InputError, match=r"expected at least 2 tokens that end in text, got 1 - at a\.jsonl:1"):
        maker.cut(cut, ["a.jsonl:1"])


@pytest.mark.parametrize("mode", TrainOnWhat)
def test_every_mode_makes_datums_of_the_sample_data(mode: TrainOnWhat) -> None:
    if mode is TrainOnWhat.CUSTOMIZED:
        with pytest.raises(InputError, match=r"train\.jsonl:\d+ \$\.messages\[0\]\.trainable"):
            built("sample", "qwen3", train_on_what=mode.value)
        return
    data = built("sample", "qwen3", train_on_what=mode.value)
    datums = data.train.batch(0).datums
    assert datums.n_examples >= 4
    assert datums.weights.sum() == pytest.approx(4.0, rel=1e-4)


def test_a_dataset_of_rows_in_memory_reads_like_a_file() -> None:
    settings = RenderSettings(train_on_what=TrainOnWhat.ALL_ASSISTANT_MESSAGES)
    maker = RowRenderer(find_renderer("role_colon"), TOKENIZER, settings)
    data = SupervisedDataset(Dataset.from_list([row(i) for i in range(4)]), maker, batch_size=2)
    assert len(data) == 2
    assert data.batch(0).datums.n_examples == 2


@pytest.mark.parametrize("test_size", [0, 6])
def test_before_step_0_each_row_is_decoded_once(
    test_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = Counter[int]()
    decode = json_rows.decode
    monkeypatch.setattr(json_rows, "decode", lambda text, i, *more: decoded.update([i]) or decode(text, i, *more))
    built(jsonl(tmp_path / "chats.jsonl", [row(i) for i in range(200)]), test_size=test_size)
    assert decoded == Counter(range(200))
