"""Rendered text with its origin: what the template writes itself, and which data it shows where.

A template is run twice, on the data and on a placeholder for each string of it. The real text must be the text with
placeholders, with the data in their place: as it is, trimmed, escaped or in another case. Else it is refused.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import do_title
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import escape

from kernel.errors import InputError
from shell.text.chat_template.template_messages import MARKS, PLACEHOLDER, Shown, number_of

TEMPLATE = -1  # the source of what the template writes itself
_MARKS = "_generation_marks"
_MOST_WALKS = 16
_DEPENDS = "what the template writes around a text depends on the text"
_MARK = re.compile(f"([{''.join(MARKS)}])")


class Program:
    """A compiled chat template, with the settings and helpers of `transformers`."""

    def __init__(self, source: str, at: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.globals["raise_exception"] = _raise
        environment.filters["tojson"] = _tojson
        try:
            self._template = environment.from_string(source)
            tree = environment.parse(source)
            self.variables = frozenset(meta.find_undeclared_variables(tree))
        except TemplateError as error:
            raise InputError(f"the chat template does not compile: {error}", at) from None
        constants = [getattr(node, node.fields[0]) for node in tree.find_all((nodes.Const, nodes.TemplateData))]
        self.texts = [text for text in constants if isinstance(text, str)]
        self.reads = {*self.texts, *(node.attr for node in tree.find_all(nodes.Getattr))}

    def run(self, variables: Mapping[str, Any], at: str, marks: tuple[str, str] = ("", "")) -> str:
        """What the template writes, `marks` around its generation blocks; raises InputError when it fails."""
        try:
            return self._template.render({**variables, _MARKS: marks})
        except Exception as error:  # a template is a program: it may fail in any way
            raise InputError(f"the chat template refuses the conversation: {error}", at) from None


def _tojson(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})


def _raise(message: str) -> None:
    raise TemplateError(message)


class _Generation(Extension):
    """`{% generation %}`: what is inside is the assistant's."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark", [nodes.ContextReference()]), [], [], body).set_lineno(line)

    def _mark(self, context: Mapping[str, Any], caller: Callable[[], str]) -> str:
        start, stop = context[_MARKS]
        return f"{start}{caller()}{stop}"


class Run(NamedTuple):
    """Characters `start` to `stop` of a rendering show characters `first` to `last` of field number `source`."""

    start: int
    stop: int
    source: int
    first: int = 0
    last: int = 0


class Rendered(NamedTuple):
    """A rendering: its text, the runs that it consists of, and where its generation blocks start and stop."""

    text: str
    runs: list[Run]
    marked: list[tuple[int, int]]

    def n_shared(self, other: "Rendered") -> int:
        """The number of characters that both begin with, from the same origins."""
        n = 0
        for x, y in zip(self.runs, other.runs, strict=False):
            if (x.source, x.first) != (y.source, y.first):
                break
            n = min(x.stop, y.stop)
            if x.stop != y.stop:
                break
        a, b = self.text[:n], other.text[:n]
        return n if a == b else next(i for i in range(n) if a[i] != b[i])


def align(real: str, marked: str, shown: Sequence[Shown], what: Callable[[int], str]) -> Rendered:
    """The real text with its origin; InputError where it is not the marked one with the data `shown`."""
    parts = PLACEHOLDER.split(_MARK.sub("", marked))
    walks: list[tuple[int, tuple[Run, ...]]] = [(len(parts[0]), ())] if real.startswith(parts[0]) else []
    for found, after in zip(parts[1::2], parts[2::2], strict=True):
        number, forms = number_of(found), (_ascii_json,) if found[0] == "\\" else _FORMS
        if number >= len(shown):
            raise InputError("the template writes private characters of Unicode's last planes")
        further = [
            (run.stop + len(after), (*runs, run))
            for at, runs in walks
            for run in _readings(real, at, shown[number], forms, after)
        ]
        if walks and not further and not _readings(real, walks[0][0], shown[number], forms, ""):
            raise _changed(what(shown[number].field), shown[number].text, real[walks[0][0] :], after)
        walks = further[:_MOST_WALKS]
    readings = [runs for at, runs in walks if at == len(real)]
    if not readings:
        raise InputError(_DEPENDS)
    return _rendered(real, readings[0], parts, marked)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _ascii_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _escaped(text: str) -> str:
    return str(escape(text))


_CASES = str.upper, str.lower, str.capitalize, str.title, do_title
_FORMS: tuple[Callable[[str], str], ...] = (str, _json, *_CASES, _escaped)


def _readings(real: str, at: int, piece: Shown, forms: Sequence[Callable[[str], str]], after: str) -> list[Run]:
    """How the real text shows a piece of the data at a character, with the template's text after it."""
    n, out = len(piece.text), dict[int, Run]()
    kept = [(0, n)]
    if piece.text.isspace():  # a template may remove white space that it has joined with its own
        kept += [(i, n) for i in range(1, n + 1)] + [(0, i) for i in range(1, n)]
    for k, form in enumerate(forms):
        if k > 1 and out:
            break
        for first, last in kept:
            new = form(piece.text[first:last])
            stop = at + len(new)
            if real.startswith(new, at) and real.startswith(after, stop):
                out.setdefault(stop, Run(at, stop, piece.field, piece.start + first, piece.start + last))
    return list(out.values())


def _changed(what: str, text: str, real: str, after: str) -> InputError:
    """The error for data that is not shown as it is."""
    got = real.split(after)[0] if after else real
    if text in got:
        return InputError(_DEPENDS)
    if got in text:
        return InputError(f"the template writes only a part of {what}")
    return InputError(f"the template writes {got[:40]!r} for {what}")


def _rendered(real: str, reading: Sequence[Run], parts: Sequence[str], marked: str) -> Rendered:
    starts, runs, at, own = [(0, 0)], list[Run](), len(parts[0]), 0
    for run, found, after in zip(reading, parts[1::2], parts[2::2], strict=True):
        at += len(found)
        starts.append((at, run.stop))
        at += len(after)
        if run.start == run.stop:
            continue
        if runs and own == run.start and (runs[-1].source, runs[-1].last) == (run.source, run.first):
            run = runs.pop()._replace(stop=run.stop, last=run.last)
        runs += [Run(own, run.start, TEMPLATE), run] if own < run.start else [run]
        own = run.stop
    runs += [Run(own, len(real), TEMPLATE)] if own < len(real) else []
    return Rendered(real, runs, _blocks(marked, starts))


def _blocks(marked: str, starts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where the outermost generation blocks start and stop in the real text; `starts` maps the template's texts."""
    out, at, edges = list[tuple[int, int]](), 0, list[int]()
    for part in _MARK.split(marked):
        if part not in MARKS:
            at += len(part)
            continue
        start, real = max(pair for pair in starts if pair[0] <= at)
        if part == MARKS[0]:
            edges.append(real + at - start)
        else:
            edge = edges.pop()
            out += [] if edges else [(edge, real + at - start)]
    return out
