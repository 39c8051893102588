"""The adapter does what `datasets` does, row by row, and says what the Hub would not."""

import json
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from shell.data.arrow_rows import ArrowRows
from shell.data.dataset import Dataset, load_dataset, unreachable

N = 23
TABLE = datasets.Dataset.from_list([{"id": i, "messages": [{"role": "user", "content": f"row {i}"}]} for i in range(N)])

counts = st.integers(0, N + 2)
steps = st.lists(
    st.tuples(st.just("shuffle"), st.integers(0, 2**32))
    | st.tuples(st.sampled_from(["take", "skip"]), counts)
    | st.tuples(st.just("select"), st.lists(st.integers(0, N - 1), max_size=N)),
    max_size=5,
)


def ours() -> Dataset:
    return Dataset(ArrowRows(TABLE, "table"))


@given(steps)
def test_every_composition_gives_the_rows_of_datasets(composition):
    mine, theirs = ours(), TABLE
    for verb, argument in composition:
        n = len(mine)
        if verb == "select":
            argument = [i for i in argument if i < n]
        elif verb == "skip":
            argument = max(
                min(argument, n - 1), 0
            )  # at the end and beyond, `datasets` raises or not, by what came before
        mine = getattr(mine, verb)(argument)
        theirs = theirs.shuffle(seed=argument) if verb == "shuffle" else getattr(theirs, verb)(argument)
    assert mine.to_list() == theirs.to_list()
    assert [mine.place(i) for i in range(len(mine))] == [f"table[{i}]" for i in theirs["id"]]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, N - 1))
def test_shuffled_twice_around_a_holdout_is_the_order_of_datasets(seed, epoch, n_test):
    mine = ours().shuffle(seed).skip(n_test).shuffle(seed + epoch)
    theirs = TABLE.shuffle(seed=seed).skip(n_test).shuffle(seed=seed + epoch)
    assert mine.indices.dtype == np.int64
    assert mine.indices.tolist() == theirs["id"][:]


def test_reading_places_gives_the_rows_that_stand_there():
    shuffled = ours().shuffle(3)
    everything = shuffled.to_list()
    assert shuffled.read(np.array([5, 0, 5])) == [everything[5], everything[0], everything[5]]


def test_shuffling_reads_nothing():
    class Unread:
        name = "unread"

        def __len__(self) -> int:
            return 10

    assert len(Dataset(Unread()).shuffle(0).skip(2).select(range(4)).take(3)) == 3


def test_a_list_comes_back_as_it_is():
    rows = [{"messages": None}, {"other": [None]}]
    dataset = Dataset.from_list(rows, "mine")
    assert dataset.to_list() == rows
    assert dataset.shuffle(0).select([1]).place(0) == f"mine[{dataset.shuffle(0).indices[1]}]"


@pytest.mark.parametrize("places", [[N], [-1], range(20, 40), np.array([3, -2])])
def test_a_place_outside_is_an_index_error(places):
    with pytest.raises(IndexError, match=r"expected places in \[0, 23\)"):
        ours().select(places)


@pytest.mark.parametrize("verb", ["take", "skip"])
def test_a_negative_count_is_an_index_error(verb):
    with pytest.raises(IndexError, match=r"expected n >= 0 rows, got -1"):
        getattr(ours(), verb)(-1)


def test_keys_that_arrow_filled_with_none_are_gone():
    written = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b", "name": "f"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}]}]},
        {"messages": [{"role": "assistant", "content": "c", "tool_calls": [{"function": {"name": "g", "x": 1}}]}]},
    ]
    table = datasets.Dataset.from_list(written)
    assert table.to_list() != written
    assert Dataset(ArrowRows(table, "table")).to_list() == written


@pytest.fixture
def folder(tmp_path):
    for split, n in [("train", 5), ("test", 3)]:
        (tmp_path / "set").mkdir(exist_ok=True)
        lines = [json.dumps({"messages": [{"role": "user", "content": f"{split} {i}"}]}) for i in range(n)]
        (tmp_path / "set" / f"{split}.jsonl").write_text("\n".join(lines))
    return tmp_path / "set"


def test_a_folder_gives_its_splits_by_name(folder, tmp_path):
    splits = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in splits.items()} == {"train": 5, "test": 3}
    assert splits["test"].to_list()[2] == {"messages": [{"role": "user", "content": "test 2"}]}
    assert splits["test"].place(2) == f"{folder}:test[2]"
    with pytest.raises(InputError, match=r"unknown split 'tets', did you mean 'test'. - at --dataset-split"):
        splits["tets"]


def test_a_folder_that_holds_no_data_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected a dataset that can be read, got .* - at hf:"):
        load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))


def test_a_broken_table_is_refused_with_its_reason(folder, tmp_path):
    (folder / "train.jsonl").write_text('{"messages": []}\n{"messages":')
    with pytest.raises(InputError, match=r"JSON.*at hf:") as error:
        load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert "\n" not in str(error.value)


@pytest.fixture
def no_hub(monkeypatch):
    """A Hub that refuses every connection: a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)


@pytest.mark.usefixtures("no_hub")
def test_a_hub_that_cannot_be_reached_is_said_within_ten_seconds(tmp_path):
    start = time.monotonic()
    with pytest.raises(InputError, match=r"expected some/set from the .* got no answer .* --dataset FILE.jsonl"):
        load_dataset("some/set", cache_dir=str(tmp_path))
    assert time.monotonic() - start < 10
    assert not datasets.config.HF_HUB_OFFLINE


@pytest.mark.usefixtures("no_hub")
def test_a_copy_in_the_cache_is_used_when_the_hub_cannot_be_reached(folder, tmp_path):
    cache = tmp_path / "cache"
    load_dataset(str(folder), cache_dir=str(cache))
    shutil.copytree(table_folder(cache), cache / "some___set" / "default" / "0.0.0" / "1234abcd")
    assert len(load_dataset("some/set", cache_dir=str(cache))["train"]) == 5


def table_folder(cache: Path) -> Path:
    return next(cache.rglob("dataset_info.json")).parent


def test_a_hub_that_says_nothing_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert unreachable("some/set", endpoint, seconds=0.2).startswith(f"no answer from {endpoint}")


@pytest.mark.parametrize(("status", "reached"), [(200, True), (401, True), (404, True), (500, False), (503, False)])
def test_a_hub_is_reached_when_it_answers_and_is_not_broken(status, reached):
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"id": "some/set"}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        reason = unreachable("some/set", f"http://127.0.0.1:{server.server_port}", seconds=5)
        server.shutdown()
    assert (reason is None) is reached, reason
