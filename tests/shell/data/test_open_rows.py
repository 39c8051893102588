"""What a path names: files, folders, patterns and saved datasets; splits are never put together."""

import json

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from kernel.errors import InputError
from shell.data.open_rows import exists, open_rows
from shell.data.rows import Rejected, RowValidation


def row(text):
    return {"messages": [{"role": "user", "content": text}]}


def write(path, *texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row(text)) + "\n" for text in texts))
    return path


def texts(path, split="train"):
    rows = open_rows(path, RowValidation(), split)
    return [row["messages"][0]["content"] for _, block in rows.scan() for row in block]


def refusal(path, split="train"):
    with pytest.raises(InputError) as error:
        open_rows(path, RowValidation(), split).check()
    return str(error.value)


@pytest.fixture
def shards(tmp_path):
    for name, both in (("b", "cd"), ("a", "ab"), ("c", "ef")):
        write(tmp_path / "shards" / f"{name}.jsonl", *both)
    for name in ("README.md", "_SUCCESS", ".b.jsonl.crc"):
        (tmp_path / "shards" / name).write_text("x")
    return tmp_path / "shards"


@pytest.mark.parametrize("name", ["", "/*.jsonl", "/*", "/[abc].jsonl", "/?.jsonl", "/../**/*.jsonl"])
def test_a_folder_and_a_pattern_are_their_files_by_name(name, shards):
    (shards / "README.md").unlink()
    (shards / "_SUCCESS").unlink()
    rows = open_rows(f"{shards}{name}")
    assert texts(f"{shards}{name}") == list("abcdef")
    assert rows.place(3).endswith("b.jsonl:2")
    taken = rows.take(np.array([5, 0, 3]))
    assert [one["messages"][0]["content"] for one in taken] == ["f", "a", "d"]
    assert len(rows.digests("messages")) == 6


def test_a_path_that_exists_is_meant_as_it_is(tmp_path):
    path = write(tmp_path / "[a]*.jsonl", "literal")
    write(tmp_path / "a1.jsonl", "pattern")
    assert texts(path) == ["literal"]
    assert exists(str(tmp_path / "a?.jsonl"))
    assert not exists(str(tmp_path / "b?.jsonl"))


def test_bad_rows_are_counted_over_all_files(shards):
    for name in "ac":
        (shards / f"{name}.jsonl").write_text('{"messages": []}\n{}\n')
    rows = open_rows(shards, RowValidation(max_bad_rows=2))
    taken = [one for _, block in rows.scan() for one in block]
    assert [isinstance(one, Rejected) for one in taken] == [False, True, False, False, False, True]
    assert rows.n_rejected == 2
    with pytest.raises(InputError, match=r"^2 of 6 rows (.|\n)*a.jsonl:2,\s+.*c.jsonl:2$"):
        open_rows(shards, RowValidation(max_bad_rows=1)).check()


def test_one_file_in_a_folder_is_that_file(tmp_path):
    path = write(tmp_path / "one" / "a.jsonl", "a")
    assert open_rows(path.parent).fingerprint == open_rows(path).fingerprint


def test_a_change_in_one_shard_is_noticed(shards):
    rows = open_rows(shards)
    write(shards / "b.jsonl", "x", "y")
    with pytest.raises(InputError, match="got one changed since - at "):
        rows.take(np.array([2]))


@pytest.mark.parametrize("form", ["{}-0.jsonl", "data.{}.jsonl", "{}/a.jsonl", "{}/0.jsonl"])
def test_files_of_several_splits_are_never_put_together(form, tmp_path):
    for split in ("train", "test", "validation"):
        write(tmp_path / form.format(split), split)
    assert texts(tmp_path) == ["train"]
    assert texts(tmp_path, "test") == ["test"]
    assert texts(tmp_path, "val") == ["validation"]
    assert "unknown split 'tset', did you mean 'test'?" in refusal(tmp_path, "tset")
    assert "files of several splits" in refusal(f"{tmp_path}/**/*.jsonl")


def test_what_is_no_folder_of_rows_is_refused_with_a_way_on(tmp_path, shards):
    assert "got an empty folder" in refusal((tmp_path / "e").mkdir() or tmp_path / "e")
    assert "(name its folder, or a pattern such as" in refusal(tmp_path)
    assert refusal(f"{tmp_path}/*.csv").startswith("expected files that the pattern takes, got none")
    assert "folders alone" in refusal(f"{tmp_path}/sh*")
    assert refusal(shards, "test").startswith("there are no splits in the folder, so none called 'test'")
    (shards / "a.csv").write_text("prompt,completion\na,b\n")
    assert "got 1 of .csv, 3 of .jsonl" in refusal(shards)
    write(shards.parent / "s" / "train.jsonl", "a")
    write(shards.parent / "s" / "more.jsonl", "a")
    assert "more.jsonl is of no split, but others are of train" in refusal(tmp_path / "s")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "notes.txt").write_text("x")
    assert "got none among 1 entries (notes.txt)" in refusal(tmp_path / "t")


def test_a_folder_of_tables_is_read(tmp_path):
    for name, text in (("0", "a"), ("1", "b")):
        parquet.write_table(pa.Table.from_pylist([row(text)] * 2), tmp_path / f"{name}.parquet")
    assert texts(tmp_path) == list("aabb")
    assert open_rows(tmp_path).place(3).endswith("1.parquet[1]")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    table = datasets.Dataset.from_list([row(text) for text in "abcd"])
    table.save_to_disk(folder / "one")
    table.save_to_disk(folder / "shards", num_shards=3)
    table.select([3, 0]).save_to_disk(folder / "chosen")
    datasets.DatasetDict(train=table, test=table.select([1])).save_to_disk(folder / "splits")
    datasets.DatasetDict(test=table).save_to_disk(folder / "test")
    return folder


@pytest.mark.parametrize(
    ("name", "split", "wanted"),
    [
        ("one", "train", "abcd"),
        ("shards", "train", "abcd"),
        ("chosen", "train", "da"),
        ("splits", "train", "abcd"),
        ("splits", "test", "b"),
        ("splits/test", "train", "b"),
    ],
)
def test_a_saved_dataset_is_read(name, split, wanted, saved):
    assert "".join(texts(saved / name, split)) == wanted


def test_a_saved_dataset_without_the_split_says_which_it_has(saved):
    assert refusal(saved / "test").startswith("unknown split 'train', expected one of 'test' - at --dataset-split of")
    assert refusal(saved / "one", "test").startswith("there are no splits in the folder")


def test_saved_datasets_have_the_fingerprint_of_their_content(saved, tmp_path):
    datasets.Dataset.from_list([row("x")]).save_to_disk(tmp_path / "x")
    assert open_rows(tmp_path / "x").fingerprint != open_rows(saved / "one").fingerprint
