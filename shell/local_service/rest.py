"""The look-ups beside the queue: capabilities, training runs, checkpoints, samplers, sessions. Rows in, JSON out."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shell.local_service import store, wire
from shell.local_service.database import Database
from shell.local_service.errors import RefusedError, UserError
from shell.local_service.request_body import read_body
from shell.local_service.service import PREFIX, service_of

BASE_MODEL = "tinsmith/tiny"  # the name the service lists; it makes a base model of any name
_LIVE = "listed AND (expires IS NULL OR expires > ?)"


class Lookup(NamedTuple):
    """What a look-up is given."""

    db: Database
    path: dict[str, str]
    query: dict[str, str]
    body: bytes

    def page(self, rows: str, *values: Any) -> tuple[list[sqlite3.Row], dict[str, int]]:
        """The rows from `offset`, at most `limit` of them, and the cursor to answer with."""
        try:
            page = msgspec.convert(self.query, _Page, strict=False)
        except msgspec.ValidationError as error:
            raise RefusedError(400, f"malformed query: {error}") from None
        found = self.db.all(f"{rows} LIMIT ? OFFSET ?", *values, page.limit, page.offset)
        total = self.db.all(f"SELECT COUNT(*) FROM ({rows})", *values)[0][0]
        return found, {"offset": page.offset, "limit": page.limit, "total_count": total}


class _Page(msgspec.Struct):
    offset: wire.Number = 0
    limit: wire.Number = 20


class _TinkerPath(msgspec.Struct):
    tinker_path: str


class _Ttl(msgspec.Struct):
    ttl_seconds: int | None


def _health(_: Lookup) -> dict[str, Any]:
    return {"status": "ok"}


def _capabilities(_: Lookup) -> dict[str, Any]:
    model = {"model_name": BASE_MODEL, "max_context_length": wire.MAX_CONTEXT, "trainable": True, "sampleable": True}
    return {"supported_models": [model]}


def _training_runs(ask: Lookup) -> dict[str, Any]:
    rows, cursor = ask.page(f"SELECT {_RUN} FROM models WHERE base_model IS NOT NULL ORDER BY created DESC")
    return {"training_runs": [_run(ask.db, row) for row in rows], "cursor": cursor}


def _training_run(ask: Lookup) -> dict[str, Any]:
    model_id = ask.path["model_id"]
    row = ask.db.one(f"SELECT {_RUN} FROM models WHERE model_id = ? AND base_model IS NOT NULL", model_id)
    if row is None:
        raise RefusedError(404, f"there is no training run {model_id!r} here")
    return _run(ask.db, row)


def _run_checkpoints(ask: Lookup) -> dict[str, Any]:
    model_id = _training_run(ask)["training_run_id"]
    rows = f"SELECT {store.ABOUT} FROM checkpoints WHERE model_id = ? AND {_LIVE} ORDER BY created, path"
    return {"checkpoints": [_checkpoint(row) for row in ask.db.all(rows, model_id, time())]}


def _checkpoints(ask: Lookup) -> dict[str, Any]:
    rows, cursor = ask.page(f"SELECT {store.ABOUT} FROM checkpoints WHERE {_LIVE} ORDER BY created DESC, path", time())
    return {"checkpoints": [_checkpoint(row) for row in rows], "cursor": cursor}


def _delete_checkpoint(ask: Lookup) -> dict[str, Any]:
    return _change(ask, "DELETE FROM checkpoints WHERE path = ?")


def _publish(ask: Lookup) -> dict[str, Any]:
    return _change(ask, "UPDATE checkpoints SET public = 1 WHERE path = ?")


def _unpublish(ask: Lookup) -> dict[str, Any]:
    return _change(ask, "UPDATE checkpoints SET public = 0 WHERE path = ?")


def _set_ttl(ask: Lookup) -> dict[str, Any]:
    expires = store.expiry(wire.decode(ask.body, _Ttl).ttl_seconds, now=time())
    return _change(ask, "UPDATE checkpoints SET expires = ? WHERE path = ?", expires)


def _change(ask: Lookup, sql: str, *values: Any) -> dict[str, Any]:
    path = "tinker://{model_id}/{segment}/{name}".format_map(ask.path)
    with ask.db.transaction():
        ask.db.run(sql, *values, _loadable(ask.db, path)["path"])
    return {}


def _weights_info(ask: Lookup) -> dict[str, Any]:
    row = _loadable(ask.db, wire.decode(ask.body, _TinkerPath).tinker_path)
    adapter = store.adapter_of(row)
    return {
        "base_model": row["base_model"],
        "is_lora": True,
        "lora_rank": adapter.rank,
        "train_mlp": adapter.train_mlp,
        "train_attn": adapter.train_attn,
        "train_unembed": adapter.train_unembed,
    }


def _sampler(ask: Lookup) -> dict[str, Any]:
    sampler = store.find_sampler(ask.db, ask.path["sampler_id"])
    if sampler is None:
        raise RefusedError(404, f"there is no sampler {ask.path['sampler_id']!r} here")
    return {"sampler_id": sampler.sampler_id, "base_model": sampler.base_model, "model_path": sampler.path}


def _sessions(ask: Lookup) -> dict[str, Any]:
    rows, _ = ask.page("SELECT session_id FROM sessions ORDER BY created DESC")
    return {"sessions": [row["session_id"] for row in rows]}


def _session(ask: Lookup) -> dict[str, Any]:
    session_id = ask.path["session_id"]
    row = ask.db.one("SELECT * FROM sessions WHERE session_id = ?", session_id)
    if row is None:
        raise RefusedError(404, f"there is no session {session_id!r} here")
    models = ask.db.all("SELECT model_id FROM models WHERE session_id = ? ORDER BY created", session_id)
    samplers = ask.db.all("SELECT sampler_id FROM samplers WHERE session_id = ? ORDER BY rowid", session_id)
    return {
        "training_run_ids": [model["model_id"] for model in models],
        "sampler_ids": [sampler["sampler_id"] for sampler in samplers],
        "user_metadata": json.loads(row["user_metadata"] or "null"),
        "display_name": row["display_name"],
    }


# Rows as the SDK's types.

_RUN = "model_id, base_model, adapter, touched, user_metadata"


def _run(db: Database, row: sqlite3.Row) -> dict[str, Any]:
    newest = f"SELECT {store.ABOUT} FROM checkpoints WHERE model_id = ? AND kind = ? AND {_LIVE} ORDER BY created DESC"
    last = {kind: db.one(newest, row["model_id"], kind, time()) for kind in store.SEGMENTS}
    return {
        "training_run_id": row["model_id"],
        "base_model": row["base_model"],
        "model_owner": "local",
        "is_lora": True,
        "lora_rank": store.adapter_of(row).rank,
        "last_request_time": _moment(row["touched"]),
        "last_checkpoint": last["training"] and _checkpoint(last["training"]),
        "last_sampler_checkpoint": last["sampler"] and _checkpoint(last["sampler"]),
        "user_metadata": json.loads(row["user_metadata"] or "null"),
    }


def _checkpoint(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "checkpoint_id": f"{store.SEGMENTS[row['kind']]}/{row['name']}",
        "checkpoint_type": row["kind"],
        "time": _moment(row["created"]),
        "tinker_path": row["path"],
        "size_bytes": row["size"],
        "public": bool(row["public"]),
        "user_metadata": json.loads(row["user_metadata"] or "null"),
        "expires_at": None if row["expires"] is None else _moment(row["expires"]),
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _loadable(db: Database, path: str) -> sqlite3.Row:
    try:
        return store.find_checkpoint(db, path, now=time())
    except UserError as error:
        raise RefusedError(404, str(error)) from None


def _route(method: str, path: str, look_up: Callable[[Lookup], dict[str, Any]]) -> Route:
    async def endpoint(request: Request) -> Response:
        db, body = service_of(request).db, await read_body(request)
        ask = Lookup(db, request.path_params, dict(request.query_params), body)
        return JSONResponse(await run_in_threadpool(look_up, ask))

    return Route(f"{PREFIX}/{path}", endpoint, methods=[method])


_ONE = "training_runs/{model_id}/checkpoints/{segment}/{name}"  # a checkpoint's id holds a slash: weights/000020

REST_ROUTES = [
    _route("GET", "healthz", _health),
    _route("GET", "get_server_capabilities", _capabilities),
    _route("GET", "training_runs", _training_runs),
    _route("GET", "training_runs/{model_id}", _training_run),
    _route("GET", "training_runs/{model_id}/checkpoints", _run_checkpoints),
    _route("GET", "checkpoints", _checkpoints),
    _route("DELETE", _ONE, _delete_checkpoint),
    _route("POST", f"{_ONE}/publish", _publish),
    _route("DELETE", f"{_ONE}/publish", _unpublish),
    _route("PUT", f"{_ONE}/ttl", _set_ttl),
    _route("POST", "weights_info", _weights_info),
    _route("GET", "samplers/{sampler_id}", _sampler),
    _route("GET", "sessions", _sessions),
    _route("GET", "sessions/{session_id}", _session),
]
