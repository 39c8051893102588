"""Ctrl-C and SIGTERM as a wish that the loop can look up: once to stop in good order, twice to leave now."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nstopping when the steps in flight are done, with a checkpoint; once more to leave now\n"


class Stop:
    """Whether the run was asked to stop; true once it was."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal or 0)

    def ask(self, number: int, _frame: FrameType | None = None) -> None:
        """Notes the first signal, and leaves at the second."""
        if self:
            raise KeyboardInterrupt
        self.signal = number
        os.write(2, _NOTICE)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Collects SIGINT and SIGTERM while it is open. Off the main thread, where Python hears no signals, it only waits.

    Touches: the process's signal handlers; standard error, at the first signal.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.ask) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
