"""Errors that a user can act on: one sentence and where; recipes print it and exit with code 2."""

import difflib
from collections.abc import Iterable
from typing import Self, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the top of a row: ("messages", 3, "content")."""


class InputError(ValueError):
    """What the user gave cannot be used. `str(error)` is the whole message.

    Args:
        sentence: what is wrong.
        at: the location: a flag, or a file and line; "" where it is plain, "$" for a row of no known file.
        path: where in the row.

    >>> str(InputError("expected text, got null", "a.jsonl:7", ("messages", 1, "content")))
    'expected text, got null - at a.jsonl:7 $.messages[1].content'
    """

    def __init__(self, sentence: str, at: str = "", path: Path = ()) -> None:
        super().__init__(sentence, at, path)  # as args, so that the error survives pickling
        self.sentence, self.at, self.path = sentence, at, path

    def __str__(self) -> str:
        steps = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path)
        at = "" if steps and self.at == "$" else self.at
        where = " ".join(part for part in (at, steps and f"${steps}") if part)
        return f"{self.sentence} - at {where}" if where else self.sentence

    def under(self, at: str, *keys: str | int) -> Self:
        """The same error with a location, and a path that begins with these keys."""
        return type(self)(self.sentence, self.at or at, (*keys, *self.path))

    def at_path(self, path: Path) -> Self:
        """The same error with another path."""
        return type(self)(self.sentence, self.at, path)


def expected(what: str, got: str, at: str = "", path: Path = ()) -> InputError:
    """The error for a value that is not what it must be: what was expected (a noun phrase), and what came."""
    return InputError(f"expected {what}, got {got}", at, path)


def problem(sentence: str, at: str = "", path: Path = ()) -> InputError:
    """The error for what is not about a value, as a plain sentence."""
    return InputError(sentence, at, path)


def unknown(kind: str, name: str, known: Iterable[str], at: str = "", path: Path = ()) -> InputError:
    """The error for a name that is in no table, with the nearest names that are."""
    names = [str(one) for one in known]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    listed = ", ".join(map(repr, near or names[:12]))
    hint = f"did you mean {listed}?" if near else f"expected one of {listed}{', ...' * (len(names) > 12)}"
    return InputError(f"unknown {kind} {name!r}, {hint}", at, path)
