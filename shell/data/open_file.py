"""The bytes that rows are read from: a user's file, our unpacked copy of one, or a local copy of a remote one.

A user's file may change after it was opened, so its size and times are compared after every read, and if they differ
it is hashed again: other bytes end the run. Compressed data is recognised by its first bytes, and unpacked once to an
unnamed file in TMPDIR. A remote file is copied under a digest of its address and of what its server reports of it.
"""

import codecs
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from kernel.errors import InputError, expected, problem
from shell.data.file_kinds import ARROW_FILE, ARROW_STREAM, HEAD, MARKS, PARQUET, foreign, kind
from shell.data.rows import content_digest
from shell.data.unpack import BLOCK, Codec, codec_of, unpacked


class Content:
    """Bytes in a file that are read once in order and then in slices."""

    name: str
    fingerprint: str = ""  # a digest of all bytes, in hex, once they have been read

    def file(self) -> AbstractContextManager[BinaryIO]:
        """The file, opened."""
        raise NotImplementedError

    def blocks(self) -> Iterator[bytes]:
        """All bytes, in order."""
        with self.file() as file:
            yield from _blocks(file)

    def slices(self, starts: Sequence[int], stops: Sequence[int]) -> list[bytes]:
        """The bytes from each start to its stop."""
        with self.file() as file:
            return _slices(file, starts, stops)


class OwnFile(Content):
    """A file of the user's."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.expanduser(path))
        self.name = str(self.path)
        self._stamp: tuple[int, ...] = ()

    def file(self) -> AbstractContextManager[BinaryIO]:
        return opened(self.path)

    def blocks(self) -> Iterator[bytes]:
        """All bytes, in order; sets the fingerprint at their end, and raises InputError if the file has changed."""
        with self.file() as file:
            stamp, digest = _stamp(file), hashlib.blake2b(digest_size=16)
            for block in _blocks(file):
                digest.update(block)
                yield block
            if _stamp(file) != stamp or digest.hexdigest() != (self.fingerprint or digest.hexdigest()):
                raise _changed(self.name)
            self._stamp, self.fingerprint = stamp, digest.hexdigest()

    def slices(self, starts: Sequence[int], stops: Sequence[int]) -> list[bytes]:
        """The bytes from each start to its stop; raises InputError if the file is not the one that was opened."""
        with self.file() as file:
            found = _slices(file, starts, stops)
            if _stamp(file) == self._stamp:
                return found
        for _ in self.blocks():
            pass
        return self.slices(starts, stops)


class Copy(Content):
    """Bytes of ours in an unnamed temporary file, which nobody else can change."""

    def __init__(self, name: str, blocks: Iterable[bytes]) -> None:
        self.name = name
        digest = hashlib.blake2b(digest_size=16)
        with room(name):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the object)
        for block in blocks:
            digest.update(block)
            with room(name):
                self._file.write(block)
        with room(name):
            self._file.flush()
        self.fingerprint = digest.hexdigest()

    def file(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(self._file)


def open_content(path: str | Path) -> tuple[Content, bytes]:
    """The bytes of a file of rows, unpacked and in UTF-8, and the first of them."""
    own = OwnFile(path)
    content: Content = own
    first = _first(own)
    if (codec := codec_of(first, own.name)) is not None:
        content = Copy(own.name, _unpacked(own.path, codec))
        first = _first(content)
        if first.startswith((PARQUET, ARROW_FILE, ARROW_STREAM)) or codec_of(first, ""):
            raise expected("JSON, CSV or TSV, packed once", "packed data inside (unpack it first)", at=own.name)
    encoding = next((name for mark, name in MARKS.items() if first.startswith(mark)), None)
    if encoding is not None and not first.startswith(ARROW_STREAM):
        content = Copy(own.name, _recoded(content, encoding))
        first = _first(content)
    if (what := foreign(first, own.path)) is not None:
        raise expected(kind(own.path), what, at=own.name)
    return content, first


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, opened to be read; raises InputError for any OSError, or if it is no regular file."""
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


@contextmanager
def room(name: str) -> Iterator[None]:
    """Turns an OSError within into an InputError about the folder for temporary files."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        where = f"{tempfile.gettempdir()} (TMPDIR names another folder)"
        raise problem(f"{name} cannot be unpacked to {where}: {reason}") from error


def _first(content: Content) -> bytes:
    with content.file() as file:
        file.seek(0)
        first = file.read(HEAD)
    if not first:
        raise expected(kind(content.name), "an empty file", at=content.name)
    return first


def _unpacked(path: Path, codec: Codec) -> Iterator[bytes]:
    with opened(path) as file:
        yield from unpacked(path, file, codec)


def _recoded(content: Content, encoding: str) -> Iterator[bytes]:
    """The bytes of a text in UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in content.blocks():
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise expected(f"text in {encoding.upper()}", f"damaged text ({error.args[-1]})", at=content.name) from None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    position = 0
    while block := os.pread(file.fileno(), BLOCK, position):
        position += len(block)
        yield block


def _slices(file: BinaryIO, starts: Sequence[int], stops: Sequence[int]) -> list[bytes]:
    handle = file.fileno()
    return [os.pread(handle, stop - start, start) for start, stop in zip(starts, stops, strict=True)]


def _stamp(file: BinaryIO) -> tuple[int, ...]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _changed(name: str) -> InputError:
    return expected("the file that was checked when it was opened", "one changed since", at=name)


def cache_root() -> Path:
    """The folder of all caches: TINSMITH_CACHE, or ~/.cache/tinsmith."""
    return Path(os.environ.get("TINSMITH_CACHE") or "~/.cache/tinsmith").expanduser()


def prepared_root(given: str | None = None) -> Path:
    """The folder of all token caches."""
    return Path(given).expanduser() if given else cache_root() / "prepared"


def is_remote(name: str) -> bool:
    """Whether a name is an address."""
    return "://" in name


def local_copy(address: str, root: Path | None = None) -> Path:
    """A local copy of a remote file, fetched if it is not there yet."""
    import fsspec

    folder = (cache_root() if root is None else root) / "copies"
    try:
        system, path = fsspec.core.url_to_fs(address)
        target = folder / content_digest([address.encode(), _remote_stamp(system, path)]) / Path(path).name
        if target.is_file():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        try:
            system.get_file(path, str(part))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target
    except InputError:
        raise
    except ImportError as error:
        raise expected(f"what fsspec needs for {address}", str(error), at="--dataset") from None
    except Exception as error:  # each of fsspec's systems raises what it likes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise expected(f"a file at {address}", reason, at="--dataset") from None


def _remote_stamp(system: Any, path: str) -> bytes:
    """What identifies the content of a remote file without reading it."""
    info = system.info(path)
    if info.get("type") == "directory":
        raise expected("a file", "a directory", at=path)
    marks = ("ETag", "etag", "md5Hash", "md5", "generation", "mtime", "LastModified", "last_modified", "created")
    return repr([info.get("size"), *(str(info.get(mark)) for mark in marks)]).encode()
