"""Rows of Arrow tables: those of the `datasets` library, and Parquet files, copied once to a file mapped into memory.

In an Arrow table every row has every key, so keys that hold null are left out at every depth; a null that was meant
cannot be told from one that was filled in. JSON rows keep theirs (`shell.data.json_rows`).
"""

import mmap
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from kernel.dataset_formats import READ_KEYS
from kernel.errors import InputError, expected
from shell.data.open_file import OwnFile, opened, room
from shell.data.rows import Int64, Rows, RowValidation

Reader = Callable[[Any], Any]
_ROWS = 256  # rows of Parquet that are copied at once


class ArrowRows(Rows):
    """Rows of a table of the `datasets` library, read as plain values."""

    is_slow = True

    def __init__(self, table: Any, name: str, validation: RowValidation | None = None) -> None:
        self._table = table.with_format("arrow")
        self.name, self.validation = name, validation
        self.columns: tuple[str, ...] = tuple(table.column_names)
        self.fingerprint: str = table._fingerprint  # the library's own: of the files, and of what was done to them
        self._readers: dict[str, tuple[Any, Reader | None]] = {}  # per column: the type to cast to, what reads it
        if validation:
            validation.reader.columns = frozenset(self.columns)
            self.unread_columns = _unread(self._table.data.schema, validation)
        for field, cast in _columns(self._table.data.schema, validation):
            self._readers[field.name] = (None if cast == field.type else cast), _reader(cast)

    def __len__(self) -> int:
        return len(self._table)

    def validated(self, validation: RowValidation) -> "ArrowRows":
        """The same rows under a validation."""
        return ArrowRows(self._table, self.name, validation)

    def take(self, indices: Int64) -> list[Any]:
        """The rows of these indices, int64[B], or a `Rejected` in a row's place. Touches: the table's files."""
        return self._read(self._table[indices.tolist()], indices.tolist())

    def _block(self, start: int, stop: int) -> list[Any]:
        return self._read(self._table[start:stop], range(start, stop))

    def _read(self, table: Any, numbers: Any) -> list[Any]:
        columns = []
        for name, (cast, read) in self._readers.items():
            try:
                column = table.column(name) if cast is None else table.column(name).cast(cast)
                values = column.to_pylist()
            except ValueError as error:  # Arrow's own errors are such
                raise expected(f"text in the column {name!r}", _short(error), at=self.place(numbers[0])) from error
            columns.append((name, values if read is None else [None if v is None else read(v) for v in values]))
        rows = [{name: values[k] for name, values in columns if values[k] is not None} for k in range(len(numbers))]
        if self.validation is None:
            return rows
        return [self.validation.admit(i, row, self.place) for i, row in zip(numbers, rows, strict=True)]

    def place(self, i: int) -> str:
        return f"{self.name}[{i}]"


def parquet_rows(path: Path, validation: RowValidation) -> ArrowRows:
    """The rows of a Parquet file; row 17 is at `FILE[17]`."""
    import datasets
    import pyarrow as pa
    from pyarrow import parquet

    content = OwnFile(path)
    for _ in content.blocks():  # for the fingerprint
        pass
    name = str(path)
    with room(name):
        copy = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the object)
    with opened(path) as file:
        try:
            source = parquet.ParquetFile(file, pre_buffer=False)
            fields = [field.with_type(cast) for field, cast in _columns(source.schema_arrow, validation)]
            schema, names = pa.schema(fields, source.schema_arrow.metadata), [field.name for field in fields]
            with pa.ipc.new_file(copy, schema) as sink:
                for batch in source.iter_batches(batch_size=_ROWS, columns=names):
                    table = pa.Table.from_batches([batch]).cast(schema)
                    with room(name):
                        sink.write_table(table)
        except InputError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise expected("a Parquet file that can be read", _short(error), at=name) from error
    if not source.metadata.num_rows:
        raise expected("a Parquet file with rows", "one without any", at=name)
    copy.flush()
    mapped = pa.py_buffer(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ))
    mapped_table = datasets.table.InMemoryTable(pa.ipc.open_file(mapped).read_all())
    rows = ArrowRows(datasets.Dataset(mapped_table, fingerprint=content.fingerprint), name, validation)
    rows.is_slow = False  # a file is checked whole
    rows.unread_columns = _unread(source.schema_arrow, validation)
    return rows


def without_nulls(value: Any) -> Any:
    """The value without the keys that hold None, at every depth; a None inside a list stays."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _columns(schema: Any, validation: RowValidation | None) -> list[tuple[Any, Any]]:
    """The fields of a table to read, with the types to read them as."""
    unread = _unread(schema, validation) if validation else ()
    read = validation.reader.read_keys if validation else READ_KEYS
    fields = [field for field in schema if field.name not in unread]
    return [(field, _as_text(field.type) if field.name in read else field.type) for field in fields]


def _unread(schema: Any, validation: RowValidation) -> tuple[str, ...]:
    """The columns that are ignored: by their names, and those of dates and times."""
    import pyarrow as pa

    dates = [field.name for field in schema if pa.types.is_temporal(field.type)]
    return tuple(validation.reader.ignored_columns([field.name for field in schema], dates))


def _as_text(kind: Any) -> Any:
    """An Arrow type with text in place of what JSON has no form for."""
    import pyarrow as pa

    types = pa.types
    odd = (types.is_binary, types.is_large_binary, types.is_temporal, types.is_decimal, types.is_map, types.is_union)
    if any(is_odd(kind) for is_odd in odd):
        return pa.string()
    if types.is_dictionary(kind):
        return _as_text(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([field.with_type(_as_text(field.type)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind):
        make = pa.list_ if types.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_as_text(kind.value_type)))
    return kind


def _reader(kind: Any) -> Reader | None:
    """What makes a value of an Arrow type plain: JSON decoded, keys that hold null left out; None: it is plain."""
    import pyarrow as pa

    if getattr(kind, "extension_name", "") == "arrow.json":  # the `Json` type of `datasets`
        return msgspec.json.decode
    if pa.types.is_struct(kind):
        readers = {field.name: _reader(field.type) for field in kind}
        return lambda value: {
            key: item if (read := readers[key]) is None else read(item)
            for key, item in value.items()
            if item is not None
        }
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _reader(kind.value_type)
        if inner is not None:
            return lambda values: [None if value is None else inner(value) for value in values]
    return None
