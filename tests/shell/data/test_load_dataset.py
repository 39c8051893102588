"""Named sources hold the rows that tinker-cookbook would train on, in its order, and hold out what it holds out.

The reference's order is made here by `datasets` itself: the builder's shuffle, the holdout, then the epoch's shuffle.
Repositories of the Hub are stood in for by small folders of the same shape, read by the real `datasets.load_dataset`.
"""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from kernel.errors import InputError
from shell.data import load_dataset
from shell.data.dataset import Dataset, Stream
from shell.data.load_dataset import DatasetSpec, Source, open_source


def row(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text.upper()}], **more}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def no_robots(room: Path) -> Path:
    splits = {
        "train": [row(f"train {i}", prompt_id=str(i), category="Open QA") for i in range(40)],
        "test": [row(f"test {i}", prompt_id=str(i), category="Chat") for i in range(7)],
    }
    for split, rows in splits.items():
        file = room / "no_robots" / "data" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(rows).to_parquet(file)
    return room / "no_robots"


@pytest.fixture(scope="module")
def tulu3(room: Path) -> Path:
    rows = [row(f"row {i}", id=f"x_{i}", source="made up") for i in range(1100)]
    for part in range(2):
        file = room / "tulu" / "data" / f"train-0000{part}-of-00002.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(rows[part::2]).to_parquet(file)
    return room / "tulu"


@pytest.fixture(scope="module")
def shards(room: Path) -> Path:
    """Data in two files of JSONL: `datasets` takes five seconds to leave a stream of parquet, and none for these."""
    for part in range(2):
        jsonl(room / "shards", [row(f"row {i}", id=i) for i in range(part, 40, 2)], f"train-{part}.jsonl")
    return room / "shards"


@pytest.fixture
def opened(room, no_robots, tulu3, shards):
    mirrors = {
        "HuggingFaceH4/no_robots": str(no_robots),
        "allenai/tulu-3-sft-mixture": str(tulu3),
        "some/folder": str(room / "folder"),
        "some/no_robots": str(no_robots),
        "some/shards": str(shards),
    }

    def opened(dataset: str, **options: Any) -> Source:
        spec = DatasetSpec(dataset=dataset, mirrors=mirrors, cache_dir=str(room / "cache"), **options)
        return open_source(spec)

    return opened


@pytest.fixture
def theirs(room):
    def theirs(folder: Path, split: str = "train") -> datasets.Dataset:
        """The rows as the library reads them, without the columns that are ignored."""
        table = datasets.load_dataset(str(folder), split=split, cache_dir=str(room / "cache"))
        is_read = not {"category", "source"} & set(table.column_names)
        return table if is_read else table.select_columns(["messages"])

    return theirs


