"""Where each row of a JSON file begins and ends: lines, elements of an array, or objects over several lines.

A file that is one object, itself no row, with lists of objects holds rows under its keys; several such keys are splits.
"""

import codecs
import json
import mmap
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from kernel.errors import expected, problem, unknown
from shell.data.file_kinds import kind
from shell.data.json_scan import (
    COMMA,
    LONGEST_WINDOW,
    SPACE,
    BreakError,
    Places,
    Span,
    elements_of,
    mark_at,
    skip,
    start_of,
    value_end,
)
from shell.data.open_file import Content
from shell.data.rows import Int64

BLANK = b" \t\r\n"
_BRACE = ord("{")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FIRST = re.compile(rb"\[[ \t\r\n]*\{")


class Spans(NamedTuple):
    """Where rows are in a file."""

    starts: Int64
    stops: Int64
    where: Int64 | None = None  # int64[n, k], the line of each, and its column if k is 2; None: row i is line i + 1
    split: str = ""  # the key of the list that they are, if the file has one


def find_rows(content: Content, reads: Callable[[str], bool], split: str = "train") -> Spans:
    """Where the rows of a file are.

    Args:
        reads: whether a key of an object is one that makes it a row.
        split: which of several lists to take; "train" is also what a file without splits has.
    """
    if _opens_array(content.blocks()):
        _check_no_splits(content, split)
        data = _mapped(content)
        return _located(content, data, elements_of(data, start_of(data), len(data)))
    lines, are_even = _lines(content)
    if _are_rows(content, lines, are_even, reads):
        _check_no_splits(content, split)
        return lines
    data = _mapped(content)
    documents = _documents(content, data)
    if not documents:
        _check_no_splits(content, split)
        return lines
    if len(documents) == 1 and (lists := _lists(data, *documents[0], reads)):
        key = _chosen(lists, split)
        return _located(content, data, elements_of(data, *lists[key]))._replace(split=key)
    _check_no_splits(content, split)
    first, last = (np.searchsorted(lines.starts, np.array(documents)[:, k] - k, side="right") for k in (0, 1))
    on_lines = bool((first == last).all()) and len(np.unique(first)) == len(first)
    return lines if on_lines else _located(content, data, iter(documents))


def _chosen(lists: dict[str, Span], split: str) -> str:
    """The key of the list to read: the one of the split's name, or the only one."""
    if split in lists:
        return split
    if len(lists) == 1 and split == "train":
        return next(iter(lists))
    raise unknown("split", split, lists, at="--dataset-split")


def _check_no_splits(content: Content, split: str) -> None:
    if split != "train":
        raise problem(f"there are no splits in the file, so none called {split!r} (--dataset-split)", at=content.name)


def _are_rows(content: Content, lines: Spans, are_even: bool, reads: Callable[[str], bool]) -> bool:
    """Whether each line is likely a row, judging by the first of them and by how the others begin."""
    if lines.stops[0] - lines.starts[0] > LONGEST_WINDOW:
        return False
    first = content.slices(lines.starts[:1].tolist(), lines.stops[:1].tolist())[0]
    try:
        row = json.loads(first.decode())
    except (ValueError, RecursionError):
        return False
    if len(lines.starts) == 1:
        return not isinstance(row, dict) or any(map(reads, row))
    return are_even


def _documents(content: Content, data: mmap.mmap) -> list[Span]:
    """Where each object of several, one after the other, begins and ends; none where the first breaks."""
    found = list[Span]()
    at = skip(SPACE, data, start_of(data))
    try:
        _MEMBERS.decode(memoryview(data)[at:])
        return [(at, len(data))]
    except (ValueError, RecursionError):
        pass
    try:
        while at < len(data):
            if data[at : at + 1] != b"{":
                got = "a comma (there is none between objects but in an array)" if data[at] == 44 else mark_at(data, at)
                raise BreakError(at, "a JSON object", got)
            stop = value_end(data, at)
            found.append((at, stop))
            at = skip(SPACE, data, stop)
    except BreakError as error:
        if not found or b"\n" not in data[found[0][0] : found[0][1]]:
            return []  # lines, some of which are broken
        raise _told(content, data, error) from None
    return found


