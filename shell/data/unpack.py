"""Compressed data by its first bytes, and what unpacks it, with a bound on what may come out of it."""

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from kernel.errors import InputError, expected, problem

BLOCK = 1 << 16
FLOOR, RATIO = 1 << 30, 100
"""what may come out of a packed file: a GiB, or more if it is at most this many times the packed size"""


class Codec(NamedTuple):
    """A way to pack data: its name, and what makes of a packed file one that reads unpacked."""

    name: str
    open: Callable[[BinaryIO], Any]


def _arrow(name: str) -> Callable[[BinaryIO], Any]:
    def stream(file: BinaryIO) -> Any:
        import pyarrow  # unlike the zstandard package it notices that a file was cut short

        return pyarrow.CompressedInputStream(file, name)

    return stream


def _snappy(file: BinaryIO) -> Any:
    import fsspec.compression

    unpack = fsspec.compression.compr.get("snappy")
    if unpack is None:
        raise problem("a file packed by snappy needs a package: pip install python-snappy")
    return unpack(file, "rb")


_ZSTD = Codec("zstd", _arrow("zstd"))
_CODECS = {
    b"\x1f\x8b": Codec("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    b"BZh": Codec("bzip2", bz2.BZ2File),
    b"\xfd7zXZ": Codec("xz", lzma.LZMAFile),
    b"\x5d\x00\x00": Codec("lzma", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": _ZSTD,
    **{bytes([byte]) + b"\x2a\x4d\x18": _ZSTD for byte in range(0x50, 0x60)},  # a frame to skip
    b"\x04\x22\x4d\x18": Codec("lz4", _arrow("lz4")),
    b"\xff\x06\x00\x00sNaPpY": Codec("snappy", _snappy),
}
_BROTLI = Codec("brotli", _arrow("brotli"))


def codec_of(first: bytes, name: str) -> Codec | None:
    """How data is packed, by its first bytes; None: it is not. Brotli, which has no mark, goes by the file's name."""
    found = next((codec for magic, codec in _CODECS.items() if first.startswith(magic)), None)
    is_text = first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")
    return _BROTLI if found is None and name.endswith(".br") and not is_text else found


def unpacked(path: Path, file: BinaryIO, codec: Codec) -> Iterator[bytes]:
    """The unpacked bytes of a file, in order."""
    bound, n_bytes = max(FLOOR, RATIO * os.fstat(file.fileno()).st_size), 0
    try:
        with codec.open(file) as stream:
            while block := stream.read(BLOCK):
                n_bytes += len(block)
                if n_bytes > bound:
                    rule = f"at most 1 GiB or {RATIO} times its size packed by {codec.name}"
                    raise expected(rule, "more (if it is meant, unpack it first)", at=str(path))
                yield block
    except InputError as error:
        raise error.under(str(path)) from None
    except (EOFError, zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        cut = isinstance(error, EOFError) or "runcated" in str(error)
        got = "one that ends in the middle (was it copied whole?)" if cut else f"a damaged one ({str(error)[:100]})"
        raise expected(f"a whole file packed by {codec.name}", got, at=str(path)) from error
