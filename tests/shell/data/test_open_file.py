"""Files of rows: the same rows whatever they are packed in, one sentence for what is none, bad rows in their places."""

import bz2
import json
import lzma
import os
import tempfile
import tracemalloc
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from kernel.enums import UnknownKeys
from kernel.errors import InputError
from shell.data import open_file
from shell.data.load_dataset import DatasetSpec, open_source
from shell.data.open_file import cache_root, local_copy, prepared_root
from shell.data.open_rows import open_rows
from shell.data.row_faults import RowFaultsError
from shell.data.rows import Rejected, RowValidation
from tests.shell.packing import packed_by_gzip

ROWS = [
    {"messages": [{"role": "user", "content": "é\u2028"}, {"role": "assistant", "content": None}], "id": 1},
    {"messages": [{"role": "user", "content": "b"}], "tools": [None]},
    {"messages": [], "id": "c"},
]


def jsonl(rows=ROWS):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def array(rows=ROWS, indent=None):
    return json.dumps(rows, ensure_ascii=False, indent=indent).encode()


def zstd(data):
    return pa.compress(data, "zstd", asbytes=True)


def write(folder, data, name="rows"):
    (folder / name).write_bytes(data)
    return folder / name


def read(path, **more):
    rows = open_rows(path, RowValidation(**more))
    return rows.take(np.arange(len(rows)))


def refusal(path, **more):
    with pytest.raises(InputError) as error:
        open_rows(path, RowValidation(**more)).check()
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(path), path.name)


KINDS = {
    "lines": jsonl(),
    "lines with a mark": b"\xef\xbb\xbf" + jsonl(),
    "CRLF": jsonl().replace(b"\n", b"\r\n") + b"\r\n",
    "an array": array(),
    "an array with a mark": b"\xef\xbb\xbf" + array(),
    "an array in many lines": array(indent=2),
    "an array behind blanks": b"\n \r\n\t" + array() + b"\n\n",
    "gzip": packed_by_gzip(jsonl()),
    "gzip in two members": packed_by_gzip(jsonl()[:40]) + packed_by_gzip(jsonl()[40:]),
    "zstd": zstd(jsonl()),
    "zstd in two frames": zstd(jsonl()[:40]) + zstd(jsonl()[40:]),
    "zstd behind a frame to skip": b"\x50\x2a\x4d\x18\x02\x00\x00\x00ab" + zstd(jsonl()),
    "bzip2": bz2.compress(jsonl()),
    "xz": lzma.compress(jsonl()),
    "an array in gzip": packed_by_gzip(array()),
    "an array in zstd": zstd(array(indent=1)),
}


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("name", ["rows", "rows.jsonl", "rows.json.gz", "rows.parquet"])
def test_the_same_rows_are_read_whatever_they_are_packed_in_and_called(what, name, tmp_path):
    assert read(write(tmp_path, KINDS[what], name)) == ROWS


def table(rows):
    keys = dict.fromkeys(key for row in rows for key in row)
    return pa.Table.from_pylist([{key: row.get(key) for key in keys} for row in rows])


def test_parquet_gives_the_rows_without_the_nulls_that_arrow_filled_in(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "name": "c"}]},
        {"conversations": [{"from": "human", "value": "a"}]},
        {"instruction": "a", "output": "b", "id": 7},
    ]
    path = tmp_path / "a.parquet"
    parquet.write_table(table(rows * 300), path, row_group_size=7)
    opened = open_rows(path, RowValidation())
    assert len(opened) == 900
    assert opened.place(17) == f"{path}[17]"
    taken = opened.take(np.array([897, 1, 5, 3]))
    assert taken[0] == rows[0]
    assert taken[1] == {"messages": [{"from": "human", "value": "a"}]}
    assert (opened.ignored, [m["content"] for m in taken[2]["messages"]]) == ({"id": 900}, ["a", "b"])


