"""The fields of a flat struct as flags: reading them, checking their values, and the page of `--help`.

A flag (`--batch-size 64`, `--batch-size=64`, `--no-streaming`) may also be typed in the cookbook's spelling
(`batch_size=64`, `dataset_builder.common_config.batch_size=64`). The last of two for the same field holds.
"""

import argparse
import difflib
import functools
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import NODEFAULT, Meta, Struct, inspect

from kernel.errors import InputError, expected, problem, unknown
from shell.process.command_line import program, short_program

LIMIT = 2**31  # no count, size or rate reaches it; services and arrays hold 32 bits
COOKBOOK_NAMES = {
    "base_url": "service",
    "buffer_size": "shuffle_buffer",
    "file_path": "dataset",
    "message_field": "dataset_column",
    "model_name_for_tokenizer": "tokenizer",
    "shuffle_seed": "seed",
    "stopping_strategy": "mix_stopping",
    "wandb_name": "session_name",
}
COOKBOOK_OTHERS = {
    "async_periodic_saves": "nothing is needed: no save is waited for",
    "dataset_builder": "give the data itself with --dataset",
    "enable_trace": "the time/... columns of metrics.jsonl say where a step's time goes",
    "evaluator_builders": "give sets with --eval-dataset, prompts with --sample-prompts",
    "infrequent_evaluator_builders": "give sets with --infrequent-eval-dataset",
    "inline_evals": "give sets with --eval-dataset, prompts with --sample-prompts",
    "num_replicas": "nothing is needed: the service spreads a step by itself",
    "project_id": "set it for the key, at the service",
    "span_chart_every": "the time/... columns of metrics.jsonl say where a step's time goes",
    "wandb_project": "metrics are in metrics.jsonl; --session-name names the run",
}
"""settings of tinker-cookbook that are none here, each with what to use"""
COOKBOOK_PREFIXES = ("dataset_builder.common_config.", "dataset_builder.", "...")


def doc(text: str, shape: str = "", *, secret: bool = False) -> Meta:
    """A field's line of `--help`, the name of its value ("FOLDER"), and whether the value is never shown."""
    return Meta(description=text, title=shape, extra={"secret": secret})


class Field(NamedTuple):
    """One field of a struct; `default` is `msgspec.NODEFAULT` if it is required."""

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
        kinds = [kind for kind in self.kinds if not isinstance(kind, inspect.NoneType)]
        match kinds:
            case [inspect.LiteralType(values=words)] | [inspect.EnumType(cls=words)]:
                return tuple(sorted(str(word) for word in words))
        return ()

    def may_be(self, kind: type[inspect.Type]) -> bool:
        return any(isinstance(one, kind) for one in self.kinds)

    @property
    def is_switch(self) -> bool:
        return self.may_be(inspect.BoolType)

    @property
    def metavar(self) -> str:
        """The name of its value in `--help`: "FOLDER", "mean|none", "N"."""
        return self.shape or "|".join(self.choices) or ("X" if self.may_be(inspect.FloatType) else "N")


@functools.cache
def fields_of(struct: type[Struct]) -> Mapping[str, Field]:
    """The fields of a flat struct by name, in their order."""
    forms = {field.name: field.type for field in msgspec.structs.fields(struct)}
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return {field.name: _read_field(field, forms[field.name]) for field in info.fields}


def _read_field(field: inspect.Field, form: object) -> Field:
    notes: dict[str, Any] = {}
    kind = field.type
    if isinstance(kind, inspect.Metadata):
        notes, kind = {**(kind.extra_json_schema or {}), **(kind.extra or {})}, kind.type
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    kinds = tuple(part.type if isinstance(part, inspect.Metadata) else part for part in kinds)
    text, shape, secret = notes.get("description", ""), notes.get("title", ""), notes.get("secret", False)
    return Field(field.name, form, kinds, field.default, text, shape, secret)


def conform(field: Field, raw: object, at: str) -> Any:
    """A value in the field's own type: text is read as a number where one is expected, "none" as None where allowed."""
    if isinstance(raw, str) and raw.lower() in ("none", "null") and field.may_be(inspect.NoneType):
        return None
    if field.shape == "MAP" and isinstance(raw, dict) and all(isinstance(one, str) for one in raw.values()):
        raw = ",".join(f"{name}={one}" for name, one in raw.items())
    got = "a value that is not shown" if field.secret else shown(raw)
    if isinstance(raw, str) and ("\0" in raw or any("\ud800" <= letter <= "\udfff" for letter in raw)):
        raise expected("text in UTF-8 without NUL", got, at)
    try:
        value = msgspec.convert(raw, field.form, strict=False)
    except (msgspec.ValidationError, RecursionError):
        if isinstance(raw, str) and field.choices:
            raise unknown(field.name, raw, field.choices, at) from None
        raise expected(" or ".join(_domain(kind) for kind in field.kinds), got, at) from None
    if isinstance(value, int | float) and not abs(value) < LIMIT:  # neither are NaN and infinity
        raise expected("a number below 2**31", got, at)
    return value


