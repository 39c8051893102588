"""Ctrl-C, SIGTERM and SIGHUP as a wish that the loop can look up: once to stop in good order, twice to leave now."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
HANG_UP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
_NOTICE = b"\nstopping when the steps in flight are done, with a checkpoint; once more to leave now\n"


class Stop:
    """Whether the run was asked to stop; true once it was."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + (self.signal or 0)

    def ask(self, number: int, _frame: FrameType | None = None) -> None:
        """Notes the first signal, and leaves at the second."""
        if self:
            raise KeyboardInterrupt
        self.signal = number
        with suppress(OSError):  # the terminal may be gone
            os.write(2, _NOTICE)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Collects SIGINT, SIGTERM and, where it is not ignored as under `nohup`, SIGHUP while it is open.

    Off the main thread, where Python hears no signals, it only waits.

    Touches: the process's signal handlers; standard error, at the first signal.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    heard = (*SIGNALS, *(number for number in HANG_UP if signal.getsignal(number) is not signal.SIG_IGN))
    before = {number: signal.signal(number, stop.ask) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
