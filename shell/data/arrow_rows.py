"""Parquet, turned once into lines of JSON: it has no cheap access to single rows, which is all that training asks for.

A row group must be decoded whole to give one of its rows, so every batch would decode as many groups as it has rows.
One pass in small batches writes the rows to an unnamed temporary file instead, checked as they go by, and reads them
from there. In an Arrow table every row has every key, so keys that hold null are left out, as
`shell.data.rows.ArrowRows` does. Dates, decimals and bytes become text, as they do in JSON.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from kernel.errors import InputError, expected
from shell.data.json_rows import JsonRows, decode
from shell.data.jsonl import lines
from shell.data.open_file import Copy, opened
from shell.data.rows import without_nulls
from shell.data.validation import RowValidation

_ENCODER = msgspec.json.Encoder(enc_hook=str)
_ROWS = 256
"""Rows that are turned at once."""


def parquet_rows(path: Path, validation: RowValidation) -> JsonRows:
    """The rows of a Parquet file; row 17 stands at `FILE[17]`.

    Raises:
        InputError: the file cannot be read, there is no room for its rows, or more of them are no rows than may be.

    Touches: the file, once; the folder for temporary files.
    """
    name = str(path)
    copy = Copy(name, _lines(path))
    ends, position = [0], 0
    for i, line in enumerate(lines(copy.blocks())):
        place = f"{name}[{i}]"
        try:
            row = decode(line, place)
        except InputError as error:
            validation.reject(i, error)
        else:
            validation.check(i, row, place)
        position += len(line)
        ends.append(position)
    if len(ends) == 1:
        raise expected("a Parquet file with rows", "one without any", at=name)
    offsets = np.array(ends, np.int64)
    return JsonRows(copy, offsets[:-1], offsets[1:], validation, lambda i: f"{name}[{i}]")


def _lines(path: Path) -> Iterator[bytes]:
    from pyarrow import parquet

    with opened(path) as file, _readable(str(path)):
        table = parquet.ParquetFile(file, pre_buffer=False)
        for batch in table.iter_batches(batch_size=_ROWS):
            yield b"".join([_ENCODER.encode(without_nulls(row)) + b"\n" for row in batch.to_pylist()])


@contextmanager
def _readable(name: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise expected("a Parquet file that can be read", told, at=name) from error
