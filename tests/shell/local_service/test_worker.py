"""The worker: all of a request's effects or none, at once and only once."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import msgspec
import numpy as np
import pytest

from shell.local_service import database, queue
from shell.local_service.database import Database
from shell.local_service.queued_calls import HANDLERS
from shell.local_service.worker import Worker
from tests.shell.local_service.serving import ADAM, forward_backward_body, some_rows


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path) as opened:
        database.add_model(opened, "m", "s", None, now=0)
        submit(opened, "create_model", 0, session_id="s", model_seq_id=0, base_model="b", lora_config={"rank": 2})
        yield opened


def submit(db: Database, kind: str, seq: int, body: bytes = b"", **fields: Any) -> None:
    with db.transaction():
        queue.submit(db, kind, "m", seq, body or msgspec.json.encode(fields), model_id="m", now=time())


def submit_a_step(db: Database, seq: int) -> None:
    submit(db, "forward_backward", seq, forward_backward_body("m", seq, some_rows(seq)))
    submit(db, "optim_step", seq + 1, adam_params=ADAM)


def run_all(db: Database, worker: Worker) -> None:
    while request := queue.next_request(db):
        worker.perform(request)


def outcome(db: Database, seq: int) -> tuple[str, bytes]:
    return queue.status_of(db, f"m:{seq}").status, queue.read_result(db, f"m:{seq}", now=0) or b""


@pytest.mark.parametrize("fatal", ["forward_backward", "optim_step", "save_weights"])
def test_a_request_cut_off_before_it_is_written_is_applied_once(
    db: Database, fatal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_requests() -> None:
        submit_a_step(db, 1)
        submit(db, "save_weights", 3, path="saved")
        submit_a_step(db, 4)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    all_requests()
    worker = Worker(db)
    while (request := queue.next_request(db)) and request.kind != fatal:
        worker.perform(request)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            run_all(db, worker)
    run_all(db, Worker(db))  # a new worker, as after a restart
    cut_off = database.read_learner(db, "m")

    db.run("DELETE FROM requests")
    db.run("DELETE FROM live")
    db.run("DELETE FROM checkpoints")
    db.run("UPDATE models SET next_seq = 0")
    submit(db, "create_model", 0, session_id="s", model_seq_id=0, base_model="b", lora_config={"rank": 2})
    all_requests()
    run_all(db, Worker(db))
    undisturbed = database.read_learner(db, "m")
    assert np.array_equal(cut_off.parameters, undisturbed.parameters)
    assert np.array_equal(cut_off.adam.square, undisturbed.adam.square)


def test_a_failed_request_leaves_the_model_and_lets_the_next_one_run(db: Database) -> None:
    worker = Worker(db)
    run_all(db, worker)
    before = database.read_learner(db, "m")
    submit(db, "forward_backward", 1, forward_backward_body("m", 1, some_rows(0), loss_fn="ppo"))
    submit(db, "optim_step", 2, adam_params=ADAM | {"learning_rate": -1.0})
    submit(db, "save_weights", 3, path="a/b")
    submit(db, "save_weights_external", 4, path="x")
    submit(db, "forward_backward", 5, forward_backward_body("m", 5, some_rows(0), forward_only=True))
    run_all(db, worker)
    for seq, words in ((1, "cross_entropy"), (2, "learning_rate"), (3, "checkpoint name"), (4, "does not do")):
        status, answer = outcome(db, seq)
        assert status == "failed"
        assert msgspec.json.decode(answer)["category"] == "user"
        assert words in msgspec.json.decode(answer)["error"]
    assert outcome(db, 5)[0] == "done"
    after = database.read_learner(db, "m")
    assert np.array_equal(before.parameters, after.parameters)
    assert after.gradient is None


def test_a_bug_in_a_handler_fails_its_request_alone(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(HANDLERS, "optim_step", broken)
    submit_a_step(db, 1)
    submit(db, "save_weights", 3, path="still")
    run_all(db, Worker(db))
    assert msgspec.json.decode(outcome(db, 2)[1]) == {"error": "ZeroDivisionError: oh", "category": "server"}
    assert outcome(db, 3)[0] == "done"


def test_a_divergent_step_is_refused_and_does_not_poison_the_model(db: Database) -> None:
    submit(db, "forward_backward", 1, forward_backward_body("m", 1, some_rows(0)))
    submit(db, "optim_step", 2, adam_params=ADAM | {"learning_rate": 1e39})
    submit(db, "optim_step", 3, adam_params=ADAM)
    worker = Worker(db)
    with np.errstate(all="ignore"):
        run_all(db, worker)
    assert b"not finite" in outcome(db, 2)[1]
    assert outcome(db, 3)[0] == "done"
    assert np.isfinite(database.read_learner(db, "m").parameters).all()


def test_a_worker_that_cannot_write_says_so_and_stops(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(queue, "finish", full)
    worker = Worker(db)
    worker.run()
    assert worker.fault == "the service cannot write its state: database or disk is full"
    asyncio.run(asyncio.wait_for(worker.wait("m:0", lambda: False, 60), 1))  # nobody waits for it
    assert queue.next_request(db) is not None
