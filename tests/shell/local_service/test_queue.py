"""The queue: order by number, retries, missing numbers waited for and skipped, results kept and dropped."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shell.local_service import RefusedError, database, queue
from shell.local_service.database import Database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path) as opened:
        database.add_model(opened, "m", "s", None, now=0)
        yield opened


def submit(db: Database, seq: int, kind: str = "optim_step", body: bytes = b"{}", *, now: float = 0) -> str:
    with db.transaction():
        return queue.submit(db, kind, "m", seq, body, model_id="m", now=now)


def run_all(db: Database) -> list[int]:
    """Run whatever can run; the numbers in the order in which they ran."""
    ran = []
    while request := queue.next_request(db):
        with db.transaction():
            queue.finish(db, request, "done", b"result", now=1)
        ran.append(request.seq)
    return ran


@settings(max_examples=25)
@given(st.permutations(range(6)))
def test_requests_run_by_number_whatever_the_order_they_came_in(order: list[int]) -> None:
    with TemporaryDirectory() as folder, Database(Path(folder)) as db:
        database.add_model(db, "m", "s", None, now=0)
        ran = []
        for seq in order:
            submit(db, seq)
            ran += run_all(db)
        assert ran == list(range(6))


def test_models_do_not_wait_for_each_other(db: Database) -> None:
    database.add_model(db, "other", "s", None, now=0)
    submit(db, 1)
    with db.transaction():
        queue.submit(db, "optim_step", "other", 0, b"{}", model_id="other", now=0)
    assert run_all(db) == [0]


def test_a_retry_finds_its_own_request_and_does_not_run_twice(db: Database) -> None:
    assert submit(db, 0) == submit(db, 0)
    assert run_all(db) == [0]
    assert submit(db, 0) == "m:0"
    assert run_all(db) == []


def test_a_number_cannot_be_reused_by_another_request(db: Database) -> None:
    submit(db, 0)
    with pytest.raises(RefusedError, match="another request"):
        submit(db, 0, kind="save_weights")
    with pytest.raises(RefusedError, match="another request"):
        submit(db, 0, body=b"{...}")


def test_a_missing_number_is_waited_for_and_then_skipped(db: Database) -> None:
    submit(db, 0, now=0)
    run_all(db)
    submit(db, 3, now=10)
    submit(db, 2, now=20)
    assert queue.missing_number(db, "m") == 1
    assert queue.skip_missing(db, now=queue.PATIENCE_S + 5, since=0) == 0
    assert queue.next_request(db) is None
    assert queue.skip_missing(db, now=queue.PATIENCE_S + 11, since=0) == 1
    assert run_all(db) == [2, 3]
    with pytest.raises(RefusedError, match="turn has passed"):
        submit(db, 1)


def test_the_wait_for_a_missing_number_restarts_with_the_service(db: Database) -> None:
    submit(db, 1, now=0)
    assert queue.skip_missing(db, now=1000, since=900) == 0
    assert queue.skip_missing(db, now=900 + queue.PATIENCE_S + 1, since=900) == 1


def test_a_queued_request_is_no_gap(db: Database) -> None:
    submit(db, 0, now=0)
    assert queue.missing_number(db, "m") is None
    assert queue.skip_missing(db, now=10_000, since=0) == 0


def test_a_delivered_result_can_be_had_again_for_a_while(db: Database) -> None:
    submit(db, 0)
    run_all(db)
    assert queue.read_result(db, "m:0", now=100) == b"result"
    queue.drop_old_results(db, now=100 + queue.KEEP_DELIVERED_S - 1)
    assert queue.read_result(db, "m:0", now=500) == b"result"
    queue.drop_old_results(db, now=100 + queue.KEEP_DELIVERED_S + 1)
    assert queue.read_result(db, "m:0", now=1000) is None
    assert queue.status_of(db, "m:0") == queue.RequestStatus("done", "optim_step", "m")


def test_a_result_that_nobody_fetched_is_kept_for_days(db: Database) -> None:
    submit(db, 0)
    run_all(db)
    queue.drop_old_results(db, now=queue.KEEP_UNDELIVERED_S - 10)
    assert queue.read_result(db, "m:0", now=0) == b"result"


def test_what_finished_since_a_cursor_is_listed_once(db: Database) -> None:
    submit(db, 0)
    submit(db, 1)
    run_all(db)
    first, second = queue.finished_since(db, "m", 0)
    assert (first["request_id"], second["request_id"]) == ("m:0", "m:1")
    assert [row["request_id"] for row in queue.finished_since(db, "m", first["finish_number"])] == ["m:1"]
    assert queue.finished_since(db, "m", second["finish_number"]) == []


def test_a_sampling_request_can_be_cancelled_until_it_runs(db: Database) -> None:
    for seq in (0, 1):
        with db.transaction():
            queue.submit(db, "sample", "sampler", seq, b"{}", model_id=None, now=0)
    queue.cancel(db, "sampler:1", b"cancelled", now=1)
    assert run_all(db) == [0]
    queue.cancel(db, "sampler:0", b"cancelled", now=1)
    assert queue.read_result(db, "sampler:0", now=2) == b"result"
    assert queue.status_of(db, "sampler:1") == queue.RequestStatus("failed", "sample", None)
