"""Scanning of JSON in memory: where values begin and end, by line and column where they break."""

import codecs
import json
import mmap
import re
from collections.abc import Generator, Iterator
from typing import TypeAlias

import msgspec

LEVELS = 100  # of lists and objects in a row
LONGEST_WINDOW = 1 << 24  # bytes of a value that are scanned at once
SPACE = re.compile(rb"[ \t\r\n]*")
COMMA = re.compile(rb"[ \t\r\n]*,?[ \t\r\n]*")
_NOT_FIRST = bytes(range(0x80, 0xC0))  # the bytes of UTF-8 that continue a character
_WINDOW = 1 << 16
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str)
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])

Span: TypeAlias = tuple[int, int]


class BreakError(Exception):
    """JSON breaks at a byte: the position, what was expected, what came."""


def start_of(data: mmap.mmap) -> int:
    return 3 if data[:3] == codecs.BOM_UTF8 else 0


class Places:
    """Lines and columns of positions, asked for in order."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._position = data, start_of(data)
        self._line = self._column = 1

    def at(self, to: int) -> tuple[int, int]:
        """The line and the column of a position."""
        while self._position < to:
            passed = self._data[self._position : min(to, self._position + _WINDOW)]
            self._position += len(passed)
            if n_lines := passed.count(b"\n"):
                self._line, self._column = self._line + n_lines, 1
                passed = passed[passed.rindex(b"\n") + 1 :]
            self._column += len(passed) if passed.isascii() else len(passed.translate(None, _NOT_FIRST))
        return self._line, self._column


def elements_of(data: mmap.mmap, position: int, stop: int) -> Iterator[Span]:
    """Start and stop of each element of the array between two positions."""
    try:
        raws = _ELEMENTS.decode(memoryview(data)[position:stop])
    except (ValueError, RecursionError):  # broken, or with an element that is refused, as half a surrogate pair
        at = yield from _walk(data, position)
        at = skip(SPACE, data, at)
        if at < stop:
            raise BreakError(at, "nothing after ]", mark_at(data, at)) from None
        return
    at = skip(SPACE, data, position) + 1
    for raw in raws:  # views into the data, with nothing but blanks and a comma between them
        start = skip(COMMA, data, at)
        at = start + len(raw)
        yield start, at


def _walk(data: mmap.mmap, position: int) -> Generator[Span, None, int]:
    """Start and stop of each element as `json` reads them, up to where the array breaks; returns where it ends."""
    at = skip(SPACE, data, position) + 1
    expects = "a row, or ]"
    while True:
        at = skip(SPACE, data, at)
        mark = data[at : at + 1]
        if not mark:
            raise BreakError(at, "the end of the array, ]", "the end of the file")
        if mark == b"]" and expects != "a row":
            return at + 1
        if expects == "a comma, or ]":
            if mark != b",":
                raise BreakError(at, expects, mark_at(data, at))
            expects, at = "a row", at + 1
            continue
        if mark in b"],}":
            raise BreakError(at, expects, mark_at(data, at))
        stop = value_end(data, at)
        yield at, stop
        expects, at = "a comma, or ]", stop


def value_end(data: mmap.mmap, start: int) -> int:
    """Where the JSON value that begins at a byte ends."""
    size = _WINDOW
    while True:
        text = data[start : start + size].decode(errors="surrogateescape")
        is_last = start + size >= len(data)
        try:
            stop = _SCANNER.raw_decode(text)[1]
            if stop < len(text) or is_last:
                return start + len(text[:stop].encode(errors="surrogateescape"))
        except RecursionError:
            raise BreakError(start, f"at most {LEVELS} levels of lists and objects", "more") from None
        except json.JSONDecodeError as error:
            if is_last or size >= LONGEST_WINDOW or _is_inside(error, text):
                at = start + len(text[: error.pos].encode(errors="surrogateescape"))
                what = f"broken JSON ({error.msg[:1].lower()}{error.msg[1:]})"
                raise BreakError(at, "a JSON object", what) from None
        size *= 4


def _is_inside(error: json.JSONDecodeError, text: str) -> bool:
    """Whether text breaks before its end, so that more of it would not help."""
    return error.pos < len(text) - 16 and not error.msg.startswith("Unterminated")


def skip(pattern: re.Pattern[bytes], data: mmap.mmap, at: int) -> int:
    found = pattern.match(data, at)
    return found.end() if found else at


def mark_at(data: mmap.mmap, at: int) -> str:
    return repr(data[at : at + 8].decode(errors="replace")[:1])
