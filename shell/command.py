"""The `tinsmith` command and the recipes: a table of subcommands, each a struct of settings and what runs on it.

`recipes/NAME.py` call `main` with their subcommand; the installed command reads it from the first argument.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from shell.process import command_line


class Command(NamedTuple):
    """A subcommand; modules are imported when it runs, as `--help` must not wait for them."""

    about: str
    config: str
    """module:struct of its settings; empty: it reads its arguments itself"""
    run: str
    """module:function, called with the settings, or with the arguments and its name"""


COMMANDS = {
    "train": Command("fine-tune a model on conversations", "shell.settings.config:Config", "shell.train:train"),
    "show": Command("show rows as the model will see them", "shell.settings.config:ShowConfig", "shell.show:show"),
    "prepare": Command("cache rows as tokens", "shell.prepare:PrepareConfig", "shell.prepare:run_prepare"),
    "serve": Command("serve the built-in local service", "", "shell.local_service.__main__:main"),
    "models": Command(
        "list known models, or those of a service", "shell.catalog:CatalogConfig", "shell.catalog:models"
    ),
    "renderers": Command("list the built-in renderers", "shell.catalog:CatalogConfig", "shell.catalog:renderers"),
    "schema": Command("print the JSON schema of all settings", "", "shell.catalog:schema"),
    "agents": Command("print instructions for coding agents", "", "shell.catalog:agents"),
}


def main(command: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns its exit code.

    Args:
        command: its name; None: the first argument.
        argv: what was typed after the program's name; None: this process's own arguments.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if command is None:
        if not words or words[0] in ("-h", "--help", "help"):
            print(_help())
            return 0 if words else 2
        command = words.pop(0)
        if command not in COMMANDS:
            print(f"error: unknown command {command!r}, expected {', '.join(COMMANDS)}", file=sys.stderr)
            return 2
        command_line.set_command(command)
    else:
        command_line.set_script()
    if not COMMANDS[command].config:
        return int(_load(COMMANDS[command].run)(words))
    from shell.settings.cli import Resolved
    from shell.settings.cli import main as run_recipe

    def run(resolved: Resolved[Any]) -> int | None:
        result: int | None = _load(COMMANDS[command].run)(resolved if command == "train" else resolved.config)
        return result

    return run_recipe(run, words, _load(COMMANDS[command].config))


def _load(spec: str) -> Any:
    module, _, name = spec.partition(":")
    return getattr(import_module(module), name)


def _help() -> str:
    lines = ["usage: tinsmith COMMAND [--flag VALUE ...]", "", *(f"  {n:<11}{c.about}" for n, c in COMMANDS.items())]
    return "\n".join([*lines, "", "tinsmith COMMAND --help lists the flags of a command."])