def jsonl(folder: Path, rows: list[Any], name: str = "train.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return folder / name


def test_no_robots_trains_in_the_order_of_the_reference(opened, theirs, no_robots):
    source = opened("no_robots")
    builder = theirs(no_robots).shuffle(seed=0)
    assert source.train.to_list() == builder.to_list()
    for epoch in range(3):
        assert source.train.shuffle(epoch).to_list() == builder.shuffle(seed=epoch).to_list()
    assert source.test.to_list() == theirs(no_robots, "test").to_list()
    assert source.train_on_what == "all_assistant_messages"
    assert source.description == "no_robots: 40 rows to train on, 7 held out"


def test_tulu3_holds_out_1024_rows_and_trains_on_the_rest_in_the_order_of_the_reference(opened, theirs, tulu3):
    source = opened("tulu3")
    builder = theirs(tulu3).shuffle(seed=0)
    assert source.test.to_list() == builder.take(1024).to_list()
    for epoch in range(2):
        assert source.train.shuffle(epoch).to_list() == builder.skip(1024).shuffle(seed=epoch).to_list()
    assert source.train_on_what == "last_assistant_message"


def test_a_seed_moves_the_builders_shuffle_and_the_epochs(opened, theirs, tulu3):
    source = opened("tulu3", seed=5, test_size=10)
    builder = theirs(tulu3).shuffle(seed=5)
    assert source.test.to_list() == builder.take(10).to_list()
    assert source.train.shuffle(5 + 1).to_list() == builder.skip(10).shuffle(seed=6).to_list()


def test_a_jsonl_file_is_split_as_the_reference_splits_it(opened, tmp_path):
    rows = [row(f"line {i}") for i in range(30)]
    source = opened(str(jsonl(tmp_path, rows)), test_size=4, seed=2)
    builder = datasets.Dataset.from_list(rows).shuffle(seed=2)
    assert source.test.to_list() == builder.take(4).to_list()
    assert source.train.shuffle(2).to_list() == builder.skip(4).shuffle(seed=2).to_list()
    line = int(source.train.place(0).rpartition(":")[2])
    assert rows[line - 1] == source.train.to_list()[0]


def test_a_jsonl_file_holds_nothing_out_unless_asked(opened, tmp_path):
    source = opened(str(jsonl(tmp_path, [row("a"), row("b")])))
    assert (len(source.train), source.test) == (2, None)


def test_rows_of_jsonl_keep_their_nulls_and_their_differences(opened, tmp_path):
    mixed = [{"messages": [{"role": "user", "content": None}], "id": 1}, {"messages": "text", "tools": [None]}]
    source = opened(str(jsonl(tmp_path, mixed)))
    assert sorted(source.train.to_list(), key=str) == sorted(mixed, key=str)


def test_the_sample_is_a_training_file_and_a_test_file(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(load_dataset, "SAMPLE", tmp_path)
    train, test = [row(f"a {i}") for i in range(9)], [row("b"), row("c")]
    jsonl(tmp_path, train)
    jsonl(tmp_path, test, "test.jsonl")
    source = opened("sample")
    assert source.train.to_list() == datasets.Dataset.from_list(train).shuffle(seed=0).to_list()
    assert source.test.to_list() == test
    assert opened("sample", test_size=1).test.to_list() == test[:1]
    assert opened("sample", test_size=0).test is None


def test_a_held_out_row_that_also_stands_in_training_leaves_the_holdout(opened, tmp_path):
    rows = [row(f"line {i % 25}", id=i) for i in range(30)]  # 5 messages stand twice, in rows that are not the same
    source = opened(str(jsonl(tmp_path, rows)), test_size=12)
    builder = datasets.Dataset.from_list(rows).shuffle(seed=0)
    held_out, train = builder.take(12).to_list(), builder.skip(12).to_list()
    trained = [row["messages"] for row in train]
    fresh = [row for row in held_out if row["messages"] not in trained]
    assert 0 < len(fresh) < 12
    assert source.test.to_list() == fresh
    assert source.train.to_list() == train
    assert len(source.duplicates) == 12 - len(fresh)
    assert source.description.endswith(
        f"{len(fresh)} held out (without {len(source.duplicates)} that training also has)"
    )


def test_a_test_split_that_stands_in_training_leaves_no_holdout(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(load_dataset, "SAMPLE", tmp_path)
    jsonl(tmp_path, [row("a"), row("b")])
    (tmp_path / "test.jsonl").write_text(
        '{"messages":[{"content":"a","role":"user"},{"content":"A","role":"assistant"}]}'
    )
    source = opened("sample")
    assert (source.test, len(source.duplicates), len(source.train)) == (None, 1, 2)


@pytest.mark.parametrize("n", [3, 4, 1000])
def test_a_holdout_that_leaves_nothing_to_train_on_is_refused(opened, tmp_path, n):
    file = jsonl(tmp_path, [row("a"), row("b"), row("c")])
    with pytest.raises(InputError, match=f"3 rows are all there is, and {n} would be held out"):
        opened(str(file), test_size=n)


def test_a_test_size_beyond_the_test_split_or_below_zero_is_refused(opened):
    with pytest.raises(InputError, match=r"expected test_size <= 7 rows, got 8 - at --test-size"):
        opened("no_robots", test_size=8)
    with pytest.raises(InputError, match=r"expected test_size >= 0 rows, got -1 - at --test-size"):
        opened("no_robots", test_size=-1)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("no_robot", "unknown dataset 'no_robot', did you mean 'no_robots'? - at --dataset"),
        ("xyz", "unknown dataset 'xyz', expected one of 'no_robots', 'tulu3', 'sample', 'hf:REPO', 'FILE.jsonl'"),
        ("gone/train.jsonl", "expected a JSONL file, got no file of that name - at gone/train.jsonl"),
        ("some/repo", "expected a dataset or a JSONL file, got no file some/repo (of the Hub: hf:some/repo)"),
        (".", "expected a folder with JSONL, JSON, CSV, TSV, Parquet or Arrow files, got none"),
        ("~nobody-of-that-name/x", "expected a JSONL file, got no file of that name - at ~nobody-of-that-name/x"),
    ],
)
def test_a_dataset_that_is_not_there_is_refused_with_a_way_on(opened, dataset, message):
    with pytest.raises(InputError) as error:
        opened(dataset)
    assert str(error.value).startswith(message)


def test_a_missing_column_names_those_that_are_there(opened, tmp_path):
    with pytest.raises(
        InputError, match=r"expected the key 'chat', got 'messages', 'prompt_id', 'category' - at .*:train"
    ):
        opened("hf:some/no_robots", dataset_column="chat")
    with pytest.raises(InputError, match=r"expected the key 'chat', got 'messages' - at .*jsonl:1"):
        opened(str(jsonl(tmp_path, [row("a")])), dataset_column="chat").train.rows.check()


def test_a_dataset_of_the_hub_is_opened_by_split_slice_and_column(opened, theirs, no_robots):
    whole = theirs(no_robots, "test")
    assert opened("hf:some/no_robots", dataset_split="test").train.to_list() == whole.shuffle(seed=0).to_list()
    part = opened("hf:some/no_robots", dataset_split="test[2:5]", test_size=1)
    shuffled = whole.select(range(2, 5)).shuffle(seed=0)
    assert part.train.to_list() == shuffled.skip(1).to_list()
    assert part.train.place(0) == f"{no_robots}:test[2:5][{part.train.indices[0]}]"
    with pytest.raises(InputError, match=r"unknown split 'trian', did you mean 'train'. - at --dataset-split"):
        opened("hf:some/no_robots", dataset_split="trian")


def test_a_dataset_with_configurations_asks_for_one_of_them(opened, room):
    for config, n in [("de", 2), ("en", 3)]:
        jsonl(room / "folder" / config, [row(f"{config} {i}") for i in range(n)])
    listed = "".join(f"- config_name: {config}\n  data_files: {config}/*.jsonl\n" for config in ("de", "en"))
    (room / "folder" / "README.md").write_text(f"---\nconfigs:\n{listed}---\n")
    assert len(opened("hf:some/folder", dataset_config="en").train) == 3
    for config in (None, "fr"):
        with pytest.raises(InputError, match=r"expected a dataset that can be read, got .*'de', 'en'.* - at hf:"):
            opened("hf:some/folder", dataset_config=config)


@pytest.mark.parametrize("option", [{"streaming": True}, {"dataset_config": "x"}, {"dataset_split": "test"}])
@pytest.mark.parametrize("dataset", ["no_robots", "sample", "train.jsonl"])
def test_options_of_the_hub_are_refused_elsewhere(opened, dataset, option):
    if dataset == "train.jsonl" and "dataset_split" in option:
        return  # a file may have splits
    with pytest.raises(InputError, match=f"--dataset-split need --dataset hf:REPO, not {dataset}"):
        opened(dataset, **option)


def test_a_split_of_a_file_is_opened_by_its_name(opened, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"train": [row("a"), row("b")], "test": [row("c")]}, indent=1))
    assert len(opened(str(path)).train) == 2
    assert len(opened(str(path), dataset_split="test").train) == 1
    with pytest.raises(InputError, match=r"unknown split 'dev', expected one of 'train', 'test'"):
        opened(str(path), dataset_split="dev")


