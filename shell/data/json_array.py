"""A JSON array of rows, read without ever being held: one pass finds where each element begins and ends.

Every element is decoded once as it is found, and again when its row is asked for; 32 bytes of it stay in memory. An
error names the line and the column where the row begins, or where its JSON breaks. An element of another kind than a
row can be passed over, if bad rows may be; broken JSON cannot, as nobody can say where the next row begins.
"""

from __future__ import annotations  # array.array is not subscriptable at run time in Python 3.11

import codecs
from array import array

import numpy as np

from kernel.brackets import BEHIND_VALUE, COLUMN, END, FIRST, LINE, PLACE, POSITION, START, VALUE, cut, opening
from kernel.errors import InputError, expected
from shell.data.json_rows import BrokenError, JsonRows, decode
from shell.data.open_file import Content
from shell.data.validation import RowValidation

_LONGEST_LOOK = 1 << 24
"""How many bytes of a row that never ends are searched for where it breaks."""


def array_rows(content: Content, validation: RowValidation) -> JsonRows:
    """The rows of a JSON array.

    Raises:
        InputError: the file cannot be read, is no such array, or more elements of it are no rows than may be.

    Touches: the file, read whole when opened and in parts later.
    """
    scan = _Scan(content, validation)
    for block in content.blocks():
        scan.feed(block)
    scan.close()
    starts, stops = np.array(scan.starts, np.int64), np.array(scan.stops, np.int64)
    heads, columns = np.array(scan.heads, np.int64), np.array(scan.columns, np.int64)
    return JsonRows(content, starts, stops, validation, lambda i: f"{content.name}:{heads[i]}:{columns[i]}")


class _Scan:
    """What the one pass has found so far."""

    def __init__(self, content: Content, validation: RowValidation) -> None:
        self.name, self._admission, self._state = content.name, validation, opening()
        self.starts, self.stops, self.heads, self.columns = array("q"), array("q"), array("q"), array("q")
        self._held, self._from = bytearray(), 0  # the bytes since the row that has begun, and where they begin

    def feed(self, block: bytes) -> None:
        """Takes the next bytes."""
        if self._state[POSITION] == 0 and block.startswith(codecs.BOM_UTF8):
            block, self._state[POSITION], self._from = block[3:], 3, 3
        self._held += block
        found = cut(np.frombuffer(block, np.uint8), self._state)
        for start, line, column in found.starts.tolist():
            self.starts.append(start)
            self.heads.append(line)
            self.columns.append(column)
        for stop in found.stops.tolist():
            self._end(stop)
        if found.fault >= 0:
            raise self._fault(block[found.fault :])
        in_row = len(self.starts) > len(self.stops)
        kept_from = self.starts[-1] if in_row else int(self._state[POSITION])
        del self._held[: kept_from - self._from]
        self._from = kept_from

    def close(self) -> None:
        """Says what is missing, if anything is."""
        place = self._state[PLACE]
        if place == VALUE and self._state[2] >= 0:
            self._look(bytes(self._held[:_LONGEST_LOOK]))
        if place != END:
            raise expected("the end of the array, ]", "the end of the file", at=self._here())
        if not self.starts:
            raise expected("a JSON array of rows", "an empty array", at=self.name)

    def _end(self, stop: int) -> None:
        i = len(self.stops)
        self.stops.append(stop)
        self._look(bytes(self._held[self.starts[i] - self._from : stop - self._from]), i)

    def _look(self, text: bytes, i: int = -1) -> None:
        """Decodes a row, whole or not."""
        i = i if i >= 0 else len(self.stops)
        line, column = f"{self.name}:{self.heads[i]}", self.columns[i]
        try:
            row = decode(text, line, column)
        except BrokenError:
            raise
        except InputError as told:
            other = expected("a JSON object", text[:40].decode(errors="replace"), at=f"{line}:{column}")
            self._admission.reject(i, told if text.startswith(b"{") else other)
        else:
            self._admission.check(i, row, f"{line}:{column}")

    def _fault(self, rest: bytes) -> InputError:
        wanted = {START: "a JSON array", FIRST: "a row, or ]", BEHIND_VALUE: "a comma, or ]", END: "nothing behind ]"}
        got = rest[:8].decode(errors="replace").split()[0][:1]
        return expected(wanted.get(int(self._state[PLACE]), "a row"), repr(got), at=self._here())

    def _here(self) -> str:
        return f"{self.name}:{self._state[LINE]}:{self._state[COLUMN]}"
