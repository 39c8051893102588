"""A chat template as a program: compiled as `transformers` compiles it, and once more to run on traced text.

Both ways use jinja2's immutable sandbox with the settings and helpers of `transformers` (`trim_blocks` and
`lstrip_blocks`, `tojson` without HTML escapes, `raise_exception`, `strftime_now`, `break` and `continue`, the
`generation` block); only the date is an argument, not the clock's. For the traced run every string of the template's
source becomes its traced twin, and what Jinja does to strings in C (joining output, `~`) is done by
`shell.text.jinja.traced` instead. Both runs must give the same text, so tracing never changes what is rendered.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, Undefined, meta, nodes, pass_context, pass_environment
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from kernel.errors import InputError, expected
from shell.text.jinja.traced import DATE, Run, Traced, generated, joined, mapped, traced, written

Variables = Mapping[str, Any]


class Program:
    """A compiled chat template.

    Attributes:
        texts: the strings in its source.
        reads: the names of the keys and attributes that it may read.
        variables: the names of the variables that it may read.
    """

    def __init__(self, source: str, date: datetime, at: str) -> None:
        """Raises InputError when `source` is no Jinja template."""
        tracing, constants = _tracing(date), _Constants()
        try:
            self._plain = _plain(date).from_string(source)
            tree = tracing.parse(source)
            self.variables = frozenset(meta.find_undeclared_variables(tree))
            constants.visit(tree)
            tracing.extend(**{f"text_{k}": written(text) for k, text in enumerate(constants.texts)})
            self._traced = tracing.from_string(tree)
        except TemplateError as error:
            raise expected("a Jinja chat template", f"one that does not compile ({error})", at=at) from None
        self.texts = constants.texts
        self.reads = {*self.texts, *(node.attr for node in tree.find_all(nodes.Getattr))}

    def run(self, variables: Variables, at: str) -> Traced:
        """What the template writes, with the origin of every character.

        Args:
            variables: what it may read; strings are traced.
            at: where the conversation stands, for errors.

        Raises:
            InputError: the template refuses the conversation, or tells traced text from plain text.
        """
        try:
            text = joined(self._traced.root_render_func(self._traced.new_context(dict(variables))))
            plain = self._plain.render(_untraced(variables))
        except Exception as error:  # a template is a program: it may fail in any way
            raise InputError(
                f"expected a conversation that the chat template writes, it says: {error} - at {at}"
            ) from None
        if text != plain:
            raise expected("a chat template whose text can be traced to its origin", "one that cannot", at=at)
        return text


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> Traced:
    """JSON, as `json.dumps` writes it; strings keep their origin.

    >>> tojson({written("a"): [1, written("b")]})
    '{"a": [1, "b"]}'
    """
    strings: list[str] = []
    marked = json.dumps(_marked(value, strings, sort_keys), indent=indent, separators=separators)
    pieces = re.split(r'"(\d+)"', marked)  # every string is a number now, so these are those
    out: list[str] = []
    for i, piece in enumerate(pieces):
        text = traced(strings[int(piece)]) if i % 2 else written(piece)
        out += [_quoted(text, ensure_ascii)] if i % 2 else [text]
    return joined(out)


def _marked(value: Any, strings: list[str], sort_keys: bool) -> Any:
    """The value with each string put into `strings` and replaced by its number there."""
    if isinstance(value, str):
        strings.append(value)
        return str(len(strings) - 1)
    if isinstance(value, Mapping):
        items = sorted(value.items()) if sort_keys else value.items()
        return {_marked(k, strings, sort_keys): _marked(v, strings, sort_keys) for k, v in items}
    if isinstance(value, list | tuple):
        return [_marked(one, strings, sort_keys) for one in value]
    return value


def _quoted(text: Traced, ensure_ascii: bool) -> Traced:
    inner = mapped(text, lambda s: json.dumps(s, ensure_ascii=ensure_ascii)[1:-1])
    return written('"') + inner + written('"')


def _plain_tojson(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})


def _raise(message: str) -> None:
    raise TemplateError(message)


class _Generation(Extension):
    """`{% generation %}`: what stands inside is the assistant's."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        text = caller()
        return generated(text) if isinstance(text, Traced) else text


class _TracingEnvironment(ImmutableSandboxedEnvironment):
    """Joins output by our rules."""

    concat = staticmethod(joined)


def _environment(kind: type[ImmutableSandboxedEnvironment], strftime: Callable[[str], str]) -> Any:
    made = kind(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    made.globals |= {"raise_exception": _raise, "strftime_now": strftime}
    return made


def _plain(date: datetime) -> Any:
    made = _environment(ImmutableSandboxedEnvironment, date.strftime)
    made.filters["tojson"] = _plain_tojson
    return made


def _tracing(date: datetime) -> Any:
    def strftime(form: str) -> Traced:
        text = date.strftime(form)
        return Traced(text, [Run(len(text), DATE)])

    made = _environment(_TracingEnvironment, strftime)
    made.finalize = _shown
    made.filters |= {"tojson": tojson, "string": _text, "safe": _text, "join": _join, "in_a_row": _in_a_row}
    return made


def _text(value: Any) -> Traced:
    """A value as text: strings as they are, numbers as the template's own."""
    if isinstance(value, str):
        return traced(value)
    if value is None or isinstance(value, bool | int | float | Undefined):
        return written(str(value))
    return Traced(str(value))


@pass_context  # so that nothing is worked out before the run
def _shown(_: object, value: Any) -> Traced:
    return _text(value)


def _in_a_row(values: Iterable[Any]) -> Traced:
    return joined(map(_text, values))


@pass_environment
def _join(environment: Any, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> Traced:
    if attribute is not None:
        values = map(make_attrgetter(environment, attribute), values)
    return joined(map(_text, values), d)


class _Constants(NodeTransformer):
    """Replaces every string of a template by an attribute `text_0`, `text_1`, ... of the environment."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def _attribute(self, text: str) -> nodes.EnvironmentAttribute:
        self.texts.append(text)
        return nodes.EnvironmentAttribute(f"text_{len(self.texts) - 1}")

    def visit_Const(self, node: nodes.Const) -> nodes.Expr:  # noqa: N802  # jinja2's name
        return self._attribute(node.value) if isinstance(node.value, str) else node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Expr:  # noqa: N802
        return self._attribute(node.data)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "in_a_row", [], [], None, None)


def _untraced(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {_untraced(key): _untraced(one) for key, one in value.items()}
    return [_untraced(one) for one in value] if isinstance(value, list) else value
