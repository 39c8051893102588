"""JSONL read strictly: every line is checked when the file is opened, and read again when its row is asked for.

One pass finds where each line starts (8 bytes a row stay in memory). Accepted: LF and CRLF, a last line without an end,
blank lines at the end, a UTF-8 byte order mark at the start (editors on Windows write one). Row i always stands in line
i + 1: a line that cannot be read, or is blank, is a row that was rejected, where such are allowed. What a line may hold
is the matter of `shell.data.json_rows`.
"""

from __future__ import annotations  # array.array is not subscriptable at run time in Python 3.11

import codecs
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from kernel.errors import InputError, expected
from shell.data.json_rows import BLANK, JsonRows, decode
from shell.data.open_file import Content, OwnFile, kind
from shell.data.rows import Int64
from shell.data.validation import RowValidation


class JsonlRows(JsonRows):
    """The rows of a JSONL file, one JSON object a line.

    Args:
        content: the bytes, or the path of a file.
        validation: what a row must be; by default one with messages, in any shape.

    Raises:
        InputError: the file cannot be read, or more lines of it are no such row than may be.

    Touches: the file, read whole when opened and in parts later.
    """

    def __init__(self, content: Content | str | Path, validation: RowValidation | None = None) -> None:
        content = OwnFile(content) if isinstance(content, str | Path) else content
        validation = RowValidation() if validation is None else validation
        name = content.name
        offsets = _check(content, validation)
        super().__init__(content, offsets[:-1], offsets[1:], validation, lambda i: f"{name}:{i + 1}")


def lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of some bytes, each with its end.

    >>> list(lines([b"a", b"b\\nc", b"\\n\\nd"]))
    [b'ab\\n', b'c\\n', b'\\n', b'd']
    """
    begun: list[bytes] = []
    for block in blocks:
        whole = block.rfind(b"\n") + 1
        if whole:
            found = block[:whole].split(b"\n")
            found[0] = b"".join([*begun, found[0]])
            begun.clear()
            found.pop()
            for line in found:
                yield line + b"\n"
        if whole < len(block):
            begun.append(block[whole:])
    if begun:
        yield b"".join(begun)


def _check(content: Content, validation: RowValidation) -> Int64:
    """Decodes every line once; returns where each row starts, and behind them where the last ends: int64[n + 1]."""
    offsets, name = array("q", [0]), content.name
    position = n_blank = 0
    check, reject, append = validation.check, validation.reject, offsets.append
    for i, line in enumerate(lines(content.blocks())):
        if i == 0 and line.startswith(codecs.BOM_UTF8):
            line, position = line[3:], 3
            offsets[0] = 3
        position += len(line)
        if not line.strip(BLANK):
            n_blank += 1
            continue
        for k in range(i - n_blank, i) if n_blank else ():  # not at the end of the file, it turns out
            reject(k, expected("a JSON object", "a blank line", at=f"{name}:{k + 1}"))
            append(position - len(line))
        n_blank = 0
        place = f"{name}:{i + 1}"
        try:
            row = decode(line, place)
        except InputError as error:
            reject(i, error)
        else:
            check(i, row, place)
        append(position)
    if len(offsets) == 1:
        raise expected(kind(name), "an empty file", at=name)
    return np.array(offsets, np.int64)
