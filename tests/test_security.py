"""What no line of the package may do, and that the check would notice if one did."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("kernel", "shell", "recipes") for path in sorted((ROOT / folder).rglob("*.py"))]

MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "runpy",
    "code",
}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {("os", "system"), ("os", "popen"), ("yaml", "load"), ("torch", "load"), ("numpy", "load"), ("np", "load")}
WORDS = {"trust_remote_code", "allow_pickle", "shell"}
"""keywords that may not be given, but as False"""
ALLOWED = {"shell/process/plugs.py": {"imports runpy"}}
"""code of the user's own is a Python file that the user names; to run it is what was asked for"""


def breaches(text: str) -> Iterator[str]:
    """What a source does that is not to be done."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                yield from (f"imports {n.name}" for n in names if n.name.partition(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module), level=0) if module.partition(".")[0] in MODULES:
                yield f"imports {module}"
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                yield f"calls {name}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if (owner, name) in METHODS:
                yield f"calls {owner}.{name}"
            case ast.keyword(arg=str(word), value=value) if word in WORDS:
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield f"gives {word}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_was_read_is_ever_run(path):
    name = path.relative_to(ROOT).as_posix()
    assert set(breaches(path.read_text(encoding="utf-8"))) <= ALLOWED.get(name, set())


@pytest.mark.parametrize(
    ("text", "breach"),
    [
        ("import pickle", "imports pickle"),
        ("def f():\n    from yaml import load", "imports yaml"),
        ("x = eval('1')", "calls eval"),
        ("np.load(path)", "calls np.load"),
        ("load(repo, trust_remote_code=True)", "gives trust_remote_code"),
        ("run(line, shell=mode)", "gives shell"),
    ],
)
def test_the_check_would_notice(text, breach):
    assert list(breaches(text)) == [breach]


def test_the_check_lets_pass_what_is_harmless():
    assert list(breaches("re.compile('a'); model.eval(); f(trust_remote_code=False); import codecs")) == []
