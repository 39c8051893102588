"""Floats that keep how they are written in their source: `2.50`, `1e3`, digits beyond those of a float."""


class SourceFloat(float):
    """A float with its source text, where that is not how Python writes the float; `json.dumps` writes it as a float.

    >>> import json
    >>> number = SourceFloat("2.50")
    >>> number == 2.5, json.dumps(number), number.text
    (True, '2.5', '2.50')
    """

    text: str

    def __new__(cls, text: str) -> "SourceFloat":
        """The float that a text is."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def read_float(text: str) -> float:
    """The float that a text is; a `SourceFloat` if Python writes it otherwise.

    >>> type(read_float("2.5")).__name__, type(read_float("2.50")).__name__
    ('float', 'SourceFloat')
    """
    number = float(text)
    return number if repr(number) == text else SourceFloat(text)
