"""The running service: its database, its engine, and who is waiting for which request."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request

from shell.local_service.database import Database
from shell.local_service.errors import RefusedError
from shell.local_service.worker import Engine

PREFIX = "/api/v1"


class Service:
    """What the routes share; lives as long as the application."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.engine = Engine(db, self._finished)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def start(self) -> None:
        """Start the engine; waiting is done on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.engine.start()

    async def wait(self, key: str, ready: Callable[[], bool], timeout_s: float) -> None:
        """Until ready() or the timeout; asked again whenever a request with that id, or of that owner, is done."""
        event = asyncio.Event()
        self._waiting.setdefault(key, set()).add(event)
        try:
            async with asyncio.timeout(timeout_s):
                while not ready() and self.engine.fault is None:
                    await event.wait()
                    event.clear()
        except TimeoutError:
            pass
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    def _finished(self, request_id: str | None) -> None:
        """On the engine's thread: a request is done, or (None) the engine has stopped."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._notify, request_id)

    def _notify(self, request_id: str | None) -> None:
        keys = list(self._waiting) if request_id is None else [request_id, request_id.rpartition(":")[0]]
        for key in keys:
            for event in self._waiting.get(key, ()):
                event.set()


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


def check_session(db: Database, session_id: str) -> None:
    """Refuse what is asked for a session that is not there or is finished."""
    row = db.one("SELECT finished FROM sessions WHERE session_id = ?", session_id)
    if row is None:
        raise RefusedError(404, f"there is no session {session_id!r} here")
    if row["finished"] is not None:
        raise RefusedError(410, f"session {session_id!r} is finished")