def _lists(data: mmap.mmap, start: int, stop: int, reads: Callable[[str], bool]) -> dict[str, Span]:
    """The lists of objects in an object that is no row, by their keys."""
    found = dict[str, Span]()
    for key, span in _members(data, start, stop):
        if reads(key):
            return {}
        if _FIRST.match(data, span[0]) or (key == "train" and data[span[0] : span[0] + 1] == b"["):
            found[key] = span
    return found


def _members(data: mmap.mmap, start: int, stop: int) -> Iterator[tuple[str, Span]]:
    """The keys of an object, and where their values are."""
    try:
        members = _MEMBERS.decode(memoryview(data)[start:stop])
    except (ValueError, RecursionError):  # with a value that is refused, as NaN
        members = {}
    origin = np.frombuffer(data, np.uint8).ctypes.data
    for key, raw in members.items():
        first = np.frombuffer(raw, np.uint8).ctypes.data - origin
        yield key, (first, first + len(raw))
    if members:
        return
    at = skip(SPACE, data, start + 1)
    while data[at : at + 1] == b'"':
        after = value_end(data, at)
        key = json.loads(data[at:after])
        first = skip(SPACE, data, skip(SPACE, data, after) + 1)
        after = value_end(data, first)
        yield key, (first, after)
        at = skip(COMMA, data, after)


def _mapped(content: Content) -> mmap.mmap:
    for _ in content.blocks() if not content.fingerprint else ():
        pass
    with content.file() as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _opens_array(blocks: Iterable[bytes]) -> bool:
    """Whether the first byte that is not blank opens a list."""
    for block in blocks:
        if text := block.removeprefix(codecs.BOM_UTF8).lstrip(BLANK):
            return text.startswith(b"[")
    return False


def _lines(content: Content) -> tuple[Spans, bool]:
    """Where each line begins and ends, without blank lines at the end, and whether all lines begin with {."""
    found, position, are_even, ended = [np.zeros(1, np.int64)], 0, True, False
    for block in content.blocks():
        if position == 0 and block.startswith(codecs.BOM_UTF8):
            found[0][0] = 3
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == 10)
        firsts = data[(ends if ends.size == 0 or ends[-1] + 1 < len(data) else ends[:-1]) + 1]
        are_even &= bool(((firsts == _BRACE) | (firsts == 10) | (firsts == 13)).all())
        are_even &= not (ended and block[0] not in (_BRACE, 10, 13))
        ended = block.endswith(b"\n")
        found.append(ends + (position + 1))
        position += len(block)
    offsets = np.concatenate(found)
    if position > offsets[-1]:
        offsets = np.append(offsets, position)
    n = len(offsets) - 1
    while n and not content.slices(offsets[n - 1 : n].tolist(), offsets[n : n + 1].tolist())[0].strip(BLANK):
        n -= 1
    if not n:
        raise expected(kind(content.name), "an empty file", at=content.name)
    return Spans(offsets[:n], offsets[1 : n + 1]), are_even


def _located(content: Content, data: mmap.mmap, spans: Iterator[Span]) -> Spans:
    """The spans with the line and column of each."""
    starts, stops, where = list[int](), list[int](), list[tuple[int, int]]()
    places = Places(data)
    try:
        for start, stop in spans:
            starts.append(start)
            stops.append(stop)
            where.append(places.at(start))
    except BreakError as error:
        raise _told(content, data, error, places) from None
    if not starts:
        raise expected("a JSON array of rows", "an empty array", at=content.name)
    return Spans(np.array(starts, np.int64), np.array(stops, np.int64), np.array(where, np.int64))


def _told(content: Content, data: mmap.mmap, error: BreakError, places: "Places | None" = None) -> Exception:
    at, what, got = error.args
    line, column = (places or Places(data)).at(at)
    return expected(what, got, at=f"{content.name}:{line}:{column}")
