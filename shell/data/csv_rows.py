"""Rows of CSV and TSV: a header line, then a row of text cells each; empty cells are no keys.

Quotes, and line ends within them, are those of the `csv` module. The rows are copied once as JSON lines.
"""

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from kernel.errors import expected
from shell.data.file_kinds import code_page
from shell.data.json_rows import JsonRows
from shell.data.json_spans import Spans
from shell.data.open_file import Content, Copy
from shell.data.rows import RowValidation

_SUFFIXES = (".csv", ".tsv", ".tab")
_QUOTED = re.compile(r'"[^"]*"')
_SEPARATOR = re.compile(r"sep=(.)$", re.IGNORECASE)  # Excel's first line
INDEX = "__index_level_0__"  # what pandas calls a column without a name


def is_csv(first: bytes, name: str, reads: Callable[[str], bool]) -> bool:
    """Whether a file is CSV or TSV: by its name, or by a header line with a key that is read.

    >>> is_csv(b"instruction,output", "a.txt", {"instruction", "output"}.__contains__)
    True
    """
    text = first.removeprefix(codecs.BOM_UTF8).lstrip()
    if text[:1] in (b"{", b"["):
        return False
    if _suffix(name):
        return True
    header = text.splitlines()[0].decode(errors="replace") if text else ""
    cells = _cells(header, _delimiter(header, name, reads))
    return len(cells) > 1 and any(map(reads, cells))


def csv_rows(content: Content, validation: RowValidation) -> JsonRows:
    """The rows of a CSV or TSV file; the row that begins in line 17 is at `FILE:17`."""
    name, where = content.name, list[int]()
    lines = _text_lines(content)

    def packed() -> Iterator[bytes]:
        csv.field_size_limit(1 << 30)
        opening = next(lines, "")
        n_before = 0
        if separator := _SEPARATOR.match(opening.rstrip("\r\n")):
            delimiter, opening, n_before = separator[1], next(lines, ""), 1
        else:
            delimiter = _delimiter(opening, name, validation.reads)
        reader = csv.reader(_chained(opening, lines), delimiter=delimiter, strict=True)
        header: list[str] = []
        while True:
            line = n_before + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise expected("a row of CSV", str(error), at=f"{name}:{line}") from None
            if not header:
                header = _header(cells, f"{name}:{line}")
                validation.check_columns(header, f"{name}:{line}")
            elif cells:
                where.append(line)
                if len(cells) != len(header):
                    what = f"{len(header)} cells, as in the header (a comma in a cell needs quotes around the cell)"
                    validation.reject(len(where) - 1, expected(what, str(len(cells)), at=f"{name}:{line}"))
                row = {key: cell for key, cell in zip(header, cells, strict=False) if cell}
                yield json.dumps(row, ensure_ascii=False).encode() + b"\n"

    copy = Copy(name, packed())
    if not where:
        raise expected("a row after the header", "none", at=name)
    stops = np.concatenate([np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + at for at, block in _placed(copy)])
    starts = np.concatenate([[0], stops[:-1] + 1])
    return JsonRows(copy, validation, Spans(starts, stops, np.array(where, np.int64)[:, None]))


def _placed(content: Content) -> Iterator[tuple[int, bytes]]:
    at = 0
    for block in content.blocks():
        yield at, block
        at += len(block)


def _suffix(name: str) -> str:
    return next((suffix for suffix in Path(name).suffixes if suffix.lower() in _SUFFIXES), "").lower()


def _delimiter(header: str, name: str, reads: Callable[[str], bool]) -> str:
    """What separates the cells: what gives the most known names, else the most cells, else what the ending says."""
    usual = "," if _suffix(name) == ".csv" else "\t"
    bare = _QUOTED.sub("", header)
    tries = [usual, *(mark for mark in ",\t;|" if mark != usual)]
    return max(tries, key=lambda mark: (sum(map(reads, _cells(header, mark))) if mark in bare else 0, bare.count(mark)))


def _cells(header: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([header.strip()], delimiter=delimiter), [])
    except csv.Error:
        return []


def _header(cells: list[str], at: str) -> list[str]:
    names = [cell.strip() or (INDEX if i == 0 else "") for i, cell in enumerate(cells)]
    if "" in names:
        raise expected("a name for every column", f"none for column {names.index('') + 1}", at=at)
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise expected("a name of its own for every column", f"{twice!r} twice", at=at)
    return names


def _chained(opening: str, lines: Iterator[str]) -> Iterator[str]:
    yield opening
    yield from lines


def _text_lines(content: Content) -> Iterator[str]:
    """The lines of a text, each with its end."""
    decoder, rest, n_lines, end = codecs.getincrementaldecoder("utf-8-sig")(), "", 0, ""
    for block in chain(content.blocks(), [b""]):
        try:
            text = rest + decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = n_lines + rest.count("\n") + error.object[: error.start].count(b"\n") + 1
            got = f"the byte 0x{error.object[error.start]:02x}{code_page(bytes(error.object))}"
            raise expected("UTF-8", got, at=f"{content.name}:{line}") from None
        end = end or ("\r" if "\r" in text and "\n" not in text else "\n")
        *whole, rest = text.split(end)
        n_lines += len(whole)
        yield from (line + end for line in whole)
    if rest:
        yield rest
