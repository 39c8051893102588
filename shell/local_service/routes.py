"""The service as an ASGI application: bodies, routes in and out of the queue, and how refusals are answered.

A request is stored before it is answered. Waiting for a result takes up to POLL_S, then the answer is "try again".
"""

import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import time
from typing import Any

import msgspec
import zstandard  # the SDK's own dependency
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shell.local_service import RefusedError, UserError, database, queue, wire_format
from shell.local_service.database import Database
from shell.local_service.immediate_calls import LOOKUPS, Answer, Call, check_session
from shell.local_service.queued_calls import failure
from shell.local_service.wire_format import CreateModel, LoadWeights, Sample
from shell.local_service.worker import Worker

PREFIX = "/api/v1"
MAX_BODY = 256 * 2**20
POLL_S = 5.0  # the SDK waits 45 s for an answer; a run reports a silence of ten seconds
CLIENT_BLOCK = 1_000_000_000  # the numbers of a sampling session's n-th client start at n times this


def build_app(
    db: Database, on_ready: Callable[[], None] = lambda: None, lacks: frozenset[str] = frozenset()
) -> Starlette:
    """The service over an open database, without some abilities; calls `on_ready` once it serves."""
    worker = Worker(db, lacks)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        worker.start()
        on_ready()
        yield
        await run_in_threadpool(worker.stop)

    app = Starlette(
        routes=ROUTES,
        lifespan=lifespan,
        exception_handlers=dict.fromkeys((RefusedError, UserError, sqlite3.Error), _refused),
        # A page in the user's browser must not reach the service under a name of its own (DNS rebinding).
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )
    app.state.worker = worker
    return app


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, sqlite3.Error):  # a full disk: a 4xx, because the SDK repeats a 5xx for five minutes
        return JSONResponse({"error": f"the service cannot write its state: {error}", "category": "server"}, 422)
    return JSONResponse({"error": str(error), "category": "user"}, getattr(error, "status", 400))


async def _read_body(request: Request) -> bytes:
    """The body, decompressed and of at most MAX_BODY bytes."""
    if int(request.headers.get("content-length", 0)) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _too_large()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return bytes(body)
    if encoding != "zstd":
        raise RefusedError(415, f"expected Content-Encoding zstd or none, got {encoding[:50]!r}")
    try:
        if zstandard.frame_content_size(bytes(body)) > MAX_BODY:
            raise _too_large()
        return zstandard.ZstdDecompressor().decompress(bytes(body), max_output_size=MAX_BODY)
    except zstandard.ZstdError:
        raise RefusedError(400, f"the body is not a zstd frame of at most {MAX_BODY // 2**20} MB") from None


def _too_large() -> RefusedError:
    return RefusedError(413, f"the body is larger than {MAX_BODY // 2**20} MB")


def _route(method: str, path: str, answer: Answer) -> Route:
    async def endpoint(request: Request) -> Response:
        body = await _read_body(request)
        call = Call(request.app.state.worker, request.path_params, dict(request.query_params), body)
        return JSONResponse(await run_in_threadpool(answer, call))

    return Route(f"{PREFIX}/{path}", endpoint, methods=[method])


def _submit(call: Call, kind: str, owner: str, seq: int, session: str | None, model_id: str | None) -> dict[str, Any]:
    if call.worker.fault:
        raise RefusedError(422, call.worker.fault)
    if session is not None:
        check_session(call.db, session)
    request_id = queue.submit(call.db, kind, owner, seq, call.body, model_id=model_id, now=time())
    call.worker.wake.set()
    return {"request_id": request_id, "model_id": model_id}


def _submit_training(kind: str, call: Call) -> dict[str, Any]:
    """Queue a training request under its model and number."""
    address = wire_format.address(kind, call.body)
    with call.db.transaction():
        row = call.db.one("SELECT session_id FROM models WHERE model_id = ?", address.model_id)
        if row is None:
            raise RefusedError(404, f"there is no model {address.model_id!r} here")
        return _submit(call, kind, address.model_id, address.seq_id, row["session_id"], address.model_id)


def _submit_first(kind: str, body_type: type[CreateModel | LoadWeights], call: Call) -> dict[str, Any]:
    """Queue a model's first request, number 0, which creates the model."""
    asked = call.decode(body_type)
    if asked.session_id is None or asked.model_seq_id is None:
        raise RefusedError(400, "expected a session_id and a model_seq_id, got none")
    model_id = f"{asked.session_id}:train:{asked.model_seq_id}"
    with call.db.transaction():
        check_session(call.db, asked.session_id)
        if call.db.one("SELECT 1 FROM models WHERE model_id = ?", model_id) is None:
            database.add_model(call.db, model_id, asked.session_id, asked.user_metadata, now=time())
        return _submit(call, kind, model_id, 0, asked.session_id, model_id)


def _load_weights(call: Call) -> dict[str, Any]:
    """Either a new model's first request, named by its session, or (deprecated) one of a model's later ones."""
    if call.decode(dict[str, Any]).get("session_id") is None:
        return _submit_training("load_weights", call)
    return _submit_first("load_weights", LoadWeights, call)


class _NewSampler(msgspec.Struct):
    session_id: str
    sampling_session_seq_id: wire_format.Number
    base_model: str | None = None
    model_path: str | None = None


