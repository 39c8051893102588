"""The service as an ASGI application: the routes together, how refusals are answered, and the protocol's small talk."""

import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import time
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shell.local_service import wire
from shell.local_service.database import Database
from shell.local_service.errors import RefusedError, UserError
from shell.local_service.request_body import read_body
from shell.local_service.rest import REST_ROUTES
from shell.local_service.results import FUTURE_ROUTES
from shell.local_service.service import PREFIX, Service, check_session, service_of
from shell.local_service.submit import SUBMIT_ROUTES


def build_app(db: Database, on_ready: Callable[[], None] = lambda: None) -> Starlette:
    """The service over an open database; `on_ready` is called once it serves.

    Touches: the database, and a thread that lives as long as the application's lifespan.
    """
    service = Service(db)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        on_ready()
        yield
        await run_in_threadpool(service.engine.stop)

    app = Starlette(
        routes=[*SMALL_TALK, *SUBMIT_ROUTES, *FUTURE_ROUTES, *REST_ROUTES],
        lifespan=lifespan,
        exception_handlers={RefusedError: _refused, UserError: _refused, sqlite3.Error: _no_room},
        # A page in the user's browser must not reach the service under a name of its own (DNS rebinding).
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )
    app.state.service = service
    return app


async def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RefusedError) else 400
    return JSONResponse({"error": str(error), "category": "user"}, status)


async def _no_room(_: Request, error: Exception) -> Response:
    """The state cannot be written (a full disk): a 4xx, because the SDK repeats a 5xx for five minutes."""
    return JSONResponse({"error": f"the service cannot keep its state: {error}", "category": "server"}, 422)


class _Anything(msgspec.Struct):
    pass


class _NewSession(msgspec.Struct):
    user_metadata: dict[str, Any] | None = None
    display_name: str | None = None


class _Session(msgspec.Struct):
    session_id: str


class _Model(msgspec.Struct):
    model_id: str


def _client_config(_: Service, __: _Anything) -> dict[str, Any]:
    return {"proto_compress_fwdbwd": False, "sample_join_sampling_session": True}


def _dynamic_config(_: Service, __: _Anything) -> dict[str, Any]:
    return {"sample_cancel_enabled": True}


def _telemetry(_: Service, __: _Anything) -> dict[str, Any]:
    return {"status": "accepted"}


def _create_session(service: Service, asked: _NewSession) -> dict[str, Any]:
    session_id = str(uuid.uuid4())
    service.db.run(
        "INSERT INTO sessions (session_id, created, alive, user_metadata, display_name) VALUES (?,?,?,?,?)",
        session_id, time(), time(), msgspec.json.encode(asked.user_metadata).decode(), asked.display_name,
    )  # fmt: skip
    return {"session_id": session_id, "type": "create_session"}


def _heartbeat(service: Service, asked: _Session) -> dict[str, Any]:
    check_session(service.db, asked.session_id)
    service.db.run("UPDATE sessions SET alive = ? WHERE session_id = ?", time(), asked.session_id)
    return {"type": "session_heartbeat"}


def _model_info(service: Service, asked: _Model) -> dict[str, Any]:
    row = service.db.one("SELECT base_model, adapter FROM models WHERE model_id = ?", asked.model_id)
    if row is None or row["base_model"] is None:
        raise RefusedError(404, f"there is no model {asked.model_id!r} here")
    return {
        "type": "get_info",
        "model_id": asked.model_id,
        "model_data": {"arch": "tinsmith-embedded", "model_name": row["base_model"]},
        "model_name": row["base_model"],
        "is_lora": True,
        "lora_rank": msgspec.json.decode(row["adapter"])["rank"],
    }


async def _finish_session(request: Request) -> Response:
    """The first finish counts; a later one changes nothing."""
    await read_body(request)
    db, session_id = service_of(request).db, request.path_params["session_id"]
    if db.one("SELECT 1 FROM sessions WHERE session_id = ?", session_id) is None:
        raise RefusedError(404, f"there is no session {session_id!r} here")
    db.run("UPDATE sessions SET finished = ? WHERE session_id = ? AND finished IS NULL", time(), session_id)
    return JSONResponse({})


def _json(path: str, kind: type[msgspec.Struct], answer: Callable[[Service, Any], dict[str, Any]]) -> Route:
    """A route that decodes a JSON body into a struct and answers with JSON."""

    async def endpoint(request: Request) -> Response:
        asked = wire.decode(await read_body(request), kind)
        return JSONResponse(await run_in_threadpool(answer, service_of(request), asked))

    return Route(f"{PREFIX}/{path}", endpoint, methods=["POST"])


SMALL_TALK = [
    _json("client/config", _Anything, _client_config),
    _json("client/dynamic_config", _Anything, _dynamic_config),
    _json("telemetry", _Anything, _telemetry),
    _json("create_session", _NewSession, _create_session),
    _json("session_heartbeat", _Session, _heartbeat),
    _json("get_info", _Model, _model_info),
    Route(f"{PREFIX}/sessions/{{session_id}}/finish", _finish_session, methods=["POST"]),
]
