"""Routes that hand out results. Waiting happens here: an answer is held back for up to POLL_S, then "try again"."""

from time import time

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shell.local_service import queue, wire
from shell.local_service.errors import RefusedError
from shell.local_service.handlers import failure
from shell.local_service.request_body import read_body
from shell.local_service.service import PREFIX, Service, service_of

POLL_S = 5.0  # the SDK waits 45 s for an answer; a run says after ten seconds that it hears nothing
PROTOBUF = "application/x-protobuf"
CLIENT_BLOCK = 1_000_000_000  # the numbers of a sampling session's n-th client begin at n times this


class _Future(msgspec.Struct):
    request_id: str


class _Target(msgspec.Struct):
    sampling_session_id: str
    cloned_sampler_id: int = 0


class _Futures(msgspec.Struct):
    target: _Target
    prev_cursor: wire.Number = 0
    timeout: float | None = None


async def _retrieve_future(request: Request) -> Response:
    service, asked = service_of(request), wire.decode(await read_body(request), _Future)
    await service.wait(asked.request_id, lambda: _standing(service, asked.request_id).status != "queued", POLL_S)
    found = _standing(service, asked.request_id)
    if found.status == "queued":
        if service.engine.fault:
            return Response(failure(service.engine.fault, "server"), media_type="application/json")
        return JSONResponse({"type": "try_again", "request_id": asked.request_id, **_queue_state(service, found)})
    result = queue.take_result(service.db, asked.request_id, now=time())
    if result is None:
        raise RefusedError(410, f"the result of {asked.request_id!r} was retrieved before and is forgotten")
    binary = found.status == "done" and found.kind in ("forward_backward", "sample")
    return Response(result, media_type=PROTOBUF if binary else "application/json")


def _standing(service: Service, request_id: str) -> queue.Standing:
    found = queue.standing(service.db, request_id)
    if found is None:
        raise RefusedError(404, f"there is no request {request_id!r} here")
    return found


def _queue_state(service: Service, found: queue.Standing) -> dict[str, str]:
    missing = None if found.model_id is None else queue.missing(service.db, found.model_id)
    if missing is None:
        return {"queue_state": "active"}
    reason = f"request {missing} of this model has not arrived; it is passed over after {queue.PATIENCE_S:.0f} s"
    return {"queue_state": "paused_capacity", "queue_state_reason": reason}


async def _retrieve_futures(request: Request) -> Response:
    """Which of a sampling client's requests finished since it last asked; their results are fetched one by one."""
    service, asked = service_of(request), wire.decode(await read_body(request), _Futures)
    owner, cursor = asked.target.sampling_session_id, asked.prev_cursor
    timeout_s = POLL_S if asked.timeout is None else max(0.0, min(asked.timeout, POLL_S))
    await service.wait(owner, lambda: bool(queue.finished_since(service.db, owner, cursor)), timeout_s)
    rows = queue.finished_since(service.db, owner, cursor)
    completions = [
        {"state": "finished", "request_id": row["request_id"], "response_payload_uncompressed_size": row["size"]}
        if row["status"] == "done"
        else {"state": "failed", "request_id": row["request_id"]}
        for row in rows
        if row["seq"] // CLIENT_BLOCK == asked.target.cloned_sampler_id
    ]
    return JSONResponse({"completions": completions, "cursor": max([cursor, *(row["finish_number"] for row in rows)])})


async def _cancel_future(request: Request) -> Response:
    service, asked = service_of(request), wire.decode(await read_body(request), _Future)
    queue.cancel(service.db, asked.request_id, failure("the request was cancelled", "user"), now=time())
    return JSONResponse({})


FUTURE_ROUTES = [
    Route(f"{PREFIX}/retrieve_future", _retrieve_future, methods=["POST"]),
    Route(f"{PREFIX}/retrieve_futures", _retrieve_futures, methods=["POST"]),
    Route(f"{PREFIX}/cancel_future", _cancel_future, methods=["POST"]),
]
