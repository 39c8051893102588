"""Packed files: known by their first bytes, bounded in what comes out of them, named where a package is missing."""

import bz2
import gzip
import lzma

import numpy as np
import pyarrow as pa
import pytest

from kernel.errors import InputError
from shell.data import unpack
from shell.data.open_rows import open_rows

ROWS = b'{"messages": []}\n' * 3


def arrow(codec):
    def pack(data):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()

    return pack


PACKERS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": arrow("zstd"),
    "lz4": arrow("lz4"),
    "brotli": arrow("brotli"),
}


@pytest.mark.parametrize("codec", PACKERS)
def test_packed_rows_are_read_by_their_content(codec, tmp_path):
    path = tmp_path / ("rows.br" if codec == "brotli" else "rows")
    path.write_bytes(PACKERS[codec](ROWS))
    rows = open_rows(path)
    assert rows.take(np.arange(3)) == [{"messages": []}] * 3


@pytest.mark.parametrize("codec", PACKERS)
def test_a_file_cut_short_is_refused(codec, tmp_path):
    path = tmp_path / ("rows.br" if codec == "brotli" else "rows")
    path.write_bytes(PACKERS[codec](ROWS * 99)[:-5])
    with pytest.raises(InputError, match=f"expected a whole file packed by {codec}, got one that ends in the middle"):
        open_rows(path)


@pytest.mark.parametrize("codec", PACKERS)
def test_what_comes_out_is_bounded(codec, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "FLOOR", 1 << 17)
    path = tmp_path / ("rows.br" if codec == "brotli" else "rows")
    path.write_bytes(PACKERS[codec](ROWS + b" " * (1 << 22)))
    with pytest.raises(InputError) as error:
        open_rows(path)
    told = f"expected at most 1 GiB or 100 times its size packed by {codec}, got more (if it is meant, unpack it first)"
    assert str(error.value) == f"{told} - at {path}"


def test_what_packs_little_may_be_large(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "FLOOR", 1 << 10)
    noise = np.random.default_rng(0).integers(0, 10**9, 20_000).tolist()
    path = tmp_path / "rows.gz"
    path.write_bytes(gzip.compress(b"".join(b'{"messages": [], "n": %d}\n' % n for n in noise)))
    assert len(open_rows(path)) == 20_000


def test_a_missing_package_is_named(tmp_path):
    (tmp_path / "rows").write_bytes(b"\xff\x06\x00\x00sNaPpY....")
    with pytest.raises(InputError, match="a file packed by snappy needs a package: pip install python-snappy - at "):
        open_rows(tmp_path / "rows")
