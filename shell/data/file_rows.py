"""Rows from a file, whatever it is: JSONL, a JSON array, either of them packed by gzip or zstd, or Parquet.

What a file is, its first bytes say; its name is not asked, as names are often wrong (a browser unpacks `x.jsonl.gz` and
keeps the name). Packed data is unpacked once, see `shell.data.open_file`. zstd is unpacked by pyarrow, which comes with
`datasets`: unlike the zstandard package it notices that a file was cut short.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from kernel.errors import InputError, expected
from shell.data.arrow_rows import parquet_rows
from shell.data.json_array import array_rows
from shell.data.json_rows import JsonRows
from shell.data.jsonl import JsonlRows
from shell.data.open_file import BLOCK, Content, Copy, OwnFile, kind, opened
from shell.data.validation import RowValidation

GZIP, ZSTD, SKIPPED, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18", b"PAR1"
OTHERS = {
    b"PK\x03\x04": "a zip archive (unpack it first)",
    b"BZh": "a file packed by bzip2 (unpack it first)",
    b"\xfd7zXZ": "a file packed by xz (unpack it first)",
    b"SQLite format 3": "a database of SQLite",
    b"ARROW1": "an Arrow file (hf:FOLDER reads what `datasets` saved)",
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull fetches the file itself)",
    b"<": "HTML or XML",
}
"""What people take for data, by its first bytes."""


def open_rows(path: str | Path, validation: RowValidation) -> JsonRows:
    """The rows of a file.

    Raises:
        InputError: in one sentence, for a file that is none of these, is cut short, is empty, or holds bad rows.

    Touches: the file; for what is packed, and Parquet, the folder for temporary files.
    """
    content: Content = OwnFile(path)
    own = OwnFile(path)
    with opened(own.path) as file:
        first = file.read(64)
    if not first:
        raise expected(kind(own.path), "an empty file", at=own.name)
    if first.startswith(PARQUET):
        return parquet_rows(own.path, validation)
    if is_zstd(first) or first.startswith(GZIP):
        content = Copy(own.name, _unpacked(own.path, is_zstd(first)))
        first = next(content.blocks(), b"")
        if first.startswith(PARQUET) or first.startswith(GZIP) or is_zstd(first):
            raise expected("JSONL or a JSON array, packed once", "packed data inside", at=own.name)
    for magic, what in OTHERS.items():
        if first.startswith(magic):
            raise expected(kind(own.path), what, at=own.name)
    return array_rows(content, validation) if _opens_array(content) else JsonlRows(content, validation)


def is_zstd(first: bytes) -> bool:
    """Whether a file with these first bytes is packed by zstd.

    >>> is_zstd(b"\\x28\\xb5\\x2f\\xfd"), is_zstd(b"{}")
    (True, False)
    """
    return first.startswith(ZSTD) or (first[1:4] == SKIPPED and 0x50 <= first[0] <= 0x5F)


def _opens_array(content: Content) -> bool:
    """Whether the first byte that is not blank opens a list."""
    for block in content.blocks():
        text = block.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
        if text:
            return text.startswith(b"[")
    return False


def _unpacked(path: Path, zstd: bool) -> Iterator[bytes]:
    what = "zstd" if zstd else "gzip"
    try:
        with opened(path) as file:
            if zstd:
                import pyarrow

                with pyarrow.CompressedInputStream(file, "zstd") as stream:
                    while block := stream.read(BLOCK):
                        yield block
            else:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    while block := unpacked.read(BLOCK):
                        yield block
    except InputError as error:
        raise _bad(path, what, error.__cause__ or error) from error
    except (EOFError, zlib.error, ValueError) as error:
        raise _bad(path, what, error) from error


def _bad(path: Path, what: str, error: BaseException) -> InputError:
    text = str(error)
    cut = isinstance(error, EOFError) or "runcated" in text
    got = "one that ends in the middle (was it copied whole?)" if cut else f"one that is damaged ({text[:100]})"
    return expected(f"a whole file packed by {what}", got, at=str(path))
