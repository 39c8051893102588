"""Tables in files: Parquet, and Arrow's stream and file formats, copied once to a file mapped into memory.

Only what rows need is copied (`shell.data.arrow_rows`): a list of numbers that nobody reads is not even decoded where
the statistics of Parquet say that every row has one.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kernel.errors import InputError, expected
from shell.data.arrow_rows import ArrowRows, Column, columns_of, converted, short, unread
from shell.data.file_kinds import ARROW_FILE, PARQUET
from shell.data.open_file import Content, OwnFile, room
from shell.data.rows import RowValidation
from shell.data.unpack import FLOOR, RATIO

_ROWS = 256  # rows that are copied at once


class FileTable:
    """A table in Arrow's file format, with what `ArrowRows` asks of one of the `datasets` library."""

    def __init__(self, table: Any, fingerprint: str) -> None:
        self.data, self._fingerprint = table, fingerprint
        self.column_names: list[str] = table.column_names
        self._batches = table.to_batches()
        self._offsets = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def with_format(self, _: str) -> "FileTable":
        return self

    def __getitem__(self, numbers: slice | list[int]) -> Any:
        import pyarrow as pa

        if isinstance(numbers, slice):
            return self.data[numbers]
        of = np.searchsorted(self._offsets, numbers, side="right") - 1
        firsts = self._offsets[of].tolist()
        rows = [self._batches[b].slice(i - at, 1) for b, i, at in zip(of.tolist(), numbers, firsts, strict=True)]
        return pa.Table.from_batches(rows, self.data.schema)


def table_rows(content: Content, first: bytes, validation: RowValidation) -> ArrowRows:
    """The rows of a Parquet or Arrow file, which begins with `first`; row 17 is at `FILE[17]`."""
    import pyarrow as pa

    assert isinstance(content, OwnFile)
    for _ in content.blocks():  # for the fingerprint
        pass
    name, what = content.name, "a Parquet file" if first.startswith(PARQUET) else "an Arrow file"
    with room(name):
        copy = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the object)
    with content.file() as file:
        bound = max(FLOOR, RATIO * os.fstat(file.fileno()).st_size)
        try:
            found, columns, batches = _batches(file, first, validation)
            schema = pa.schema([(c.name, c.kind) for c in columns], found.metadata)
            with pa.ipc.new_file(copy, schema) as sink:
                n_rows = 0
                for arrays in batches:
                    plain = [converted(c, a, f"{name}[{n_rows}]") for c, a in zip(columns, arrays, strict=True)]
                    batch = pa.RecordBatch.from_arrays(plain, schema=schema)
                    n_rows += batch.num_rows
                    with room(name):
                        sink.write_batch(batch)
                    if copy.tell() > bound:
                        raise expected(f"at most 1 GiB or {RATIO} times its size in {what}", "more", at=name)
        except InputError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise expected(f"{what} that can be read", short(error), at=name) from error
    if not n_rows:
        raise expected(f"{what} with rows", "one without any", at=name)
    copy.flush()
    mapped = pa.py_buffer(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ))
    rows = ArrowRows(FileTable(pa.ipc.open_file(mapped).read_all(), content.fingerprint), name, validation)
    rows.is_slow = False  # a file is checked whole
    rows.unread_columns = unread(found, validation)
    return rows


def _batches(file: Any, first: bytes, validation: RowValidation) -> tuple[Any, list[Column], Iterator[list[Any]]]:
    """The schema of the file, the columns to copy, and the arrays of each batch of rows as they are in the file."""
    import pyarrow as pa
    from pyarrow import parquet

    if first.startswith(PARQUET):
        source = parquet.ParquetFile(file, pre_buffer=False)
        found, columns = source.schema_arrow, columns_of(source.schema_arrow, validation)
        batches = _of_parquet(source, columns)
    else:
        reader = (pa.ipc.open_file if first.startswith(ARROW_FILE) else pa.ipc.open_stream)(pa.memory_map(file.name))
        found, columns = reader.schema, columns_of(reader.schema, validation)
        whole = map(reader.get_batch, range(reader.num_record_batches)) if first.startswith(ARROW_FILE) else reader
        batches = (
            [batch.column(column.name) for column in columns]
            for each in whole
            for batch in (each.slice(at, _ROWS) for at in range(0, each.num_rows, _ROWS))
        )
    return found, columns, batches


def _of_parquet(source: Any, columns: Sequence[Column]) -> Iterator[list[Any]]:
    import pyarrow as pa

    for g in range(source.num_row_groups):
        group = source.metadata.row_group(g)
        held = {column.name for column in columns if column.is_marker and _all_hold(group, column.name)}
        names = [column.name for column in columns if column.name not in held]
        if not names:
            yield [pa.repeat(pa.scalar(True), group.num_rows) for _ in columns]
            continue
        for batch in source.iter_batches(batch_size=_ROWS, row_groups=[g], columns=names):
            full = pa.repeat(pa.scalar(True), batch.num_rows)
            yield [full if column.name in held else batch.column(column.name) for column in columns]


def _all_hold(group: Any, name: str) -> bool:
    """Whether every row of a group holds something in a column, by the statistics of its leaves."""
    leaves = [leaf for k in range(group.num_columns) if _top(leaf := group.column(k)) == name]
    stats = [leaf.statistics for leaf in leaves]
    return bool(stats) and all(one is not None and one.has_null_count and one.null_count == 0 for one in stats)


def _top(leaf: Any) -> str:
    return str(leaf.path_in_schema).split(".", 1)[0]
