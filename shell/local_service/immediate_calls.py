"""Calls that are answered without the queue: sessions, models, training runs, checkpoints, samplers."""

import json
import sqlite3
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import Any, NamedTuple, TypeVar

import msgspec

from shell.local_service import RefusedError, UserError, database, wire_format
from shell.local_service.database import Database
from shell.local_service.worker import Worker

_MODEL = {  # the one that is listed; a base model of any name can be trained
    "model_name": "tinsmith/tiny", "max_context_length": wire_format.MAX_CONTEXT, "trainable": True, "sampleable": True
}  # fmt: skip
_LIVE = "listed AND (expires IS NULL OR expires > ?)"
_RUN = "model_id, base_model, adapter, touched, user_metadata"
T = TypeVar("T")


class _Page(msgspec.Struct):
    offset: wire_format.Number = 0
    limit: wire_format.Number = 20


class Call(NamedTuple):
    """An HTTP request: path parameters, query and decompressed body."""

    worker: Worker
    path: dict[str, str]
    query: dict[str, str]
    body: bytes

    @property
    def db(self) -> Database:
        return self.worker.db

    def decode(self, kind: type[T]) -> T:
        return wire_format.decode(self.body, kind)

    def field(self, name: str, kind: Any = str) -> Any:
        return wire_format.field(self.body, name, kind)

    def page(self, rows: str, *values: Any) -> tuple[list[sqlite3.Row], dict[str, int]]:
        """The rows from `offset`, at most `limit` of them, and the cursor to answer with."""
        try:
            page = msgspec.convert(self.query, _Page, strict=False)
        except msgspec.ValidationError as error:
            raise RefusedError(400, f"malformed query: {error}") from None
        found = self.db.all(f"{rows} LIMIT ? OFFSET ?", *values, page.limit, page.offset)
        total = self.db.all(f"SELECT COUNT(*) FROM ({rows})", *values)[0][0]
        return found, {"offset": page.offset, "limit": page.limit, "total_count": total}


Answer = Callable[[Call], dict[str, Any]]


class _NewSession(msgspec.Struct):
    user_metadata: dict[str, Any] | None = None
    display_name: str | None = None


def _constant(**answer: Any) -> Answer:
    """The same answer to any JSON object."""

    def respond(call: Call) -> dict[str, Any]:
        call.decode(dict[str, msgspec.Raw])
        return answer

    return respond


def session_row(db: Database, session_id: str) -> sqlite3.Row:
    row = db.one("SELECT * FROM sessions WHERE session_id = ?", session_id)
    if row is None:
        raise RefusedError(404, f"there is no session {session_id!r} here")
    return row


def check_session(db: Database, session_id: str) -> None:
    """Refuse a session that does not exist or is finished."""
    if session_row(db, session_id)["finished"] is not None:
        raise RefusedError(410, f"session {session_id!r} is finished")


def _capabilities(call: Call) -> dict[str, Any]:
    lacks = call.worker.lacks
    if "capabilities" in lacks:
        raise RefusedError(404, "this service does not list what it can do")
    return {"supported_models": [_MODEL | {"sampleable": "sampling" not in lacks}]}


def _delete(call: Call) -> dict[str, Any]:
    if "deletion" in call.worker.lacks:
        raise RefusedError(405, "this service does not do deletion")
    return _change("DELETE FROM checkpoints WHERE path = ?")(call)


def _create_session(call: Call) -> dict[str, Any]:
    asked, session_id = call.decode(_NewSession), str(uuid.uuid4())
    call.db.run(
        "INSERT INTO sessions (session_id, created, alive, user_metadata, display_name) VALUES (?,?,?,?,?)",
        session_id, time(), time(), msgspec.json.encode(asked.user_metadata).decode(), asked.display_name,
    )  # fmt: skip
    return {"session_id": session_id, "type": "create_session"}