def test_a_parquet_file_cut_short_empty_or_without_messages_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(table([{"a": 1}]), path)
    assert refusal(path).endswith("got 'a' - at a.parquet[0]")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert refusal(path).startswith("expected a Parquet file that can be read, got ")
    parquet.write_table(table([{"messages": "x"}]).slice(0, 0), path)
    assert refusal(path) == "expected a Parquet file with rows, got one without any - at a.parquet"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a JSONL file, got an empty file - at rows"),
        (packed_by_gzip(b""), "expected a JSONL file, got an empty file - at rows"),
        (zstd(b""), "expected a JSONL file, got an empty file - at rows"),
        (packed_by_gzip(jsonl())[:-9], "expected a whole file packed by gzip, got one that ends in the middle (was it"),
        (packed_by_gzip(jsonl())[:5], "expected a whole file packed by gzip, got one that ends in the middle (was it"),
        (packed_by_gzip(jsonl()) + b"junk", "expected a whole file packed by gzip, got a damaged one (Not a gzip"),
        (packed_by_gzip(jsonl())[:-8] + b"12345678", "expected a whole file packed by gzip, got a damaged one (C"),
        (packed_by_gzip(jsonl())[:10] + b"\xff" * 40, "expected a whole file packed by gzip, got a damaged one ("),
        (zstd(jsonl())[:-3], "expected a whole file packed by zstd, got one that ends in the middle (was it"),
        (zstd(jsonl()) + zstd(jsonl())[:7], "expected a whole file packed by zstd, got one that ends in the middle"),
        (zstd(jsonl()) + b"junkjunk", "expected a whole file packed by zstd, got a damaged one ("),
        (packed_by_gzip(zstd(jsonl())), "expected JSON, CSV or TSV, packed once, got packed data inside (unpack it"),
        (b"PK\x03\x04...", "expected a JSONL file, got a zip archive (unpack it first) - at rows"),
        (b"<!doctype html>", "expected a JSONL file, got HTML, a web page (was a page saved"),
        (b"version https://git-lfs.github.com/spec/v1\n", "expected a JSONL file, got a pointer of Git LFS (git lfs "),
        (b"[]", "expected a JSON array of rows, got an empty array - at rows"),
        (b"[", "expected the end of the array, ], got the end of the file - at rows:1:2"),
        (b'[\n{"messages": []},\n]', "expected a row, got ']' - at rows:3:1"),
        (b'[{"messages": []} {}]', "expected a comma, or ], got '{' - at rows:1:19"),
        (b'[{"messages": []}] {}', "expected nothing after ], got '{' - at rows:1:20"),
        (b'["\xc3\xa9"]', 'expected a JSON object, got "é" - at rows:1:2'),
        (b'[{"messages": []},\n\n  3]', "expected a JSON object, got 3 - at rows:3:3"),
        (b'[{"messages": []},\n  {"messages": [}]', "expected a JSON object, got broken JSON (expecting value) - at "),
        (b'[{"messages": []},\n  {"a": "\xff"}]', "expected UTF-8, got the byte 0xff - at rows:2:10"),
        (
            b'[{"messages": [1,\n2,\n "\xc3\xa9", x]}]',
            "expected a JSON object, got broken JSON (expecting value) - at ",
        ),
        (
            b'[\n {"a": 1}]',
            "expected the key 'messages', those of another shape (see --dataset-format), or --dataset-map ",
        ),
    ],
)
def test_what_is_no_file_of_rows_is_refused_in_one_sentence(data, message, tmp_path):
    assert refusal(write(tmp_path, data)).startswith(message)


def test_broken_json_in_an_array_is_told_with_line_and_column(tmp_path):
    told = refusal(write(tmp_path, '[\n {"messages": [1,\n  "é", x]}]'.encode()))
    assert told == "expected a JSON object, got broken JSON (expecting value) - at rows:3:8"
    told = refusal(write(tmp_path, b'[\n {"messages": []},\n {"messages": [], "a": "x}, {"b": 1}]'))
    assert told.endswith(" - at rows:3:31")


BAD = [b'{"mess', b"", b'{"id": 1}', b"[]", b'{"messages": NaN}', b'{"text": "\xff"}']


@pytest.mark.parametrize("packed", [bytes, packed_by_gzip])
def test_bad_rows_keep_their_numbers_and_places_and_give_their_reasons(packed, tmp_path):
    lines = [line for bad in BAD for line in (bad, b'{"messages": []}')]
    path = write(tmp_path, packed(b"\n".join(lines) + b"\n\n"))
    rows = open_rows(path, RowValidation(max_bad_rows=len(BAD)))
    taken = rows.take(np.arange(len(rows))[::-1])[::-1]
    assert rows.n_rejected == len(BAD)
    assert [isinstance(row, Rejected) for row in taken] == [True, False] * len(BAD)
    for i in range(0, len(taken), 2):
        assert f"{rows.place(i)}" in taken[i].reason
        assert rows.place(i) == f"{path}:{i + 1}"


def test_bad_rows_beyond_what_is_allowed_are_one_error_that_counts_and_gives_the_first_places(tmp_path):
    path = write(tmp_path, b"\n".join([b'{"a": %d}' % i for i in range(9)]))
    with pytest.raises(InputError) as caught:
        open_rows(path, RowValidation(max_bad_rows=4)).check()
    told = str(caught.value)
    assert told.startswith("9 of 9 rows cannot be used, and --max-bad-rows allows 4:\n  9  expected the key ")
    assert " ".join(told.split()).endswith("rows:1, :2, :3, ...")


