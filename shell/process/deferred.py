"""Work that was begun, and whose result is waited for later."""

from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Deferred: TypeAlias = Callable[[], T]
"""waits for a result and returns it, or raises"""


class Pending(Protocol[T_co]):
    """A result that is being worked out, as a `concurrent.futures.Future` is."""

    def result(self) -> T_co: ...
