"""Settings of a run from what was typed: flags, a file, presets and defaults, and where each value came from.

    default < preset < file < flag

It works for any flat struct. `main` runs a recipe and turns errors into one sentence and an exit code.
"""

import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import NODEFAULT, Struct, inspect

from kernel.errors import InputError, expected, problem
from shell.data.row_faults import RowFaultsError
from shell.process.plugs import absolute, check_trusted, digests
from shell.settings.choose_service import ServiceChoice, choose_service, read_environment
from shell.settings.config import CODE, COMMAND_CONFIGS, PRESETS, Config, check_dataset, presets_of
from shell.settings.flags import (
    COOKBOOK_NAMES,
    COOKBOOK_OTHERS,
    Field,
    conform,
    fields_of,
    read_flags,
    shown,
    unknown_field,
)

C = TypeVar("C", bound=Struct)

INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + SIGINT, 128 + SIGPIPE


class Setting(NamedTuple):
    """A value and where it came from: "default", "preset sample", "file run.toml", "flag --batch-size"."""

    value: Any
    source: str


class Resolved(NamedTuple, Generic[C]):
    """Settings, the source of each, and for a run its service."""

    config: C
    sources: dict[str, str]
    endpoint: ServiceChoice | None


def main(
    run: Callable[[Resolved[C]], int | None],
    argv: Sequence[str] | None = None,
    config_type: type[C] = Config,  # type: ignore[assignment]
) -> int:
    """Runs a recipe on what was typed (None: the process's own arguments), and prints an error as one sentence.

    Returns:
        0, or what `run` returned; 2 for input that cannot be used and files that cannot be read or written, 130 after
        Ctrl-C, 141 for a closed pipe; for an exception with an `exit_code` (a fault of the service) that code.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, TextIOWrapper)]  # not what is closed
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")  # for terminals that lack a letter
    try:
        try:
            return run(resolve(sys.argv[1:] if argv is None else argv, config_type)) or 0
        finally:
            for stream in streams:
                stream.flush()
    except RowFaultsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except InputError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # as in `| head`; nothing is left to flush then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        place = f" - at {error.filename}" if error.filename else ""
        return _fail(f"{(error.strerror or str(error)).lower()}{place}", 2)
    except Exception as error:
        if isinstance(code := getattr(error, "exit_code", None), int):
            return _fail(str(error), code)
        raise


def resolve(
    argv: Sequence[str],
    config_type: type[C] = Config,  # type: ignore[assignment]
) -> Resolved[C]:
    """The settings that were typed, are in a file, or follow from these.

    Args:
        argv: `--batch-size 64`, `batch_size=64`, `--no-streaming`, `--config FILE`, `--help`, ...
        config_type: a flat struct, its fields annotated as in `shell.settings.config`. Presets and a service belong to
            `Config` and its subclasses.

    Raises:
        InputError: an unknown name, a value outside its limits, a file that cannot be read, no usable key.
        SystemExit: with code 0, after the help was printed.

    >>> resolve(["--log-path", "run", "--service", "embedded", "batch_size=8"]).sources["batch_size"]
    'flag --batch-size'
    """
    fields = fields_of(config_type)
    texts, path = read_flags(argv, config_type)
    flags = {
        name: Setting(conform(fields[name], text, fields[name].flag), f"flag {fields[name].flag}")
        for name, text in texts.items()
    }
    typed = _read_file(path, fields, flags) | flags
    for name, field in fields.items():
        if field.default is NODEFAULT and name not in typed:
            raise expected(f"{field.flag} {field.metavar}", "nothing")
    return _complete(typed, config_type)


def resolve_config(config: C) -> Resolved[C]:
    """The settings of a struct built in Python: those that differ from the defaults count as given."""
    fields = fields_of(type(config))
    values = {name: getattr(config, name) for name in fields}
    given = {name: Setting(value, "argument") for name, value in values.items() if value != fields[name].default}
    return _complete(given, type(config))


def _complete(typed: Mapping[str, Setting], config_type: type[C]) -> Resolved[C]:
    """The settings that were given, and those that follow from them."""
    fields = fields_of(config_type)
    chosen = {name: setting for name, setting in typed.items() if setting.value is not None}
    if "dataset" in chosen:
        check_dataset(chosen["dataset"].value, at=chosen["dataset"].source.removeprefix("flag ").removeprefix("file "))
    endpoint, presets = _choose(chosen) if issubclass(config_type, Config) else (None, {})
    defaults = {name: Setting(field.default, "default") for name, field in fields.items()}
    settings = defaults | dict(typed) | presets | chosen  # a preset replaces what was typed as "none"
    config = config_type(**{name: value for name, (value, _) in settings.items()})
    return Resolved(config, {name: source for name, (_, source) in settings.items()}, endpoint)


def describe(resolved: Resolved[C]) -> dict[str, Any]:
    """What `config.json` records, and `--config` reads back: every value but the key, and where each came from.

    With a model its name stands at the top too, where other tools look; with code of the user's, its digest.
    """
    fields = fields_of(type(resolved.config)).items()
    config = {name: getattr(resolved.config, name) for name, field in fields if not field.secret}
    code = {name: absolute(config[name], Path.cwd()) for name in CODE if config.get(name)}
    marks = {spec: digest for text in code.values() for spec, digest in digests(text).items()}
    model_name = {"model_name": config["model_name"]} if "model_name" in config else {}
    return {**model_name, "config": config | code, "sources": resolved.sources, **({"code": marks} if marks else {})}


def _choose(chosen: Mapping[str, Setting]) -> tuple[ServiceChoice, dict[str, Setting]]:
    """The service, and the presets that it and the dataset bring."""
    values = {name: setting.value for name, setting in chosen.items()}
    service, model_name, api_key = values.get("service", "auto"), values.get("model_name"), values.get("api_key")
    endpoint = choose_service(service, model_name, api_key, read_environment())
    presets: dict[str, Setting] = {}
    for preset in presets_of(endpoint, values.get("dataset")):
        presets |= {name: Setting(value, f"preset {preset}") for name, value in PRESETS[preset].items()}
    return endpoint, presets


def _read_file(path: str | None, fields: Mapping[str, Field], flags: Mapping[str, Setting]) -> dict[str, Setting]:
    if path is None:
        return {}
    file = Path(os.path.expanduser(path))
    table, recorded = _parse_file(file), None
    if isinstance(table, dict) and isinstance(table.get("config"), dict) and "sources" in table:
        recorded = table.get("code")  # the config.json of a run
        table = table["config"]
    if not isinstance(table, dict):
        raise expected("a table of settings", shown(table), at=path)
    known = {**fields, **{name: f for struct in COMMAND_CONFIGS.values() for name, f in fields_of(struct).items()}}
    typed: dict[str, Setting] = {}
    for keys, name, raw in _flat(table, known):
        at = f"{path} $.{'.'.join(keys)}"
        if raw is None and name in COOKBOOK_OTHERS:
            continue
        if name not in fields and name not in known:
            raise unknown_field("setting", name, fields, at)
        if name in typed:
            raise problem(f"{name} is there twice", at)
        if name == "allow_code" or name not in fields:  # no file allows itself; the others are of other commands
            continue
        value = conform(fields[name], _as_text(fields[name], raw), at)
        if name in CODE and value and name not in flags:
            value, way = absolute(value, file.absolute().parent), f"repeat {fields[name].flag}, or give --allow-code"
            if "allow_code" not in flags or not flags["allow_code"].value:
                check_trusted(value, file, recorded if isinstance(recorded, dict) else {}, way, at)
        typed[name] = Setting(value, f"file {path}")
    return typed


def _flat(
    table: Mapping[str, Any], known: Mapping[str, Field], above: tuple[str, ...] = ()
) -> Iterator[tuple[Any, str, Any]]:
    """The keys, the name and the value of each setting of a table; tables in it group settings."""
    for key, raw in table.items():
        name = str(key).replace("-", "_")
        name = name if name in known else COOKBOOK_NAMES.get(name, name)
        if isinstance(raw, dict) and not (name in known and known[name].may_be(inspect.StrType)):
            yield from _flat(raw, known, (*above, str(key)))
        else:
            yield (*above, str(key)), name, raw


def _as_text(field: Field, raw: object) -> object:
    """A list or a table as the text that the flag takes: sources `a,b`, pairs `a=1,b=2`."""
    if field.shape == "MAP":
        return raw
    parts = [f"{key}={value}" for key, value in raw.items()] if isinstance(raw, dict) else raw
    if isinstance(parts, list) and field.may_be(inspect.StrType) and all(isinstance(part, str) for part in parts):
        return ",".join(parts)
    return raw


def _parse_file(path: Path) -> object:
    readers: dict[str, Callable[[str], object]] = {
        ".toml": tomllib.loads,
        ".json": msgspec.json.decode,
        ".yaml": msgspec.yaml.decode,
        ".yml": msgspec.yaml.decode,
    }
    form = path.suffix.lower()
    if form not in readers:
        raise expected(f"a file that ends in {', '.join(readers)}", shown(path.name), at="--config")
    try:
        return readers[form](path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise expected("a file of settings", (error.strerror or "an error").lower(), at=str(path)) from None
    except ImportError:
        raise expected("PyYAML to read YAML (pip install pyyaml)", "no such package", at=str(path)) from None
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise expected(form[1:].upper(), f"something else ({error})", at=str(path)) from None


def _fail(sentence: str, code: int) -> int:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    return code
