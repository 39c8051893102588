"""JSON values of a row: their kinds, texts and objects, and JSON text where a list or an object may be."""

import json
import math
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

from kernel.errors import InputError, Path, expected

T = TypeVar("T")

LEVELS = 100
_NOTHING = frozenset({"", "null", "none", "nan", "[]", "{}"})


def located(read: Callable[[object], T], value: object, *keys: str | int) -> T:
    """What `read` gives for a value; errors get the keys that lead to it."""
    try:
        return read(value)
    except InputError as error:
        raise error.under("", *keys) from None


def each(values: list[object], read: Callable[[object], T]) -> tuple[T, ...]:
    """What `read` gives for each value; errors get its index."""
    return tuple(located(read, value, i) for i, value in enumerate(values))


def is_empty(value: object) -> bool:
    """Whether a value holds nothing: null, "", [] or {}."""
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def list_or_object(value: object, what: str) -> object:
    """A list or an object, given as itself or as JSON text; None for nothing in any spelling ("[]", "null", ...)."""
    if isinstance(value, str):
        if value.strip().lower() in _NOTHING:
            return None
        value = parse(value, what)
    is_unset = isinstance(value, Mapping) and all(item is None for item in value.values())  # a struct of Arrow's
    return None if is_unset or is_empty(value) else value


def parse(text: str, what: str) -> object:
    """The value of JSON text, if it can be written as JSON again: no NaN, 1e400, lone surrogate or deep nesting."""
    try:
        value = json.loads(text_of(text), parse_constant=_no_number, parse_float=_finite)
        if text.count("[") + text.count("{") > LEVELS and not _fits(value, LEVELS):
            raise RecursionError
    except RecursionError:
        raise expected(f"at most {LEVELS} levels of lists and objects", "more") from None
    except InputError:
        raise
    except ValueError as error:
        raise expected(what, f"text that is not JSON ({error})") from None
    if "\\u" in text and not encodable(json.dumps(value, ensure_ascii=False)):
        raise expected("Unicode text", "a lone surrogate")
    return value


def write(value: object) -> str:
    """A value as JSON text, with characters as they are and numbers as Python writes them."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if text.count("[") + text.count("{") > LEVELS and not _fits(value, LEVELS):
            raise RecursionError
    except RecursionError:
        raise expected(f"at most {LEVELS} levels of lists and objects", "more") from None
    except (ValueError, TypeError):
        path, got = _not_json(value)
        raise expected("a JSON value", got or "one that JSON cannot hold", path=path) from None
    return text_of(text)


def text_of(value: object, *path: str) -> str:
    """The value, which must be Unicode text."""
    if not isinstance(value, str):
        raise expected("text", kind_of(value), path=path)
    if not encodable(value):
        raise expected("Unicode text", "a lone surrogate", path=path)
    return value


def text_under(raw: Mapping[str, object], key: str) -> str:
    """The text under a key that must be there."""
    if key not in raw:
        raise expected("text", "nothing (the key is missing)", path=(key,))
    return text_of(raw[key], key)


def the_one(raw: Mapping[str, object], keys: tuple[str, ...]) -> str | None:
    """That of several keys with one meaning which holds something; they must not hold different things."""
    given = [key for key in keys if not is_empty(raw.get(key))]
    for other in given[1:]:
        if raw[other] != raw[given[0]]:
            sentence = f"one value under {given[0]!r} and {other!r}, which mean the same"
            raise expected(sentence, "two that differ", path=(other,))
    return given[0] if given else None


def optional_text(raw: Mapping[str, object], keys: tuple[str, ...]) -> str:
    """The text under one of several keys with one meaning; "" where none is there."""
    key = the_one(raw, keys)
    return "" if key is None else text_of(raw[key], key)


def kind_of(value: object) -> str:
    """A value's kind, in JSON's words."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "text"}
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return names.get(type(value), type(value).__name__)


def shown(value: object) -> str:
    """Text as it is, else its kind."""
    return repr(value) if isinstance(value, str) else kind_of(value)


def keys_of(row: Mapping[str, object]) -> str:
    """The keys of an object, as errors name them."""
    return "the keys " + ", ".join(repr(key) for key in row) if row else "an empty object"


def encodable(text: str) -> bool:
    """Whether text has no lone surrogate."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _no_number(name: str) -> NoReturn:
    raise expected("a JSON value", name)


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise expected("a number that a 64-bit float can hold", text)
    return value


def _fits(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_fits(item, levels - 1) for item in items)


def _not_json(value: object) -> tuple[Path, str]:
    """Where a value holds what JSON cannot, and what that is."""
    if isinstance(value, float) and not math.isfinite(value):
        return (), str(value)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        path, got = _not_json(item)
        if got:
            return (key, *path), got
    return (), "" if value is None or isinstance(value, bool | int | float | str | dict | list) else kind_of(value)