def streamed(opened: Any, **options: Any) -> Source:
    options = {"streaming_length": 36, "shuffle_buffer": 8, **options}
    return opened("hf:some/shards", streaming=True, **options)


def test_a_stream_gives_the_rows_of_datasets_epoch_by_epoch(opened, shards):
    train = streamed(opened).train
    builder = datasets.load_dataset(str(shards), split="train", streaming=True).shuffle(seed=0, buffer_size=8)
    epochs = []
    for epoch in range(3):
        train.set_epoch(epoch)
        builder.set_epoch(epoch)
        rows = [row for start in range(0, 36, 4) for row in train.read(start, 4)]
        assert rows == list(islice(builder, 36))
        epochs.append([row["id"] for row in rows])
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert len(train) == 36


NULLS = [row("a"), {"messages": [{"role": "assistant", "tool_calls": [{"arguments": {"a": None, "b": [1]}}]}]}]


@pytest.mark.parametrize("form", ["jsonl", "parquet", "saved", "saved splits"])
def test_json_of_datasets_keeps_its_nulls_streamed_or_not(form, opened, tmp_path):
    features = datasets.Features({"messages": datasets.List(datasets.Json())})
    table = datasets.Dataset.from_list(NULLS, features=features)
    folder = tmp_path / form
    if form == "saved":
        table.save_to_disk(folder)
    elif form == "saved splits":
        datasets.DatasetDict(test=table.select([0]), train=table).save_to_disk(folder)
    elif form == "parquet":
        folder.mkdir()
        table.to_parquet(folder / "train.parquet")
    else:
        jsonl(folder, NULLS)
    by_role = lambda rows: sorted(rows, key=lambda row: row["messages"][0]["role"])  # noqa: E731
    stream = opened(f"hf:{folder}", streaming=True, streaming_length=2).train
    assert by_role(stream.read(0, 2)) == by_role(opened(f"hf:{folder}").train.to_list()) == by_role(NULLS)


