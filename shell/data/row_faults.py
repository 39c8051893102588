"""Rows that cannot be used, counted by reason, so that all of them end in one error and not each in its own."""

import re
import textwrap
from typing import NamedTuple

from kernel.errors import InputError

N_PLACES, N_REASONS, N_LIKE = 3, 15, 3  # places of a reason, reasons of a table, sentences that differ in a value alone
WIDTH = 80
N_KEPT = 1000  # rows more than are allowed whose sentences are kept

_LOCATION = re.compile(r" - at (?!.* - at )(.*)", re.DOTALL)
_VALUE = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\d[\d,.]*(?<=\d)""")
_HINT = re.compile(r"(?<=…), (?:did you mean|expected one of) .*|(?<=, got ).*…(?!,).*", re.DOTALL)


class Rejected(NamedTuple):
    """A row that cannot be read, in its place."""

    reason: str  # the sentence of its error; it names the location


class RowFaultsError(InputError):
    """Several rows cannot be used: how many, and a table of reasons, on lines of their own."""


class Fault:
    """How many rows have a fault, and the first places of it."""

    def __init__(self) -> None:
        self.n, self.places = 0, list[str]()

    def add(self, n: int, places: list[str]) -> None:
        self.n += n
        self.places += places[: N_PLACES - len(self.places)]


class FaultCounts:
    """Counts of faults by reason, in memory that does not grow with the rows."""

    def __init__(self) -> None:
        self.n = 0
        self.first: InputError | None = None
        self._kinds: dict[str, dict[str, Fault]] = {}  # sentence without its values -> sentence -> fault

    def add(self, error: InputError) -> None:
        """Counts a row by its error."""
        self.first, message = self.first or error, str(error)
        where = _LOCATION.search(message)
        sentence, place = (message[: where.start()], where[1]) if where else (message, "")
        self._add(sentence, 1, [place] if place else [])

    def merge(self, other: "FaultCounts") -> None:
        self.first = self.first or other.first
        for kind in other._kinds.values():
            for sentence, fault in kind.items():
                self._add(sentence, fault.n, fault.places)

    def _add(self, sentence: str, n: int, places: list[str]) -> None:
        self.n += n
        general = _general(sentence)
        kind = self._kinds.setdefault(general if len(self._kinds) < N_KEPT else "other reasons", {})
        if sentence not in kind and (len(kind) == N_LIKE or general in kind):
            every, merged = list(kind.values()), Fault()
            for fault in every:
                merged.add(fault.n, fault.places)
            kind.clear()
            kind[general] = merged
            sentence = general
        kind.setdefault(sentence, Fault()).add(n, places)

    def check(self, n_rows: int, max_bad_rows: int) -> None:
        """Raises InputError if more rows are bad than are allowed."""
        if self.n <= max_bad_rows:
            return
        if self.n == 1 and self.first:
            raise self.first
        raise RowFaultsError(self._text(n_rows, max_bad_rows))

    def _text(self, n_rows: int, max_bad_rows: int) -> str:
        found = [pair for kind in self._kinds.values() for pair in kind.items()]
        found.sort(key=lambda pair: -pair[1].n)  # stable, so what comes first in the data is first of the same
        width = max(len(f"{fault.n:,}") for _, fault in found)
        lines = [f"{self.n:,} of {n_rows:,} rows cannot be used, and --max-bad-rows allows {max_bad_rows:,}:"]
        for sentence, fault in found[:N_REASONS]:
            lines += _wrapped(f"  {fault.n:>{width},}  ", " ".join(sentence.split()), width + 4)
            lines += _wrapped("", _places(fault), width + 4) if fault.places else []
        n_more = len(found) - N_REASONS
        lines += [f"  and {n_more:,} more {'reason' if n_more == 1 else 'reasons'}"] if n_more > 0 else []
        return "\n".join(lines)


class Rejections:
    """The rows of a source that cannot be read, by number; those of one of its files have numbers of their own."""

    def __init__(self, max_bad_rows: int, shared: "Rejections | None" = None, first: int = 0) -> None:
        self._max_bad_rows, self._first = max_bad_rows, first
        self._rows: dict[int, Rejected] = {} if shared is None else shared._rows
        self.faults: FaultCounts = FaultCounts() if shared is None else shared.faults

    def part(self, first: int) -> "Rejections":
        return Rejections(self._max_bad_rows, self, self._first + first)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, i: int) -> Rejected | None:
        return self._rows.get(self._first + i)

    def put(self, i: int, error: InputError) -> Rejected:
        """Notes that row i cannot be read; a row counts once, however often it is read."""
        if (known := self.get(i)) is not None:
            return known
        self.faults.add(error)
        is_kept = len(self._rows) < self._max_bad_rows + N_KEPT
        row = self._rows[self._first + i] = Rejected(str(error)) if is_kept else _NOT_KEPT
        return row

    def clear(self) -> None:
        self._rows.clear()
        self.faults.__init__()  # type: ignore[misc]


_NOT_KEPT = Rejected("one of more bad rows than are kept")


def _wrapped(opening: str, text: str, indent: int) -> list[str]:
    """The lines of a text for a terminal; words and paths stay whole."""
    wrapper = textwrap.TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent, wrapper.subsequent_indent = opening or " " * indent, " " * indent
    return [line.replace("\0", " ") for line in wrapper.wrap(text)]


def _places(fault: Fault) -> str:
    """The first places of a fault: `at a.jsonl:1 $.messages[0].role, :8, :15, ...`, without what repeats."""
    first, *others = fault.places
    where, _, path = first.partition(" $")
    file = where.rpartition(":")[0]
    short = [place.removeprefix(file).removesuffix(f" ${path}" if path else "") for place in others]
    listed = [first, *short, *(["..."] if fault.n > len(fault.places) else [])]
    return "at\0" + ", ".join(place.replace(" ", "\0") for place in listed)  # a location stays on one line


def _general(sentence: str) -> str:
    """A sentence without the values in it, so that it is the same for all rows of one fault."""
    return _HINT.sub("", _VALUE.sub("…", sentence))
