"""What decides the tokens and weights of rows, by name: the content of each thing, not what it is called.

Two runs of the same identity get the same tokens and weights for the same rows; a name (of a file, a model, a renderer)
is not part of it, and neither is what only decides what is done with them (order, batch size, epochs, cut, reduction).
It is what a prepared store is named by, and what a run that goes on can be compared by.
"""

import dataclasses
import inspect
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from kernel.chat_format.pieces import Renderer
from shell.data.rows import ConcatRows, Rows, content_digest
from shell.datums.render_rows import RowRenderer
from shell.text.formats import Format

HOUSE = Path(__file__).parents[1]
OUTSIDE = (
    "shell/local_service/",
    "shell/token_cache/",
    "shell/process/",
    "shell/run_dir/",
    "shell/sample/",
    "shell/service/",
    "shell/settings/",
    "shell/training/",
    "shell/data/cache_folders.py",
    "shell/datums/prefetch.py",
    "shell/datums/open_dataset.py",
    "shell/datums/preflight.py",
    "shell/datums/supervised_dataset.py",
    "shell/datums/tinker_datums.py",
    "shell/prepare.py",
    "shell/train.py", "shell/show.py",
    "kernel/loss.py", "kernel/train_plan.py",
)  # fmt: skip
"""what decides no token: it chooses among rows, sends them, or talks"""

Provenance = dict[str, str | int | bool | None]


def provenance_of(rows: Rows, maker: RowRenderer) -> Provenance:
    """What decides the tokens and weights that a maker gives for rows, as plain data in a fixed order.

    Touches: what the rows come from, to digest it; the sources of this package.
    """
    return {"rows": rows.fingerprint, "n_rows": len(rows), "reader": _reader(rows), **renderer_provenance(maker)}


def _reader(rows: Rows) -> str:
    """What makes rows of the bytes: the kind of source, and the shape that its rows are brought to.

    >>> from shell.data.rows import ListRows
    >>> _reader(ListRows([]))
    'ListRows'
    """
    if isinstance(rows, ConcatRows):
        return ", ".join(map(_reader, rows.parts))
    validation = getattr(rows, "validation", None)
    return type(rows).__name__ + (f" {validation.dataset_format} {validation.column}" if validation else "")


def renderer_provenance(maker: RowRenderer) -> Provenance:
    """The same for any rows. Touches: the sources of this package, and of a renderer's own file."""
    settings = maker.settings
    return {
        "column": settings.column,
        "tokenizer": content_digest([maker.tokenizer.json]),
        "renderer": format_digest(maker.chat_format),
        "train_on_what": settings.train_on_what.value,
        "split_turns": settings.split_turns,
        "shortened_to": settings.shortened_to,
        "code": code_digest(),
        "libraries": _libraries(maker.chat_format),
    }


def key_of(identity: Mapping[str, object]) -> str:
    """32 characters that stand for an identity.

    >>> key_of({"a": 1}) == key_of({"a": 1}), key_of({"a": 1}) == key_of({"a": 2})
    (True, False)
    """
    return content_digest([msgspec.json.encode(identity, order="sorted")])


@lru_cache
def code_digest(also: tuple[str, ...] = ()) -> str:
    """A digest of the modules that decide tokens and weights, and of others."""
    paths = [*deciding_modules(), *also]
    return content_digest(part for path in paths for part in (path.encode(), (HOUSE / path).read_bytes()))


def deciding_modules() -> list[str]:
    """The paths of those modules: all of kernel and shell but OUTSIDE."""
    paths = [path.relative_to(HOUSE).as_posix() for top in ("kernel", "shell") for path in (HOUSE / top).rglob("*.py")]
    return sorted(path for path in paths if not path.startswith(OUTSIDE))


def format_digest(chat_format: Format) -> str:
    """A digest of a renderer's table and functions, or of a template's text and variables.

    Touches: the file that a renderer of the user's own stands in, and those of his that it imports.
    """
    if isinstance(chat_format, Renderer):
        return content_digest(_described(chat_format, set()))
    given = repr(sorted(chat_format.given.items()))
    return content_digest(part.encode() for part in (chat_format.source, given, chat_format.date))


def _described(value: Any, seen: set[int]) -> Iterator[bytes]:
    """What a value is made of, as bytes; functions by their names and, unless they are ours, their files."""
    if callable(value) and not isinstance(value, type):
        if id(value) not in seen:
            seen.add(id(value))
            yield from _described_call(value, seen)
    elif isinstance(value, Enum):
        yield f"{type(value).__qualname__}.{value.name}".encode()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value).__qualname__.encode()
        for field in dataclasses.fields(value):
            yield field.name.encode()
            yield from _described(getattr(value, field.name), seen)
    elif isinstance(value, Mapping):
        yield f"map of {len(value)}".encode()
        for key, item in value.items():
            yield from _described(key, seen)
            yield from _described(item, seen)
    elif isinstance(value, tuple | list | frozenset | set):
        items = sorted(value, key=repr) if isinstance(value, frozenset | set) else value
        yield f"{type(value).__qualname__} of {len(items)}".encode()
        for item in items:
            yield from _described(item, seen)
    else:
        yield repr(value).encode()


def _described_call(call: Any, seen: set[int]) -> Iterator[bytes]:
    if isinstance(call, partial):
        yield b"partial"
        yield from _described((call.func, call.args, call.keywords), seen)
        return
    function = inspect.unwrap(getattr(call, "__func__", call))
    yield f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(call).__qualname__)}".encode()
    if not isinstance(function, FunctionType):
        yield repr(vars(call) if hasattr(call, "__dict__") else "").encode()
        return
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    yield from _described((held, function.__defaults__ or (), function.__kwdefaults__ or {}), seen)
    for path in sorted(_files(function.__globals__, function.__code__.co_filename, set())):
        yield Path(path).read_bytes()


def _files(names: Mapping[str, Any], path: str, seen: set[str]) -> set[str]:
    """A file and those that what it imported stands in, as far as they are the user's own."""
    if path in seen or not _is_own(path):
        return seen
    seen.add(path)
    for value in names.values():
        module = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
        if module is not None and getattr(module, "__file__", None):
            _files(vars(module), str(module.__file__), seen)
    return seen


def _is_own(path: str) -> bool:
    """Whether a file is neither ours, whose digest is taken anyway, nor a library's."""
    file = Path(path)
    elsewhere = (HOUSE / "kernel", HOUSE / "shell", Path(sys.prefix), Path(sys.base_prefix))
    is_library = "site-packages" in file.parts or any(file.is_relative_to(folder) for folder in elsewhere)
    return file.is_file() and not is_library


def _libraries(chat_format: Format) -> str:
    """The versions of what takes part: the tokenizer's library, Unicode's tables, and for a template Jinja."""
    names = ["tokenizers"] if isinstance(chat_format, Renderer) else ["tokenizers", "jinja2"]
    return ", ".join([*(f"{name} {_version(name)}" for name in names), f"unicode {unicodedata.unidata_version}"])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
