"""The queue of requests is a table: accepted when its row is there, done when its result is.

Training requests of a model run strictly by seq_id, whatever order they arrive in (the SDK sends the first chunk of a
long batch last); sampling requests have no order. `(owner, seq_id)` names a request, so a retry finds its own row, and
a restarted service goes on where the dead one stopped, with nothing to rebuild in memory.

A number that never arrives would hold its model for ever. The SDK gives up on a submission after five minutes, so a
number that has been missing for PATIENCE_S cannot come any more and is passed over.

Results are kept until a while after they were delivered (an answer may be lost on its way), bodies until they are used.
"""

import sqlite3
from typing import NamedTuple

from shell.local_service.database import Database
from shell.local_service.errors import RefusedError

PATIENCE_S = 330.0
KEEP_DELIVERED_S = 600.0
KEEP_UNDELIVERED_S = 7 * 86_400.0


class Request(NamedTuple):
    """An accepted request whose turn has come."""

    request_id: str
    owner: str
    seq: int
    model_id: str | None
    kind: str
    body: bytes


class Standing(NamedTuple):
    """Where a request stands: `status` is queued, done or failed."""

    status: str
    kind: str
    model_id: str | None


def submit(db: Database, kind: str, owner: str, seq: int, body: bytes, *, model_id: str | None, now: float) -> str:
    """Accept a request, or find the one it repeats; call within a transaction.

    Args:
        owner: the model of a training request, the sampling session of a sampling request.
        model_id: the model in whose order it runs; None for no order.

    Returns:
        Its request id, which repeats for the same owner and number.

    Raises:
        RefusedError: the number belongs to another request, or its turn has passed.
    """
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
    """The request to run now: of those whose turn has come, the one that was accepted first."""
    row = db.one(
        """SELECT r.request_id, r.owner, r.seq, r.model_id, r.kind, r.body FROM requests r
        LEFT JOIN models m ON m.model_id = r.model_id
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


def standing(db: Database, request_id: str) -> Standing | None:
    """Where a request stands; None if there is no such request."""
    row = db.one("SELECT status, kind, model_id FROM requests WHERE request_id = ?", request_id)
    return Standing(*row) if row else None


def take_result(db: Database, request_id: str, *, now: float) -> bytes | None:
    """The result of a finished request, noted as delivered; None once it is forgotten."""
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
    """Take a sampling request out of the queue if it has not run yet."""
    with db.transaction():
        row = db.one(
            """SELECT request_id, owner, seq, model_id, kind, body FROM requests
            WHERE request_id = ? AND status = 'queued' AND model_id IS NULL""",
            request_id,
        )
        if row:
            finish(db, Request(*row), "failed", result, now=now)


def missing(db: Database, model_id: str) -> int | None:
    """The number a model is waiting for while later ones are queued, or None."""
    row = db.one(
        """SELECT m.next_seq FROM models m WHERE m.model_id = ?
        AND (SELECT MIN(seq) FROM requests r WHERE r.model_id = m.model_id AND r.status = 'queued') > m.next_seq""",
        model_id,
    )
    return None if row is None else int(row["next_seq"])


def pass_over(db: Database, *, now: float, since: float, patience_s: float = PATIENCE_S) -> int:
    """Move models past numbers that have been missing too long; the number of models moved.

    Args:
        since: when this service started: before that, nothing could arrive.
    """
    gaps = db.all(
        """SELECT m.model_id, MIN(r.seq) AS seq FROM models m
        JOIN requests r ON r.model_id = m.model_id AND r.status = 'queued'
        GROUP BY m.model_id HAVING MIN(r.seq) > m.next_seq AND MAX(m.touched, MIN(r.accepted), ?) < ?""",
        since, now - patience_s,
    )  # fmt: skip
    for gap in gaps:
        db.run("UPDATE models SET next_seq = ? WHERE model_id = ?", gap["seq"], gap["model_id"])
    return len(gaps)


def forget(db: Database, *, now: float) -> None:
    """Drop the results that nobody will ask for again; the requests stay known as done."""
    db.run(
        "UPDATE requests SET result = NULL WHERE result IS NOT NULL AND (delivered < ? OR finished < ?)",
        now - KEEP_DELIVERED_S, now - KEEP_UNDELIVERED_S,
    )  # fmt: skip
