"""Whole runs through a proxy in which things go wrong: they end as if nothing had, or stop where they can go on.

The SDK and the local service are the real ones. A run is five steps; its requests number, from 1, forward_backward
1 to 8 (the 1st, the 5th and the 8th are evaluations), optim_step 1 to 5, save_weights 1 to 3.
"""

import pytest

from tests.shell.faults.proxy import (
    POLL,
    Fault,
    Finished,
    Late,
    Refuse,
    Reset,
    Says,
    Slow,
    Spoiled,
    Twice,
    failed,
    queued,
    through,
)
from tests.shell.faults.runs import N_STEPS, RESUME, cursors, finish, metrics, weights

LEARN, STEP, SAVE = "forward_backward", "optim_step", "save_weights"
LEARNT, STEPPED, SAVED = POLL + "ForwardBackward", POLL + "OptimStep", POLL + "SaveWeights"
ROUTES = (LEARN, STEP, SAVE, LEARNT, STEPPED, SAVED)
OPENING = ("client/config", "create_session", "create_model", POLL + "CreateModel", "get_info")


def everywhere(act, nth=2, times=1, routes=ROUTES):
    return [Fault(route, nth, act, times) for route in routes]


OVERCOME = {
    "the connection is refused for a while": [Fault(STEP, 2, Refuse(0.3)), Fault(LEARNT, 3, Refuse(0.3))],
    "the connection is refused while the run opens": [Fault("create_session", 1, Refuse(0.3))],
    "it is torn before the service hears": everywhere(Reset("before")),
    "it is torn when the service has acted": everywhere(Reset("after")),
    "it is torn in the middle of an answer": everywhere(Reset("midway")),
    "it is torn again and again": everywhere(Reset("after"), nth=1, times=3),
    "the run opens on torn connections": everywhere(Reset("after"), nth=1, routes=OPENING[2:4]),
    "a burst of 429": everywhere(Says(429), times=3),
    "a burst of 500": everywhere(Says(500), times=3),
    "a burst of 502 of a gateway": everywhere(Says(502, b"<html>", "text/html"), times=3),
    "a burst of 503": everywhere(Says(503), times=3),
    "a burst of 503 while the run opens": everywhere(Says(503), nth=2, times=2, routes=OPENING[:1])
    + everywhere(Says(503), nth=1, times=2, routes=OPENING[1:]),
    "a 500 although the service has acted": everywhere(Says(500, after=True)),
    "a conflict that passes": everywhere(Says(409), routes=ROUTES[:3]),
    "polls that time out": everywhere(Says(408), times=3, routes=ROUTES[3:]),
    "a stray 400 of a gateway": everywhere(Says(400, b"no"), times=2, routes=ROUTES[3:]),
    "slow answers": [Fault(LEARN, 2, Slow(0.5)), Fault(LEARNT, 3, Slow(1.2)), Fault(SAVED, 1, Slow(0.5))],
    "answers out of order": everywhere(Late(3), nth=1, times=99, routes=(LEARNT,)),
    "everything is delivered twice": everywhere(Twice(), nth=1, times=99),
    "the queue is full for a while": everywhere(queued(), nth=1, times=4, routes=(POLL + "CreateModel", *ROUTES[3:])),
}
STOPPED = {
    "a forward_backward fails": (
        [Fault(LEARNT, 4, failed())],
        "forward and backward pass of step 3 failed: a worker was lost",
    ),
    "the service cannot do a forward_backward": (
        [Fault(LEARN, 6, Spoiled())],
        "pass of step 3 failed: the local service",
    ),
    "an update fails": ([Fault(STEPPED, 4, failed())], "optimizer step of step 3 failed: a worker was lost"),
    "an evaluation fails": ([Fault(POLL + "Forward", 2, failed())], "(test) of step 3 failed: a worker was lost"),
    "a save fails": ([Fault(SAVED, 2, failed())], "save of checkpoint 000004 failed: a worker was lost"),
    "an export fails": (
        [Fault(POLL + "SaveWeightsForSampler", 1, failed())],
        "export for sampling of checkpoint final failed",
    ),
    "a promise is broken": ([Fault(STEPPED, 4, Says(410))], "failed: Promise expired/broken"),
    "a promise is unknown": (
        [Fault(STEPPED, 4, Says(404))],
        "optimizer step of step 3 failed: Error retrieving result",
    ),
    "the key is revoked": ([Fault(STEP, 4, Says(401), 99)], "optimizer step of step 3 failed: HTTP 401"),
    "a request is refused": ([Fault(LEARN, 6, Says(422, b'{"error": "no"}'))], "step 3 failed: HTTP 422"),
    "the session has expired": ([Fault(LEARN, 6, Finished())], "step 3 failed: HTTP 410: "),
    "an answer is no protobuf": (
        [Fault(LEARNT, 4, Says(200, b"\xff", "application/x-protobuf"))],
        "step 3 failed: Proto",
    ),
    "an answer is of another kind": (
        [Fault(STEPPED, 4, Says(200, b"<html>", "text/html"))],
        "optimizer step of step 3 fail",
    ),
}
SILENT = {
    "polls are never answered": ([Fault(LEARNT, 4, Slow(), 999)], "no answer from URL in 300 s (--silence-limit)"),
    "polls are turned away for ever": ([Fault(STEPPED, 4, Says(503), 10**9)], "the service answers HTTP 503"),
    "requests are turned away for ever": ([Fault(LEARN, 6, Says(429), 999)], "the service answers HTTP 429"),
    "the service has gone": ([Fault(STEP, 4, Refuse(999))], "no answer from URL in 300 s (--silence-limit)"),
}  # fmt: skip