def _heartbeat(call: Call) -> dict[str, Any]:
    session_id = call.field("session_id")
    check_session(call.db, session_id)
    call.db.run("UPDATE sessions SET alive = ? WHERE session_id = ?", time(), session_id)
    return {"type": "session_heartbeat"}


def _finish_session(call: Call) -> dict[str, Any]:
    """The first finish counts; a later one changes nothing."""
    session_id = session_row(call.db, call.path["session_id"])["session_id"]
    call.db.run("UPDATE sessions SET finished = ? WHERE session_id = ? AND finished IS NULL", time(), session_id)
    return {}


def _sessions(call: Call) -> dict[str, Any]:
    rows, _ = call.page("SELECT session_id FROM sessions ORDER BY created DESC")
    return {"sessions": [row["session_id"] for row in rows]}


def _session(call: Call) -> dict[str, Any]:
    row = session_row(call.db, call.path["session_id"])
    models = "SELECT model_id FROM models WHERE session_id = ? ORDER BY created"
    samplers = "SELECT sampler_id FROM samplers WHERE session_id = ? ORDER BY rowid"
    return {
        "training_run_ids": [model_id for (model_id,) in call.db.all(models, row["session_id"])],
        "sampler_ids": [sampler_id for (sampler_id,) in call.db.all(samplers, row["session_id"])],
        "user_metadata": json.loads(row["user_metadata"] or "null"),
        "display_name": row["display_name"],
    }


def _model_row(db: Database, model_id: str, kind: str) -> sqlite3.Row:
    row = db.one(f"SELECT {_RUN} FROM models WHERE model_id = ? AND base_model IS NOT NULL", model_id)
    if row is None:
        raise RefusedError(404, f"there is no {kind} {model_id!r} here")
    return row


def _model_info(call: Call) -> dict[str, Any]:
    row = _model_row(call.db, call.field("model_id"), "model")
    return {
        "type": "get_info",
        "model_id": row["model_id"],
        "model_data": {"arch": "tinsmith-embedded", "model_name": row["base_model"]},
        "model_name": row["base_model"],
        "is_lora": True,
        "lora_rank": database.adapter_of(row).rank,
    }


def _training_runs(call: Call) -> dict[str, Any]:
    rows, cursor = call.page(f"SELECT {_RUN} FROM models WHERE base_model IS NOT NULL ORDER BY created DESC")
    return {"training_runs": [_run(call.db, row) for row in rows], "cursor": cursor}


def _training_run(call: Call) -> dict[str, Any]:
    return _run(call.db, _model_row(call.db, call.path["model_id"], "training run"))


def _run(db: Database, row: sqlite3.Row) -> dict[str, Any]:
    newest = f"""SELECT {database.CHECKPOINT_COLUMNS} FROM checkpoints
        WHERE model_id = ? AND kind = ? AND {_LIVE} ORDER BY created DESC"""
    last = {kind: db.one(newest, row["model_id"], kind, time()) for kind in database.SEGMENTS}
    return {
        "training_run_id": row["model_id"],
        "base_model": row["base_model"],
        "model_owner": "local",
        "is_lora": True,
        "lora_rank": database.adapter_of(row).rank,
        "last_request_time": _iso(row["touched"]),
        "last_checkpoint": last["training"] and _checkpoint(last["training"]),
        "last_sampler_checkpoint": last["sampler"] and _checkpoint(last["sampler"]),
        "user_metadata": json.loads(row["user_metadata"] or "null"),
    }


