"""Copies of what lies elsewhere: made once, made anew when it changes, and read like any file."""

import json
from pathlib import Path

import fsspec
import pytest

from kernel.errors import InputError
from shell.data.cache_folders import cache_root, local_copy, prepared_root
from shell.data.sources import DatasetSpec, open_source

ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def put(name: str, text: str) -> str:
    with fsspec.open(f"memory://{name}", "wt") as file:
        file.write(text)
    return f"memory://{name}"


def test_a_remote_file_is_copied_once_and_anew_when_it_changed(tmp_path: Path) -> None:
    address = put("a/chats.jsonl", "one")
    first = local_copy(address, tmp_path)
    assert first.read_text() == "one"
    assert first.name == "chats.jsonl"
    first.write_text("mark")
    assert local_copy(address, tmp_path).read_text() == "mark"
    put("a/chats.jsonl", "another")
    assert local_copy(address, tmp_path).read_text() == "another"
    assert not list(tmp_path.rglob("*.part"))


def test_remote_rows_are_read_like_those_of_a_file(tmp_path: Path) -> None:
    address = put("b/chats.jsonl", json.dumps(ROW) + "\n")
    source = open_source(DatasetSpec(dataset=address, prepared_dir=str(tmp_path)))
    assert source.train.to_list() == [ROW]  # type: ignore[union-attr]


@pytest.mark.parametrize("address", ["memory://nothing/here.jsonl", "nosuch://a/b.jsonl"])
def test_what_is_not_there_is_said_in_a_sentence(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match=r"--dataset$"):
        local_copy(address, tmp_path)


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINSMITH_CACHE", "/somewhere")
    assert cache_root() == Path("/somewhere")
    assert prepared_root() == Path("/somewhere/prepared")
    assert prepared_root("/else") == Path("/else")
