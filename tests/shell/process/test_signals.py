import os
import signal
import threading
import time

import pytest

from shell.process import plugs
from shell.process.signals import stop_on_signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_stops_in_good_order_and_the_second_at_once(number, code, capfd):
    before = signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore it, as `nohup` does
    try:
        with stop_on_signals() as stop:
            assert not stop
            os.kill(os.getpid(), number)
            assert stop
            assert stop.exit_code == code
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
    assert "once more to stop now" in capfd.readouterr().err


def test_the_previous_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_background_run_of_a_script_receives_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell without job control starts it
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.exit_code == 130
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_hang_up_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_signal_ends_code_of_the_users_that_does_not_return(monkeypatch):
    monkeypatch.setattr(plugs, "NOTICE_SECONDS", 0.05)
    never = plugs.from_python(lambda: time.sleep(60), "on_step")
    never.log = lambda _line: os.kill(os.getpid(), signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with stop_on_signals() as stop:
            with pytest.raises(KeyboardInterrupt):
                never()
            assert not plugs.is_overdue()
            assert stop.exit_code == 130
    finally:
        signal.signal(signal.SIGINT, before)


def test_off_the_main_thread_it_only_waits():
    found = []

    def work():
        with stop_on_signals() as stop:
            found.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
