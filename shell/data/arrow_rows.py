"""Rows of Arrow tables: those of the `datasets` library, and of files (`shell.data.arrow_files`).

In an Arrow table every row has every key, so keys that hold null are left out at every depth; a null that was meant
cannot be told from one that was filled in. JSON rows keep theirs (`shell.data.json_rows`). Of a column that nobody
reads only that it holds something is taken: numbers as they are, the start of a text, else True.
"""

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from kernel.errors import expected
from shell.data.rows import Int64, Rows, RowValidation, any_key

Reader = Callable[[Any], Any]
_START = 16  # characters of a text that nobody reads


class Column(NamedTuple):
    """A column of a table as rows have it."""

    name: str
    kind: Any
    """its Arrow type, once converted"""
    convert: Reader | None
    """makes an Arrow array of that type; None: it is one"""
    read: Reader | None
    """makes a plain value of a value of it; None: it is plain"""
    is_marker: bool
    """whether it holds True or null, in place of what nobody reads"""


class ArrowRows(Rows):
    """Rows of a table of the `datasets` library, read as plain values."""

    is_slow = True

    def __init__(self, table: Any, name: str, validation: RowValidation | None = None) -> None:
        self._table = table.with_format("arrow")
        self.name, self.validation = name, validation
        self.columns: tuple[str, ...] = tuple(table.column_names)
        self.fingerprint: str = table._fingerprint  # the library's own: of the files, and of what was done to them
        schema = self._table.data.schema
        if validation:
            validation.reader.columns = frozenset(self.columns)
            self.unread_columns = unread(schema, validation)
        self._columns = columns_of(schema, validation)

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
        at = self.place(numbers[0]) if numbers else self.name
        for column in self._columns:
            values = converted(column, table.column(column.name), at).to_pylist()
            read = column.read
            columns.append((column.name, values if read is None else [None if v is None else read(v) for v in values]))
        rows = [{name: values[k] for name, values in columns if values[k] is not None} for k in range(len(numbers))]
        if self.validation is None:
            return rows
        return [self.validation.admit(i, row, self.place) for i, row in zip(numbers, rows, strict=True)]

    def place(self, i: int) -> str:
        return f"{self.name}[{i}]"


def columns_of(schema: Any, validation: RowValidation | None) -> list[Column]:
    """The columns of a table that are read: whole, or whether they hold something where they cannot be used."""
    features, skipped = _features(schema), unread(schema, validation) if validation else ()
    reads = validation.reads if validation else any_key
    return [
        _read_column(field, features.get(field.name)) if reads(field.name) else _unread_column(field)
        for field in schema
        if field.name not in skipped
    ]


def unread(schema: Any, validation: RowValidation) -> tuple[str, ...]:
    """The columns that are ignored: by their names, and those of dates and times."""
    import pyarrow as pa

    dates = [field.name for field in schema if pa.types.is_temporal(field.type)]
    return tuple(validation.reader.ignored_columns([field.name for field in schema], dates))


def converted(column: Column, values: Any, at: str) -> Any:
    """An Arrow array as the column should be; raises InputError if its bytes are no text."""
    if column.convert is None:
        return values
    try:
        return column.convert(values)
    except (ValueError, NotImplementedError) as error:  # Arrow's own errors are such
        raise expected(f"text in the column {column.name!r}", short(error), at=at) from error


def short(error: Exception) -> str:
    """An error of Arrow's in one line."""
    return " ".join(str(error).split())[:200]


def _read_column(field: Any, feature: Any) -> Column:
    kind = _as_text(field.type)
    convert = None if kind == field.type else lambda values: values.cast(kind)
    return Column(field.name, kind, convert, _reader(kind, feature), False)


def _unread_column(field: Any) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    types, kind = pa.types, field.type
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind):
        return Column(field.name, kind, None, None, False)
    text = storage.value_type if types.is_dictionary(storage) else storage
    if types.is_string(text) or types.is_large_string(text) or types.is_string_view(text):
        start = lambda values: pc.utf8_slice_codeunits(_stored(values).cast(pa.string()), 0, _START)  # noqa: E731
        return Column(field.name, pa.string(), start, None, False)
    return Column(field.name, pa.bool_(), _held, None, True)


