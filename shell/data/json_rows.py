"""Rows that stand as JSON objects somewhere in a file: where each begins and ends is known, and nothing else is kept.

`shell.data.jsonl` and `shell.data.json_array` find the rows, each decoded once and checked, so that a broken last row
is said before training starts rather than hours into it. Here they are decoded anew on demand: a file of any size costs
no more memory than one of its rows, and two to four numbers each. Nothing goes through Arrow, which would fill in nulls
and refuse mixed rows.

Accepted: a key given twice, of which the last counts, as in `json`. Refused, with file, line and column: all that RFC
8259 and RFC 3629 refuse; NaN, Infinity, halves of surrogate pairs, and more than 100 levels of nesting too.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from kernel.errors import InputError, expected
from shell.data.open_file import Content, changed
from shell.data.rows import Int64, Rejected, Row
from shell.data.validation import RowValidation

_DECODER = msgspec.json.Decoder(dict[str, Any])
_ESCAPE = re.compile(r"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(\\u[dD][89a-fA-F]\w\w)|\\.")
_LEVELS = 100
BLANK = b" \t\r\n"


class BrokenError(InputError):
    """Bytes that are no JSON."""


class JsonRows:
    """JSON objects at known places of a file.

    Args:
        content: the bytes.
        starts: int64[n], where each row begins.
        stops: int64[n], where each ends.
        validation: which rows have been refused, and the shape of the others.
        place: where row i stands, for errors.
    """

    def __init__(
        self, content: Content, starts: Int64, stops: Int64, validation: RowValidation, place: Callable[[int], str]
    ) -> None:
        self._content, self._starts, self._stops, self.validation = content, starts, stops, validation
        self.name, self.place = content.name, place

    @property
    def fingerprint(self) -> str:
        """A digest of the bytes, unpacked."""
        return self._content.fingerprint

    @property
    def n_rejected(self) -> int:
        """Rows that cannot be read."""
        return self.validation.n_rejected

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, i: int) -> Any:
        return self.take(np.array([range(len(self))[i]]))[0]

    def take(self, indices: Int64) -> list[Any]:
        """The rows of these indices, int64[B], each in [0, n); a `Rejected` for one that cannot be read.

        Raises:
            InputError: the file is no longer what was checked.

        Touches: the file.
        """
        numbers = indices.tolist()
        texts = self._content.slices(self._starts[indices].tolist(), self._stops[indices].tolist())
        validation, rows = self.validation, list[Any]()
        try:
            for i, text in zip(numbers, texts, strict=True):
                bad = validation.rejection(i) if validation.n_rejected else None
                rows.append(bad or validation.admit(i, _DECODER.decode(text), self.place(i)))
        except (ValueError, RecursionError) as error:
            raise changed(self.name) from error
        return rows

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        """One column's values in rows start to stop, brought to messages. Touches: the file."""
        rows = self.take(np.arange(start, min(stop, len(self))))
        return [row if isinstance(row, Rejected) else row[name] for row in rows]


def decode(text: bytes, line: str, column: int = 1) -> Row:
    """One row.

    Args:
        text: JSON.
        line: file and line at which it begins, for errors.
        column: the column at which it begins, counted from 1.

    Raises:
        BrokenError: it is no JSON.
        InputError: it is no object, or one that is refused.
    """
    try:
        row = _DECODER.decode(text)
        if text.count(b"[") + text.count(b"{") > _LEVELS and not _fits(row, _LEVELS):
            raise RecursionError
    except RecursionError as error:
        raise expected(f"at most {_LEVELS} levels of lists and objects", "more", at=line) from error
    except ValueError as error:
        raise _fault(text.rstrip(BLANK), error, line, column) from error
    return row


def _fits(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_fits(item, levels - 1) for item in items)


def _fault(text: bytes, error: ValueError, line: str, column: int) -> InputError:
    """What is wrong with a row, and in which column, counted in characters from 1."""
    try:
        read = text.decode()
    except UnicodeDecodeError as wrong:
        at = _at(text[: wrong.start].decode(), line, column)
        return expected("UTF-8", f"the byte 0x{text[wrong.start]:02x}", at=at)
    for escape in _ESCAPE.finditer(read):
        if escape[1]:
            return expected("text", f"half a surrogate pair, {escape[1]}", _at(read[: escape.start()], line, column))
    if read.lstrip().startswith("["):
        return expected("a JSON object", "a list (JSONL has one object a line, with no brackets around)", at=line)
    if isinstance(error, msgspec.ValidationError):
        got = "a number out of range" if read.lstrip().startswith("{") else read[:40]
        return expected("a JSON object", got, at=line)
    index, reason = _break(read, error)
    sentence = expected("a JSON object", f"broken JSON ({reason})", _at(read[:index], line, column))
    return BrokenError(str(sentence))


def _at(before: str, line: str, column: int) -> str:
    """File, line and column of what stands behind `before`, which begins at a column of a line."""
    n_lines = before.count("\n")
    if n_lines == 0:
        return f"{line}:{column + len(before)}"
    name, _, number = line.rpartition(":")
    return f"{name}:{int(number) + n_lines}:{len(before) - before.rindex(chr(10))}"


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
