"""ServiceHealth of life of a service: when it last answered the run, and what it said if that was not an answer yet.

The SDK polls and repeats by itself, much of it without an end, and tells its caller nothing until a request is done.
What it hears meanwhile it tells two loggers: httpx's, a line for every response, and its own, a line for every "try
again". They are listened to here, without a hand in the SDK, by filters that note what passes and let through what
would have passed before.

An answer is any response to a request of the run, other than one that only turns it away for now (409, 429, 5xx): the
SDK repeats those, some of them for ever. What it does on its own account (heartbeats, telemetry, settings) does not
count either: a service may answer that and do nothing else. A result that arrives is an answer however it came, so
that a run that gets on is never stopped, should these loggers ever fall silent.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tinker.lib import queue_state_logger

from shell.service.client import NOTICE_SECONDS, ServiceFault, ServiceHealth

SILENCE_LIMIT = 600
"""seconds without any answer after which a run stops, unless `--silence-limit` says otherwise"""
RESPONSES, TRY_AGAINS = "httpx", "tinker.lib.api_future_impl"
_ITS_OWN = ("/session_heartbeat", "/telemetry", "/client/config", "/client/dynamic_config")


class Liveness:
    """What has been heard of the service at one address."""

    def __init__(self, url: str, limit_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins to count.

        Args:
            url: the service's address; what others say is not heard.
            limit_seconds: how long it may be silent.
            clock: seconds, of any beginning.
        """
        self.url, self.limit_seconds = url, limit_seconds
        self._clock = clock
        self._answered = clock()
        self._said = ""

    def answered(self) -> None:
        """Notes that a result has arrived."""
        self._answered, self._said = self._clock(), ""

    def queued(self) -> None:
        """Notes that the service has a request and will come to it."""
        self._answered, self._said = self._clock(), "the service has it queued"

    def heard(self, url: str, status: int) -> None:
        """Notes a response.

        Args:
            url: what was asked.
            status: of HTTP.
        """
        if not url.startswith(f"{self.url}/") or url.endswith(_ITS_OWN):
            return
        if status == 408:
            self.queued()
        elif status in (409, 429) or status >= 500:
            self._said = f"the service says HTTP {status}"
        else:
            self.answered()

    def check(self) -> ServiceHealth:
        """How the service is.

        Raises:
            ServiceFault: it has been silent for longer than it may be.
        """
        silent = self._clock() - self._answered
        if silent < self.limit_seconds:
            return ServiceHealth(silent, self._said)
        how = f", {self._said}" if self._said else ""
        raise ServiceFault(f"no answer from {self.url} in {self.limit_seconds:g} s (--silence-limit){how}")


@contextmanager
def listening(pulse: Liveness) -> Iterator[None]:
    """Lets a pulse hear all that the SDK hears, while it is open; the SDK tells of a paused queue after ten seconds.

    Touches: the filters and the level of two loggers; how long the SDK keeps a paused queue to itself (15 minutes).
    """
    responses, try_agains = logging.getLogger(RESPONSES), logging.getLogger(TRY_AGAINS)
    level, threshold = responses.level, responses.getEffectiveLevel()
    grace = getattr(queue_state_logger, "PAUSE_GRACE_PERIOD", None)

    def note_response(record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and len(record.args) == 5 and isinstance(record.args[3], int):
            pulse.heard(str(record.args[1]), record.args[3])
        return record.levelno >= threshold

    def note_try_again(record: logging.LogRecord) -> bool:
        if not record.getMessage().endswith("because of try_again"):
            return True
        pulse.queued()
        return False  # a line for every poll tells nobody anything

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
