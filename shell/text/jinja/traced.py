"""Text that knows where it came from: a string whose every character names the data it shows, or the template.

A chat template is a program, and its output alone does not tell whose `<|im_end|>` it holds. So it is run on strings
that carry their origin along: what the template's own text says is known to be the template's, a piece of the data
stays the data's through `+`, slices, `strip`, `split`, `replace` and the like, and every test that the template makes
(`in`, `==`, `startswith`, `is string`) has its usual answer. The trade-off: whatever Python does to a string behind
our back (`%`, `format`, ...) comes out as plain text, and that counts as lost, never as the template's.
"""

from collections.abc import Callable, Iterable, Iterator
from operator import index
from typing import NamedTuple, SupportsIndex

TEMPLATE = -1
"""the source of what the template writes itself, and of numbers"""
DATE = -2
"""the source of the date"""
LOST = -3
"""the source of text whose origin is not known"""


class Run(NamedTuple):
    """A stretch of text from one place: `n` characters that show characters `start` to `stop` of data string `source`.

    `generated` says that the template marks it as the assistant's (`{% generation %}`).
    """

    n: int
    source: int
    start: int = 0
    stop: int = 0
    generated: bool = False


class Traced(str):
    """A string with its origin: the runs that it consists of, neighbours that belong together joined."""

    __slots__ = ("runs",)
    runs: tuple[Run, ...]

    def __new__(cls, text: str, runs: Iterable[Run] | None = None) -> "Traced":
        """The text with these runs; without any, its origin is lost."""
        made = super().__new__(cls, text)
        made.runs = _merged([Run(len(text), LOST)] if runs is None else runs)
        return made

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> "Traced":
        return joined([self, other]) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> "Traced":
        return joined([other, self]) if isinstance(other, str) else NotImplemented

    def __mul__(self, n: SupportsIndex) -> "Traced":
        return joined([self] * index(n))

    __rmul__ = __mul__

    def __iter__(self) -> Iterator["Traced"]:
        return (self._cut(i, i + 1) for i in range(len(self)))

    def __getitem__(self, key: SupportsIndex | slice) -> "Traced":
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return self._cut(start, stop) if step == 1 else Traced(str.__getitem__(self, key))
        i = index(key)
        if not -len(self) <= i < len(self):
            raise IndexError("string index out of range")
        return self._cut(i % len(self), i % len(self) + 1)

    def lstrip(self, chars: str | None = None, /) -> "Traced":
        return self._cut(len(self) - len(super().lstrip(chars)), len(self))

    def rstrip(self, chars: str | None = None, /) -> "Traced":
        return self._cut(0, len(super().rstrip(chars)))

    def strip(self, chars: str | None = None, /) -> "Traced":
        return self.lstrip(chars).rstrip(chars)

    def removeprefix(self, prefix: str, /) -> "Traced":
        return self._cut(len(prefix) if self.startswith(prefix) else 0, len(self))

    def removesuffix(self, suffix: str, /) -> "Traced":
        return self._cut(0, len(super().removesuffix(suffix)))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list["Traced"]:  # type: ignore[override]
        return self._pieces(super().split(sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list["Traced"]:  # type: ignore[override]
        return self._pieces(super().rsplit(sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list["Traced"]:  # type: ignore[override]
        return self._pieces(super().splitlines(keepends), None)

    def partition(self, sep: str, /) -> tuple["Traced", "Traced", "Traced"]:
        before, found, behind = self._pieces(list(super().partition(sep)), "")
        return before, found, behind

    def rpartition(self, sep: str, /) -> tuple["Traced", "Traced", "Traced"]:
        before, found, behind = self._pieces(list(super().rpartition(sep)), "")
        return before, found, behind

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> "Traced":
        return joined(self.split(old, count), new) if old else Traced(super().replace(old, new, count))

    def join(self, parts: Iterable[str], /) -> "Traced":
        return joined(parts, self)

    def upper(self) -> "Traced":
        return mapped(self, str.upper)

    def lower(self) -> "Traced":
        return mapped(self, str.lower)

    def capitalize(self) -> "Traced":
        return mapped(self, str.capitalize)

    def _cut(self, start: int, stop: int) -> "Traced":
        return Traced(str.__getitem__(self, slice(start, stop)), _stretch(self.runs, start, stop))

    def _pieces(self, pieces: list[str], sep: str | None) -> list["Traced"]:
        """These pieces of the text, `sep` between them; None: white space, which no piece but its edges can hold."""
        out, at = list[Traced](), 0
        for piece in pieces:
            at = self.find(piece, at) if sep is None else at
            out.append(self._cut(at, at + len(piece)))
            at += len(piece) + len(sep or "")
        return out


def written(text: str) -> Traced:
    """The text as the template's own.

    >>> (written("<|user|>") + data(0, " hi ").strip()).runs
    (Run(n=8, source=-1, start=0, stop=0, generated=False), Run(n=2, source=0, start=1, stop=3, generated=False))
    """
    return Traced(text, [Run(len(text), TEMPLATE)])


def data(source: int, text: str) -> Traced:
    """The text as data string number `source`."""
    return Traced(text, [Run(len(text), source, 0, len(text))])


def traced(text: str) -> Traced:
    """The text with its origin, which is lost when it is a plain string."""
    return text if isinstance(text, Traced) else Traced(text)


def joined(parts: Iterable[str], between: str = "") -> Traced:
    """The parts as one text."""
    pieces = list[Traced]()
    for part in parts:
        if between and pieces:
            pieces.append(traced(between))
        pieces.append(traced(part))
    return Traced(str.join("", pieces), [run for piece in pieces for run in piece.runs])


def mapped(text: Traced, change: Callable[[str], str]) -> Traced:
    """The text with each run changed; lost when that is not what changing it as a whole gives.

    >>> mapped(data(0, "a") + written("b"), str.upper).runs[0]
    Run(n=1, source=0, start=0, stop=1, generated=False)
    """
    out, runs, at = "", list[Run](), 0
    for run in text.runs:
        new = change(str.__getitem__(text, slice(at, at + run.n)))
        out, at = out + new, at + run.n
        runs.append(run._replace(n=len(new)))
    return Traced(out, runs) if out == change(str.__getitem__(text, slice(None))) else Traced(change(text))


def generated(text: Traced, on: bool = True) -> Traced:
    """The text, marked as the assistant's, or not."""
    return Traced(text, [run._replace(generated=on) for run in text.runs])


def _stretch(runs: tuple[Run, ...], start: int, stop: int) -> Iterator[Run]:
    """The runs of characters `start` to `stop`; part of a run that does not show its data verbatim is lost."""
    at = 0
    for run in runs:
        low, high = max(start - at, 0), min(stop - at, run.n)
        at += run.n
        if low >= high:
            continue
        if high - low == run.n:
            yield run
        elif run.source < 0:
            yield run._replace(n=high - low)
        elif run.stop - run.start == run.n:
            yield Run(high - low, run.source, run.start + low, run.start + high, run.generated)
        else:
            yield Run(high - low, LOST, generated=run.generated)


def _merged(runs: Iterable[Run]) -> tuple[Run, ...]:
    out: list[Run] = []
    for run in runs:
        if not run.n:
            continue
        if out and _belong(out[-1], run):
            last = out[-1]
            out[-1] = Run(last.n + run.n, run.source, last.start, run.stop, run.generated)
        else:
            out.append(run)
    return tuple(out)


def _belong(a: Run, b: Run) -> bool:
    if a.source != b.source or a.generated != b.generated:
        return False
    verbatim = a.stop - a.start == a.n and b.stop - b.start == b.n
    return a.source < 0 or (verbatim and a.stop == b.start)
