"""Liveness of a service: its last answer to the run, read off the SDK's loggers (a response, or "try again").

The SDK's queue-state observers hear neither refusals nor accepted requests. A response that turns a request away for
now (409, 429, 5xx) is no answer, nor is one to the SDK's own heartbeats and settings; a result always is.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tinker.lib import queue_state_logger

from shell.service.client import NOTICE_SECONDS, ServiceFault, ServiceHealth

SILENCE_LIMIT = 600
"""seconds without any answer after which a run stops, unless `--silence-limit` is given"""
QUEUED = "the service has it queued"
_OF_THE_SDK = ("/session_heartbeat", "/telemetry", "/client/config", "/client/dynamic_config")


class Liveness:
    """The last answer of the service at one address, and how many seconds it may be silent."""

    def __init__(self, url: str, limit_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.url, self.limit_seconds, self._clock = url, limit_seconds, clock
        self._last_answer, self._message = clock(), ""

    def note_answer(self, message: str = "") -> None:
        """Notes an answer, or with a message that the service will run the request."""
        self._last_answer, self._message = self._clock(), message

    def note_response(self, url: str, status: int) -> None:
        """Notes an HTTP response to a request for `url`."""
        if not url.startswith(f"{self.url}/") or url.endswith(_OF_THE_SDK):
            return
        if status == 408:
            self.note_answer(QUEUED)
        elif status in (409, 429) or status >= 500:
            self._message = f"the service answers HTTP {status}"
        else:
            self.note_answer()

    def check(self) -> ServiceHealth:
        """The service's health; a ServiceFault if it has been silent for too long."""
        silent = self._clock() - self._last_answer
        if silent < self.limit_seconds:
            return ServiceHealth(silent, self._message)
        how = f", {self._message}" if self._message else ""
        raise ServiceFault(f"no answer from {self.url} in {self.limit_seconds:g} s (--silence-limit){how}")


@contextmanager
def listening(liveness: Liveness) -> Iterator[None]:
    """Feeds a Liveness from the SDK's loggers; the SDK logs a paused queue after ten seconds, not fifteen minutes."""
    responses, try_agains = logging.getLogger("httpx"), logging.getLogger("tinker.lib.api_future_impl")
    level, threshold = responses.level, responses.getEffectiveLevel()
    grace = getattr(queue_state_logger, "PAUSE_GRACE_PERIOD", None)

    def note_response(record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and len(record.args) == 5 and isinstance(record.args[3], int):
            liveness.note_response(str(record.args[1]), record.args[3])
        return record.levelno >= threshold

    def note_try_again(record: logging.LogRecord) -> bool:
        if not record.getMessage().endswith("because of try_again"):
            return True
        liveness.note_answer(QUEUED)
        return False  # a line per poll is of no use

    responses.addFilter(note_response)
    responses.setLevel(min(threshold, logging.INFO))
    try_agains.addFilter(note_try_again)
    queue_state_logger.PAUSE_GRACE_PERIOD = NOTICE_SECONDS
    try:
        yield
    finally:
        responses.removeFilter(note_response)
        responses.setLevel(level)
        try_agains.removeFilter(note_try_again)
        if grace is not None:
            queue_state_logger.PAUSE_GRACE_PERIOD = grace