QUICK = ("it is torn when the service has acted", "a burst of 503", "everything is delivered twice", "a save fails",
         "a forward_backward fails", "the service has gone", "refused", "gone")  # fmt: skip


def cases(table):
    """All cases of a table, of which those that are not quick are marked slow."""
    return [pytest.param(case, id=name, marks=[pytest.mark.slow] * (name not in QUICK)) for name, case in table.items()]


@pytest.mark.parametrize("script", cases(OVERCOME))
def test_what_passes_leaves_no_trace_in_a_run(script, whole, rows, service, state_dir, tmp_path):
    folder = tmp_path / "run"
    with through(service.url, *script) as proxy:
        ending = finish(rows, folder, proxy.url)
    assert (ending.code, ending.errors) == (0, "")
    assert set(proxy.happened) == {fault.route for fault in script}
    assert (metrics(folder), weights(folder, state_dir)) == whole


@pytest.mark.parametrize("act", cases({"refused": Says(401), "unknown": Says(404), "never answered": Slow()}))
def test_a_superseded_checkpoint_that_cannot_be_deleted_is_nobodys_fault(
    act, whole, rows, service, state_dir, tmp_path
):
    folder = tmp_path / "run"
    with through(service.url, Fault("client/config", 3, act, 99)) as proxy:
        ending = finish(rows, folder, proxy.url, "--rolling-save-every", "1")
    assert (ending.code, ending.errors) == (0, "")
    assert proxy.happened
    assert (metrics(folder), weights(folder, state_dir)) == whole


@pytest.mark.parametrize("case", cases(STOPPED))
def test_what_does_not_pass_stops_a_run_where_it_can_go_on(case, whole, rows, service, state_dir, tmp_path):
    check_stop(*case, whole, rows, service, state_dir, tmp_path / "run")


@pytest.mark.parametrize("case", cases(SILENT))
def test_a_service_that_falls_silent_is_given_up_at_the_limit(
    case, whole, rows, service, state_dir, tmp_path, impatient
):
    check_stop(*case, whole, rows, service, state_dir, tmp_path / "run", impatient)


def check_stop(script, sentence, whole, rows, service, state_dir, folder, begin=lambda _: None):
    """The run stops with one line, keeps what is finished, and resumes from there to the same end."""
    with through(service.url, *script) as proxy:
        begin(proxy)
        ending = finish(rows, folder, proxy.url, "--silence-limit", "300")
    assert ending.code == 1
    assert ending.errors.count("\n") == 1
    assert sentence in ending.errors.replace(proxy.url, "URL")
    kept = cursors(folder)
    assert f"The last checkpoint is {kept[-1]:06}; resume with: tinsmith train" in ending.errors
    assert f"--config {folder}/config.json --behavior-if-log-dir-exists resume" in ending.errors
    assert kept == [cursor for cursor in (2, 4) if cursor <= len(metrics(folder))][: len(kept)]
    assert metrics(folder) == whole[0][: len(metrics(folder))]
    assert finish(rows, folder, service.url, *RESUME).code == 0
    assert (metrics(folder), weights(folder, state_dir)) == whole


@pytest.mark.slow
def test_an_update_behind_a_failed_gradient_is_not_believed_though_the_service_made_it(
    whole, rows, service, state_dir, tmp_path
):
    folder = tmp_path / "run"
    with through(service.url, Fault(LEARN, 3, Spoiled()), Fault(LEARNT, 1, Slow(0.5))) as proxy:
        ending = finish(rows, folder, proxy.url, "--submit-ahead", "3", "--save-every", "1")
        assert ending.code == 1
        assert proxy.counts[STEP] > 2  # the steps behind it were asked for, and so were saves of what they made
        assert proxy.counts[SAVE] > 1
    assert cursors(folder) == [1]
    assert metrics(folder) == whole[0][:1]
    assert finish(rows, folder, service.url, *RESUME).code == 0
    assert (metrics(folder), weights(folder, state_dir)) == whole


@pytest.mark.parametrize("act", cases({"silent": Slow(), "503": Says(503), "gone": Refuse(999)}))
@pytest.mark.parametrize("route", ["create_session", "create_model"])
def test_a_run_that_cannot_open_says_so_at_the_limit_and_can_be_taken_up(
    route, act, rows, service, tmp_path, impatient
):
    folder = tmp_path / "run"
    with through(service.url, Fault(route, 1, act, 10**9)) as proxy:
        impatient(proxy)
        ending = finish(rows, folder, proxy.url)
    assert ending.code == 1
    assert "error: the opening of tinsmith/tiny failed: " in ending.errors
    assert "There is no checkpoint yet; resume with: tinsmith train" in ending.errors
    assert cursors(folder) == []


def test_a_run_that_could_not_open_is_taken_up_from_its_beginning(whole, rows, service, state_dir, tmp_path):
    folder = tmp_path / "run"
    with through(service.url, Fault("create_model", 1, Says(403))) as proxy:
        assert finish(rows, folder, proxy.url).code == 2
    assert not folder.exists()
    with through(service.url, Fault(POLL + "CreateModel", 1, failed())) as proxy:
        assert finish(rows, folder, proxy.url).code == 1
    assert finish(rows, folder, service.url, *RESUME).code == 0
    assert (metrics(folder), weights(folder, state_dir)) == whole
    assert len(metrics(folder)) == N_STEPS + 1
