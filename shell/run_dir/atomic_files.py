"""Files that survive a crash: JSON lines that are appended, small files that are replaced whole, and locks.

An appended line is on disk when the call returns and counts once its newline is there; a half-written last line is
never read. A replaced file is the old one or the new one at every moment (write aside, fsync, rename).
"""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kernel.errors import InputError, expected

PART = ".part"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class InUseError(InputError):
    """Another process holds the lock."""


class NoLocksError(InputError):
    """The disk grants no locks to anybody."""


@contextmanager
def locked(path: Path, wait: bool | float = False, user: str = "process") -> Iterator[None]:
    """Holds the file `path` as a lock on its folder; `wait` is for another holder: True without limit, or seconds."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    with writing(path):
        try:
            lock.acquire(timeout=-1 if wait is True else float(wait))
        except Timeout:
            raise InUseError(f"{path.parent} is in use by another {user}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError inside into one sentence that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocksError(f"this disk grants no locks: {error.strerror} - at {path}") from error
        raise expected("a disk that can be written", error.strerror or str(error), at=str(path)) from error


def append_line(path: Path, value: object) -> None:
    """Appends one JSON line, and returns when it is on disk."""
    append_lines(path, [value])


def append_lines(path: Path, values: Iterable[object]) -> None:
    """Appends JSON lines, and returns when they are on disk."""
    with writing(path):
        is_new = not path.exists()
        with path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(value) + b"\n" for value in values))
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(path.parent)


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that end in a newline, with it; none if there is no such file."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    return text[: text.rfind(b"\n") + 1].splitlines(keepends=True)


def read_lines(path: Path, type: Any = dict[str, Any]) -> list[Any]:
    """The values of a file of JSON lines, each of a type, without a half-written last one; errors name the line."""
    decoder = msgspec.json.Decoder(type)
    values = []
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            values.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}:{number}: {error}") from error
    return values


def rewrite_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Replaces a file by some of its lines, if that changes it."""
    content = b"".join(lines)
    if path.exists() and path.stat().st_size != len(content):
        replace(path, content)


def replace(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replaces the content of a file, all at once."""
    with replacing(path) as part, os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write aside, which replaces `path` once it is on disk; nothing changes where the body raises."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    with writing(path):
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows, which syncs no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