def _create_sampling_session(call: Call) -> dict[str, Any]:
    asked = call.decode(_NewSampler)
    sampler_id = f"{asked.session_id}:sample:{asked.sampling_session_seq_id}"
    with call.db.transaction():
        check_session(call.db, asked.session_id)
        _add_sampler(call.db, sampler_id, asked.session_id, asked.base_model, asked.model_path)
    return {"sampling_session_id": sampler_id, "type": "create_sampling_session"}


def _add_sampler(db: Database, sampler_id: str, session: str | None, base_model: str | None, path: str | None) -> None:
    if path is not None:
        base_model = database.read_checkpoint_row(db, path, now=time())["base_model"]
    if not base_model:
        raise RefusedError(400, "expected a model_path or a base_model, got neither")
    database.add_sampler(db, database.Sampler(sampler_id, session, base_model, path))


def _join_sampling_session(call: Call) -> dict[str, Any]:
    """A counter for another client of a sampling session: its requests' numbers start there."""
    sampler_id = call.field("sampling_session_id")
    with call.db.transaction():
        database.read_sampler(call.db, sampler_id)
        call.db.run("UPDATE samplers SET n_clients = n_clients + 1 WHERE sampler_id = ?", sampler_id)
        row = call.db.one("SELECT n_clients - 1 FROM samplers WHERE sampler_id = ?", sampler_id)
    return {"client_counter": row[0] if row else 0, "type": "join_sampling_session"}


def _sample(call: Call) -> dict[str, Any]:
    asked = call.decode(Sample)
    sampler_id, seq = asked.sampling_session_id, asked.seq_id or 0
    with call.db.transaction():
        if sampler_id is None:
            sampler_id = f"sample:{uuid.uuid4()}"
            _add_sampler(call.db, sampler_id, None, asked.base_model, asked.model_path)
        sampler = database.read_sampler(call.db, sampler_id)
        answer = _submit(call, "sample", sampler_id, seq, sampler.session_id, None)
    return answer | {"sample_sequence_ids": [f"{sampler_id}:{seq}:{i}" for i in range(min(asked.num_samples, 2**16))]}


class _Sampler(msgspec.Struct):
    sampling_session_id: str
    cloned_sampler_id: int = 0


class _Futures(msgspec.Struct):
    target: _Sampler
    prev_cursor: wire_format.Number = 0
    timeout: float | None = None


async def _retrieve_future(request: Request) -> Response:
    worker: Worker = request.app.state.worker
    request_id = wire_format.field(await _read_body(request), "request_id", str)
    await worker.wait(request_id, lambda: queue.status_of(worker.db, request_id).status != "queued", POLL_S)
    found = queue.status_of(worker.db, request_id)
    if found.status == "queued":
        if worker.fault:
            return Response(failure(worker.fault, "server"), media_type="application/json")
        answer = {"type": "try_again", "request_id": request_id, "queue_state": "active"}
        missing = None if found.model_id is None else queue.missing_number(worker.db, found.model_id)
        if missing is not None:
            reason = f"request {missing} of this model has not arrived; it is skipped after {queue.PATIENCE_S:.0f} s"
            answer |= {"queue_state": "paused_capacity", "queue_state_reason": reason}
        return JSONResponse(answer)
    result = queue.read_result(worker.db, request_id, now=time())
    if result is None:
        raise RefusedError(410, f"the result of {request_id!r} was retrieved before and has been dropped")
    is_binary = found.status == "done" and found.kind in ("forward_backward", "sample")
    return Response(result, media_type="application/x-protobuf" if is_binary else "application/json")


async def _retrieve_futures(request: Request) -> Response:
    """Which of a sampling client's requests finished since its last poll; their results are fetched one by one."""
    worker: Worker = request.app.state.worker
    asked = wire_format.decode(await _read_body(request), _Futures)
    owner, cursor = asked.target.sampling_session_id, asked.prev_cursor
    timeout_s = POLL_S if asked.timeout is None else max(0.0, min(asked.timeout, POLL_S))
    await worker.wait(owner, lambda: bool(queue.finished_since(worker.db, owner, cursor)), timeout_s)
    rows = queue.finished_since(worker.db, owner, cursor)
    completions = [
        {"state": "finished", "request_id": row["request_id"], "response_payload_uncompressed_size": row["size"]}
        if row["status"] == "done"
        else {"state": "failed", "request_id": row["request_id"]}
        for row in rows
        if row["seq"] // CLIENT_BLOCK == asked.target.cloned_sampler_id
    ]
    return JSONResponse({"completions": completions, "cursor": max([cursor, *(row["finish_number"] for row in rows)])})


def _cancel_future(call: Call) -> dict[str, Any]:
    queue.cancel(call.db, call.field("request_id"), failure("the request was cancelled", "user"), now=time())
    return {}


_TRAINING = ("forward_backward", "optim_step", "save_weights", "save_weights_for_sampler", "save_weights_external")
ROUTES = [
    _route("POST", "create_model", partial(_submit_first, "create_model", CreateModel)),
    _route("POST", "load_weights", _load_weights),
    *(_route("POST", kind, partial(_submit_training, kind)) for kind in _TRAINING),
    _route("POST", "create_sampling_session", _create_sampling_session),
    _route("POST", "join_sampling_session", _join_sampling_session),
    _route("POST", "asample", _sample),
    Route(f"{PREFIX}/retrieve_future", _retrieve_future, methods=["POST"]),
    Route(f"{PREFIX}/retrieve_futures", _retrieve_futures, methods=["POST"]),
    _route("POST", "cancel_future", _cancel_future),
    *(_route(*lookup) for lookup in LOOKUPS),
]
