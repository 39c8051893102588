"""Rows of a JSON file, one object a line or the elements of one array, decoded strictly and on demand.

Opening finds where each row begins and ends. Nothing goes through Arrow, which fills in nulls and refuses mixed rows.
Refused is all that RFC 8259 and RFC 3629 refuse, NaN, halves of surrogate pairs, and over 100 levels of nesting. A key
given twice counts as its last, as in `json`. Row i of JSONL is always line i + 1.
"""

import codecs
import json
import mmap
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kernel.errors import InputError, expected
from shell.data.open_file import PARQUET, Content, kind, open_content
from shell.data.rows import BLOCK, Int64, Row, Rows, RowValidation

BLANK = b" \t\r\n"
_BLOCK_BYTES = 1 << 19
_LEVELS = 100
_DECODER = msgspec.json.Decoder(dict[str, Any])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_ESCAPE = re.compile(r"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(\\u[dD][89a-fA-F]\w\w)|\\.")
_SPACE = re.compile(rb"[ \t\r\n]*")
_COMMA = re.compile(rb"[ \t\r\n]*,?[ \t\r\n]*")
_NOT_FIRST = bytes(range(0x80, 0xC0))  # the bytes of UTF-8 that continue a character
_WINDOW, _LONGEST_WINDOW = 1 << 16, 1 << 24
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str)


def open_rows(path: str | Path, validation: RowValidation | None = None) -> Rows:
    """The rows of a file: JSONL, a JSON array, either of them packed, or Parquet, whatever it is called."""
    content, first = open_content(path)
    if first.startswith(PARQUET):
        from shell.data.arrow_rows import parquet_rows

        return parquet_rows(Path(content.name), validation or RowValidation())
    return JsonRows(content, validation or RowValidation(), _opens_array(content.blocks()))


class JsonRows(Rows):
    """The JSON objects in a file."""

    def __init__(self, content: Content, validation: RowValidation, is_array: bool = False) -> None:
        self.name, self.validation, self._content = content.name, validation, content
        self._where: Int64 | None = None
        if is_array:
            self._starts, self._stops, self._where = _elements(content)
        else:
            offsets = _lines(content)
            self._starts, self._stops = offsets[:-1], offsets[1:]
        self.fingerprint = content.fingerprint

    def __len__(self) -> int:
        return len(self._starts)

    def place(self, i: int) -> str:
        return f"{self.name}:{i + 1}" if self._where is None else f"{self.name}:{self._where[i, 0]}:{self._where[i, 1]}"

    def take(self, indices: Int64) -> list[Any]:
        """The rows of these indices, int64[B], or a `Rejected` in a row's place."""
        validation, place, in_array = self.validation, self.place, self._where is not None
        assert validation is not None
        texts = self._content.slices(self._starts[indices].tolist(), self._stops[indices].tolist())
        rows = list[Any]()
        for i, text in zip(indices.tolist(), texts, strict=True):
            if (row := validation.rejected.get(i)) is None:
                try:
                    decoded = decode(text, i, place, in_array)
                except InputError as error:
                    row = validation.reject(i, error)
                else:
                    row = validation.admit(i, decoded, place)
            rows.append(row)
        return rows

    def _blocks(self) -> Iterable[tuple[int, int]]:
        start = 0
        while start < len(self):
            enough = np.searchsorted(self._stops, self._starts[start] + _BLOCK_BYTES)
            stop = min(max(int(enough), start + 1), start + BLOCK, len(self))
            yield start, stop
            start = stop


def decode(text: bytes, i: int, place: Callable[[int], str], in_array: bool = False) -> Row:
    """One row, row i; `place` gives its location for errors."""
    try:
        row = _DECODER.decode(text)
        if text.count(b"[") + text.count(b"{") > _LEVELS and not _fits(row, _LEVELS):
            raise RecursionError
    except RecursionError as error:
        raise expected(f"at most {_LEVELS} levels of lists and objects", "more", at=place(i)) from error
    except ValueError as error:
        raise _fault(text.rstrip(BLANK), error, place(i), in_array) from error
    return row


def _fits(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_fits(item, levels - 1) for item in items)


def _fault(text: bytes, error: ValueError, place: str, in_array: bool) -> InputError:
    """What is wrong with a row, and in which column."""
    if not text:
        return expected("a JSON object", "a blank line", at=place)
    start = place if in_array else f"{place}:1"
    try:
        read = text.decode()
    except UnicodeDecodeError as wrong:
        at = _at(text[: wrong.start].decode(), start)
        return expected("UTF-8", f"the byte 0x{text[wrong.start]:02x}", at)
    for escape in _ESCAPE.finditer(read):
        if escape[1]:
            return expected("text", f"half a surrogate pair, {escape[1]}", _at(read[: escape.start()], start))
    if read.lstrip().startswith("[") and not in_array:
        return expected("a JSON object", "a list (JSONL has one object a line, with no brackets around)", at=place)
    if isinstance(error, msgspec.ValidationError):
        got = "a number out of range" if read.lstrip().startswith("{") else read[:40]
        return expected("a JSON object", got, at=place)
    index, reason = _break(read, error)
    return expected("a JSON object", f"broken JSON ({reason})", _at(read[:index], start))


def _at(before: str, start: str) -> str:
    """File, line and column of what comes after `before`, which begins at `start`."""
    name, line, column = start.rsplit(":", 2)
    n_lines = before.count("\n")
    return (
        f"{name}:{int(line) + n_lines}:{len(before) - before.rfind(chr(10)) if n_lines else int(column) + len(before)}"
    )


