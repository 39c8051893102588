"""Files of a run that survive a crash: lines that are appended, and small files that are replaced whole.

An appended line is on disk when the call returns, and counts only once its newline is there: what a crash left of a
half-written last line is never read, and is cut off before the file is written again. A replaced file is the old one
or the new one at every moment (write aside, fsync, rename). Each costs an fsync, which is nothing beside a step of
training. A disk that is full or cannot be written stops the run with one sentence.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kernel.errors import InputError, expected

PART = ".part"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the system's refusal to write into one sentence that names the path.

    Raises:
        InputError: in place of any OSError raised inside.
    """
    try:
        yield
    except OSError as error:
        raise expected("a disk that can be written", error.strerror or str(error), at=str(path)) from error


def append_line(path: Path, value: object) -> None:
    """Adds one JSON line to a file, and returns when it is on disk. Touches and raises as `append_lines`."""
    append_lines(path, [value])


def append_lines(path: Path, values: Iterable[object]) -> None:
    """Adds JSON lines to a file, and returns when they are on disk.

    Touches: the file, and its folder if the file is new.

    Raises:
        InputError: the disk refuses.
    """
    with writing(path):
        is_new = not path.exists()
        with path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(value) + b"\n" for value in values))
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(path.parent)


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that were written to their end, each with its newline; none if there is no such file.

    Touches: the file.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    return text[: text.rfind(b"\n") + 1].splitlines(keepends=True)


def read_lines(path: Path, type: Any = dict[str, Any]) -> list[Any]:
    """The values of a file of JSON lines, without a half-written last one.

    Args:
        type: what each line must be.

    Touches: the file.

    Raises:
        InputError: a whole line is not such a value; the sentence names file and line.
    """
    decoder = msgspec.json.Decoder(type)
    values = []
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            values.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}:{number}: {error}") from error
    return values


def keep_lines(path: Path, is_kept: Callable[[bytes], bool]) -> None:
    """Leaves in a file the whole lines that are to be kept, to the byte, and nothing else.

    Touches: the file, if anything in it goes.

    Raises:
        InputError: the disk refuses.
    """
    kept = b"".join(line for line in whole_lines(path) if is_kept(line))
    if path.exists() and path.stat().st_size != len(kept):
        replace(path, kept)


def replace(path: Path, content: bytes) -> None:
    """Gives a file a new content, all at once.

    Touches: the file, one beside it that ends in `.part`, and the folder.

    Raises:
        InputError: the disk refuses.
    """
    part = path.with_name(path.name + PART)
    with writing(path):
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
