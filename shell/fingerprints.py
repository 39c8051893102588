"""What decides the tokens and weights of rows: content digests, which name a token cache and are part of a run's.

Two runs of the same provenance get the same tokens and weights for the same rows. The name of a file or a model is not
in it, and neither is what only decides what is done with examples (order, batch size, epochs, cut, reduction).
"""

import gc
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.renderers.follow_template import follows_template
from shell.data.rows import ConcatRows, Rows, content_digest
from shell.datums.render_rows import RowRenderer
from shell.text.renderer_by_name import Format

ROOT = Path(__file__).parents[1]
TOKENS = ("shell/data/mixture_spec.py", "shell/text/renderer_by_name.py", "shell/datums/render_rows.py")
"""modules that, with all that they import, make tokens and weights of rows"""
STEPS = (*TOKENS, "shell/datums/supervised_dataset.py", "shell/datums/tinker_datums.py",
         "shell/service/tinker_client.py", "kernel/lr_schedules.py")  # fmt: skip
"""modules that, with all that they import, decide the steps of a run"""

_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?import[ \t]+(\([^)]*\)|[^#\n]+)", re.MULTILINE)
"""module, names; as text, since parsing would take ten times as long"""

Provenance = dict[str, str | int | bool | None]


def provenance_of(rows: Rows, row_renderer: RowRenderer) -> Provenance:
    """What decides the tokens and weights of rows, as plain data in a fixed order."""
    settings = row_renderer.settings
    return {
        "rows": rows.fingerprint,
        "n_rows": len(rows),
        "reader": _reader(rows),
        "column": settings.column,
        "tokenizer": content_digest([row_renderer.tokenizer.json]),
        "renderer": format_digest(row_renderer.chat_format),
        "train_on_what": settings.train_on_what.value,
        "split_turns": settings.split_turns,
        "shortened_to": settings.shortened_to,
        "code": code_digest(),
        "libraries": _libraries(row_renderer.chat_format),
    }


def _reader(rows: Rows) -> str:
    """What makes rows of bytes: the kind of source, and the dataset format of its rows."""
    if isinstance(rows, ConcatRows):
        return ", ".join(map(_reader, rows.parts))
    validation = getattr(rows, "validation", None)
    return type(rows).__name__ + (f" {validation.description}" if validation else "")


def key_of(provenance: Mapping[str, object]) -> str:
    """32 characters, a digest of a provenance."""
    return content_digest([msgspec.json.encode(provenance, order="sorted")])


@lru_cache
def code_digest(modules: tuple[str, ...] = TOKENS, root: Path = ROOT) -> str:
    """A digest of the sources of modules and of all that they import."""
    paths = deciding_modules(modules, root)
    return content_digest(part for path in paths for part in (path.encode(), (root / path).read_bytes()))


def deciding_modules(modules: Iterable[str] = TOKENS, root: Path = ROOT) -> list[str]:
    """The paths of modules and of all of this package that they import, anywhere in their source."""

    def find(name: str) -> Path | None:
        if name.partition(".")[0] not in ("kernel", "shell") or "." not in name:
            return None
        path = root / name.replace(".", "/")
        files = (path.with_suffix(".py"), path / "__init__.py")
        return next((file for file in files if file.is_file()), None)

    found = _with_imports([root / module for module in modules], find)
    return sorted(path.relative_to(root).as_posix() for path in found)


def format_digest(chat_format: Format) -> str:
    """A digest of a built-in format's name, of a template's text and variables, or of the user's data and files."""
    if not isinstance(chat_format, Renderer):
        variables = repr(sorted(chat_format.given.items()))
        return content_digest(part.encode() for part in (chat_format.source, variables, chat_format.date))
    if RENDERERS.get(chat_format.name) is chat_format:
        return content_digest([b"built-in", chat_format.name.encode()])
    if follows_template(chat_format):
        return content_digest([b"built-in, following the template", chat_format.name.encode()])
    functions = list(_functions(chat_format, set()))
    cells = [cell.cell_contents for f in functions for cell in f.__closure__ or ()]
    data = re.sub(
        r" at 0x[0-9a-f]+", "", repr((chat_format, cells, [(f.__module__, f.__defaults__) for f in functions]))
    )
    code = [f.__code__.co_code for f in functions if not Path(f.__code__.co_filename).is_file()]
    files = _with_imports(filter(_is_users, (Path(f.__code__.co_filename) for f in functions)), _users_module)
    return content_digest([data.encode(), *code, *(path.read_bytes() for path in files)])


def _functions(value: Any, seen: set[int]) -> Iterator[FunctionType]:
    """The functions inside a value, and in their closures and defaults."""
    if id(value) in seen or isinstance(value, type | ModuleType):
        return
    seen.add(id(value))
    parts = gc.get_referents(value)
    if isinstance(value, FunctionType):
        yield value
        parts = [value.__closure__, value.__defaults__, value.__kwdefaults__, getattr(value, "__wrapped__", None)]
    for part in parts:
        yield from _functions(part, seen)


def _users_module(name: str) -> Path | None:
    """The file of an imported module, if it is the user's own."""
    path = getattr(sys.modules.get(name), "__file__", None)
    return Path(path) if path and _is_users(Path(path)) else None


def _is_users(file: Path) -> bool:
    """Whether a file is neither of this package nor a library's."""
    elsewhere = (ROOT / "kernel", ROOT / "shell", Path(sys.prefix), Path(sys.base_prefix))
    is_library = "site-packages" in file.parts or any(file.is_relative_to(folder) for folder in elsewhere)
    return file.suffix == ".py" and file.is_file() and not is_library


def _with_imports(files: Iterable[Path], find: Callable[[str], Path | None]) -> list[Path]:
    """Files and those of the modules that they import, as far as `find` knows them; sorted."""
    seen: set[Path] = set()
    left = list(files)
    while left:
        file = left.pop()
        if file in seen:
            continue
        seen.add(file)
        for module, names in _IMPORT.findall(file.read_text(encoding="utf-8")):
            parts = [name.split()[0] for name in names.strip("( )\n").split(",") if name.strip()]
            left += filter(None, map(find, [module, *(f"{module}.{part}" for part in parts)] if module else parts))
    return sorted(seen)


def _libraries(chat_format: Format) -> str:
    """The versions of what takes part: the tokenizer's library, Unicode's tables, and for a template Jinja."""
    names = ["tokenizers"] if isinstance(chat_format, Renderer) else ["tokenizers", "jinja2"]
    return ", ".join([*(f"{name} {_version(name)}" for name in names), f"unicode {unicodedata.unidata_version}"])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
