"""Tinsmith from Python: `import tinsmith`, in a checkout after `pip install -e .` and from a wheel."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_MARKS = {"kernel": "renderer_language", "shell": "token_cache"}
"""a folder that our package of that name has, and others of the same name have not"""
for _name, _mark in _MARKS.items():
    _spec = find_spec(_name)
    _places = list(_spec.submodule_search_locations or [_spec.origin or ""]) if _spec else []
    if not any((Path(_place) / _mark).is_dir() for _place in _places):
        _found = f"another package of that name is at {_places[0]}" if _places else "there is no such package"
        raise ImportError(f"tinsmith needs its own package {_name!r}, but {_found}; use an environment of its own")

_HOMES = {
    "Config": "shell.settings.config",
    "InputError": "kernel.errors",
    "Run": "shell.api",
    "ServiceFault": "shell.service.protocol",
    "encode": "shell.api",
    "main": "shell.command",
    "train": "shell.api",
    "versioned": "shell.process.plugs",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tinsmith' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