def _checkpoint(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "checkpoint_id": f"{database.SEGMENTS[row['kind']]}/{row['name']}",
        "checkpoint_type": row["kind"],
        "time": _iso(row["created"]),
        "tinker_path": row["path"],
        "size_bytes": row["size"],
        "public": bool(row["public"]),
        "user_metadata": json.loads(row["user_metadata"] or "null"),
        "expires_at": None if row["expires"] is None else _iso(row["expires"]),
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _run_checkpoints(call: Call) -> dict[str, Any]:
    model_id = _model_row(call.db, call.path["model_id"], "training run")["model_id"]
    rows = (
        f"SELECT {database.CHECKPOINT_COLUMNS} FROM checkpoints WHERE model_id = ? AND {_LIVE} ORDER BY created, path"
    )
    return {"checkpoints": [_checkpoint(row) for row in call.db.all(rows, model_id, time())]}


def _checkpoints(call: Call) -> dict[str, Any]:
    rows = f"SELECT {database.CHECKPOINT_COLUMNS} FROM checkpoints WHERE {_LIVE} ORDER BY created DESC, path"
    found, cursor = call.page(rows, time())
    return {"checkpoints": [_checkpoint(row) for row in found], "cursor": cursor}


def _loadable(db: Database, path: str) -> sqlite3.Row:
    try:
        return database.read_checkpoint_row(db, path, now=time())
    except UserError as error:
        raise RefusedError(404, str(error)) from None


def _change(sql: str, value_of: Callable[[Call], tuple[Any, ...]] = lambda _: ()) -> Answer:
    """Run a statement for the checkpoint in the path."""

    def run(call: Call) -> dict[str, Any]:
        path, values = "tinker://{model_id}/{segment}/{name}".format_map(call.path), value_of(call)
        with call.db.transaction():
            call.db.run(sql, *values, _loadable(call.db, path)["path"])
        return {}

    return run


def _expiry(call: Call) -> tuple[float | None]:
    return (database.expiry(call.field("ttl_seconds", int | None), now=time()),)


def _weights_info(call: Call) -> dict[str, Any]:
    row = _loadable(call.db, call.field("tinker_path"))
    adapter = database.adapter_of(row)
    trained = {name: getattr(adapter, name) for name in ("train_mlp", "train_attn", "train_unembed")}
    return {"base_model": row["base_model"], "is_lora": True, "lora_rank": adapter.rank, **trained}


def _sampler(call: Call) -> dict[str, Any]:
    sampler = database.read_sampler(call.db, call.path["sampler_id"])
    return {"sampler_id": sampler.sampler_id, "base_model": sampler.base_model, "model_path": sampler.path}


_CLIENT_CONFIG = _constant(
    proto_compress_fwdbwd=False,
    sample_join_sampling_session=True,
    proto_write_fwdbwd=True,  # both for SDK 0.24, which would send JSON
    fwd_via_fwdbwd=True,
)
_ONE = "training_runs/{model_id}/checkpoints/{segment}/{name}"  # a checkpoint's id holds a slash: weights/000020

LOOKUPS: list[tuple[str, str, Answer]] = [
    ("POST", "client/config", _CLIENT_CONFIG),
    ("POST", "client/dynamic_config", _constant(sample_cancel_enabled=True)),
    ("POST", "telemetry", _constant(status="accepted")),
    ("GET", "healthz", lambda _: {"status": "ok"}),
    ("GET", "get_server_capabilities", _capabilities),
    ("POST", "create_session", _create_session),
    ("POST", "session_heartbeat", _heartbeat),
    ("POST", "sessions/{session_id}/finish", _finish_session),
    ("GET", "sessions", _sessions),
    ("GET", "sessions/{session_id}", _session),
    ("POST", "get_info", _model_info),
    ("GET", "training_runs", _training_runs),
    ("GET", "training_runs/{model_id}", _training_run),
    ("GET", "training_runs/{model_id}/checkpoints", _run_checkpoints),
    ("GET", "checkpoints", _checkpoints),
    ("DELETE", _ONE, _delete),
    ("POST", f"{_ONE}/publish", _change("UPDATE checkpoints SET public = 1 WHERE path = ?")),
    ("DELETE", f"{_ONE}/publish", _change("UPDATE checkpoints SET public = 0 WHERE path = ?")),
    ("PUT", f"{_ONE}/ttl", _change("UPDATE checkpoints SET expires = ? WHERE path = ?", _expiry)),
    ("POST", "weights_info", _weights_info),
    ("GET", "samplers/{sampler_id}", _sampler),
]
