"""What a file is, by its first bytes and its name: one sentence for each kind that holds no rows we read."""

import codecs
import re
import zipfile
from contextlib import suppress
from pathlib import Path

PARQUET = b"PAR1"
ARROW_FILE, ARROW_STREAM = b"ARROW1", b"\xff\xff\xff\xff"
HEAD = 512  # bytes that decide what a file is
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Texts that are not UTF-8 by their byte order mark, the longer ones first."""
_PICTURE = "a picture (rows name pictures by their path)"
_WEIGHTS = "the weights of a model, no chat data"
_OTHERS = {
    b"SQLite format 3": "an SQLite database (sqlite3 -json FILE 'select ...' writes a JSON array)",
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull fetches the file itself)",
    b"%PDF": "a PDF document (pdftotext makes text of it, which is no chat data yet)",
    b"{\\rtf": "a document in RTF (save its text as JSONL)",
    b"\xd0\xcf\x11\xe0": "a document of an older Office (save it as CSV)",
    b"\x93NUMPY": "a NumPy array (numpy.load reads it; write its rows as JSONL)",
    b"\x89HDF": "an HDF5 file (h5py reads it; write its rows as JSONL)",
    b"Obj\x01": "an Avro file (fastavro reads it; write its rows as JSONL)",
    b"ORC": "an ORC file (pyarrow.orc reads it; write it as Parquet)",
    b"FEA1": "a Feather file of version 1 (pyarrow.feather reads it; write it as Parquet)",
    b"SEQ": "a Hadoop sequence file (Spark reads it; write it as Parquet)",
    b"GGUF": f"a GGUF file: {_WEIGHTS}",
    b"7z\xbc\xaf": "a 7-Zip archive (7z x FILE unpacks it)",
    b"Rar!": "a RAR archive (unrar x FILE unpacks it)",
    b"\x1f\x9d": "a file packed by compress (uncompress FILE unpacks it)",
    b"LZIP": "a file packed by lzip (lzip -d FILE unpacks it)",
    b"MZ": "a program",
    b"\x7fELF": "a program",
    b"\x89PNG": _PICTURE,
    b"\xff\xd8\xff": _PICTURE,
    b"GIF8": _PICTURE,
    b"RIFF": "a sound, a film or a picture, no text",
}
_HIGH = re.compile(rb"[\x80-\xff]+")
_KANA = re.compile(rb"[\x82\x83][\x40-\xf1]")
_PAGES = {"cp1252": "WINDOWS-1252", "gb18030": "GB18030", "shift_jis": "SHIFT_JIS", "cp1251": "WINDOWS-1251"}
_PUNCTUATION = "’‘“”„–—…€£°«»¡¿·§、。，！？：；（）「」『』《》"
_NAMES = {
    **dict.fromkeys((".yaml", ".yml"), "YAML (yaml.safe_load reads it; write its rows as JSONL)"),
    ".toml": "TOML (tomllib reads it; write its rows as JSONL)",
    ".py": "a program in Python",
    ".ipynb": "a Jupyter notebook",
    **dict.fromkeys((".txt", ".md", ".rst", ".log"), 'plain text (a row of raw text is {"text": ...} in JSONL)'),
    **dict.fromkeys((".tfrecord", ".tfrecords"), "TFRecords (TensorFlow reads them; write their rows as JSONL)"),
}
"""What a file with this ending is, if it does not begin as JSON does."""


def kind(path: str | Path) -> str:
    """What a file should be, judging by its name.

    >>> kind("a.jsonl.gz"), kind("a.json"), kind("a.parquet")
    ('a JSONL file', 'a JSON file', 'a Parquet file')
    """
    kinds = {
        ".parquet": "a Parquet file",
        ".json": "a JSON file",
        ".arrow": "an Arrow file",
        ".feather": "an Arrow file",
    }
    kinds |= {".csv": "a CSV file", ".tsv": "a TSV file", ".tab": "a TSV file"}
    return next((kinds[suffix] for suffix in Path(path).suffixes if suffix in kinds), "a JSONL file")


def foreign(first: bytes, path: Path) -> str | None:
    """What a file is and what reads it, if it holds no rows that we read; None: it may. Touches: a zip's directory.

    >>> foreign(b"%PDF-1.7", Path("a.pdf"))
    'a PDF document (pdftotext makes text of it, which is no chat data yet)'
    """
    if first.startswith(b"PK\x03\x04"):
        return _zipped(path)
    for magic, what in _OTHERS.items():
        if first.startswith(magic):
            return what
    start = first.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "HTML, a web page (was a page saved in place of the file it shows?)"
    if start.startswith(b"<"):
        return "XML or HTML (write its rows as JSONL)"
    if first[:1] == b"\x80" and first[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickled object of Python (pickle.load reads it, if you trust it; write its rows as JSONL)"
    if first[257:262] == b"ustar":
        return "a tar archive (tar -xf FILE unpacks it)"
    if first[8:10] == b'{"' and int.from_bytes(first[:8], "little") < 1 << 32:
        return f"a safetensors file: {_WEIGHTS}"
    if b"\0" in first[:64]:
        for name, zeros, others in (("UTF-16LE", first[1:8:2], first[0:8:2]), ("UTF-16BE", first[0:8:2], first[1:8:2])):
            if not any(zeros) and all(others):
                return f"text in UTF-16 without a byte order mark (iconv -f {name} -t UTF-8 FILE)"
        if not first.startswith((ARROW_FILE, ARROW_STREAM, PARQUET)) and first[:1] not in b"{[":
            return _NAMES.get(path.suffix.lower(), "a binary file of an unknown kind")
    return None


def foreign_by_name(first: bytes, path: Path) -> str | None:
    """What a file is by its ending, if it does not begin as JSON does."""
    is_json = first.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"[") and path.suffix.lower() != ".ipynb"
    return None if is_json else _NAMES.get(path.suffix.lower())


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return "a zip archive (unpack it first)"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook (save it as CSV)"
    if any(name.startswith(("word/", "ppt/")) for name in names):
        return "an Office document (save its rows as JSONL or CSV)"
    if "content.xml" in names:
        return "an OpenDocument file (save a table as CSV)"
    if any(name.endswith("/data.pkl") for name in names):
        return "a file that torch.save wrote (torch.load reads it; write its rows as JSONL)"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (numpy.load reads it; write its rows as JSONL)"
    return f"a zip archive, with {names[0]} (unpack it first)" if names else "an empty zip archive"


def code_page(text: bytes) -> str:
    """In which code page a text that is not UTF-8 may be, and what to do; "" where nothing fits.

    >>> code_page("café au lait".encode("cp1252"))
    ' (Windows-1252 or Latin-1? then iconv -f WINDOWS-1252 -t UTF-8 FILE)'
    """
    runs = _HIGH.findall(text)
    order = sorted(_PAGES, key=lambda page: page != "shift_jis") if len(_KANA.findall(text)) > 2 else list(_PAGES)
    if 2 * sum(len(run) == 1 for run in runs) < len(runs):  # accented letters come alone, others together
        order = order[1:] if order[0] == "cp1252" else order
    for page in order:
        with suppress(UnicodeDecodeError):
            odd = [c for c in text.decode(page) if c > "\x7f" and not c.isalnum() and c not in _PUNCTUATION]
            if not odd and b"\xff" not in text:
                name = "Windows-1252 or Latin-1" if page == "cp1252" else _PAGES[page]
                return f" ({name}? then iconv -f {_PAGES[page]} -t UTF-8 FILE)"
    return ""
