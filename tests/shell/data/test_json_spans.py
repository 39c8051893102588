"""Where rows are in JSON: lines, elements, objects over several lines, lists under the keys of one object."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.enums import UnknownKeys
from kernel.errors import InputError
from shell.data.open_rows import open_rows
from shell.data.rows import Rejected, RowValidation

ROW = {"messages": [{"role": "user", "content": "é {\n"}, {"role": "assistant", "content": "]"}]}


def write(folder, text, name="rows.json"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def read(path, split="train", **more):
    rows = open_rows(path, RowValidation(**more), split)
    return rows.take(np.arange(len(rows)))


def places(path, split="train"):
    rows = open_rows(path, RowValidation(), split)
    return [rows.place(i).removeprefix(str(path)) for i in range(len(rows))]


def refusal(path, split="train"):
    with pytest.raises(InputError) as error:
        open_rows(path, RowValidation(), split).check()
    return str(error.value).replace(str(path), path.name)


def pretty(*rows):
    return "\n".join(json.dumps(row, indent=2, ensure_ascii=False) for row in rows)


def line(row):
    return json.dumps(row, ensure_ascii=False)


DOCUMENTS = {
    "one over several lines": (pretty(ROW), [":1:1"]),
    "several, each over several lines": (pretty(ROW, ROW), [":1:1", ":13:1"]),
    "a line, then several": (f"{line(ROW)}\n{pretty(ROW)}\n{line(ROW)}", [":1:1", ":2:1", ":14:1"]),
    "without line ends between": (line(ROW) + line(ROW), [":1:1", f":1:{len(line(ROW)) + 1}"]),
    "without indents": (json.dumps(ROW, indent=0), [":1:1"]),
    "blank lines between": (pretty(ROW) + "\n\n\n" + pretty(ROW), [":1:1", ":15:1"]),
    "with a mark": ("\ufeff" + pretty(ROW, ROW), [":1:1", ":13:1"]),
    "CRLF": (pretty(ROW, ROW).replace("\n", "\r\n"), [":1:1", ":13:1"]),
}


@pytest.mark.parametrize("what", DOCUMENTS)
@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_objects_over_several_lines_are_rows_at_their_lines(what, packed, tmp_path):
    text, where = DOCUMENTS[what]
    path = write(tmp_path, packed(text.encode()))
    assert read(path) == [ROW] * len(where)
    assert places(path) == where


def test_one_object_in_one_line_is_a_line_of_jsonl(tmp_path):
    assert places(write(tmp_path, line(ROW))) == [":1"]
    assert places(write(tmp_path, f"  {line(ROW)}\n  {line(ROW)}\n")) == [":1", ":2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            pretty(ROW, ROW)[:-3],
            "expected a JSON object, got broken JSON (expecting ',' delimiter) - at rows.json:23:3",
        ),
        (
            pretty(ROW) + ",\n" + pretty(ROW),
            "expected a JSON object, got a comma (there is none between objects but in",
        ),
        (pretty(ROW) + "\n3", "expected a JSON object, got '3' - at rows.json:13:1"),
        (pretty(ROW)[:-2], "expected a JSON object, got broken JSON ("),
        (pretty({"a": 1}, {"a": 1}), "expected the key 'messages', those of another shape"),
    ],
)
def test_objects_that_break_are_refused_where_they_break(text, message, tmp_path):
    refused = " ".join(refusal(write(tmp_path, text)).split())  # several broken objects are a table
    assert refused.startswith(message) or message in refused


CONTAINERS = [
    {"data": [ROW, ROW]},
    {"version": "1.0", "data": [ROW, ROW], "count": 2},
    {"rows": [ROW, ROW], "errors": []},
    {"train": [ROW, ROW], "test": [{"text": "t"}]},
    {"test": [{"text": "t"}], "train": [ROW, ROW], "license": {"name": "x"}},
]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_rows_of_an_object_are_in_its_list(container, indent, tmp_path):
    path = write(tmp_path, json.dumps(container, indent=indent, ensure_ascii=False))
    assert read(path) == [ROW, ROW]
    lines = path.read_text().splitlines()
    for place in places(path):
        _, row, column = place.split(":")
        assert lines[int(row) - 1][int(column) - 1] == "{"


def test_a_split_of_an_object_is_chosen_by_its_name_and_has_its_own_fingerprint(tmp_path):
    path = write(tmp_path, json.dumps({"train": [ROW], "test": [{"text": "t"}], "dev": [ROW]}))
    assert [row["messages"][0]["content"] for row in read(path, "test")] == ["t"]
    assert len({open_rows(path, RowValidation(), split).fingerprint for split in ("train", "test", "dev")}) == 3
    assert refusal(path, "tset") == "unknown split 'tset', did you mean 'test'? - at --dataset-split"
    assert refusal(write(tmp_path, json.dumps({"a": [ROW], "b": [ROW]}))).startswith("unknown split 'train', expected")
    assert "an empty array" in refusal(write(tmp_path, json.dumps({"train": [], "test": [ROW]})))
    assert refusal(write(tmp_path, json.dumps({"data": [ROW]})), "test").startswith("unknown split 'test'")


@pytest.mark.parametrize("text", [line(ROW), pretty(ROW, ROW), json.dumps([ROW])])
def test_a_file_without_splits_has_none_of_a_name(text, tmp_path):
    assert refusal(write(tmp_path, text), "test").startswith("there are no splits in the file, so none called 'test'")


def test_what_msgspec_refuses_in_a_list_costs_only_its_row(tmp_path):
    text = '{"v": 1, "data": [{"messages": [{"role": "user", "content": "\\ud800"}]}, {"messages": [], "score": NaN}]}'
    rows = read(write(tmp_path, text), max_bad_rows=1)
    assert isinstance(rows[0], Rejected)
    assert rows[0].reason.endswith(":1:62")
    assert rows[1]["messages"] == []


def test_an_object_with_a_key_that_is_read_is_a_row(tmp_path):
    row = {"system": "S", "conversations": [{"from": "human", "value": "a"}]}
    assert len(read(write(tmp_path, json.dumps(row, indent=1)))[0]["messages"]) == 2
    path = write(tmp_path, json.dumps({"chat": [{"role": "user", "content": "a"}]}))
    assert read(path, column="chat")[0] == {"chat": [{"role": "user", "content": "a"}]}


texts = st.text(st.characters(codec="utf-8"), max_size=4)


@given(st.lists(st.dictionaries(texts, texts | st.lists(texts, max_size=2), max_size=3), min_size=1, max_size=4))
def test_however_it_is_laid_out_it_is_the_same_rows(tmp_path_factory, rows):
    folder = tmp_path_factory.getbasetemp()
    rows = [{"messages": [], **row} for row in rows]
    wanted = read(write(folder, json.dumps(rows)), dataset_format="messages", unknown_keys=UnknownKeys.IGNORE)
    for text in (
        pretty(*rows),
        json.dumps({"data": rows}),
        json.dumps({"data": rows}, indent=3),
        "".join(map(line, rows)),
    ):
        assert read(write(folder, text), dataset_format="messages", unknown_keys=UnknownKeys.IGNORE) == wanted
