"""The service in the box under the eye of the run that started it: when it dies it is started again, a few times.

All that it has accepted is in its state directory, and the SDK repeats what it has no answer to. So a new process at
the same address, over the same state, goes on where the dead one stopped, bit for bit. One that dies again and again
has a reason, and ends the run.
"""

from collections.abc import Callable
from pathlib import Path

from shell.local_service import process
from shell.service.client import ServiceFault

MAX_RESTARTS = 3


class LocalProcess:
    """A service in the box that is kept running; use as a context manager."""

    def __init__(self, state_dir: Path, say: Callable[[str], None], max_restarts: int | None = None) -> None:
        """Starts the service.

        Args:
            state_dir: where it keeps its state; nobody else's while it runs.
            say: shows a line.
            max_restarts: how often it may die; None: MAX_RESTARTS times.

        Touches: the directory; a child process.

        Raises:
            ServiceFault: it does not start.
        """
        self._state_dir, self._say = state_dir, say
        self._max_restarts, self._n_restarts = MAX_RESTARTS if max_restarts is None else max_restarts, 0
        self.service = _start(state_dir, port=0)

    @property
    def url(self) -> str:
        """Its address, the same however often it is started."""
        return self.service.url

    def __enter__(self) -> "LocalProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.service.close()

    def check(self) -> None:
        """Starts the service again if it has died.

        Touches: a child process.

        Raises:
            ServiceFault: it has died once too often, or does not start.
        """
        code = self.service.process.poll()
        if code is None:
            return
        if self._n_restarts == self._max_restarts:
            more = f" once more after {self._n_restarts} restarts" if self._n_restarts else ""
            raise ServiceFault(f"the service in the box has ended (code {code}){more}")
        self._n_restarts += 1
        self.service.close()
        self.service = _start(self._state_dir, port=int(self.url.rpartition(":")[2]))
        self._say(f"warning   the service in the box had ended (code {code}) and was started again where it was")


def _start(state_dir: Path, port: int) -> process.Service:
    try:
        return process.start(state_dir, port=port)
    except process.ServiceError as error:
        raise ServiceFault(f"the service in the box did not start: {error}") from error
