"""Files that survive a crash: JSON lines that are appended, small files that are replaced whole, and locks.

An appended line is on disk when the call returns and counts once its newline is there; a half-written last line is
never read. A replaced file is the old one or the new one at every moment (write aside, fsync, rename).
"""

import errno
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
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
    """Holds the file `path` as a lock on its folder; the system releases it however this process ends.

    Args:
        wait: for another holder, True without limit, or so many seconds.
        user: what else may hold it, for the message.

    Raises:
        InUseError: another process, or another call of this one, holds it.
        NoLocksError: the disk grants none.
    """
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
    """Replaces the content of a file, all at once.

    Raises:
        InputError: it cannot be written; the old content is still there.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    with writing(path):
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
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
