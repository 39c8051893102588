"""Tables in files: Arrow's formats give the rows of Parquet, and what nobody reads is not read."""

import datetime as dt

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from kernel.enums import UnknownKeys
from kernel.errors import InputError
from shell.data import arrow_files
from shell.data.open_rows import open_rows
from shell.data.rows import Rejected, RowValidation

TALK = [{"role": "user", "content": "é"}, {"role": "assistant", "content": "b"}]


def stream(table, path):
    with pa.ipc.new_stream(path, table.schema) as sink:
        sink.write_table(table, max_chunksize=7)


def file(table, path):
    with pa.ipc.new_file(path, table.schema) as sink:
        sink.write_table(table, max_chunksize=7)


WRITERS = {
    "stream": stream,
    "file": file,
    "feather in lz4": lambda table, path: feather.write_feather(table, path, compression="lz4"),
    "parquet": lambda table, path: parquet.write_table(table, path, row_group_size=5),
}


def rows_of(path, **more):
    rows = open_rows(path, RowValidation(**more))
    return rows.take(np.arange(len(rows)))


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("name", ["a", "a.arrow", "a.jsonl"])
def test_the_same_rows_whatever_the_format(what, name, tmp_path):
    table = pa.table({"messages": [TALK, TALK[:1]] * 300, "id": [1, None] * 300})
    WRITERS[what](table, tmp_path / name)
    rows = open_rows(tmp_path / name)
    assert len(rows) == 600
    assert rows.take(np.array([599, 0])) == [{"messages": TALK[:1]}, {"messages": TALK}]
    assert [row for _, block in rows.scan() for row in block] == [{"messages": TALK}, {"messages": TALK[:1]}] * 300
    assert rows.place(17) == f"{tmp_path / name}[17]"


@pytest.mark.parametrize("what", WRITERS)
def test_a_file_cut_short_or_without_rows_is_refused(what, tmp_path):
    path = tmp_path / "a"
    table = pa.table({"messages": [TALK] * 9})
    WRITERS[what](table, path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"expected an? (Parquet|Arrow) file that can be read, got "):
        open_rows(path)
    WRITERS[what](table.slice(0, 0), path)
    with pytest.raises(InputError, match=r"expected an? (Parquet|Arrow) file with rows, got one without any"):
        open_rows(path)


HELD = {
    "html": (["x" * 99, None, ""], [True, False, False]),
    "flag": ([False, None, True], [True, False, True]),
    "points": ([0.5, None, 1.0], [True, False, True]),
    "vectors": ([[1.0, 2.0], None, []], [True, False, False]),
    "info": ([{"a": 1, "b": None}, {"a": None, "b": None}, None], [True, False, False]),
    "raw": ([b"\xff", None, b"a"], [True, False, True]),
    "pairs": (pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())), [True, False, False]),
    "sort": (pa.array(["k", None, "k"]).dictionary_encode(), [True, False, True]),
}


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("name", HELD)
def test_a_column_that_nothing_reads_is_refused_in_the_rows_where_it_holds_something(what, name, tmp_path):
    values, held = HELD[name]
    WRITERS[what](pa.table({"messages": [TALK] * 3, name: values}), tmp_path / "a")
    found = rows_of(tmp_path / "a", max_bad_rows=3)
    assert [isinstance(row, Rejected) for row in found] == held
    assert all(f"nothing reads the key {name!r}" in row.reason for row in found if isinstance(row, Rejected))
    rows = open_rows(tmp_path / "a", RowValidation(unknown_keys=UnknownKeys.IGNORE))
    assert (rows.take(np.arange(3)), rows.ignored) == ([{"messages": TALK}] * 3, {name: 3})


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("name", ["Score", "vector", "any"])
def test_a_column_that_is_ignored_is_not_read_but_counted(what, name, tmp_path):
    values = [dt.datetime(2020, 1, 1)] * 3 if name == "any" else [[0.5]] * 3
    WRITERS[what](pa.table({"messages": [TALK] * 3, name: values}), tmp_path / "a")
    rows = open_rows(tmp_path / "a")
    assert (rows.take(np.arange(3)), rows.ignored) == ([{"messages": TALK}] * 3, {name: 3})


def test_a_vector_in_every_row_is_not_read_from_parquet(tmp_path, monkeypatch):
    table = pa.table({"messages": [TALK] * 50, "vector": [[0.5] * 64] * 50})
    parquet.write_table(table, tmp_path / "a", row_group_size=10)
    read = list[str]()
    iter_batches = parquet.ParquetFile.iter_batches

    def noted(self, **options):
        read.extend(options["columns"])
        return iter_batches(self, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", noted)
    assert rows_of(tmp_path / "a") == [{"messages": TALK}] * 50
    assert set(read) == {"messages"}


def test_what_comes_out_of_a_table_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_files, "FLOOR", 1 << 16)
    table = pa.table({"messages": [[{"role": "user", "content": "x" * 10_000}]] * 2_000})
    parquet.write_table(table, tmp_path / "a")
    with pytest.raises(InputError, match="expected at most 1 GiB or 100 times its size in a Parquet file, got more"):
        open_rows(tmp_path / "a")


def test_dates_and_maps_where_they_are_read_become_text_and_objects(tmp_path):
    kind = pa.list_(
        pa.struct({"role": pa.string(), "at": pa.timestamp("us", "UTC"), "more": pa.map_("string", "int64")})
    )
    far = 253_402_300_800_000_000  # the year 10000
    messages = pa.array([[{"role": "user", "at": far, "more": [("a", 1), ("b", None)]}]], kind)
    parquet.write_table(pa.table({"messages": messages}), tmp_path / "a")
    message = rows_of(tmp_path / "a")[0]["messages"][0]
    assert message == {"role": "user", "at": "10000-01-01 00:00:00.000000Z", "more": {"a": 1}}


@pytest.mark.parametrize("depth", ["whole", "list", "inside"])
def test_json_stored_as_text_is_decoded_by_what_datasets_says_of_it(depth, tmp_path):
    call = {"name": "f", "arguments": {"a": [1, None], "b": None}}
    if depth == "whole":
        features, cell = datasets.Json(), [{"role": "user", "content": "a", "tool_calls": [call]}]
    elif depth == "list":
        features, cell = datasets.List(datasets.Json()), [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    else:
        features = datasets.List({"role": datasets.Value("string"), "tool_calls": datasets.Json()})
        cell = [{"role": "assistant", "tool_calls": [call]}]
    table = datasets.Dataset.from_list([{"messages": cell}], features=datasets.Features({"messages": features}))
    plain = table.data.table.cast(_as_text(table.data.schema))
    stream(plain, tmp_path / "a")
    assert rows_of(tmp_path / "a") == [{"messages": cell}]


def _as_text(schema):
    """The schema with text in place of Arrow's JSON type, as other writers leave it."""

    def plain(kind):
        if getattr(kind, "extension_name", "") == "arrow.json":
            return pa.string()
        if pa.types.is_list(kind):
            return pa.list_(plain(kind.value_type))
        if pa.types.is_struct(kind):
            return pa.struct([field.with_type(plain(field.type)) for field in kind])
        return kind

    return pa.schema([field.with_type(plain(field.type)) for field in schema], schema.metadata)