def test_a_saved_dataset_of_the_hub_s_flag_is_the_one_of_its_path(opened, tmp_path):
    table = datasets.Dataset.from_list([row(str(i)) for i in range(9)])
    table.save_to_disk(tmp_path / "saved")
    both = [opened(f"{flag}{tmp_path / 'saved'}").train for flag in ("hf:", "")]
    assert both[0].to_list() == both[1].to_list()
    assert both[0].rows.fingerprint == both[1].rows.fingerprint


@pytest.mark.parametrize("streaming", [True, False])
def test_columns_that_nobody_reads_never_stop_a_table(streaming, opened, tmp_path):
    far = pa.array([253_402_300_800_000_000] * 3, pa.timestamp("us", "UTC"))
    messages = [[{"role": "user", "content": b"a"}]] * 3
    columns = {"messages": messages, "when": far, "vector": [[0.5] * 4] * 3, "id": [1, 2, 3]}
    (tmp_path / "far").mkdir()
    parquet.write_table(pa.table(columns), tmp_path / "far" / "train.parquet")
    options = {"streaming": True, "streaming_length": 3} if streaming else {}
    train = opened(f"hf:{tmp_path / 'far'}", **options).train
    rows = train.read(0, 3) if streaming else train.to_list()
    assert [one["messages"] for one in rows] == [[{"role": "user", "content": "a"}]] * 3
    (tmp_path / "raw").mkdir()
    parquet.write_table(pa.table({**columns, "raw": [b"\xff"] * 3}), tmp_path / "raw" / "train.parquet")
    train = opened(f"hf:{tmp_path / 'raw'}", **options).train if not streaming else None
    if train is not None:
        assert all("nothing reads the key 'raw'" in row.reason for row in train.to_list())
        return
    with pytest.raises(InputError, match="nothing reads the key 'raw'"):
        opened(f"hf:{tmp_path / 'raw'}", **options).train.read(0, 3)


def test_a_stream_resumes_by_reading_past(opened):
    whole = streamed(opened).train.read(0, 36)
    resumed = streamed(opened).train
    assert resumed.read(20, 4) == whole[20:24]
    assert resumed.read(30, 6) == whole[30:]
    resumed.set_epoch(0)
    assert resumed.read(0, 1) == whole[:1]


def test_a_stream_holds_out_its_first_rows(opened, theirs, shards):
    source = streamed(opened, test_size=5, streaming_length=35)
    rows = theirs(shards).to_list()
    assert isinstance(source.test, Dataset)
    assert source.test.to_list() == rows[:5]
    assert sorted(source.train.read(0, 35), key=str) == sorted(rows[5:], key=str)
    assert source.duplicates is None