def _break(text: str, error: ValueError) -> tuple[int, str]:
    """Where broken JSON breaks, as `json` sees it: msgspec's own count is not always that of the character."""
    try:
        json.loads(text)
    except json.JSONDecodeError as wrong:
        return wrong.pos, wrong.msg[:1].lower() + wrong.msg[1:]
    except (ValueError, RecursionError):
        return 0, "not to be read"
    byte = re.search(r"byte (\d+)", str(error))  # what only msgspec refuses: NaN, Infinity
    return (len(text.encode()[: int(byte[1])].decode(errors="ignore")) if byte else 0), "not a JSON value"


def _opens_array(blocks: Iterable[bytes]) -> bool:
    """Whether the first byte that is not blank opens a list."""
    for block in blocks:
        if text := block.removeprefix(codecs.BOM_UTF8).lstrip(BLANK):
            return text.startswith(b"[")
    return False


def _lines(content: Content) -> Int64:
    """Where each line begins, and where the last one ends, int64[n + 1]; blank lines at the end are no rows."""
    found, position = [np.zeros(1, np.int64)], 0
    for block in content.blocks():
        if position == 0 and block.startswith(codecs.BOM_UTF8):
            found[0][0] = 3
        found.append(np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + (position + 1))
        position += len(block)
    offsets = np.concatenate(found)
    if position > offsets[-1]:
        offsets = np.append(offsets, position)
    n = len(offsets) - 1
    while n and not content.slices(offsets[n - 1 : n].tolist(), offsets[n : n + 1].tolist())[0].strip(BLANK):
        n -= 1
    if not n:
        raise expected(kind(content.name), "an empty file", at=content.name)
    return offsets[: n + 1]


class _BreakError(Exception):
    """An array breaks at a byte: the position, what was expected, what came."""


def _elements(content: Content) -> tuple[Int64, Int64, Int64]:
    """Where each element of an array begins and ends, int64[n], and its line and column, int64[n, 2]."""
    for _ in content.blocks():  # for the fingerprint
        pass
    with content.file() as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    starts, stops, where = list[int](), list[int](), list[tuple[int, int]]()
    line = column = 1
    position = 3 if data[:3] == codecs.BOM_UTF8 else 0

    def move(to: int) -> None:
        nonlocal position, line, column
        while position < to:
            passed = data[position : min(to, position + _WINDOW)]
            position += len(passed)
            if n_lines := passed.count(b"\n"):
                line, column = line + n_lines, 1
                passed = passed[passed.rindex(b"\n") + 1 :]
            column += len(passed) if passed.isascii() else len(passed.translate(None, _NOT_FIRST))

    try:
        for start, stop in _spans(data, position):
            move(start)
            starts.append(start)
            stops.append(stop)
            where.append((line, column))
    except _BreakError as error:
        to, what, got = error.args
        move(to)
        raise expected(what, got, at=f"{content.name}:{line}:{column}") from None
    if not starts:
        raise expected("a JSON array of rows", "an empty array", at=content.name)
    return np.array(starts, np.int64), np.array(stops, np.int64), np.array(where, np.int64)


def _spans(data: mmap.mmap, position: int) -> Iterator[tuple[int, int]]:
    """Start and stop of each element of an array."""
    try:
        raws = _ELEMENTS.decode(memoryview(data)[position:])
    except (ValueError, RecursionError):  # broken, or with an element that is refused, as half a surrogate pair
        yield from _walk(data, position)
        return
    at = _skip(_SPACE, data, position) + 1
    for raw in raws:  # views into the data, with nothing but blanks and a comma between them
        start = _skip(_COMMA, data, at)
        at = start + len(raw)
        yield start, at


def _walk(data: mmap.mmap, position: int) -> Iterator[tuple[int, int]]:
    """Start and stop of each element as `json` reads them, up to where the array breaks."""
    at = _skip(_SPACE, data, position) + 1
    expects = "a row, or ]"
    while True:
        at = _skip(_SPACE, data, at)
        mark = data[at : at + 1]
        if not mark:
            raise _BreakError(at, "the end of the array, ]", "the end of the file")
        if mark == b"]" and expects != "a row":
            break
        if expects == "a comma, or ]":
            if mark != b",":
                raise _BreakError(at, expects, _mark(data, at))
            expects, at = "a row", at + 1
            continue
        if mark in b"],}":
            raise _BreakError(at, expects, _mark(data, at))
        stop = _value_end(data, at)
        yield at, stop
        expects, at = "a comma, or ]", stop
    at = _skip(_SPACE, data, at + 1)
    if at < len(data):
        raise _BreakError(at, "nothing after ]", _mark(data, at))


def _value_end(data: mmap.mmap, start: int) -> int:
    """Where the JSON value that begins at a byte ends."""
    size = _WINDOW
    while True:
        text = data[start : start + size].decode(errors="surrogateescape")
        is_last = start + size >= len(data)
        try:
            stop = _SCANNER.raw_decode(text)[1]
            if stop < len(text) or is_last:
                return start + len(text[:stop].encode(errors="surrogateescape"))
        except RecursionError:
            raise _BreakError(start, f"at most {_LEVELS} levels of lists and objects", "more") from None
        except json.JSONDecodeError as error:
            if is_last or size >= _LONGEST_WINDOW:
                at = start + len(text[: error.pos].encode(errors="surrogateescape"))
                what = f"broken JSON ({error.msg[:1].lower()}{error.msg[1:]})"
                raise _BreakError(at, "a JSON object", what) from None
        size *= 4


def _skip(pattern: re.Pattern[bytes], data: mmap.mmap, at: int) -> int:
    found = pattern.match(data, at)
    return found.end() if found else at


def _mark(data: mmap.mmap, at: int) -> str:
    return repr(data[at : at + 8].decode(errors="replace")[:1])
