"""The kernel is pure: what it may import, and what its code may not touch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

KERNEL = Path(__file__).parents[1] / "kernel"
MODULES = sorted(
    ".".join(path.relative_to(KERNEL.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in KERNEL.rglob("*.py")
)
FOREIGN = ("tinker", "torch", "transformers", "tokenizers", "datasets", "msgspec", "pydantic", "shell")

IMPORT = "import sys, importlib; [importlib.import_module(name) for name in sys.argv[1].split()];"
REPORT = f"print([name for name in {FOREIGN!r} if name in sys.modules])"


def foreign(modules: list[str], before: str = "") -> str:
    """Which foreign packages stand in a fresh interpreter once these modules are imported."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT + before + REPORT, " ".join(modules)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_kernel_brings_no_foreign_package_along() -> None:
    assert len(MODULES) > 10
    assert foreign(MODULES) == "[]"


def test_the_test_above_can_fail() -> None:
    assert foreign(["kernel"], before="import msgspec;") == "['msgspec']"


TOUCHES = {"open", "print", "input", "exec", "eval", "breakpoint", "__import__"}
WORLD = {"logging", "time", "random", "os", "io", "pathlib", "socket", "subprocess", "threading", "datetime", "sys"}


def offences(source: str) -> list[str]:
    """Names in a module's code that touch the world."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in TOUCHES:
            found.append(node.id)
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in WORLD]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in WORLD:
            found.append(node.module or "")
        if isinstance(node, ast.Attribute) and node.attr == "environ":
            found.append("environ")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "random":
            found += [f"np.random.{node.attr}"] if node.attr not in ("default_rng", "Generator") else []
    return found


@pytest.mark.parametrize("path", sorted(KERNEL.rglob("*.py")), ids=lambda path: str(path.relative_to(KERNEL)))
def test_no_module_of_the_kernel_touches_the_world(path: Path) -> None:
    assert offences(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "open('x')",
        "print(1)",
        "import time",
        "from random import random",
        "import os; os.environ['A']",
        "import numpy as np; np.random.seed(0)",
        "import logging",
    ],
)
def test_the_walk_sees_what_it_forbids(source: str) -> None:
    assert offences(source)


def test_no_layer_imports_upward() -> None:
    root = KERNEL.parent
    for layer, above in (("kernel", ("shell", "recipes")), ("shell", ("recipes",)), ("recipes", ("recipes",))):
        for path in (root / layer).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not [name for name in names if name.split(".")[0] in above], path


def test_every_public_name_of_the_kernel_is_there() -> None:
    import kernel

    assert {name for name in kernel.__all__ if getattr(kernel, name, None) is None} == set()
    typed = KERNEL.joinpath("__init__.py").read_text(encoding="utf-8").split("if TYPE_CHECKING:")[1]
    imported = {
        a.asname or a.name
        for n in ast.walk(ast.parse(_dedent(typed)))
        if isinstance(n, ast.ImportFrom)
        for a in n.names
    }
    assert imported == set(kernel.__all__)


def _dedent(block: str) -> str:
    return "if True:" + block
