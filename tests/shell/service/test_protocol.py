"""What counts as an answer, by an injected clock; no test waits."""

import logging
from concurrent.futures import Future
from itertools import count

import httpx
import pytest
from tinker.lib import queue_state_logger
from tinker.lib.api_future_impl import QueueState

from shell.service.protocol import Liveness, ServiceFault, ServiceHealth, answer, listening

URL = "http://127.0.0.1:9/x"
ASKED = f"{URL}/api/v1/retrieve_future"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def liveness(clock):
    return Liveness(URL, limit_seconds=600, clock=clock)


class Never(Future):
    """An answer that never comes; every wait for it takes a second of the clock, and none of ours."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def result(self, timeout=None):
        self.clock.now += timeout
        raise TimeoutError


@pytest.mark.parametrize("status", [200, 404, 402])
def test_any_answer_counts(liveness, clock, status):
    clock.now = 500
    liveness.note_response(ASKED, status)
    clock.now = 600
    assert liveness.check() == ServiceHealth(100, "")


@pytest.mark.parametrize("status", [409, 429, 500, 502, 503])
def test_a_temporary_refusal_does_not_count(liveness, clock, status):
    clock.now = 500
    liveness.note_response(ASKED, status)
    assert liveness.check() == ServiceHealth(500, f"the service answers HTTP {status}")
    clock.now = 600
    with pytest.raises(
        ServiceFault, match=f"no answer from {URL} in 600 s .--silence-limit., the service answers HTTP"
    ):
        liveness.check()


@pytest.mark.parametrize(
    "url",
    [f"{URL}/api/v1/session_heartbeat", f"{URL}/api/v1/telemetry", f"{URL}/api/v1/client/dynamic_config",
     "http://127.0.0.1:9/xy/api/v1/retrieve_future", "http://elsewhere/api/v1/retrieve_future"],
)  # fmt: skip
def test_the_sdks_own_requests_and_other_services_do_not_count(liveness, clock, url):
    clock.now = 500
    liveness.note_response(url, 200)
    assert liveness.check() == ServiceHealth(500)


def test_a_service_that_has_the_request_queued_is_alive_for_ever(liveness, clock):
    for _ in range(1000):
        clock.now += 599
        liveness.note_response(ASKED, 408)
        assert liveness.check() == ServiceHealth(0, "the service has it queued")
    liveness.note_answer()
    assert liveness.check() == ServiceHealth(0)


def test_both_loggers_are_read_and_left_as_they_were(liveness, clock, caplog):
    caplog.set_level(logging.WARNING)
    responses, try_agains = logging.getLogger("httpx"), logging.getLogger("tinker.lib.api_future_impl")
    before = [(logger.level, list(logger.filters)) for logger in (responses, try_agains)]
    with listening(liveness):
        clock.now = 300
        transport = httpx.MockTransport(lambda _: httpx.Response(200))
        with httpx.Client(transport=transport) as http:
            http.post(ASKED)
        assert liveness.check() == ServiceHealth(0)
        try_agains.warning("Retrying request self.request_id='m:1' because of try_again")
        assert liveness.check() == ServiceHealth(0, "the service has it queued")
        try_agains.warning("something else")
    assert [(logger.level, logger.filters) for logger in (responses, try_agains)] == before
    assert [record.getMessage() for record in caplog.records] == ["something else"]


@pytest.mark.skipif(not hasattr(queue_state_logger, "PAUSE_GRACE_PERIOD"), reason="before 0.38 it is logged at once")
def test_a_paused_queue_is_logged_after_ten_seconds_and_not_after_fifteen_minutes(liveness, monkeypatch, caplog):
    seconds = count(0, 6)
    monkeypatch.setattr(queue_state_logger.time, "monotonic", lambda: next(seconds))
    with listening(liveness):
        observer = queue_state_logger.QueueStateLogger("tiny", "Training")
        for _ in range(3):
            observer.on_queue_state_change(QueueState.PAUSED_CAPACITY, "no room")
    assert [record.getMessage() for record in caplog.records] == ["Training for tiny is paused. Reason: no room."]
    assert queue_state_logger.PAUSE_GRACE_PERIOD == 15 * 60


def test_a_silent_service_is_logged_after_ten_seconds_and_every_minute_and_given_up_at_the_limit(clock):
    liveness, lines = Liveness(URL, limit_seconds=130, clock=clock), []
    with pytest.raises(ServiceFault) as fault:
        answer(Never(clock), "the update", liveness.check, lines.append)
    assert lines == [f"still waiting for the update: {n} s without an answer" for n in (10, 60, 120)]
    assert str(fault.value) == f"the update failed: no answer from {URL} in 130 s (--silence-limit)"


def test_a_service_that_queues_is_logged_and_waited_for(clock):
    liveness, lines = Liveness(URL, limit_seconds=130, clock=clock), []

    def check():
        if clock.now == 1000:
            raise ServiceFault("enough")
        if clock.now % 9 == 0:
            liveness.note_response(ASKED, 408)
        return liveness.check()

    with pytest.raises(ServiceFault, match="the update failed: enough"):
        answer(Never(clock), "the update", check, lines.append)
    assert lines[:2] == [f"still waiting for the update: {n} s, the service has it queued" for n in (10, 60)]
