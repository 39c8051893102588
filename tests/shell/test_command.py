"""The installed command and the recipes: one table, hints that repeat what was command_line, the same exit codes."""

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from shell.command import COMMANDS, main
from shell.process import command_line
from shell.settings.config import COMMAND_CONFIGS
from shell.settings.flags import fields_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "_typed", ["tinsmith"])


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_names_exists(command: str) -> None:
    for spec in filter(None, (COMMANDS[command].config, COMMANDS[command].run)):
        module, _, name = spec.partition(":")
        assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("recipe", ["sl_basic", "show", "prepare"])
def test_a_recipe_is_a_docstring_and_its_command(recipe: str) -> None:
    _, _, _, guarded = ast.parse((ROOT / "recipes" / f"{recipe}.py").read_text()).body
    assert isinstance(guarded, ast.If)
    assert ast.unparse(guarded.body[0]) in [f"sys.exit(main({command!r}))" for command in COMMANDS]


def test_the_page_of_commands_fits_and_names_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv=["--help"]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    assert all(f"  {name} " in page for name in COMMANDS)


@pytest.mark.parametrize("argv", [[], ["trian"], ["--log-path", "x"]])
def test_no_known_command_is_exit_code_2(argv: list[str]) -> None:
    assert main(argv=argv) == 2


def test_hints_repeat_the_installed_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = tmp_path / "tinsmith"
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(installed), "show"])
    monkeypatch.setenv("PATH", str(tmp_path))
    command_line.set_command("show")
    assert (command_line.program(), command_line.serve_program()) == ("tinsmith show", "tinsmith serve")
    monkeypatch.setenv("PATH", "/nowhere")
    command_line.set_command("show")
    assert command_line.program() == f"{installed} show"


def test_hints_repeat_the_recipe_with_the_interpreter_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["recipes/my show.py"])
    monkeypatch.setenv("PATH", "/nowhere")
    command_line.set_script()
    assert command_line.program().endswith(" 'recipes/my show.py'")
    assert Path(command_line.program().split()[0]).absolute() == Path(sys.executable)
    assert command_line.serve_program().endswith(" -m shell.local_service")


def test_where_nothing_was_typed_the_installed_command_is_named() -> None:
    assert (command_line.program(), command_line.serve_program()) == ("tinsmith train", "tinsmith serve")


@pytest.mark.parametrize("command", COMMAND_CONFIGS)
def test_the_schema_holds_every_setting_with_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv=["schema", command]) == 0
    schema = json.loads(capsys.readouterr().out)
    name = COMMAND_CONFIGS[command].__name__
    settings = schema["$defs"][name]["properties"]
    assert list(settings) == list(COMMAND_CONFIGS[command].__struct_fields__)
    assert all("description" in setting or "anyOf" in setting for setting in settings.values())


def test_models_and_renderers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv=["models"]) == main(argv=["renderers"]) == 0
    page = capsys.readouterr().out
    assert "Qwen/Qwen3-8B " in page
    assert "\nkimi_k2 " in page


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from shell.command import main; main(argv=['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {"numpy", "tinker", "datasets", "msgspec"}.isdisjoint(done.stdout.split())


def test_the_page_for_coding_agents_names_commands_and_settings_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv=["agents"]) == 0
    page = capsys.readouterr().out
    assert set(re.findall(r"tinsmith ([a-z]+)[ `,]", page)) - {"import"} <= set(COMMANDS)
    flags = {field.flag for struct in COMMAND_CONFIGS.values() for field in fields_of(struct).values()}
    assert set(re.findall(r"--[a-z][a-z-]+", page)) <= flags | {"--help", "--help-all", "--config"}
