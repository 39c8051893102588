"""What the wheel holds, and that `import tinsmith` is told from foreign packages of the same names."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def run(code: str, path: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # -S -P: neither an installed copy nor the current folder
    environment = {"PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-S", "-P", "-c", code], capture_output=True, text=True, cwd=cwd, env=environment
    )


@pytest.fixture
def tinsmith_only(tmp_path: Path) -> Path:
    """A folder with `tinsmith` alone, as the wheel has it."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/tinsmith").symlink_to(ROOT / TABLE["package-dir"]["tinsmith"])
    return tmp_path / "site"


def test_the_package_list_is_that_of_the_tree() -> None:
    folders = {path.parent for top in ("kernel", "shell") for path in (ROOT / top).rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders} - {"shell.tinsmith"}
    assert sorted(TABLE["packages"]) == sorted(names | {"tinsmith"})
    assert TABLE["package-dir"] == {"tinsmith": "shell/tinsmith"}


@pytest.mark.parametrize("name", ["kernel", "shell"])
def test_a_foreign_package_of_our_name_is_named_at_the_first_import(
    name: str, tinsmith_only: Path, tmp_path: Path
) -> None:
    (tmp_path / "foreign" / name).mkdir(parents=True)
    (tmp_path / "foreign" / name / "__init__.py").write_text("")
    done = run("import tinsmith", f"{tmp_path / 'foreign'}:{tinsmith_only}:{ROOT}", tmp_path)
    *_, last = done.stderr.splitlines()
    where = tmp_path / "foreign" / name
    assert last == (
        f"ImportError: tinsmith needs its own package {name!r}, but another package of that name is at {where}; "
        "use an environment of its own"
    )


def test_a_module_of_our_name_in_the_way_is_named_too(tinsmith_only: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/shell.py").write_text("")
    done = run("import tinsmith", f"{tmp_path / 'foreign'}:{tinsmith_only}:{ROOT}", tmp_path)
    assert "another package of that name is at" in done.stderr.splitlines()[-1]


def test_importing_tinsmith_imports_nothing_else(tinsmith_only: Path, tmp_path: Path) -> None:
    done = run("import sys, tinsmith; print(*sys.modules)", f"{tinsmith_only}:{ROOT}", tmp_path)
    assert {"kernel", "shell", "numpy"}.isdisjoint(done.stdout.split())
    assert "tinsmith" in done.stdout.split()
