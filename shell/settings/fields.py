"""What the annotations of a flat struct say: limits, choices, a line of help; and reading a value as they ask.

msgspec knows how to check a value; its errors name types (`int | null`) and a place inside a document, where a user
needs words and a flag. So a `Field` keeps what `msgspec.inspect` finds in an annotation, and `conform` says in one
sentence what was expected. It serves every flat struct, the settings of a run and the options of a small recipe alike.
"""

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Meta, Struct, inspect

from kernel.errors import InputError, expected, unknown

LIMIT = 2**31  # no count, size or rate reaches it; services and arrays hold 32 bits


def doc(text: str, shape: str = "", *, secret: bool = False) -> Meta:
    """A field's line of `--help`, what stands there for its value ("FOLDER"), and whether its value is never shown."""
    return Meta(description=text, title=shape, extra={"secret": secret})


class Field(NamedTuple):
    """One field of a struct: `kinds` are the types its value may have, `default` is `msgspec.NODEFAULT` if required."""

    name: str
    form: Any
    kinds: tuple[inspect.Type, ...]
    default: object
    text: str
    shape: str
    secret: bool

    @property
    def flag(self) -> str:
        """`--batch-size` for `batch_size`."""
        return "--" + self.name.replace("_", "-")

    @property
    def negative(self) -> str:
        """`--no-streaming` for `streaming`."""
        return "--no-" + self.flag.removeprefix("--")

    @property
    def choices(self) -> tuple[str, ...]:
        """The words it may be, if it may be nothing else (but none)."""
        kinds = [kind for kind in self.kinds if not isinstance(kind, inspect.NoneType)]
        if len(kinds) == 1 and isinstance(kinds[0], inspect.LiteralType):
            return tuple(str(value) for value in kinds[0].values)
        return ()

    @property
    def is_switch(self) -> bool:
        """Whether it is true or false: a flag without a value."""
        return any(isinstance(kind, inspect.BoolType) for kind in self.kinds)

    @property
    def may_be_none(self) -> bool:
        """Whether it may be left open."""
        return any(isinstance(kind, inspect.NoneType) for kind in self.kinds)


@functools.cache
def fields_of(struct: type[Struct]) -> Mapping[str, Field]:
    """The fields of a flat struct by name, in their order.

    >>> from typing import Annotated
    >>> class Options(Struct):
    ...     limit: Annotated[int, Meta(ge=1), doc("rows to show")] = 3
    >>> fields_of(Options)["limit"].text
    'rows to show'
    """
    forms = {field.name: field.type for field in msgspec.structs.fields(struct)}
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return {field.name: _read_field(field, forms[field.name]) for field in info.fields}


def conform(field: Field, raw: object, at: str) -> Any:
    """What was given for a field, in the field's own type.

    Args:
        field: what it is for.
        raw: a flag's text, or a value of a file or of code. Text is read as a number where a number must be, and
            "none" as nothing where nothing may be.
        at: where it came from.

    Raises:
        InputError: it is not what the field holds.

    >>> from typing import Annotated
    >>> class Options(Struct):
    ...     limit: Annotated[int, Meta(ge=1)] = 3
    >>> conform(fields_of(Options)["limit"], "64", at="--limit")
    64
    """
    if isinstance(raw, str) and raw.lower() in ("none", "null") and field.may_be_none:
        return None
    got = "a value that is not shown" if field.secret else shown(raw)
    if isinstance(raw, str) and ("\0" in raw or any("\ud800" <= letter <= "\udfff" for letter in raw)):
        raise expected("text in UTF-8 without NUL", got, at)
    try:
        value = msgspec.convert(raw, field.form, strict=False)
    except (msgspec.ValidationError, RecursionError):
        if isinstance(raw, str) and field.choices:
            raise unknown(field.name, raw, field.choices, at) from None
        raise expected(" or ".join(_domain(kind) for kind in field.kinds), got, at) from None
    if isinstance(value, int | float) and not abs(value) < LIMIT:  # nor is what is no number, or has no end
        raise expected("a number below 2**31", got, at)
    return value


def unknown_field(kind: str, name: str, names: Iterable[str], at: str = "") -> InputError:
    """The error for a name that is no field's; one that is near to none is sent to `--help`, for the list is long.

    >>> str(unknown_field("flag", "--sede", ["--seed", "--order"]))
    "unknown flag '--sede', did you mean '--seed'?"
    """
    name = name[:60]
    if near := difflib.get_close_matches(name, list(names), cutoff=0.7):
        return unknown(kind, name, near, at)
    return InputError(f"unknown {kind} {name!r}, expected one that --help lists" + (f" - at {at}" if at else ""))


def shown(raw: object) -> str:
    """A value as the user would recognise it, in a few words."""
    match raw:
        case None:
            return "nothing"
        case bool():
            return str(raw).lower()
        case int() if raw.bit_length() > 128:
            return "a very large integer"
        case dict():
            return "a table"
        case list():
            return "a list"
        case str() if re.fullmatch(r"[-+.\deE]{1,60}", raw, re.ASCII):
            return raw
        case str():
            return repr(raw if len(raw) <= 60 else raw[:57] + "...")
    return str(raw)[:60]


def _read_field(field: inspect.Field, form: object) -> Field:
    notes: dict[str, Any] = {}
    kind = field.type
    if isinstance(kind, inspect.Metadata):
        notes, kind = {**(kind.extra_json_schema or {}), **(kind.extra or {})}, kind.type
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    kinds = tuple(part.type if isinstance(part, inspect.Metadata) else part for part in kinds)
    text, shape, secret = notes.get("description", ""), notes.get("title", ""), notes.get("secret", False)
    return Field(field.name, form, kinds, field.default, text, shape, secret)


def _domain(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType() | inspect.FloatType():
            noun = "an integer" if isinstance(kind, inspect.IntType) else "a number"
            limits = {">=": kind.ge, ">": kind.gt, "<=": kind.le, "<": kind.lt}
            bounds = [f"{sign} {limit}" for sign, limit in limits.items() if limit is not None]
            return " ".join([noun, " and ".join(bounds)]).rstrip()
        case inspect.StrType():
            return "text" if not kind.min_length else "text that is not empty"
        case inspect.LiteralType():
            return " or ".join(repr(value) for value in kind.values)
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "none"
    return type(kind).__name__
