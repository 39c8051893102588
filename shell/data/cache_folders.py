"""The cache folder, and local copies of remote files.

A remote file (`s3://`, `gs://`, `https://`, whatever `fsspec` opens) is copied whole once, under a digest of its
address and of what the server reports of its content (an ETag, a size, a date), so a changed file is another copy.
"""

import os
import secrets
from pathlib import Path
from typing import Any

from kernel.errors import InputError, expected
from shell.data.rows import content_digest


def cache_root() -> Path:
    """The folder of all caches: TINSMITH_CACHE, or ~/.cache/tinsmith."""
    return Path(os.environ.get("TINSMITH_CACHE") or "~/.cache/tinsmith").expanduser()


def prepared_root(given: str | None = None) -> Path:
    """The folder of all token caches."""
    return Path(given).expanduser() if given else cache_root() / "prepared"


def is_remote(name: str) -> bool:
    """Whether a name is an address.

    >>> is_remote("s3://bucket/a.jsonl"), is_remote("a.jsonl"), is_remote("hf:me/chats")
    (True, False, False)
    """
    return "://" in name


def local_copy(address: str, root: Path | None = None) -> Path:
    """A local copy of a remote file, fetched if it is not there yet."""
    import fsspec

    folder = (cache_root() if root is None else root) / "copies"
    try:
        system, path = fsspec.core.url_to_fs(address)
        target = folder / content_digest([address.encode(), _stamp(system, path)]) / Path(path).name
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


def _stamp(system: Any, path: str) -> bytes:
    """What identifies the content of a remote file without reading it."""
    info = system.info(path)
    if info.get("type") == "directory":
        raise expected("a file", "a directory", at=path)
    marks = ("ETag", "etag", "md5Hash", "md5", "generation", "mtime", "LastModified", "last_modified", "created")
    return repr([info.get("size"), *(str(info.get(mark)) for mark in marks)]).encode()
