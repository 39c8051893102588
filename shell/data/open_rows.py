"""Rows of what a path names: a file of any kind, a folder, a pattern of files, or what `Dataset.save_to_disk` wrote.

The files of a folder are read one after the other, sorted by name. Splits are never put together: one is read.
"""

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from kernel.errors import expected, problem, unknown
from kernel.weight_keys import ROW_WEIGHT_KEYS
from shell.data.csv_rows import csv_rows, is_csv
from shell.data.file_kinds import ARROW_FILE, ARROW_STREAM, PARQUET, foreign_by_name, kind
from shell.data.json_rows import JsonRows
from shell.data.json_spans import find_rows
from shell.data.open_file import open_content
from shell.data.rows import ChainedRows, Rows, RowValidation

_PACKED = {".gz", ".zst", ".bz2", ".xz", ".lzma", ".lz4", ".br", ".sz", ".snappy"}
_KINDS = {".jsonl", ".json", ".ndjson", ".parquet", ".arrow", ".feather", ".csv", ".tsv", ".tab"}
SUFFIXES = _PACKED | _KINDS
"""endings of files of rows"""
_SPLIT = re.compile(
    r"(?<![a-z0-9])(train|training|test|testing|validation|valid|val|dev|eval)(?![a-z0-9])", re.IGNORECASE
)
_SAME = {"training": "train", "testing": "test", "valid": "validation", "val": "validation", "dev": "validation"}
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"


def open_rows(path: str | Path, validation: RowValidation | None = None, split: str = "train") -> Rows:
    """The rows of a file, a folder or a pattern; of its splits, if it has some, those of `split`.

    Raises:
        InputError: there are no rows that can be read, no such split, or files of several kinds.
    """
    validation = validation or RowValidation()
    path = os.path.expanduser(path)
    if is_saved(path):
        return _saved(Path(path), validation, split)
    if os.path.isdir(path):
        files = _of_split(_data_files(Path(path)), path, split)
    elif not os.path.lexists(path) and glob.has_magic(path):
        files = _matches(path)
        base = os.path.commonpath([file.parent for file in files])
        if len(names := {_split_of(str(file.relative_to(base))) for file in files}) > 1:
            found = ", ".join(name or "none" for name in sorted(names))
            raise problem(f"the pattern takes files of several splits ({found}); name those of one", at=path)
    else:
        return _open_file(path, validation, split)
    _check_one_kind(files, path)
    return _chained(files, path, validation)


def exists(path: str) -> bool:
    """Whether a path names something: itself, or as a pattern."""
    path = os.path.expanduser(path)
    return os.path.lexists(path) or (glob.has_magic(path) and any(True for _ in glob.iglob(path, recursive=True)))


