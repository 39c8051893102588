"""What a traced rendering consists of, and what two of them share: pure functions of traced text."""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

from kernel.chat_format.elements import SpanKind
from shell.text.jinja.traced import TEMPLATE, Run, Traced, generated

Cut = Callable[[str], list[tuple[SpanKind, str]]]
"""text of the template's -> control tokens and the text between them"""


class Piece(NamedTuple):
    """A control token, text of the template's or text of the data's: characters `start` to `stop` of a rendering."""

    kind: SpanKind
    start: int
    stop: int


def places(text: Traced) -> Iterator[tuple[Run, int, int]]:
    """The runs of a text, with the characters where each starts and stops."""
    at = 0
    for run in text.runs:
        yield run, at, at + run.n
        at += run.n


def pieces(text: Traced, cut: Cut) -> list[Piece]:
    """A text in pieces; only what the template alone has written can be a control token.

    >>> from shell.text.jinja.traced import data, written
    >>> said = written("<|a") + written("|>") + data(0, "<|a|>")
    >>> [piece.kind.value for piece in pieces(said, lambda text: [(SpanKind.CONTROL, text)])]
    ['control', 'message']
    """
    out: list[Piece] = []
    for own, group in groupby(places(text), key=lambda place: place[0].source == TEMPLATE):
        found = list(group)
        if not own:
            out += [Piece(SpanKind.MESSAGE if run.source >= 0 else SpanKind.TEMPLATE, *where) for run, *where in found]
            continue
        at = found[0][1]
        for kind, part in cut(str.__str__(text[at : found[-1][2]])):
            out.append(Piece(kind, at, at + len(part)))
            at += len(part)
    return out


def begins(text: Traced, head: Traced) -> bool:
    """Whether the text begins with this one, from the same origins."""
    return text.startswith(head) and generated(text[: len(head)], False).runs == generated(head, False).runs


def shared(a: Traced, b: Traced) -> int:
    """How many characters two texts begin with that are the same, from the same origins.

    >>> from shell.text.jinja.traced import data, written
    >>> shared(written("a: ") + data(0, "hm"), written("a: hm"))
    3
    """
    n = 0
    for x, y in zip(generated(a, False).runs, generated(b, False).runs, strict=False):
        if x != y:
            alike = (x.source, x.start) == (y.source, y.start) and (x.source < 0 or x.stop - x.start == x.n)
            n += min(x.n, y.n) if alike else 0
            break
        n += x.n
    x_text, y_text = str.__str__(a), str.__str__(b)
    return next((i for i in range(n) if x_text[i] != y_text[i]), n)


def skeleton(text: Traced) -> list[tuple[int, str]]:
    """What the template writes around the data: its own words, and the numbers of the data strings between them."""
    out: list[tuple[int, str]] = []
    for run, start, stop in places(text):
        said = str.__str__(text[start:stop]) if run.source == TEMPLATE else ""
        if out and out[-1][0] == run.source:
            out[-1] = run.source, out[-1][1] + said
        else:
            out.append((run.source, said))
    return out