def _domain(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType() | inspect.FloatType():
            noun = "an integer" if isinstance(kind, inspect.IntType) else "a number"
            limits = {">=": kind.ge, ">": kind.gt, "<=": kind.le, "<": kind.lt}
            bounds = [f"{sign} {limit}" for sign, limit in limits.items() if limit is not None]
            return " ".join([noun, " and ".join(bounds)]).rstrip()
        case inspect.StrType():
            return "text" if not kind.min_length else "text that is not empty"
        case inspect.LiteralType(values=words) | inspect.EnumType(cls=words):
            return " or ".join(repr(getattr(word, "value", word)) for word in words)
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "none"
    return type(kind).__name__


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


def unknown_field(kind: str, name: str, names: Iterable[str], at: str = "") -> InputError:
    """The error for a name of no field: with the nearest names, or with a word on `--help-all`."""
    name = name[:60]
    if instead := COOKBOOK_OTHERS.get(name.removeprefix("--").replace("-", "_")):
        return problem(f"{name} is a setting of tinker-cookbook that is none here ({instead})", at)
    if near := difflib.get_close_matches(name, list(names), cutoff=0.7):
        return unknown(kind, name, near, at)
    return InputError(f"unknown {kind} {name!r}, expected one that --help-all lists" + (f" - at {at}" if at else ""))


def read_flags(argv: Sequence[str], config_type: type[Struct]) -> tuple[dict[str, str], str | None]:
    """The text typed for each field, and the file that `--config` names; prints the help and exits if that is asked."""
    fields = fields_of(config_type)
    is_all = "--help-all" in argv
    try:
        parser = _build_parser(config_type, is_all)
        options, rest = parser.parse_known_args(list(_as_flags(argv, fields)))
    except argparse.ArgumentError as error:
        if error.message == "expected one argument":
            raise expected("a value", "none", at=str(error.argument_name)) from None
        raise InputError(f"{error.message} - at {error.argument_name}") from None
    if rest:
        name = rest[0].partition("=")[0]
        if name.startswith("--"):
            flags = [word for field in fields.values() for word in (field.flag, field.negative)[: 1 + field.is_switch]]
            raise unknown_field("flag", name, ["--help", "--help-all", "--config", *flags])
        if "=" in rest[0]:
            raise unknown_field("setting", name, fields)
        raise expected("--flag VALUE or key=value", shown(name))
    texts: dict[str, str] = vars(options)
    path = texts.pop("config", None)
    return texts, path


def _as_flags(argv: Sequence[str], fields: Mapping[str, Field]) -> Iterator[str]:
    for token in argv:
        name, equals, text = token.partition("=")
        if name.startswith("--"):
            name = name[2:].replace("-", "_")
        elif equals:
            name = name.removeprefix(next(filter(name.startswith, COOKBOOK_PREFIXES), ""))
        else:
            name = ""
        name = name if name in fields else COOKBOOK_NAMES.get(name, name)
        if name == "config":
            yield f"--config{equals}{text}"
        elif name.startswith("no_") and name[3:] in fields:
            yield "--" + name.replace("_", "-") + equals + text
        elif name not in fields:
            yield token
        elif equals and fields[name].is_switch:
            on = conform(fields[name], text, at=fields[name].flag)
            yield fields[name].flag if on else fields[name].negative
        else:
            yield fields[name].flag + equals + text


def _build_parser(config_type: type[Struct], is_all: bool) -> argparse.ArgumentParser:
    """A parser of all flags, whose help lists those in the struct's `common`, or all."""
    columns = min(shutil.get_terminal_size(fallback=(100, 24)).columns, 110)
    parser = argparse.ArgumentParser(
        prog=program(),
        usage="%(prog)s [--flag VALUE | key=value ...]",
        description=(config_type.__doc__ or "").partition("\n")[0],
        epilog=_notes(config_type, columns),
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=36, width=columns),
        argument_default=argparse.SUPPRESS,
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
    )
    fields = fields_of(config_type)
    common = getattr(config_type, "common", tuple(fields))
    headings = getattr(config_type, "headings", {})
    group = parser.add_argument_group("General")
    n_more = len(fields) - len(common)
    also = f"show {n_more} more flags too" if n_more else "the same, as there are no more flags"
    group.add_argument("-h", "--help", action="help", help="show this and exit")
    group.add_argument("--help-all", action="help", help=also)
    group.add_argument("--config", metavar="FILE", help="settings from a .toml, .json or .yaml file; flags win")
    for name, field in fields.items():
        if name in headings:
            group = parser.add_argument_group(headings[name])
        text = _help_of(field) if is_all or name in common else argparse.SUPPRESS
        if field.is_switch:
            group.add_argument(field.flag, dest=name, action="store_const", const="true", help=text)
            group.add_argument(field.negative, dest=name, action="store_const", const="false", help=argparse.SUPPRESS)
        else:
            group.add_argument(field.flag, dest=name, metavar=field.metavar, help=text)
    return parser


def _help_of(field: Field) -> str:
    text = field.text
    if field.choices and field.shape:
        text += f": {', '.join(field.choices)}"
    match field.default:
        case None:
            return text
        case True:
            return f"{text} [on; off with {field.negative}]"
        case False:
            return f"{text} [off]"
        case float(number):
            return f"{text} [{number:g}]"
    return text + (" (required)" if field.default is NODEFAULT else f" [{field.default}]")


def _notes(config_type: type[Struct], columns: int) -> str:
    """The foot of the page: defaults that follow from a choice, and examples."""
    notes = []
    presets: Mapping[str, Mapping[str, Any]] = getattr(config_type, "presets", {})
    if presets:
        notes.append("defaults that come with a service or a dataset:")
        for name, values in presets.items():
            text = "  ".join(f"{key}={value}" for key, value in values.items())
            notes += textwrap.wrap(f"  {name:<12}{text}", columns, subsequent_indent=" " * 14, break_on_hyphens=False)
        notes.append("")
    if examples := getattr(config_type, "examples", ()):
        notes += ["examples:", *(f"  {short_program()} {example}" for example in examples)]
    return "\n".join(notes)
