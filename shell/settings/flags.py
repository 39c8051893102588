"""The words of a command line: splitting them into fields, and the page that `--help` prints.

A field is a flag (`--batch-size 64`, `--batch-size=64`, `--streaming`, `--no-streaming`) or, in the cookbook's
spelling, `batch_size=64` and `dataset_builder.common_config.batch_size=64`; both may be mixed, and of two for the same
field the last holds. argparse splits the tokens and lays out the page; the values stay text, for msgspec to read. tyro
was tried in argparse's place: `--help` took nearly twice as long, its errors are boxes of several lines that it prints
itself, and it does not tell a default from the same value typed, which the record of sources needs.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import NODEFAULT, Struct

from kernel.errors import InputError, expected
from shell.settings.config import PRESETS, Config
from shell.settings.fields import Field, conform, fields_of, shown, unknown_field

# The cookbook's names for what is called otherwise here, and the places its names may be under.
COOKBOOK_NAMES = {
    "base_url": "service",
    "buffer_size": "shuffle_buffer",
    "file_path": "dataset",
    "model_name_for_tokenizer": "tokenizer",
    "shuffle_seed": "seed",
    "stopping_strategy": "mix_stopping",
}
COOKBOOK_PLACES = ("dataset_builder.common_config.", "dataset_builder.", "...")


def read_flags(argv: Sequence[str], config_type: type[Struct]) -> tuple[dict[str, str], str | None]:
    """The text that was typed for each field, and the file that `--config` names.

    Args:
        argv: the tokens behind the program's name.
        config_type: a flat struct annotated as in `shell.settings.config`.

    Raises:
        InputError: a token that names no field, or a flag that lacks its value.
        SystemExit: with code 0, after the help was printed.

    Touches: standard output, for the help.

    >>> read_flags(["--batch-size=64", "dataset_builder.file_path=chats.jsonl", "--no-streaming"], Config)[0]
    {'batch_size': '64', 'dataset': 'chats.jsonl', 'streaming': 'false'}
    """
    fields = fields_of(config_type)
    try:
        options, rest = _build_parser(config_type).parse_known_args(list(_as_flags(argv, fields)))
    except argparse.ArgumentError as error:
        if error.message == "expected one argument":
            raise expected("a value", "none", at=str(error.argument_name)) from None
        raise InputError(f"{error.message} - at {error.argument_name}") from None
    if rest:
        name = rest[0].partition("=")[0]
        if name.startswith("--"):
            flags = [word for field in fields.values() for word in (field.flag, field.negative)[: 1 + field.is_switch]]
            raise unknown_field("flag", name, ["--help", "--config", *flags])
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
            name = name.removeprefix(next(filter(name.startswith, COOKBOOK_PLACES), ""))
            name = COOKBOOK_NAMES.get(name, name)
        else:
            name = ""
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


def _build_parser(config_type: type[Struct]) -> argparse.ArgumentParser:
    prog = sys.argv[0] if not sys.argv[0].endswith(".py") else f"python {sys.argv[0]}"
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [--flag VALUE | key=value ...]",
        description=(config_type.__doc__ or "").partition("\n")[0],
        epilog=_notes(config_type),
        formatter_class=_layout,
        argument_default=argparse.SUPPRESS,
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
    )
    headings = getattr(config_type, "headings", {})
    group = parser.add_argument_group("General")
    group.add_argument("-h", "--help", action="help", help="show this and exit")
    group.add_argument("--config", metavar="FILE", help="settings from a .toml, .json or .yaml file; flags win")
    for name, field in fields_of(config_type).items():
        if name in headings:
            group = parser.add_argument_group(headings[name])
        if field.is_switch:
            group.add_argument(field.flag, dest=name, action="store_const", const="true", help=_help_of(field))
            group.add_argument(field.negative, dest=name, action="store_const", const="false", help=argparse.SUPPRESS)
        else:
            group.add_argument(field.flag, dest=name, metavar=metavar(field), help=_help_of(field))
    return parser


def metavar(field: Field) -> str:
    """What stands for a field's value on the page: "FOLDER", "mean|none", "N"."""
    words = "|".join(field.choices)
    if field.shape or words:
        return field.shape or words
    return "X" if any(isinstance(kind, msgspec.inspect.FloatType) for kind in field.kinds) else "N"


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


def _notes(config_type: type[Struct]) -> str:
    notes = []
    if issubclass(config_type, Config):
        notes.append("defaults that come with a service or a dataset:")
        for name, values in PRESETS.items():
            notes.append(f"  {name:<12}{'  '.join(f'{key}={value}' for key, value in values.items())}")
        notes.append("")
    if examples := getattr(config_type, "examples", ()):
        notes += ["examples:", *(f"  %(prog)s {example}" for example in examples)]
    return "\n".join(notes)


def _layout(prog: str) -> argparse.HelpFormatter:
    width = shutil.get_terminal_size(fallback=(100, 24)).columns
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=36, width=min(width, 110))
