"""Rows of a JSON file, one object a line, the elements of an array, or objects one after the other, read on demand.

Nothing goes through Arrow, which fills in nulls and refuses mixed rows. Refused is all that RFC 8259 and RFC 3629
refuse, halves of surrogate pairs, and over 100 levels of nesting; NaN and Infinity only where they would be read. A key
given twice counts as its last, as in `json`. Row i of JSONL is always line i + 1. Floats of rows with tools keep their
source text (`SourceFloat`).
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from kernel.errors import InputError, Path, expected
from kernel.source_float import read_float
from shell.data.file_kinds import code_page
from shell.data.json_scan import LEVELS
from shell.data.json_spans import BLANK, Spans
from shell.data.open_file import Content
from shell.data.rows import BLOCK, Int64, Row, Rows, RowValidation, any_key, content_digest

_BLOCK_BYTES = 1 << 19
_DECODER = msgspec.json.Decoder(dict[str, Any])
_ESCAPE = re.compile(r"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(\\u[dD][89a-fA-F]\w\w)|\\.")


_UNUSUAL = re.compile(rb"[0-9](?:\.[0-9]*0(?![0-9])|\.[0-9]{15}|(?:\.[0-9]+)?[eE][-+]?[0-9])")  # floats, mostly


class JsonRows(Rows):
    """The JSON objects in a file."""

    def __init__(self, content: Content, validation: RowValidation, spans: Spans) -> None:
        self.name, self.validation, self._content = content.name, validation, content
        self._starts, self._stops, self._where, split = spans
        own = content.fingerprint
        self.fingerprint = content_digest([own.encode(), split.encode()]) if split else own

    def __len__(self) -> int:
        return len(self._starts)

    def place(self, i: int) -> str:
        where = [i + 1] if self._where is None else self._where[i].tolist()
        return ":".join([self.name, *map(str, where)])

    def take(self, indices: Int64) -> list[Any]:
        """The rows of these indices, int64[B], or a `Rejected` in a row's place."""
        validation, place, in_array = self.validation, self.place, self._where is not None
        assert validation is not None
        texts = self._content.slices(self._starts[indices].tolist(), self._stops[indices].tolist())
        rows = list[Any]()
        for i, text in zip(indices.tolist(), texts, strict=True):
            if (row := validation.rejected.get(i)) is None:
                try:
                    decoded = decode(text, i, place, in_array, validation.reads)
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


def decode(
    text: bytes,
    i: int,
    place: Callable[[int], str],
    in_array: bool = False,
    reads: Callable[[str], bool] = any_key,
) -> Row:
    """One row, row i; `place` gives its location for errors, `reads` whether a key of the row is read."""
    try:
        try:
            row = _DECODER.decode(text)
            if _has_calls(row) and _UNUSUAL.search(text):
                row = json.loads(text, parse_float=read_float)
        except ValueError as error:
            if (found := _with_odd_numbers(text)) is None:
                raise _fault(text.rstrip(BLANK), error, place(i), in_array) from error
            row = found
            for path, number in _odd_numbers(row):
                if reads(str(path[0])) and len(path) != len(("messages", 0, "score")):
                    name = "NaN" if math.isnan(number) else "Infinity" if b"Infinity" in text else "one out of range"
                    raise expected("a number that JSON has", name, at=place(i), path=path) from error
        if text.count(b"[") + text.count(b"{") > LEVELS and not _fits(row, LEVELS):
            raise RecursionError
    except RecursionError as error:
        raise expected(f"at most {LEVELS} levels of lists and objects", "more", at=place(i)) from error
    return row


def _has_calls(row: Row) -> bool:
    """Whether a row may hold tools or calls."""
    if "tools" in row or "functions" in row:
        return True
    for value in row.values():
        if type(value) is list:
            for item in value:
                if type(item) is dict and (
                    "tool_calls" in item or "function_call" in item or type(item.get("content")) is list
                ):
                    return True
    return False


def _with_odd_numbers(text: bytes) -> Row | None:
    """The row, if nothing is wrong with it but numbers that JSON does not have: NaN, Infinity, 1e400."""
    try:
        row = json.loads(text.decode())
        msgspec.json.encode(row)  # no half of a surrogate pair
    except ValueError:
        return None
    return row if isinstance(row, dict) and any(_odd_numbers(row)) else None


def _odd_numbers(value: Any, path: Path = ()) -> Iterator[tuple[Path, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _odd_numbers(item, (*path, key))


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
        return expected("UTF-8", f"the byte 0x{text[wrong.start]:02x}{code_page(text)}", at)
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
