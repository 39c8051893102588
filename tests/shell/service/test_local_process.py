"""The local service under a run: restarted from its state when it dies, a few times, then an error with its reason."""

from contextlib import closing

import pytest

from shell.local_service.database import Database
from shell.service import local_process
from shell.service.connect import Weights, connected, open_model
from shell.service.local_process import LocalProcess
from shell.service.protocol import ServiceFault
from tests.shell.recording import datums
from tests.shell.service.test_connect import CONFIG, EMBEDDED


def test_a_local_service_that_has_died_is_restarted_from_its_state(tmp_path, monkeypatch):
    started, lines = spied(monkeypatch), []
    with connected(EMBEDDED, tmp_path, Weights(), {}, lines.append) as connection:
        model = open_model(connection, CONFIG, Weights(), {})
        before = model.forward(datums(5)).result()
        end(started[0])
        connection.check()
        assert [service.url for service in started] == [connection.url] * 2
        assert (model.forward(datums(5)).result() == before).all()
        connection.check()
    assert [line for line in lines if not line.startswith("sdk ")] == [
        "warning   the local service ended (code -9) and was restarted from its state"
    ]
    assert [service.process.poll() for service in started] == [-9, 0]


@pytest.mark.slow
def test_a_local_service_that_keeps_dying_is_an_error(tmp_path, monkeypatch):
    started = spied(monkeypatch)
    monkeypatch.setattr(local_process, "MAX_RESTARTS", 1)
    with closing(LocalProcess(tmp_path, print)) as supervisor:
        for _ in range(2):
            end(started[-1])
            if len(started) == 1:
                supervisor.check()
        with pytest.raises(ServiceFault, match=r"the local service has ended \(code -9\) once more after 1 restarts"):
            supervisor.check()


def spied(monkeypatch):
    """The list of local services that are started from now on."""
    started, start = [], local_process.start
    spy = lambda *args, **options: started.append(start(*args, **options)) or started[-1]  # noqa: E731
    monkeypatch.setattr(local_process, "start", spy)
    return started


def end(service):
    service.process.kill()
    service.process.wait()


def test_a_local_service_that_does_not_start_is_reported_with_its_reason(tmp_path):
    with (
        Database(tmp_path / "service"),
        pytest.raises(ServiceFault, match=r"the local service did not start: .* is in use by another service"),
        connected(EMBEDDED, tmp_path, Weights(), {}, print),
    ):
        pass