def is_saved(path: str | Path) -> bool:
    """Whether a folder is what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    return any(os.path.isfile(os.path.join(path, name)) for name in (_SAVED, _SAVED_SPLITS))


def _open_file(path: str | Path, validation: RowValidation, split: str = "train") -> Rows:
    content, first = open_content(path)
    is_table = first.startswith((PARQUET, ARROW_FILE, ARROW_STREAM))
    if not is_table and not is_csv(first, content.name, validation.reads):
        if (what := foreign_by_name(first, Path(content.name))) is not None:
            raise expected(kind(content.name), what, at=content.name)
        is_of_row = lambda key: validation.reads(key) and key not in ROW_WEIGHT_KEYS  # noqa: E731 - "train" is a split
        return JsonRows(content, validation, find_rows(content, is_of_row, split))
    if split != "train":
        raise problem(f"there are no splits in the file, so none called {split!r} (--dataset-split)", at=content.name)
    if not is_table:
        return csv_rows(content, validation)
    from shell.data.arrow_files import table_rows

    return table_rows(content, first, validation)


def _chained(files: Sequence[Path], name: str, validation: RowValidation) -> Rows:
    if len(files) == 1:
        return _open_file(files[0], validation)
    parts, n_rows = list[Rows](), 0
    for file in files:
        parts.append(_open_file(file, validation.part(n_rows)))
        n_rows += len(parts[-1])
    return ChainedRows(parts, name, validation)


def _saved(folder: Path, validation: RowValidation, split: str) -> Rows:
    if (folder / _SAVED_SPLITS).is_file():
        splits = _json(folder / _SAVED_SPLITS).get("splits", [])
        if split not in splits:
            raise unknown("split", split, splits, at=f"--dataset-split of {folder}")
        folder /= split
    elif split != "train":
        raise problem(f"there are no splits in the folder, so none called {split!r} (--dataset-split)", at=str(folder))
    state = _json(folder / _SAVED)
    if state.get("_indices_data_files"):
        raise problem(
            "an older version of datasets saved an order of rows here: load and save it again", at=str(folder)
        )
    files = [folder / file["filename"] for file in state.get("_data_files", [])]
    if not files:
        raise expected("a saved dataset with files", "none", at=str(folder))
    return _chained(files, str(folder), validation)


def _json(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, ValueError) as error:
        raise expected("a folder that save_to_disk wrote", str(error).lower(), at=str(path)) from None


def _matches(pattern: str) -> list[Path]:
    """The files that a pattern takes, sorted by name."""
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
    files = [path for path in found if path.is_file()]
    if not files:
        got = f"{len(found)} folders alone (add /*.jsonl)" if found else "none"
        raise expected("files that the pattern takes", got, at=pattern)
    return files


def _suffixes(path: Path) -> set[str]:
    return {suffix.lower() for suffix in path.suffixes}


def _data_files(folder: Path) -> list[Path]:
    """The files of rows in a folder, or in its folders if those are called as splits are; sorted by name."""
    listed = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    files = [path for path in listed if path.is_file() and _suffixes(path) & _KINDS]
    folders = [path for path in listed if path.is_dir()]
    if not files:
        files = [file for one in folders if _split_of(one.name) for file in _data_files(one)]
    if files:
        return files
    below = next((path for one in folders for path in sorted(one.iterdir()) if _suffixes(path) & _KINDS), None)
    if below is not None:
        hint = f"none itself, but {below} (name its folder, or a pattern such as {folder}/**/*{below.suffix})"
    else:
        names = ", ".join(path.name for path in listed[:5])
        hint = f"none among {len(listed)} entries ({names})" if listed else "an empty folder"
    raise expected("a folder with JSONL, JSON, CSV, TSV, Parquet or Arrow files", hint, at=str(folder))


def _split_of(name: str) -> str:
    """The split that a name names; "" if none."""
    found = {_SAME.get(word.lower(), word.lower()) for word in _SPLIT.findall(name)}
    return found.pop() if len(found) == 1 else ""


def _of_split(files: Sequence[Path], folder: str, split: str) -> list[Path]:
    """The files of one split; all, if their names name none."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(str(file.relative_to(folder))), []).append(file)
    split = _SAME.get(split, split)
    if set(splits) == {""} and split == "train":
        return list(files)
    if set(splits) == {""}:
        raise problem(f"there are no splits in the folder, so none called {split!r} (--dataset-split)", at=folder)
    if "" in splits:
        names = sorted(filter(None, splits))
        raise problem(
            f"{splits[''][0].name} is of no split, but others are of {', '.join(names)}; name files", at=folder
        )
    if split not in splits:
        raise unknown("split", split, splits, at=f"--dataset-split of {folder}")
    return splits[split]


def _check_one_kind(files: Sequence[Path], name: str) -> None:
    kinds = Counter(next((s for s in path.suffixes if s.lower() in _KINDS), path.suffix).lower() for path in files)
    if len(kinds) > 1:
        found = ", ".join(f"{n} of {kind or 'no ending'}" for kind, n in sorted(kinds.items()))
        raise expected("files of one kind (a pattern takes those of one: FOLDER/*.jsonl)", found, at=name)
