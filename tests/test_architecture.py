"""Architecture of kernel and shell: layers, import circles, and the size of modules and functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATHS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in ("kernel", "shell")
    for path in sorted((ROOT / top).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in PATHS.items()}
MAX_MODULE_LINES, MAX_FUNCTION_LINES = 300, 60
LAYERS = (
    ("kernel",),
    ("shell.process", "shell.run_dir"),
    ("shell.data",),
    ("shell.settings",),
    ("shell.text",),
    ("shell.datums",),
    ("shell.fingerprints", "shell.token_cache"),
    (
        "shell.datums.open_run_data",
        "shell.datums.check_rows",
        "shell.datums.prefetch",
        "shell.datums.supervised_dataset",
    ),
    ("shell.local_service",),
    ("shell.service",),
    ("shell.training",),
    ("shell.train", "shell.show", "shell.prepare", "shell.catalog", "shell.run_reader"),
    ("shell.command", "shell.api", "shell.tinsmith"),
)
"""from the lowest up, by the longest prefix of a name; a module imports its own layer and those below"""


def imports_of(tree: ast.Module, name: str, is_package: bool = False) -> set[str]:
    """The modules of ours that a module imports as it is loaded, not for types alone."""
    found: set[str] = set()
    for node in _loaded(tree.body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert isinstance(node, ast.ImportFrom)
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                above = parts[: len(parts) - node.level + is_package]
                base = ".".join([*above, *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in PATHS else base for alias in node.names}
    return {module for module in found if module in PATHS and module != name}


def _loaded(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield node
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                yield from _loaded(orelse)
            case ast.If(body=inner, orelse=orelse):
                yield from _loaded([*inner, *orelse])
            case ast.Try(body=inner, handlers=handlers, orelse=orelse, finalbody=last):
                yield from _loaded([*inner, *(s for h in handlers for s in h.body), *orelse, *last])
            case ast.With(body=inner) | ast.ClassDef(body=inner):
                yield from _loaded(inner)


GRAPH = {name: imports_of(tree, name, PATHS[name].name == "__init__.py") for name, tree in TREES.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, directly or not."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        left = [start]
        while left:
            new = graph.get(left.pop(), set()) - seen
            seen |= new
            left += new
        return seen

    above = {name: reached(name) for name in graph}
    groups = {
        frozenset(other for other in above[name] if name in above[other]) for name in graph if name in above[name]
    }
    return sorted(sorted(group) for group in groups)


def layer_of(name: str) -> int | None:
    """The number of a module's layer, or None."""
    tops = {top: i for i, layer in enumerate(LAYERS) for top in layer if f"{name}.".startswith(f"{top}.")}
    return tops[max(tops, key=len)] if tops else None


def arrows_up(graph: dict[str, set[str]]) -> list[str]:
    """Imports of a higher layer."""
    layers = {name: -1 if (layer := layer_of(name)) is None else layer for name in {*graph, *PATHS}}
    return [f"{name} -> {other}" for name in graph for other in sorted(graph[name]) if layers[name] < layers[other]]


def long_functions(tree: ast.Module) -> list[str]:
    """Functions over the limit, with their lines."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    sizes = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    return [f"{name}: {n} lines" for name, n in sizes.items() if n > MAX_FUNCTION_LINES]


def test_no_modules_import_one_another() -> None:
    assert circles(GRAPH) == []


def test_no_module_imports_a_higher_layer() -> None:
    assert arrows_up(GRAPH) == []


def test_every_module_of_shell_has_a_layer() -> None:
    assert [name for name in PATHS if layer_of(name) is None] == ["shell"]


def test_no_module_is_over_300_lines() -> None:
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in PATHS.items()}
    assert {name: n for name, n in sizes.items() if n > MAX_MODULE_LINES} == {}


def test_no_function_is_over_60_lines() -> None:
    assert {name: long for name, tree in TREES.items() if (long := long_functions(tree))} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import kernel.errors", {"kernel.errors"}),
        ("from kernel import errors", {"kernel.errors"}),
        ("try:\n    from kernel.errors import expected\nexcept ImportError:\n    pass", {"kernel.errors"}),
        ("if TYPE_CHECKING:\n    import kernel.errors", set()),
        ("def f():\n    import kernel.errors", set()),
    ],
)
def test_imports_are_seen_where_a_module_loads_them(source: str, found: set[str]) -> None:
    assert imports_of(ast.parse(source), "shell.train") == found


def test_the_checks_see_what_they_forbid() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert arrows_up({"kernel.x": {"shell.data.y"}, "shell.data.y": {"kernel.x"}}) == ["kernel.x -> shell.data.y"]
    assert long_functions(ast.parse("def f():\n" + "    x\n" * 60)) == ["f: 61 lines"]