def _stored(values: Any) -> Any:
    """The values of an array of an extension type as they are stored."""
    import pyarrow as pa

    if not isinstance(values.type, pa.BaseExtensionType):
        return values
    return values.cast(values.type.storage_type)


def _held(values: Any) -> Any:
    """True where a value holds something, else null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types, held = pa.types, pc.is_valid(values)
    if types.is_map(values.type):
        values = values.cast(pa.list_(pa.struct([("key", values.type.key_type), ("value", values.type.item_type)])))
    if types.is_list(values.type) or types.is_large_list(values.type):
        held = pc.and_(held, pc.greater(pc.fill_null(pc.list_value_length(values), 0), 0))
    elif types.is_struct(values.type):
        inside = [pc.is_valid(_held(field)) for field in values.flatten()]
        held = pc.and_(held, functools.reduce(pc.or_, inside)) if inside else pc.and_(held, False)
    return pc.if_else(held, pa.scalar(True), pa.scalar(None, pa.bool_()))


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` says of the columns in a table's metadata."""
    try:
        found = msgspec.json.decode((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _as_text(kind: Any) -> Any:
    """An Arrow type with text in place of what JSON has no form for."""
    import pyarrow as pa

    types = pa.types
    odd = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    if any(is_odd(kind) for is_odd in (*odd, types.is_temporal, types.is_decimal, types.is_union)):
        return pa.string()
    if types.is_dictionary(kind):
        return _as_text(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([field.with_type(_as_text(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_as_text(kind.key_type), _as_text(kind.item_type))
    if types.is_list(kind) or types.is_large_list(kind):
        make = pa.list_ if types.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_as_text(kind.value_type)))
    return kind


def _reader(kind: Any, feature: Any = None) -> Reader | None:
    """What makes a value of an Arrow type plain: JSON decoded, keys that hold null left out; None: it is plain.

    `feature` is what `datasets` says of the type: its `Json` may be stored as text.
    """
    import pyarrow as pa

    types = pa.types
    if getattr(kind, "extension_name", "") == "arrow.json":  # the `Json` type of `datasets`
        return msgspec.json.decode
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return msgspec.json.decode if _named(feature) == "Json" else None
    if types.is_struct(kind):
        inside = feature if isinstance(feature, dict) and "_type" not in feature else {}
        readers = {field.name: _reader(field.type, inside.get(field.name)) for field in kind}
        return lambda value: {
            key: item if (read := readers[key]) is None else read(item)
            for key, item in value.items()
            if item is not None
        }
    if types.is_map(kind):
        of_item = _reader(kind.item_type) or (lambda item: item)
        return lambda pairs: {key: of_item(item) for key, item in pairs if item is not None}
    if isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType | pa.ListViewType | pa.LargeListViewType):
        inner = _reader(kind.value_type, _element(feature))
        if inner is not None:
            return lambda values: [None if value is None else inner(value) for value in values]
    return None


def _named(feature: Any) -> Any:
    return feature.get("_type") if isinstance(feature, dict) else None


def _element(feature: Any) -> Any:
    if isinstance(feature, list):
        return feature[0] if feature else None
    return feature.get("feature") if _named(feature) in ("List", "LargeList", "Sequence") else None


def without_nulls(value: Any, feature: Any = None) -> Any:
    """The value without the keys that hold None, at every depth but in what was JSON; a None inside a list stays.

    Bytes become text, if they are. `feature` is the value's type in `datasets`, if that is known.
    """
    kind = type(feature).__name__
    if kind == "Json":
        return value
    if isinstance(value, dict):
        inside = feature if isinstance(feature, dict) else {}
        return {key: without_nulls(item, inside.get(key)) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        element = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
        return [without_nulls(item, element) for item in value]
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    return value
