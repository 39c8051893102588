"""What a file is: each kind that holds no rows is named in one sentence, with what reads it."""

import json
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import orc

from kernel.errors import InputError
from shell.data.file_kinds import code_page
from shell.data.open_rows import open_rows

HEAD = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")


def database(path):
    connection = sqlite3.connect(path)
    connection.execute("create table rows (text)")
    connection.commit()
    connection.close()


def archive(path):
    (path.parent / "packed").write_text("{}")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(path.parent / "packed", "rows.jsonl")


WRITERS = {
    "an Excel workbook": lambda path: zipped(path, "[Content_Types].xml", "xl/workbook.xml"),
    "an Office document": lambda path: zipped(path, "word/document.xml"),
    "an OpenDocument file": lambda path: zipped(path, "mimetype", "content.xml"),
    "a zip archive, with a.jsonl": lambda path: zipped(path, "a.jsonl", "b.jsonl"),
    "a file that torch.save wrote": lambda path: zipped(path, "archive/data.pkl", "archive/data/0"),
    "a NumPy archive": lambda path: np.savez(path.open("wb"), a=np.arange(3)),
    "a NumPy array": lambda path: np.save(path.open("wb"), np.arange(3)),
    "an SQLite database": database,
    "a tar archive": archive,
    "a pickled object of Python": lambda path: path.write_bytes(pickle.dumps([{"messages": []}])),
    "an ORC file": lambda path: orc.write_table(pa.table({"text": ["a"]}), path),
    "a safetensors file": lambda path: path.write_bytes(len(HEAD).to_bytes(8, "little") + HEAD + b"\0" * 4),
    "a PDF document": lambda path: path.write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"),
    "a picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    "HTML, a web page": lambda path: path.write_text("\n<!DOCTYPE html>\n<html>"),
    "XML or HTML": lambda path: path.write_text('<?xml version="1.0"?><rows/>'),
    "a pointer of Git LFS": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "a binary file of an unknown kind": lambda path: path.write_bytes(bytes(range(1, 64)) + b"\0" * 9),
    "text in UTF-16 without": lambda path: path.write_bytes('{"messages": []}'.encode("utf-16-le")),
}


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows"])
def test_a_file_without_rows_is_named_whatever_it_is_called(what, name, tmp_path):
    WRITERS[what](tmp_path / name)
    with pytest.raises(InputError) as error:
        open_rows(tmp_path / name)
    assert str(error.value).startswith(f"expected a JSONL file, got {what}")
    assert str(error.value).endswith(f" - at {tmp_path / name}")


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.yaml", "- messages:\n  - role: user\n", "YAML"),
        ("a.toml", "[a]\n", "a JSON object"),
        ("a.txt", "Hello\nworld\n", "plain text"),
        ("a.md", "# Title\n", "plain text"),
        ("a.ipynb", json.dumps({"cells": [{"a": 1}]}), "a Jupyter notebook"),
        ("a.py", "print(1)\n", "a program in Python"),
    ],
)
def test_a_text_that_is_no_json_is_named_by_its_ending(name, text, what, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        open_rows(tmp_path / name).check()
    assert what in str(error.value)


def test_json_lines_are_rows_whatever_the_ending(tmp_path):
    for name in ("a.txt", "a.md", "a.log", "a.csv", "a.xlsx"):
        (tmp_path / name).write_text('{"messages": []}\n')
        assert len(open_rows(tmp_path / name)) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("text", ['{"messages": []}\n{"messages": []}\n', '[{"messages": []},\n{"messages": []}]'])
def test_unicode_with_a_byte_order_mark_is_read(encoding, text, tmp_path):
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    (tmp_path / "a.jsonl").write_bytes((mark + text).encode(encoding))
    assert len(open_rows(tmp_path / "a.jsonl")) == 2
    if encoding != "utf-8-sig":
        (tmp_path / "a.jsonl").write_bytes((mark + text).encode(encoding)[:-1])
        with pytest.raises(InputError, match=r"expected text in UTF-\d+, got damaged text"):
            open_rows(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("Où est la gare ? Près d’ici", "cp1252", "Windows-1252"),
        ("Größe und Maß", "latin-1", "Windows-1252"),
        ("“quoted” text – with dashes", "cp1252", "Windows-1252"),
        ("你好，世界。这是一个测试", "gbk", "GB18030"),
        ("今天天气怎么样？", "gb18030", "GB18030"),
        ("こんにちは世界", "shift_jis", "SHIFT_JIS"),
    ],
)
def test_a_code_page_is_named_with_what_to_do(text, encoding, name, tmp_path):
    told = code_page(text.encode(encoding))
    assert name in told
    assert "iconv -f " in told
    (tmp_path / "a.jsonl").write_bytes(json.dumps({"text": text}, ensure_ascii=False).encode(encoding))
    with pytest.raises(InputError, match=f"expected UTF-8, got the byte 0x.. .*{name}"):
        open_rows(tmp_path / "a.jsonl").check()
