"""JSONL read strictly: every line is checked when the file is opened, and read again when its row is asked for.

One pass finds where each line starts (8 bytes a row stay in memory) and decodes it, so that a broken last line is said
before training starts rather than hours into it. Rows are decoded anew on demand: a file of any size costs no more
memory than one of its lines. Nothing goes through Arrow, which would fill in nulls and refuse mixed rows.

Accepted: LF and CRLF, a last line without an end, blank lines at the end, a UTF-8 byte order mark at the start
(editors on Windows write one), and a key given twice, of which the last counts, as in `json`. Refused, with file, line
and column: all else that RFC 8259 and RFC 3629 refuse; NaN, Infinity, halves of surrogate pairs, and more than 100
levels of nesting too.
"""

import codecs
import hashlib
import json
import os
import re
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from kernel.errors import InputError, expected
from shell.rows import Int64, Row, missing_column

_DECODER = msgspec.json.Decoder(dict[str, Any])
_ESCAPE = re.compile(r"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(\\u[dD][89a-fA-F]\w\w)|\\.")
_LEVELS = 100
_BLANK = b" \t\r\n"


class JsonlRows:
    """The rows of a JSONL file, one JSON object a line.

    Args:
        path: the file; a leading `~` is expanded.
        column: a key that every row must have; None: any object will do.

    Raises:
        InputError: the file cannot be read, or a line of it is no such row.

    Touches: the file, read whole when opened and in parts later.
    """

    def __init__(self, path: str | Path, column: str | None = "messages") -> None:
        self.path = Path(os.path.expanduser(path))
        self.name = str(self.path)
        with _opened(self.path) as file:
            self._offsets = _check(file, self.name, column)
            self._n_bytes = file.seek(0, 2)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the file's bytes. Touches: the file, once."""
        with _opened(self.path) as file:
            digest = hashlib.blake2b(digest_size=16)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
            return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, i: int) -> Row:
        return self.take(np.array([range(len(self))[i]]))[0]

    def take(self, indices: Int64) -> list[Row]:
        """The rows of these indices, int64[B], each in [0, n).

        Raises:
            InputError: the file is no longer what was checked.

        Touches: the file.
        """
        starts, stops = self._offsets[indices].tolist(), self._offsets[indices + 1].tolist()
        with _opened(self.path) as file:
            if file.seek(0, 2) != self._n_bytes:
                raise _changed(self.path)
            lines = [_slice(file, start, stop) for start, stop in zip(starts, stops, strict=True)]
        try:
            return [_DECODER.decode(line) for line in lines]
        except ValueError as error:
            raise _changed(self.path) from error

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        """One column's values in rows start to stop. Touches: the file."""
        return [row[name] for row in self.take(np.arange(start, min(stop, len(self))))]

    def place(self, i: int) -> str:
        """Where row i stands: the path and the line, counted from 1."""
        return f"{self.name}:{i + 1}"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if path.is_dir():
            raise expected("a JSONL file", "a directory", at=str(path))
        if path.exists() and not path.is_file():
            raise expected("a JSONL file", "something that is no regular file", at=str(path))
        with path.open("rb") as file:
            yield file
    except InputError:
        raise
    except FileNotFoundError as error:
        raise expected("a JSONL file", "no file of that name", at=str(path)) from error
    except (OSError, ValueError) as error:
        raise expected("a JSONL file", str(getattr(error, "strerror", error)).lower(), at=str(path)) from error


def _changed(path: Path) -> InputError:
    return expected("the file that was checked when it was opened", "one changed since", at=str(path))


def _slice(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)


def _check(file: BinaryIO, name: str, column: str | None) -> Int64:
    """Decodes every line once; returns where each row starts, and behind them where the last ends: int64[n + 1]."""
    offsets = array("q", [len(codecs.BOM_UTF8) if _slice(file, 0, 3) == codecs.BOM_UTF8 else 0])
    file.seek(offsets[0])
    blank = 0
    for number, line in enumerate(file, 1):
        if not line.strip(_BLANK):
            blank = blank or number
            continue
        if blank:
            raise expected("a JSON object", "a blank line", at=f"{name}:{blank}")
        row = _decode(line, f"{name}:{number}")
        if column is not None and column not in row:
            raise missing_column(column, row, at=f"{name}:{number}")
        offsets.append(offsets[-1] + len(line))
    if len(offsets) == 1:
        raise expected("a JSONL file", "an empty file", at=name)
    return np.array(offsets, np.int64)


def _decode(line: bytes, place: str) -> Row:
    try:
        row = _DECODER.decode(line)
        if line.count(b"[") + line.count(b"{") > _LEVELS and not _fits(row, _LEVELS):
            raise RecursionError
    except RecursionError as error:
        raise expected(f"at most {_LEVELS} levels of lists and objects", "more", at=place) from error
    except ValueError as error:
        raise _fault(line.rstrip(_BLANK), error, place) from error
    return row


def _fits(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_fits(item, levels - 1) for item in items)


def _fault(line: bytes, error: ValueError, place: str) -> InputError:
    """What is wrong with a line, and in which column, counted in characters from 1."""
    try:
        text = line.decode()
    except UnicodeDecodeError as wrong:
        column = len(line[: wrong.start].decode()) + 1
        return expected("UTF-8", f"the byte 0x{line[wrong.start]:02x}", at=f"{place}:{column}")
    for escape in _ESCAPE.finditer(text):
        if escape[1]:
            return expected("text", f"half a surrogate pair, {escape[1]}", at=f"{place}:{escape.start() + 1}")
    if text.lstrip().startswith("["):
        return expected("a JSON object", "a list (JSONL has one object a line, with no brackets around)", at=place)
    if isinstance(error, msgspec.ValidationError):
        got = "a number out of range" if text.lstrip().startswith("{") else text[:40]
        return expected("a JSON object", got, at=place)
    column, reason = _break(text, error)
    return expected("a JSON object", f"broken JSON ({reason})", at=f"{place}:{column}")


def _break(text: str, error: ValueError) -> tuple[int, str]:
    """Where broken JSON breaks, as `json` sees it: msgspec's own count is not always that of the character."""
    try:
        json.loads(text)
    except json.JSONDecodeError as wrong:
        return wrong.pos + 1, wrong.msg[:1].lower() + wrong.msg[1:]
    except (ValueError, RecursionError):
        return 1, "not to be read"
    byte = re.search(r"byte (\d+)", str(error))  # what only msgspec refuses: NaN, Infinity
    return (len(text.encode()[: int(byte[1])].decode(errors="ignore")) + 1 if byte else 1), "not a JSON value"
