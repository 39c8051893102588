"""Work that is begun now and waited for later, by calling what the beginning gave."""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Deferred: TypeAlias = Callable[[], T]
"""waits for a result and gives it, or raises"""


def begun(begin: Callable[[], Deferred[T]]) -> Deferred[T]:
    """What `begin` gives; what it raises is raised by waiting, once, so that errors come in the order of the waits.

    >>> def begin():
    ...     raise ValueError("row 17")
    >>> wait = begun(begin)
    >>> wait()
    Traceback (most recent call last):
    ValueError: row 17
    """
    try:
        return begin()
    except Exception as error:
        failures = [error]

    def wait() -> T:
        raise failures.pop()  # held by nothing of ours then, or it would hold itself, and all that its frames do

    return wait