def test_a_stream_refuses_to_go_back_or_beyond_its_end(opened):
    train = streamed(opened, streaming_length=50).train
    assert isinstance(train, Stream)
    train.read(8, 4)
    with pytest.raises(InputError, match=r"a stream goes forward only: row 8 is before row 12 - at "):
        train.read(8, 4)
    with pytest.raises(InputError, match=r"expected 44 rows in the stream, got its end - at .*streaming-length"):
        train.read(36, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streaming_length": None}, "expected the number of rows of an epoch, got None - at --streaming-length"),
        ({"streaming_length": 0}, "expected the number of rows of an epoch, got 0 - at --streaming-length"),
        ({"dataset_split": "trian"}, "unknown split 'trian', did you mean 'train'"),
        ({"dataset_column": "chat"}, "expected the key 'chat', got 'messages', 'id' - at "),
        ({"test_size": 41}, "expected at least 41 rows, got 40 - at "),
    ],
)
def test_a_stream_that_cannot_be_used_is_refused_at_opening(opened, options, message):
    with pytest.raises(InputError) as error:
        streamed(opened, **options)
    assert str(error.value).startswith(message)


def test_rows_of_a_stream_lose_what_arrow_filled_in_and_are_refused_without_messages(opened, room):
    jsonl(room / "folder" / "ragged", [row("a"), row("b", id=1), {"id": 2}])
    source = opened(f"hf:{room}/folder/ragged", streaming=True, streaming_length=3, shuffle_buffer=1)
    assert source.train.read(0, 2) == [row("a"), row("b", id=1)]
    with pytest.raises(InputError, match=r"expected the key 'messages', .*, got 'id' - at .*, row 2 of the stream"):
        source.train.read(2, 1)


def test_a_stream_that_breaks_is_refused_with_its_name(opened, room):
    folder = room / "folder" / "broken"
    jsonl(folder, [row("a")])
    source = opened(f"hf:{folder}", streaming=True, streaming_length=2)
    (folder / "train.jsonl").write_text("{")
    source.train.set_epoch(1)
    with pytest.raises(InputError, match=r"expected a dataset that can be read, got .* - at .*/broken:train"):
        source.train.read(0, 2)


def test_places_of_the_train_rows_lead_back_to_the_rows(opened, theirs, tulu3):
    source = opened("tulu3")
    whole = theirs(tulu3)
    read = source.train.read(np.array([3, 0]))
    assert read == [whole[int(source.train.place(i).rpartition("[")[2][:-1])] for i in (3, 0)]


def rows_file(tmp_path, n):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": [{"role": "user", "content": str(i)}]}) + "\n" for i in range(n)))
    return str(path)


@pytest.mark.parametrize(("size", "n"), [(0.1, 2), (0.01, 1), (0.5, 10), (3, 3)])
def test_a_fraction_of_the_rows_is_held_out(size, n, tmp_path):
    source = open_source(DatasetSpec(dataset=rows_file(tmp_path, 20), test_size=size))
    assert len(source.held_out) == n
    assert len(source.train) == 20 - n


def test_in_file_order_the_same_rows_are_held_out_and_the_others_keep_their_order(tmp_path):
    path = rows_file(tmp_path, 20)
    shuffled, kept = (open_source(DatasetSpec(dataset=path, test_size=4, order=order)) for order in ("hf", "file"))
    assert kept.held_out.indices.tolist() == shuffled.held_out.indices.tolist()
    assert kept.train.indices.tolist() == sorted(shuffled.train.indices.tolist())


@pytest.mark.parametrize("more", [{"test_size": 0.1}, {"order": "file"}])
def test_a_stream_says_that_it_has_not_all_rows(more):
    spec = DatasetSpec(dataset="hf:some/set", streaming=True, streaming_length=9, **more)
    with pytest.raises(InputError, match="needs all rows, which a stream never has"):
        open_source(spec)


def test_a_fraction_of_a_dataset_with_test_rows_of_its_own_is_refused():
    with pytest.raises(InputError, match="sample has test rows of its own: give a number of them"):
        open_source(DatasetSpec(dataset="sample", test_size=0.1))