def test_bad_rows_of_an_array_are_passed_over_unless_its_json_breaks(tmp_path):
    path = write(tmp_path, b'[3, {"messages": []}, {"a": 1}, {"a": "\\ud800"}]')
    taken = read(path, max_bad_rows=3)
    assert [isinstance(row, Rejected) for row in taken] == [True, False, True, True]
    assert taken[2].reason.endswith(f"{path}:1:23")
    path.write_bytes(b'[3, {"messages": [}]')
    assert "broken JSON" in refusal(path, max_bad_rows=3)


def test_a_file_with_the_same_bytes_is_the_same_file_and_another_is_refused(tmp_path):
    path = write(tmp_path, jsonl())
    rows = open_rows(path, RowValidation())
    os.utime(path, ns=(1, 1))
    assert rows.take(np.array([0])) == ROWS[:1]
    write(tmp_path, jsonl(), "other").replace(path)
    assert rows.take(np.array([1])) == ROWS[1:2]
    path.write_bytes(jsonl().replace(b'"b"', b'"x"'))  # as long, and JSON, but not what was checked
    os.utime(path, ns=(2, 2))
    with pytest.raises(InputError, match="got one changed since - at "):
        rows.take(np.array([0]))


def test_a_file_that_changes_while_it_is_gone_through_is_refused(tmp_path):
    path = write(tmp_path, jsonl() + b"\n")
    blocks = open_file.OwnFile(path).blocks()
    next(blocks)
    path.write_bytes(jsonl())
    with pytest.raises(InputError, match="got one changed since - at "):
        list(blocks)


def test_what_was_unpacked_is_read_whatever_becomes_of_the_file(tmp_path):
    path = write(tmp_path, packed_by_gzip(jsonl()))
    rows = open_rows(path, RowValidation())
    path.unlink()
    assert rows.take(np.array([2, 0])) == [ROWS[2], ROWS[0]]


def test_the_same_bytes_have_one_fingerprint_packed_or_not(tmp_path):
    files = [jsonl(), packed_by_gzip(jsonl()), zstd(jsonl()), jsonl() + b"\n"]
    found = [open_rows(write(tmp_path, data, str(i)), RowValidation()).fingerprint for i, data in enumerate(files)]
    assert found[0] == found[1] == found[2] != found[3]


def test_a_full_folder_for_temporary_files_is_told_with_the_way_on(tmp_path, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    path = write(tmp_path, packed_by_gzip(jsonl()))
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    told = refusal(path)
    assert told.startswith("rows cannot be unpacked to ")
    assert told.endswith(" (TMPDIR names another folder): no space left on device")


@pytest.mark.parametrize(
    "packed", [jsonl, array, lambda rows: packed_by_gzip(jsonl(rows)), lambda rows: zstd(array(rows))]
)
def test_opening_keeps_no_row_in_memory(packed, tmp_path):
    row = {"messages": "x" * 20_000}
    path = write(tmp_path, packed([row] * 500))
    open_rows(path, RowValidation()).check()  # what is imported once is not counted
    tracemalloc.start()
    opened = open_rows(path, RowValidation())
    opened.check()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(opened) == 500
    assert peak < 2_000_000


pieces = st.sampled_from(
    [
        b'{"messages": []}',
        b'{"text": "a"}',
        b"[",
        b"]",
        b",",
        b"\n",
        b"{",
        b"}",
        b'"',
        b"\xef\xbb\xbf",
        b"\xff",
        b" ",
        b"1",
    ]
)


@given(st.lists(pieces, max_size=9), st.booleans(), st.integers(0, 2))
def test_whatever_the_bytes_rows_or_one_sentence_come_out(tmp_path_factory, found, packed, max_bad_rows):
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    data = b"".join(found)
    path.write_bytes(packed_by_gzip(data) if packed else data)
    validation, told, is_table = RowValidation(max_bad_rows=max_bad_rows), str(path), False
    try:
        rows = open_rows(path, validation)
        taken = [row for _, block in rows.scan() for row in block]
        rows.check()
    except InputError as error:
        told = str(error)
        is_table = isinstance(error, RowFaultsError)
    else:
        n_bad = sum(isinstance(row, Rejected) for row in taken)
        assert n_bad == rows.n_rejected <= max_bad_rows
        assert all("messages" in row for row in taken if not isinstance(row, Rejected))
    assert str(path) in told
    assert is_table == ("\n" in told)


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text() | st.integers() | st.none(), max_size=3), min_size=1))
def test_an_array_and_lines_of_the_same_rows_are_the_same_rows(tmp_path_factory, rows):
    folder = tmp_path_factory.getbasetemp()
    rows, ignore = [{**row, "messages": []} for row in rows], {"unknown_keys": UnknownKeys.IGNORE}
    assert read(write(folder, array(rows), "a"), dataset_format="messages", **ignore) == rows
    assert read(write(folder, jsonl(rows), "b"), dataset_format="messages", **ignore) == rows


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
