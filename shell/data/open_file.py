"""The bytes that rows are read from: a file of the user's, or a copy of ours that was unpacked from one.

Bytes are gone through once, block by block, when the data is opened (`blocks`), and read in pieces from then on
(`slices`). A file of the user's may change in between; rows checked before must never be read from it then. So its size
and times are compared after every read, and where they differ the whole file is hashed again: the same bytes are the
same data (`touch`, a copy put in place), others end the run. What is compressed has no random access, so it is unpacked
once, to an unnamed file in the folder for temporary files (`TMPDIR`), which is gone with the process.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from kernel.errors import InputError, expected

BLOCK = 1 << 16


class Content(Protocol):
    """Bytes that are gone through once and then read in pieces."""

    name: str

    @property
    def fingerprint(self) -> str:
        """A digest of all bytes, in hex, once they have been gone through."""
        ...

    def blocks(self) -> Iterator[bytes]:
        """All bytes, in order."""
        ...

    def slices(self, starts: Sequence[int], stops: Sequence[int]) -> list[bytes]:
        """The bytes from each start to its stop."""
        ...


class OwnFile:
    """A file of the user's, read where it lies.

    Args:
        path: the file; a leading `~` is expanded.

    Touches: the file, whenever it is read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.expanduser(path))
        self.name = str(self.path)
        self.fingerprint = ""
        self._stamp: tuple[int, ...] = ()

    def blocks(self) -> Iterator[bytes]:
        """All bytes, in order; sets the fingerprint at their end."""
        with opened(self.path) as file:
            stamp, digest = _stamp(file), hashlib.blake2b(digest_size=16)
            while block := file.read(BLOCK):
                digest.update(block)
                yield block
            if _stamp(file) != stamp:
                raise changed(self.name)
            self._stamp, self.fingerprint = stamp, digest.hexdigest()

    def slices(self, starts: Sequence[int], stops: Sequence[int]) -> list[bytes]:
        """The bytes from each start to its stop.

        Raises:
            InputError: the file is no longer what was gone through.
        """
        with opened(self.path) as file:
            found = pieces(file, starts, stops)
            if _stamp(file) != self._stamp:
                self._compare(file)
                found = pieces(file, starts, stops)
            return found

    def _compare(self, file: BinaryIO) -> None:
        stamp, digest = _stamp(file), hashlib.blake2b(digest_size=16)
        file.seek(0)
        while block := file.read(BLOCK):
            digest.update(block)
        if digest.hexdigest() != self.fingerprint or _stamp(file) != stamp:
            raise changed(self.name)
        self._stamp = stamp


class Copy:
    """Bytes of ours in an unnamed temporary file: nobody else can change them.

    Args:
        name: of the user's file, for errors.
        blocks: the bytes.

    Touches: the folder for temporary files.

    Raises:
        InputError: there is no room for them.
    """

    def __init__(self, name: str, blocks: Iterable[bytes]) -> None:
        self.name = name
        digest = hashlib.blake2b(digest_size=16)
        with _room(name):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the object)
        for block in blocks:
            digest.update(block)
            with _room(name):
                self._file.write(block)
        with _room(name):
            self._file.flush()
        self.fingerprint = digest.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        """All bytes, in order."""
        position = 0
        while block := os.pread(self._file.fileno(), BLOCK, position):
            position += len(block)
            yield block

    def slices(self, starts: Sequence[int], stops: Sequence[int]) -> list[bytes]:
        """The bytes from each start to its stop."""
        return pieces(self._file, starts, stops)


def kind(path: str | Path) -> str:
    """What a file should be, going by its name.

    >>> kind("a.jsonl.gz"), kind("a.json"), kind("a.parquet")
    ('a JSONL file', 'a JSON file', 'a Parquet file')
    """
    suffixes = Path(path).suffixes
    return "a Parquet file" if ".parquet" in suffixes else "a JSON file" if ".json" in suffixes else "a JSONL file"


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, opened to be read.

    Raises:
        InputError: in place of any OSError; it is no regular file.
    """
    what = kind(path)
    try:
        if path.is_dir():
            raise expected(what, "a directory", at=str(path))
        if path.exists() and not path.is_file():
            raise expected(what, "something that is no regular file", at=str(path))
        with path.open("rb") as file:
            yield file
    except InputError:
        raise
    except FileNotFoundError as error:
        raise expected(what, "no file of that name", at=str(path)) from error
    except (OSError, ValueError) as error:
        raise expected(what, str(getattr(error, "strerror", error) or error).lower(), at=str(path)) from error


def changed(name: str) -> InputError:
    """The error for a file that is no longer what was checked."""
    return expected("the file that was checked when it was opened", "one changed since", at=name)


def pieces(file: BinaryIO, starts: Sequence[int], stops: Sequence[int]) -> list[bytes]:
    """Pieces of a file, wherever they stand."""
    handle = file.fileno()
    return [os.pread(handle, stop - start, start) for start, stop in zip(starts, stops, strict=True)]


def _stamp(file: BinaryIO) -> tuple[int, ...]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@contextmanager
def _room(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"room in {tempfile.gettempdir()} to unpack {name} (TMPDIR names another folder)"
        raise expected(what, (error.strerror or str(error)).lower()) from error
