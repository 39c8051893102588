"""Signals that stop a run: the first in good order, which the loop checks, the second at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from shell.process.plugs import is_overdue

_NOTICE = b"\nstopping after the steps in flight, with a checkpoint; once more to stop now\n"


class Stop:
    """Whether a signal has arrived; true once one has."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + (self.signal or 0)

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """Stores the first signal, and raises at the second, or where code of the user's does not return."""
        if self or is_overdue():
            self.signal = number
            raise KeyboardInterrupt
        self.signal = number
        with suppress(OSError):  # the terminal may be closed
            os.write(2, _NOTICE)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Handles SIGINT, SIGTERM and, where it is not ignored as under `nohup`, SIGHUP while it is open."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # where Python handles no signals
        yield stop
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, stop.receive) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
