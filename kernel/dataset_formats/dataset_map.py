"""`--dataset-map user=question,assistant=answer`: what the columns and keys of rows are called."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kernel.conversation import Origin
from kernel.dataset_formats.chats import COLUMN, CONVERSATIONS
from kernel.dataset_formats.row_messages import Row, TracedRow, from_json, keys_of
from kernel.errors import Path, expected, problem, unknown

FLAG = "--dataset-map"
_USER, _ASSISTANT = "prompt", "completion"
_OF_ROWS = {"messages": COLUMN, "user": _USER, "prompt": _USER, "assistant": _ASSISTANT, "completion": _ASSISTANT,
            **{name: name for name in ("system", "input", "history", "tools", "images", "weight")},
            "image": "images"}  # fmt: skip
_OF_MESSAGES = {"role": "role", "content": "content"}
_REQUIRED = (COLUMN, _USER, _ASSISTANT)


class Renamed(NamedTuple):
    """A row under the usual names, where each was, and what was left: keys that nothing reads, by their path."""

    row: dict[str, Any]
    paths: Mapping[str, Path]
    left: Mapping[Path, Any]

    def own_path(self, path: Path) -> Path:
        """A path of the renamed row in the row as it came."""
        return (*self.paths.get(str(path[0]), path[:1]), *path[1:]) if path else path

    def traced_back(self, row: Row, column: str, fields: Mapping[str, Path]) -> TracedRow:
        """The row with the origins of its messages in the row as it came."""
        traced = TracedRow(row)
        came = getattr(row, "origins", None) or [Origin((column, i)) for i in range(len(row[column]))]
        traced.origins = [
            Origin(
                self.own_path(path), {**fields, **inner} if path else {k: self.own_path(p) for k, p in inner.items()}
            )
            for path, inner in came
        ]
        return traced


class DatasetMap(NamedTuple):
    """Which key of the user's is what: the usual name -> the user's, of the row's and of each message's."""

    of_rows: Mapping[str, str]
    of_messages: Mapping[str, str]

    @property
    def is_prompt_and_answer(self) -> bool:
        return bool({_USER, _ASSISTANT} & self.of_rows.keys())

    @property
    def fields(self) -> dict[str, Path]:
        """What the fields of a message are called."""
        return {name: tuple(key.split(".")) for name, key in self.of_messages.items()}

    def columns(self) -> set[str]:
        """The columns of a table that the map names."""
        return {key for own in self.of_rows.values() for key in (own, own.partition(".")[0])}

    def check_columns(self, columns: Mapping[str, Any], at: str) -> None:
        """Raises InputError for a table that has not the columns that are mapped."""
        for name, key in self.of_rows.items():
            if key not in columns and key.partition(".")[0] not in columns:
                raise _missing(name, key, columns).under(at)

    def rename(self, row: Row, column: str = COLUMN, columns: frozenset[str] = frozenset()) -> Renamed:
        """The row under the usual names; `columns` are those of its table, where a key may be left out for null."""
        paths, left = dict[str, Path](), dict[Path, Any]()
        found = dict[str, Any]()
        for name, key in self.of_rows.items():
            paths[name] = _steps(row, key)
            inner = _value(row, paths[name])
            if inner is None and (name in _REQUIRED or (paths[name][0] not in row and paths[name][0] not in columns)):
                raise _missing(name, key, row)
            found[name] = inner
        tops = {path[0] for path in paths.values()}
        for top in tops:
            taken = {path[1] for path in paths.values() if path[0] == top and len(path) > 1}
            if taken and isinstance(row.get(str(top)), Mapping):
                left |= {(top, key): value for key, value in row[str(top)].items() if key not in taken}
        rest = {key: value for key, value in row.items() if key not in tops}
        left |= {(key,): value for key, value in rest.items() if key in found}
        renamed = {key: value for key, value in rest.items() if key not in found} | found
        for key in (column, *CONVERSATIONS) if self.of_messages else ():
            if key in renamed:
                renamed[key] = self._messages(renamed[key], paths.get(key, (key,)))
        return Renamed(renamed, paths, left)

    def _messages(self, value: object, path: Path) -> object:
        messages = from_json(value)
        if not isinstance(messages, list):
            return value
        return [self._message(from_json(message), (*path, i)) for i, message in enumerate(messages)]

    def _message(self, message: object, path: Path) -> object:
        """A message under the usual names."""
        if not isinstance(message, Mapping):
            return message
        found = dict(message)
        for name, key in self.of_messages.items():
            steps = _steps(message, key)
            inner = _value(message, steps)
            if inner is None and name == "role":
                raise expected(f"the key {key!r} ({FLAG} {name}={key})", keys_of(message), path=path)
            if name != steps[0] and name in message:
                raise problem(
                    f"{name!r} and {key!r}, which {FLAG} makes the {name}, are both there", path=(*path, name)
                )
            found.pop(steps[0], None)
            if inner is not None:
                found[name] = inner
        return found


def read_map(text: str) -> DatasetMap:
    """The map that a text gives.

    >>> read_map("user=question,assistant=meta.answer,role=speaker")
    DatasetMap(of_rows={'prompt': 'question', 'completion': 'meta.answer'}, of_messages={'role': 'speaker'})
    """
    of_rows, of_messages = dict[str, str](), dict[str, str]()
    for pair in filter(None, map(str.strip, text.split(","))):
        what, equals, key = (side.strip() for side in pair.partition("="))
        if not equals or not key:
            raise expected("pairs such as user=question", repr(pair), at=FLAG)
        if what not in (*_OF_ROWS, *_OF_MESSAGES):
            raise unknown("part of a row", what, [*_OF_ROWS, *_OF_MESSAGES], at=FLAG)
        into, name = (of_messages, what) if what in _OF_MESSAGES else (of_rows, _OF_ROWS[what])
        if name in into:
            raise problem(f"{what} is given twice", at=FLAG)
        into[name] = key
    if not of_rows and not of_messages:
        raise expected("pairs such as user=question", repr(text), at=FLAG)
    if COLUMN in of_rows and {_USER, _ASSISTANT} & of_rows.keys():
        raise problem("messages and user or assistant cannot both be mapped", at=FLAG)
    return DatasetMap(of_rows, of_messages)


def _steps(row: Row, key: str) -> tuple[str, ...]:
    """The path that a name means in a row: a key, or `a.b`."""
    return (key,) if key in row or "." not in key else tuple(key.split("."))


def _value(row: Row, path: Path) -> Any:
    """What is at a path; None: nothing."""
    value: Any = row
    for step in path:
        value = from_json(value)
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _missing(name: str, key: str, row: Row) -> Any:
    what = {_USER: "user", _ASSISTANT: "assistant"}.get(name, name)
    return expected(f"the key {key!r} ({FLAG} {what}={key})", keys_of(row))
