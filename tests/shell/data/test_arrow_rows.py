"""Tables: rows come out as they were written, whatever Arrow made of them."""

import datetime as dt

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from kernel.enums import UnknownKeys
from kernel.errors import InputError
from shell.data.arrow_rows import ArrowRows
from shell.data.open_rows import open_rows
from shell.data.rows import Rejected, RowValidation

CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}
MIXED = [
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "tools": [{"p": {"a": 1}}]},
    {"messages": [CALL], "tools": [{"p": {"b": ["x", None]}}]},
]


def to_list(rows):
    return rows.take(np.arange(len(rows)))


def table():
    message = {"role": datasets.Value("string"), "content": datasets.Json(), "tool_calls": datasets.Json()}
    features = datasets.Features({"messages": datasets.List(message), "tools": datasets.List(datasets.Json())})
    talks = [[{**dict.fromkeys(message), **one} for one in row["messages"]] for row in MIXED]
    rows = [{"messages": talk, "tools": row.get("tools")} for talk, row in zip(talks, MIXED, strict=True)]
    return datasets.Dataset.from_list(rows, features=features)


@pytest.mark.parametrize("whole", [False, True])
def test_the_json_type_of_datasets_is_decoded(whole, tmp_path):
    if whole:
        features = datasets.Features({"messages": datasets.Json(), "tools": datasets.Json()})
        made = datasets.Dataset.from_list([{"tools": None, **row} for row in MIXED], features=features)
    else:
        made = table()
    made.to_parquet(tmp_path / "a.parquet")
    for rows in (ArrowRows(made, "t", RowValidation()), open_rows(tmp_path / "a.parquet")):
        assert to_list(rows) == MIXED
        assert [row for _, block in rows.scan() for row in block] == MIXED


def far(kind):
    return pa.array([253_402_300_800_000_000, None], pa.timestamp("us", kind))


def test_cells_that_nobody_reads_cannot_break_a_row(tmp_path):
    messages = [[{"role": "user", "content": "a"}]] * 2
    columns = {"messages": messages, "id": [b"\xff", b"a"], "when": far(None), "zoned": far("UTC")}
    columns["meta"] = pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64()))
    columns["embedding"] = [[0.5] * 3, None]
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    rows = open_rows(tmp_path / "a.parquet")
    assert to_list(rows) == [{"messages": messages[0]}] * 2
    assert rows.ignored == dict.fromkeys(("id", "when", "zoned", "meta", "embedding"), 2)


def test_a_column_of_a_name_that_nothing_reads_is_refused_where_it_holds_something(tmp_path):
    columns = {"messages": [[{"role": "user", "content": "a"}]] * 2, "raw": [None, b"\xff"]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    rows = open_rows(tmp_path / "a.parquet", RowValidation(max_bad_rows=1))
    good, bad = to_list(rows)
    assert good == {"messages": columns["messages"][0]}
    assert bad.reason.startswith("nothing reads the key 'raw': name what it is with --dataset-map")
    left_out = RowValidation(unknown_keys=UnknownKeys.IGNORE)
    rows = open_rows(tmp_path / "a.parquet", left_out)
    assert to_list(rows) == [good, good]
    assert rows.ignored == {"raw": 2}


def test_texts_of_a_dictionary_are_texts(tmp_path):
    texts = pa.array(["a", "b", "a"]).dictionary_encode()
    parquet.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    rows = open_rows(tmp_path / "a.parquet")
    assert [row["messages"][0]["content"] for row in to_list(rows)] == ["a", "b", "a"]


def test_bytes_and_dates_where_text_belongs_become_text_or_are_refused(tmp_path):
    kind = pa.list_(pa.struct({"role": pa.binary(), "content": pa.binary(), "day": pa.date32()}))
    messages = [[{"role": b"user", "content": "é".encode(), "day": dt.date(2020, 1, 2)}], None]
    parquet.write_table(pa.table({"messages": pa.array(messages, kind)}), tmp_path / "a.parquet")
    rows = open_rows(tmp_path / "a.parquet", RowValidation("messages", max_bad_rows=1))
    good, bad = to_list(rows)
    assert good == {"messages": [{"role": "user", "content": "é", "day": "2020-01-02"}]}
    assert isinstance(bad, Rejected)
    messages[0][0]["content"] = b"\xff"
    parquet.write_table(pa.table({"messages": pa.array(messages, kind)}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"expected text in the column 'messages', got .*UTF8.* - at .*b.parquet"):
        open_rows(tmp_path / "b.parquet")
    table = datasets.Dataset.from_dict({"messages": [b"\xff"]})
    with pytest.raises(InputError, match=r"expected text in the column 'messages', got .*UTF8.* - at t\[0\]"):
        ArrowRows(table, "t").take(np.array([0]))


def test_a_parquet_file_of_the_same_bytes_has_the_same_fingerprint(tmp_path):
    rows = pa.table({"messages": [[{"role": "user", "content": "a"}]]})
    for name in "ab":
        parquet.write_table(rows, tmp_path / name)
    parquet.write_table(rows.append_column("n", [[1]]), tmp_path / "c")
    found = [open_rows(tmp_path / name).fingerprint for name in "abc"]
    assert found[0] == found[1] != found[2]
