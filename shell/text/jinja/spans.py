"""A rendered conversation as typed spans.

The rule of `kernel.render.inspect` holds here too: a BPE pass never crosses a control token, and never goes from what
is
given to what is sampled. A turn that is trained has its proven place. For the others the end of their prompt, or the
first character of their text, is where a pass ends, which is the same place wherever it can be proven.
"""

from collections.abc import Iterable, Iterator, Mapping

from kernel.chat_format.elements import SpanKind
from kernel.errors import InputError
from kernel.render.inspect import Span
from shell.text.jinja.pieces import Piece, shared
from shell.text.jinja.traced import Traced
from shell.text.jinja.turns import Control, Rendering, Turn


def spans(rendering: Rendering, n: int, turns: Mapping[int, Turn], prompt: bool = False) -> list[Span]:
    """The first n messages, and the prompt for one more, as spans.

    Args:
        rendering: the conversation.
        turns: the proven turns, by message.

    Returns:
        Spans in order; `sampled` says that a span stands in a turn. White space that the template writes behind the
        last control token of an example is left out: no message follows it, and no model samples it.
    """
    text = rendering.text(n, prompt)
    pieces = rendering.pieces(text)
    found = _all(rendering, n, turns, text, pieces)
    edges = sorted({edge for turn in found.values() for edge in turn})
    out: list[Span] = []
    for kind, start, stop in pieces if prompt else _kept(text, pieces):
        for a, b in _split(start, stop, edges):
            inside = next((i for i, turn in found.items() if turn.start <= a < turn.stop), None)
            header = next((i for i, turn in found.items() if a < turn.start), n if prompt else n - 1)
            out.append(Span(kind, str.__str__(text[a:b]), inside is not None, header if inside is None else inside))
    return list(_trimmed(out, rendering.template.tokens))


def _trimmed(said: list[Span], tokens: Mapping[str, Control]) -> Iterator[Span]:
    """Without the template's white space that control tokens take away: it is no token of the model's."""
    nothing = Control("")
    for k, span in enumerate(said):
        text = span.text
        if span.kind is SpanKind.TEMPLATE:
            before = said[k - 1] if k else span
            behind = said[k + 1] if k + 1 < len(said) else span
            text = (
                text.lstrip() if tokens.get(before.text, nothing).rstrip and before.kind is SpanKind.CONTROL else text
            )
            text = (
                text.rstrip() if tokens.get(behind.text, nothing).lstrip and behind.kind is SpanKind.CONTROL else text
            )
        if text:
            yield span._replace(text=text)


def _all(rendering: Rendering, n: int, turns: Mapping[int, Turn], text: Traced, pieces: list[Piece]) -> dict[int, Turn]:
    """Every message's turn, those that are not proven as far as their own words tell; never one inside another."""
    found, at = dict[int, Turn](), 0
    for i in range(n):
        turn = turns.get(i) or _told(rendering, i, text, pieces)
        if turn is not None and at <= turn.start < turn.stop:
            found[i], at = turn, turn.stop
    return found


def _told(rendering: Rendering, i: int, text: Traced, pieces: list[Piece]) -> Turn | None:
    """From the end of its prompt, or its first character, to the control token behind its last."""
    own = [stop for field, _, stop in rendering.shown(text) if field.message == i]
    start = rendering.first(i, text)
    if rendering.role(i) == "assistant":
        try:
            start = _whole(shared(text, rendering.text(i, prompt=True)), pieces)
        except InputError:  # a prompt that the template refuses to write
            start = rendering.first(i, text)
    if start is None or not own:
        return None
    controls = (piece.start for piece in pieces if piece.kind is SpanKind.CONTROL and piece.start >= own[-1])
    return Turn(start, next(controls, len(text)))


def _whole(at: int, pieces: list[Piece]) -> int:
    """The place, or the start of the control token that it stands in."""
    return next((p.start for p in pieces if p.kind is SpanKind.CONTROL and p.start < at < p.stop), at)


def _kept(text: Traced, pieces: list[Piece]) -> list[Piece]:
    n = len(pieces)
    while n and pieces[n - 1].kind is SpanKind.TEMPLATE and text[pieces[n - 1].start : pieces[n - 1].stop].isspace():
        n -= 1
    return pieces[:n] if n and pieces[n - 1].kind is SpanKind.CONTROL else pieces


def _split(start: int, stop: int, edges: Iterable[int]) -> Iterable[tuple[int, int]]:
    for edge in edges:
        if start < edge < stop:
            yield start, edge
            start = edge
    yield start, stop
