"""The queue of requests, as a table: accepted once its row is there, done once its result is.

Training requests of a model run strictly by seq_id. `(owner, seq_id)` names a request, so a retry finds its own row.
"""

import sqlite3
from typing import NamedTuple

from shell.local_service import RefusedError
from shell.local_service.database import Database

PATIENCE_S = 330.0  # the SDK gives up on a submission after five minutes: a number missing for longer cannot come
KEEP_DELIVERED_S = 600.0  # an answer may be lost on its way
KEEP_UNDELIVERED_S = 7 * 86_400.0
_COLUMNS = "r.request_id, r.owner, r.seq, r.model_id, r.kind, r.body"


class Request(NamedTuple):
    """An accepted request whose turn has come."""

    request_id: str
    owner: str
    seq: int
    model_id: str | None
    kind: str
    body: bytes


class RequestStatus(NamedTuple):
    status: str  # queued, done or failed
    kind: str
    model_id: str | None


def submit(db: Database, kind: str, owner: str, seq: int, body: bytes, *, model_id: str | None, now: float) -> str:
    """Accept a request, or find the one it repeats; its id. It runs in the order of `model_id`, if any."""
    request_id = f"{owner}:{seq}"
    if row := db.one("SELECT kind, size FROM requests WHERE request_id = ?", request_id):
        if (row["kind"], row["size"]) != (kind, len(body)):
            raise RefusedError(400, f"expected a new seq_id, got {seq}, which is another request's ({row['kind']})")
        return request_id
    if model_id is not None:
        row = db.one("SELECT next_seq FROM models WHERE model_id = ?", model_id)
        if row is None:
            raise RefusedError(404, f"there is no model {model_id!r} here")
        if seq < row["next_seq"]:
            raise RefusedError(400, f"expected seq_id >= {row['next_seq']}, got {seq}, whose turn has passed")
    db.run(
        "INSERT INTO requests (request_id, owner, seq, model_id, kind, size, body, accepted) VALUES (?,?,?,?,?,?,?,?)",
        request_id, owner, seq, model_id, kind, len(body), body, now,
    )  # fmt: skip
    return request_id


def next_request(db: Database) -> Request | None:
    """The request to run now: of those that can run, the one that was accepted first."""
    row = db.one(
        f"""SELECT {_COLUMNS} FROM requests r LEFT JOIN models m ON m.model_id = r.model_id
        WHERE r.status = 'queued' AND (r.model_id IS NULL OR r.seq = m.next_seq) ORDER BY r.rowid LIMIT 1"""
    )
    return Request(*row) if row else None


def finish(db: Database, request: Request, status: str, result: bytes, *, now: float) -> None:
    """Record a request's result and let its model's next one run; call within a transaction."""
    db.run(
        """UPDATE requests SET status = ?, result = ?, body = NULL, finished = ?,
        finish_number = (SELECT COALESCE(MAX(finish_number), 0) + 1 FROM requests r
            WHERE r.owner = requests.owner)
        WHERE request_id = ?""",
        status, result, now, request.request_id,
    )  # fmt: skip
    if request.model_id is not None:
        db.run("UPDATE models SET next_seq = ?, touched = ? WHERE model_id = ?", request.seq + 1, now, request.model_id)


def status_of(db: Database, request_id: str) -> RequestStatus:
    """The status of a request; refuses one that does not exist."""
    row = db.one("SELECT status, kind, model_id FROM requests WHERE request_id = ?", request_id)
    if row is None:
        raise RefusedError(404, f"there is no request {request_id!r} here")
    return RequestStatus(*row)


def read_result(db: Database, request_id: str, *, now: float) -> bytes | None:
    """The result of a finished request, marked as delivered; None once it is dropped."""
    db.run("UPDATE requests SET delivered = ? WHERE request_id = ? AND delivered IS NULL", now, request_id)
    row = db.one("SELECT result FROM requests WHERE request_id = ?", request_id)
    return row["result"] if row else None


def finished_since(db: Database, owner: str, cursor: int) -> list[sqlite3.Row]:
    """The requests of an owner that finished after a cursor, oldest first."""
    return db.all(
        """SELECT request_id, seq, status, LENGTH(result) AS size, finish_number FROM requests
        WHERE owner = ? AND finish_number > ? ORDER BY finish_number""",
        owner, cursor,
    )  # fmt: skip


def cancel(db: Database, request_id: str, result: bytes, *, now: float) -> None:
    """Fail a sampling request that has not run yet."""
    queued = "request_id = ? AND status = 'queued' AND model_id IS NULL"
    with db.transaction():
        if row := db.one(f"SELECT {_COLUMNS} FROM requests r WHERE {queued}", request_id):
            finish(db, Request(*row), "failed", result, now=now)


def missing_number(db: Database, model_id: str) -> int | None:
    """The number a model is waiting for while later ones are queued, or None."""
    row = db.one(
        """SELECT m.next_seq FROM models m WHERE m.model_id = ?
        AND (SELECT MIN(seq) FROM requests r WHERE r.model_id = m.model_id AND r.status = 'queued') > m.next_seq""",
        model_id,
    )
    return None if row is None else int(row["next_seq"])


def skip_missing(db: Database, *, now: float, since: float) -> int:
    """Move models past numbers missing for too long, counted from the start of this service; how many were moved."""
    gaps = db.all(
        """SELECT m.model_id, MIN(r.seq) AS seq FROM models m
        JOIN requests r ON r.model_id = m.model_id AND r.status = 'queued'
        GROUP BY m.model_id HAVING MIN(r.seq) > m.next_seq AND MAX(m.touched, MIN(r.accepted), ?) < ?""",
        since, now - PATIENCE_S,
    )  # fmt: skip
    for gap in gaps:
        db.run("UPDATE models SET next_seq = ? WHERE model_id = ?", gap["seq"], gap["model_id"])
    return len(gaps)


def drop_old_results(db: Database, *, now: float) -> None:
    """Drop the results that nobody will fetch again; the requests stay recorded as done."""
    db.run(
        "UPDATE requests SET result = NULL WHERE result IS NOT NULL AND (delivered < ? OR finished < ?)",
        now - KEEP_DELIVERED_S, now - KEEP_UNDELIVERED_S,
    )  # fmt: skip
