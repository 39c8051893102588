"""JSON rows: what was written comes back, and what cannot be read is refused with its location."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.enums import UnknownKeys
from kernel.errors import InputError
from shell.data import json_rows
from shell.data.json_rows import decode
from shell.data.open_rows import open_rows
from shell.data.rows import Rejected, Rows, RowValidation

GOOD = b'{"messages": []}'
ODD = "expected a number that JSON has,"
OTHER = "those of another shape (see --dataset-format), or --dataset-map user=KEY,assistant=KEY"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
rows = st.dictionaries(st.text(max_size=5), values, max_size=3).map(lambda row: {**row, "messages": "x"})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jsonl") / "train.jsonl"


def opened(path: Path, data: bytes) -> Rows:
    path.write_bytes(data)
    rows = open_rows(path, RowValidation(unknown_keys=UnknownKeys.IGNORE))
    rows.check()
    return rows


def to_list(rows: Rows) -> list[Any]:
    return rows.take(np.arange(len(rows)))


def outcome(path: Path, data: bytes) -> tuple[list[dict[str, Any]], str]:
    try:
        return to_list(opened(path, data)), ""
    except InputError as error:
        return [], str(error)


def refusal(path: Path, data: bytes) -> str:
    with pytest.raises(InputError) as error:
        opened(path, data)
    return str(error.value).replace(str(path), path.name)


@given(
    st.lists(rows, min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"\n", b"\r\n \n\t\n"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_rows_come_back_as_they_were_written(path, written, ascii_only, end, tail, mark):
    lines = [json.dumps(row, ensure_ascii=ascii_only).encode() for row in written]
    read = opened(path, mark + end.join(lines) + tail)
    assert [row for _, block in read.scan() for row in block] == written
    assert to_list(read) == written
    backwards = np.arange(len(read))[::-1]
    assert read.take(backwards) == written[::-1]


@given(st.lists(st.binary(max_size=12) | st.sampled_from([GOOD, GOOD[:-1], b"\n", b"", b"[", b'"\\ud800"', b"\xef"])))
def test_whatever_the_bytes_only_an_input_error_comes_out(path, pieces):
    read, refused = outcome(path, b"\n".join(pieces))
    assert read or path.name in refused


@given(rows, st.data())
def test_a_damaged_line_is_refused_in_its_own_line_or_is_still_an_object(path, row, data):
    line = bytearray(json.dumps(row, ensure_ascii=False).encode())
    line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255).filter(lambda byte: byte != 10))
    read, refused = outcome(path, GOOD + b"\n" + line + b"\n" + GOOD)
    assert f"{path.name}:2" in refused or read[1] == json.loads(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "expected a JSON object, got a blank line - at train.jsonl:2"),
        (b" \t", "expected a JSON object, got a blank line - at train.jsonl:2"),
        (b'{"messages": ' + b"1" * 5000 + b"}", "expected a JSON object, got a number out of range - at train.jsonl:2"),
        (b'{"messages": 1e999}', f"{ODD} got one out of range - at train.jsonl:2 $.messages"),
        (b'{"messages": NaN}', f"{ODD} got NaN - at train.jsonl:2 $.messages"),
        (b'{"messages": [-Infinity]}', f"{ODD} got Infinity - at train.jsonl:2 $.messages[0]"),
        (b"null", "expected a JSON object, got null - at train.jsonl:2"),
        (b'"messages"', 'expected a JSON object, got "messages" - at train.jsonl:2'),
        (
            b"[{}]",
            "expected a JSON object, got a list (JSONL has one object a line, with no brackets around)"
            " - at train.jsonl:2",
        ),
        (
            b"[",
            "expected a JSON object, got a list (JSONL has one object a line, with no brackets around)"
            " - at train.jsonl:2",
        ),
        (
            rb'{"messages": "\\ud800 \ud83d\ude00 \ud83d"}',
            r"expected text, got half a surrogate pair, \ud83d - at train.jsonl:2:36",
        ),
        (rb'{"\udc00": 1}', r"expected text, got half a surrogate pair, \udc00 - at train.jsonl:2:3"),
        ('{"messages": "é'.encode() + b'\xff"}', "expected UTF-8, got the byte 0xff - at train.jsonl:2:16"),
        (b'{"messages": "\xed\xa0\x80"}', "expected UTF-8, got the byte 0xed - at train.jsonl:2:15"),
        (
            b'{"messages":' + b"[" * 10**5,
            "expected at most 100 levels of lists and objects, got more - at train.jsonl:2",
        ),
        (
            b'{"messages":' + b"[" * 100 + b"]" * 100 + b"}",
            "expected at most 100 levels of lists and objects, got more - at train.jsonl:2",
        ),
        (b'{"id": 1, "b": ""}', f"expected the key 'messages', {OTHER}, got 'id', 'b' - at train.jsonl:2"),
        (b"{}", f"expected the key 'messages', {OTHER}, got no keys - at train.jsonl:2"),
        (
            b'{"conversations": []}',
            "expected a list of at least one message, got an empty list - at train.jsonl:2 $.conversations",
        ),
    ],
)
def test_a_bad_line_is_refused_with_its_place(path, line, message):
    assert refusal(path, GOOD + b"\n" + line + b"\n" + GOOD + b"\n") == message


NUMBERS = ["2.50", "1e3", "1E-7", "0.1000000000000000055", "-0.0", "3.0", "7", "12345678901234567890123", "2.5"]
ROWS_WITH_CALLS = [
    '{"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": %s}]}]}',
    '{"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": %s}}]}',
    '{"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": %s}]}]}',
    '{"messages": [], "tools": [{"name": "f", "parameters": %s}]}',
    '{"messages": [], "id": "2.50", "functions": %s}',
]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("form", ROWS_WITH_CALLS)
def test_numbers_of_calls_and_tools_keep_how_they_are_written(path, number, form):
    path.write_text(form % f'{{"a": [{number}]}}')
    row = open_rows(path).take(np.array([0]))[0]
    assert json.dumps(row) == json.dumps(json.loads(path.read_text()))
    while not isinstance(row, int | float):
        row = list(row.values())[-1] if isinstance(row, dict) else row[0]
    assert getattr(row, "text", repr(row)) == number


def test_equal_numbers_are_equal_content_however_they_are_written(path):
    path.write_text(
        "".join(
            f'{{"messages": [{{"role": "assistant", "tool_calls": [{{"a": {n}}}]}}]}}\n'
            for n in ("2.5", "2.50", "25e-1")
        )
    )
    assert len(set(open_rows(path).digests("messages").tolist())) == 1


def test_numbers_that_json_does_not_have_are_passed_over_where_nobody_reads_them(path):
    path.write_text('{"messages": [], "score": NaN, "meta": {"a": [1e999, -Infinity]}}\n')
    assert open_rows(path).take(np.array([0]))[0]["messages"] == []


@pytest.mark.parametrize(
    ("line", "column"),
    [
        (b'{"messages": [}', 15),
        (b'{"messages": []', 16),
        (b'{"messages": [] "id": 1}', 17),
        (b'{"messages": "abc}', 14),
        (b"{'messages': []}", 2),
        (b'{"messages": "\\q"}', 15),
        (b'{"messages": "a\tb"}', 16),
        (b'{"messages": tru}', 14),
        ('{"é": "日本" x}'.encode(), 12),
        (GOOD + b" {}", 18),
        (b"messages", 1),
        (b"\xef\xbb\xbf{}", 1),
    ],
)
def test_broken_json_is_refused_with_its_column(path, line, column):
    message = refusal(path, GOOD + b"\r\n" + line + b"\r\n" + GOOD + b"\r\n")
    assert message.startswith("expected a JSON object, got broken JSON (")
    assert message.endswith(f") - at train.jsonl:2:{column}")


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n  \n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_rows_is_refused(path, data):
    assert refusal(path, data) == "expected a JSONL file, got an empty file - at train.jsonl"


def test_what_is_no_file_is_refused_by_name(tmp_path):
    for name, got in [
        (tmp_path / "none", "no file of that name"),
        ("/dev/null", "something that is no regular file"),
        (tmp_path / ("x" * 999), "file name too long"),
        ("a\0b", "embedded null byte"),
    ]:
        with pytest.raises(InputError) as error:
            open_rows(name)
        assert str(error.value) == f"expected a JSONL file, got {got} - at {name}"


def test_a_file_that_may_not_be_read_is_refused(path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path.write_bytes(GOOD)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="expected a JSONL file, got permission denied - at "):
        open_rows(path)


def test_the_home_directory_is_known_by_its_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    assert open_rows("~/a.jsonl").place(0) == f"{tmp_path}/a.jsonl:1"


def test_of_a_key_given_twice_the_last_counts(path):
    assert opened(path, b'{"messages": 1, "messages": 2}').take(np.array([0]))[0] == {"messages": 2}


def test_rows_are_counted_from_zero_and_lines_from_one(path):
    read = opened(path, GOOD + b"\n" + b'{"messages": 2}')
    assert (to_list(read)[1], read.place(1)) == ({"messages": 2}, f"{path}:2")


def test_opening_a_file_keeps_no_row_in_memory(path):
    line = json.dumps({"messages": "x" * 20_000}).encode() + b"\n"
    path.write_bytes(line * 500)
    tracemalloc.start()
    read = open_rows(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(read) == 500
    assert peak < 20 * len(line)


def test_a_hundred_levels_and_many_brackets_are_fine(path):
    deep: Any = "[{" * 200
    for _ in range(99):
        deep = [deep]
    row = {"metadata": deep}
    assert opened(path, json.dumps({**row, "messages": "x"}).encode()).take(np.array([0])) == [{**row, "messages": "x"}]


def test_a_line_of_megabytes_is_a_line(path):
    long = {"messages": "é" * 4_000_000}
    assert opened(path, GOOD + b"\n" + json.dumps(long).encode()).take(np.array([1])) == [long]


@pytest.mark.parametrize(
    "later", [b'{"messages": [], "more": 1}', b"x" * len(GOOD), b'"' + b"x" * (len(GOOD) - 2) + b'"']
)
def test_a_file_that_changed_after_it_was_checked_is_refused(path, later):
    read = opened(path, GOOD)
    path.write_bytes(later)
    with pytest.raises(InputError, match="got one changed since - at "):
        read.take(np.array([0]))


texts = st.text(alphabet='a"\\[]{},é\n', max_size=5)
elements = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
HALF = {"messages": [], "half": "\ud83d"}  # msgspec refuses the whole array, so that `json` must find its elements


@given(st.lists(elements, min_size=1, max_size=5), st.sampled_from([None, 1]), st.booleans(), st.booleans())
def test_elements_of_an_array_are_found_with_their_lines_and_columns(path, written, indent, ascii_only, has_half):
    written = [*written, {"messages": []}, *([HALF] if has_half else [])]
    data = json.dumps(written, indent=indent, ensure_ascii=ascii_only or has_half)
    path.write_text(data, encoding="utf-8")
    read = open_rows(path, RowValidation("messages", max_bad_rows=100))
    assert len(read) == len(written)
    for i, row in enumerate(to_list(read)):
        line, column = map(int, read.place(i).split(":")[-2:])
        before = sum(len(text) + 1 for text in data.split("\n")[: line - 1])
        found, _ = json.JSONDecoder().raw_decode(data, before + column - 1)
        assert found == written[i]
        is_row = isinstance(found, dict) and "messages" in found and found != HALF
        assert row == found if is_row else isinstance(row, Rejected)


@given(st.lists(st.sampled_from([b"[", b"]", b",", b"{", b"}", b'"', b"1", b" ", b"\n", b"\\", b"x"])))
def test_an_array_has_the_rows_that_json_reads_or_is_refused(path, pieces):
    data, n, refused = b"[" + b"".join(pieces), 0, path.name
    path.write_bytes(data)
    try:
        n = len(open_rows(path, RowValidation(max_bad_rows=100)))
    except InputError as error:
        refused = str(error)
    assert path.name in refused
    assert n == n_elements(data)


def n_elements(data: bytes) -> int:
    try:
        return len(json.loads(data))
    except ValueError:
        return 0


def test_an_element_longer_than_a_window_is_found_when_another_is_refused(path):
    written = [{"messages": "é" * 100_000}, HALF, {"messages": "b" * 70_000}]
    path.write_text(json.dumps(written, ensure_ascii=False).replace("\ud83d", "\\ud83d"), encoding="utf-8")
    read = open_rows(path, RowValidation("messages", max_bad_rows=1))
    assert [isinstance(row, Rejected) for row in to_list(read)] == [False, True, False]
    assert read.take(np.array([2, 0])) == [written[2], written[0]]


@pytest.mark.parametrize("form", ["lines", "array"])
def test_a_scan_decodes_each_row_once_and_a_look_at_it_again_costs_one_more(path, monkeypatch, form):
    written = [{"messages": [{"role": "user", "content": str(i)}]} for i in range(2500)]
    path.write_text("\n".join(map(json.dumps, written)) if form == "lines" else json.dumps(written))
    decoded = []
    monkeypatch.setattr(json_rows, "decode", lambda *given: decoded.append(given[1]) or decode(*given))
    rows = open_rows(path)
    assert not decoded
    blocks = list(rows.scan())
    assert [row for _, block in blocks for row in block] == written
    assert [first for first, _ in blocks] == np.cumsum([0, *(len(block) for _, block in blocks)])[:-1].tolist()
    assert len(set(rows.digests("messages").tolist())) == len(written)
    rows.check()
    assert len(decoded) == len(set(decoded)) == len(written)
    rows.take(np.array([7]))
    assert len(decoded) == len(written) + 1
