"""Arguments as JSON text between a format's markers, read and checked; the sentences that say what is wrong."""

import json


def read_arguments(text: str) -> dict[str, object] | str:
    """The object that the text holds, or what is wrong with it.

    >>> read_arguments('{"a": 1}')
    {'a': 1}
    >>> read_arguments("[1]")
    'expected an object of arguments, got something else'
    """
    try:
        value = json_value(text)
    except ValueError as error:
        return f"expected JSON, got text that is not ({error})"
    return value if isinstance(value, dict) else "expected an object of arguments, got something else"


def json_value(text: str) -> object:
    """What the text is as JSON.

    Raises:
        ValueError: it is none; nor are NaN and its like, which Python would read.

    >>> json_value("[1]")
    [1]
    """
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def json_or_text(text: str) -> object:
    """What the text is as JSON, or the text.

    >>> json_or_text("7"), json_or_text("seven"), json_or_text("NaN")
    (7, 'seven', 'NaN')
    """
    try:
        return json_value(text)
    except ValueError:
        return text
