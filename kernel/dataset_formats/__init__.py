"""Dataset formats: the shapes of rows, each with a reader that finds the messages in a row of chat data.

A row is recognised by its own keys; one that fits no shape, or two, is an error that names the flag which decides. The
keys of each shape are a closed list (`kernel.row_keys`). ROW_SHAPES.md has an example of each.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from kernel.dataset_formats.chats import (
    COLUMN,
    CONVERSATIONS,
    PREFERRED,
    read_conversations,
    read_messages,
    read_preferred,
)
from kernel.dataset_formats.dataset_map import DatasetMap, Renamed
from kernel.dataset_formats.images import KEYS as IMAGES
from kernel.dataset_formats.images import place_images
from kernel.dataset_formats.one_text import read_glaive, read_text
from kernel.dataset_formats.prompt_and_answer import MAPPED, PAIRS
from kernel.dataset_formats.row_messages import SYSTEM, Row, TracedRow, Turns, keys_of, missing, said
from kernel.dataset_formats.tool_rows import REQUEST, read_gemini, read_xlam
from kernel.enums import DatasetFormat, UnknownKeys
from kernel.errors import InputError, expected, problem
from kernel.row_keys import IGNORABLE, MASKS, KeyPolicy, holds
from kernel.weight_keys import ROW_WEIGHT_KEYS

__all__ = [
    "COLUMN",
    "KEYS",
    "READ_KEYS",
    "Row",
    "RowReader",
    "TracedRow",
    "fitting",
    "format_of",
    "missing",
    "to_messages",
]

_BESIDE = frozenset((*SYSTEM, *IMAGES, "tools", "functions", *ROW_WEIGHT_KEYS))
_PREFERENCE = str(DatasetFormat.PREFERENCE)
_ANY_SHAPE = (
    "the key 'messages', those of another shape (see --dataset-format), or --dataset-map user=KEY,assistant=KEY"
)
_ANY_COLUMN = (DatasetFormat.MESSAGES, DatasetFormat.SHAREGPT, DatasetFormat.TEXT)
_N_KNOWN = 1000  # sets of keys that are remembered


class Shape(NamedTuple):
    """A shape of rows: its reader, the keys that it is recognised by, and the others that it reads."""

    read: Callable[[Row, str], Turns]
    keys: tuple[tuple[str, ...], ...]
    beside: frozenset[str] = _BESIDE


_SHAPES: dict[str, Shape] = {
    DatasetFormat.MESSAGES: Shape(read_messages, ((COLUMN,),)),
    DatasetFormat.SHAREGPT: Shape(read_conversations, tuple((key,) for key in CONVERSATIONS)),
    **{
        name: Shape(
            pair.read, tuple((pair.prompt, answer) for answer in pair.answers), _BESIDE | {pair.more, "history"}
        )
        for name, pair in PAIRS.items()
    },
    DatasetFormat.TEXT: Shape(read_text, (("text",),), frozenset(ROW_WEIGHT_KEYS)),
    DatasetFormat.GLAIVE: Shape(read_glaive, (("chat",),), frozenset(("system", *ROW_WEIGHT_KEYS))),
    DatasetFormat.XLAM: Shape(read_xlam, (("query", "answers"),)),
    DatasetFormat.GEMINI: Shape(read_gemini, (("contents",),), _BESIDE | {*REQUEST}),
    DatasetFormat.PREFERENCE: Shape(read_preferred, tuple(PREFERRED.items()), _BESIDE | {"prompt", "input"}),
}
_MAPPED = Shape(MAPPED.read, (("prompt", "completion"),), _BESIDE | {"input", "history"})
KEYS = {name: shape.keys for name, shape in _SHAPES.items()}
"""The formats, and the keys that each is recognised by."""
READ_KEYS = frozenset(key for shape in _SHAPES.values() for keys in (*shape.keys, shape.beside) for key in keys)
"""All keys that some format reads."""


class RowReader:
    """Brings rows to messages, under one choice of format, column, names and what becomes of unknown keys."""

    def __init__(
        self,
        dataset_format: str = "auto",
        column: str = COLUMN,
        dataset_map: DatasetMap | None = None,
        unknown_keys: UnknownKeys = UnknownKeys.REFUSE,
    ) -> None:
        if dataset_map and column != COLUMN and COLUMN in dataset_map.of_rows:
            raise problem(f"--dataset-column {column} and messages in --dataset-map name one thing: give one of them")
        self.dataset_format, self.column, self.map = dataset_format, column, dataset_map
        self.policy = KeyPolicy(unknown_keys)
        self.read_keys = READ_KEYS | {column} | (dataset_map.columns() if dataset_map else set())
        """all keys of rows that may be read"""
        self.columns = frozenset[str]()
        """the columns of the table that the rows are from, if there is one"""
        self._n_plain = dict[tuple[str, ...], int]()
        """the keys of rows that have nothing but messages and what is ignored -> how many such rows were read"""

    def read(self, row: Row, at: str = "$") -> Row:
        """The row with its messages under `row[column]`; itself, if it has them; raises InputError."""
        keys = tuple(row)
        n = self._n_plain.get(keys)
        if n is not None:
            self._n_plain[keys] = n + 1
            return row
        try:
            return self._read_mapped(self.map, row) if self.map else self._read(row)
        except InputError as error:
            raise error.under(at) from None

    def take_counts(self) -> dict[str, int]:
        """The keys that were ignored since this was last asked -> in how many rows."""
        counts = self.policy.counts.copy()
        for keys, n in self._n_plain.items():
            counts.update({key: n for key in keys if key != self.column and key not in ROW_WEIGHT_KEYS})
            self._n_plain[keys] = 0
        self.policy.counts.clear()
        return {key: n for key, n in counts.items() if n}

    def ignored_columns(self, columns: Iterable[str], dates: Iterable[str] = ()) -> list[str]:
        """The columns of a table that need not be read, as they are ignored whatever they hold; `dates` are such."""
        is_any, dates = self.policy.unknown is UnknownKeys.IGNORE, set(dates)
        unread = (key for key in columns if key not in self.read_keys | MASKS)
        return [key for key in unread if is_any or key in dates or key.lower() in IGNORABLE]

    def _read(self, row: Row) -> Row:
        name = self.dataset_format if self.dataset_format != "auto" else format_of(row, "", self.column)
        if self.column != COLUMN and name not in _ANY_COLUMN:
            raise problem(f"--dataset-column {self.column} cannot be used with {name}, whose keys are fixed")
        found = self._with_shape(_SHAPES[name], name, row)
        is_plain = found is row and all(
            key == self.column or key in ROW_WEIGHT_KEYS or (key.lower() in IGNORABLE and key not in READ_KEYS)
            for key in row
        )
        if is_plain and len(self._n_plain) < _N_KNOWN:
            self._n_plain.setdefault(tuple(row), 0)
        return found

    def _with_shape(self, shape: Shape, name: str, row: Row) -> Row:
        turns = shape.read(row, self.column)
        turns.open(row)
        place_images(row, turns)
        self._check_keys(shape, name, row, turns)
        for key in ("tools", "functions"):
            if key in row and not holds(row[key]):
                turns.used.add(key)
        if turns.used == {self.column} and (turns.gets or turns.is_list(row[self.column])):
            return row
        return turns.row(row, self.column)

    def _check_keys(self, shape: Shape, name: str, row: Row, turns: Turns) -> None:
        """Counts or refuses the keys that the shape does not read, but for copies of what it does."""
        own = (key for keys in shape.keys for key in keys) if self.column == COLUMN else ()
        read = {self.column, *shape.beside, *own} | turns.used
        if read.issuperset(row):
            return
        others = {key for other in fitting(set(row)) for keys in KEYS[other] for key in keys if other != name}
        texts = {text for text in map(said, turns.messages) if isinstance(text, str)}
        unread = {}
        for key in row:
            if key not in read:
                is_chosen = self.dataset_format != "auto" and key in others and holds(row[key])
                if is_chosen or (isinstance(row[key], str) and row[key] and row[key] in texts):
                    self.policy.counts[key] += 1
                else:
                    unread[key] = row[key]
        self.policy.check(unread, ())

    def _read_mapped(self, names: DatasetMap, row: Row) -> Row:
        renamed = names.rename(row, self.column, self.columns)
        for key, role in (("prompt", "user"), ("completion", "assistant")) if names.is_prompt_and_answer else ():
            if key not in renamed.row:
                raise expected(f"a key of the {role}'s (--dataset-map {role}=KEY)", keys_of(row))
        self._check_left(renamed)
        try:
            if names.is_prompt_and_answer:
                found = self._with_shape(_MAPPED, "", renamed.row)
            else:
                found = self._read(renamed.row)
        except InputError as error:
            raise error.at_path(renamed.own_path(error.path)) from None
        return renamed.traced_back(found, self.column, names.fields)

    def _check_left(self, renamed: Renamed) -> None:
        for path, value in renamed.left.items():
            *above, key = path
            try:
                self.policy.check({str(key): value}, (), "".join(f"{step}." for step in above))
            except InputError as error:
                raise error.under("", *above) from None


def to_messages(row: Row, at: str = "$", dataset_format: str = "auto", column: str = COLUMN) -> Row:
    """The row with its messages under `row[column]`; itself, if it has them. "auto": the row's keys decide.

    Raises:
        InputError: the row fits no format, or two, or not the one that was named, or has a key that nothing reads.

    >>> to_messages({"instruction": "Add.", "input": "2+2", "output": "4", "id": 7})["messages"]
    [{'role': 'user', 'content': 'Add.\\n2+2'}, {'role': 'assistant', 'content': '4'}]
    """
    return RowReader(dataset_format, column).read(row, at)


def format_of(row: Row, at: str = "$", column: str = COLUMN) -> str:
    """The name of the one format that a row fits."""
    if column != COLUMN:
        return str(DatasetFormat.MESSAGES)
    fits = fitting({key for key, value in row.items() if value is not None and value != ""}) or fitting(set(row))
    if not fits:
        raise expected(_ANY_SHAPE, keys_of(row), at)
    if len(fits) > 1:
        raise expected("a row of one shape (--dataset-format says which)", f"{' and '.join(fits)}: {keys_of(row)}", at)
    if fits[0] == _PREFERENCE:
        raise problem(
            "the row holds a preferred answer and another: --dataset-format preference trains the preferred one", at
        )
    return fits[0]


def fitting(keys: set[str]) -> list[str]:
    """The formats that a row with these keys fits; a row of Alpaca's is none of input and output."""
    fits = [str(name) for name, sets in KEYS.items() if any(keys.issuperset(some) for some in sets)]
    is_alpaca = str(DatasetFormat.ALPACA) in fits
    return [name for name in fits if not (is_alpaca and name == DatasetFormat.INPUT_OUTPUT)]
