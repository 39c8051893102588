"""Routes that put a request into the queue. It is stored before it is answered: from then on it is not lost."""

import uuid
from time import time

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shell.local_service import queue, store, wire
from shell.local_service.errors import RefusedError
from shell.local_service.prompts import Sample
from shell.local_service.request_body import read_body
from shell.local_service.service import PREFIX, Service, check_session, service_of


def _training(kind: str) -> Route:
    """A training request, queued under its model and number."""

    async def submit(request: Request) -> Response:
        body = await read_body(request)
        return await run_in_threadpool(_submit_training, service_of(request), kind, body)

    return Route(f"{PREFIX}/{kind}", submit, methods=["POST"])


def _submit_training(service: Service, kind: str, body: bytes) -> Response:
    address = wire.address(kind, body)
    with service.db.transaction():
        row = service.db.one("SELECT session_id FROM models WHERE model_id = ?", address.model_id)
        if row is None:
            raise RefusedError(404, f"there is no model {address.model_id!r} here")
        return _queue(service, kind, address.model_id, address.seq_id, body, session_id=row["session_id"])


async def _create_model(request: Request) -> Response:
    body = await read_body(request)
    asked = wire.decode(body, wire.CreateModel)
    return await run_in_threadpool(_submit_first, service_of(request), "create_model", asked, body)


async def _load_weights(request: Request) -> Response:
    """Either a new model's first request, named by its session, or (deprecated) one of a model's later ones."""
    body = await read_body(request)
    if wire.decode(body, _MaybeSession).session_id is None:
        return await run_in_threadpool(_submit_training, service_of(request), "load_weights", body)
    asked = wire.decode(body, wire.LoadWeights)
    return await run_in_threadpool(_submit_first, service_of(request), "load_weights", asked, body)


class _MaybeSession(msgspec.Struct):
    session_id: str | None = None


def _submit_first(service: Service, kind: str, asked: wire.CreateModel | wire.LoadWeights, body: bytes) -> Response:
    """A model's first request, number 0, which makes the model."""
    if asked.session_id is None or asked.model_seq_id is None:
        raise RefusedError(400, "expected a session_id and a model_seq_id, got none")
    model_id = f"{asked.session_id}:train:{asked.model_seq_id}"
    with service.db.transaction():
        check_session(service.db, asked.session_id)
        if service.db.one("SELECT 1 FROM models WHERE model_id = ?", model_id) is None:
            store.add_model(service.db, model_id, asked.session_id, asked.user_metadata, now=time())
        return _queue(service, kind, model_id, 0, body, session_id=asked.session_id)


def _queue(
    service: Service, kind: str, owner: str, seq: int, body: bytes, *, session_id: str | None, ordered: bool = True
) -> JSONResponse:
    if service.engine.fault:
        raise RefusedError(422, service.engine.fault)
    if session_id is not None:
        check_session(service.db, session_id)
    model_id = owner if ordered else None
    request_id = queue.submit(service.db, kind, owner, seq, body, model_id=model_id, now=time())
    service.engine.wake()
    return JSONResponse({"request_id": request_id, "model_id": model_id})


# Sampling.


class _NewSampler(msgspec.Struct):
    session_id: str
    sampling_session_seq_id: wire.Number
    base_model: str | None = None
    model_path: str | None = None


class _Sampler(msgspec.Struct):
    sampling_session_id: str


async def _create_sampling_session(request: Request) -> Response:
    asked = wire.decode(await read_body(request), _NewSampler)
    sampler_id = f"{asked.session_id}:sample:{asked.sampling_session_seq_id}"
    db = service_of(request).db
    with db.transaction():
        check_session(db, asked.session_id)
        _add_sampler(service_of(request), sampler_id, asked.session_id, asked.base_model, asked.model_path)
    return JSONResponse({"sampling_session_id": sampler_id, "type": "create_sampling_session"})


def _add_sampler(
    service: Service, sampler_id: str, session_id: str | None, base_model: str | None, path: str | None
) -> None:
    if path is not None:
        base_model = store.find_checkpoint(service.db, path, now=time())["base_model"]
    if not base_model:
        raise RefusedError(400, "expected a model_path or a base_model, got neither")
    store.add_sampler(service.db, store.Sampler(sampler_id, session_id, base_model, path))


async def _join_sampling_session(request: Request) -> Response:
    """A number of its own for another client of a sampling session: its requests' numbers begin there."""
    asked, db = wire.decode(await read_body(request), _Sampler), service_of(request).db
    with db.transaction():
        _existing_sampler(service_of(request), asked.sampling_session_id)
        db.run("UPDATE samplers SET n_clients = n_clients + 1 WHERE sampler_id = ?", asked.sampling_session_id)
        row = db.one("SELECT n_clients - 1 FROM samplers WHERE sampler_id = ?", asked.sampling_session_id)
    return JSONResponse({"client_counter": row[0] if row else 0, "type": "join_sampling_session"})


async def _sample(request: Request) -> Response:
    body = await read_body(request)
    asked = wire.decode(body, Sample)
    return await run_in_threadpool(_submit_sample, service_of(request), asked, body)


def _submit_sample(service: Service, asked: Sample, body: bytes) -> Response:
    sampler_id, seq = asked.sampling_session_id, asked.seq_id or 0
    with service.db.transaction():
        if sampler_id is None:
            sampler_id = f"sample:{uuid.uuid4()}"
            _add_sampler(service, sampler_id, None, asked.base_model, asked.model_path)
        sampler = _existing_sampler(service, sampler_id)
        answer = _queue(service, "sample", sampler_id, seq, body, session_id=sampler.session_id, ordered=False)
    ids = [f"{sampler_id}:{seq}:{i}" for i in range(max(0, min(asked.num_samples, 2**16)))]
    return JSONResponse(msgspec.json.decode(answer.body) | {"sample_sequence_ids": ids})


def _existing_sampler(service: Service, sampler_id: str) -> store.Sampler:
    sampler = store.find_sampler(service.db, sampler_id)
    if sampler is None:
        raise RefusedError(404, f"there is no sampling session {sampler_id!r} here")
    return sampler


SUBMIT_ROUTES = [
    Route(f"{PREFIX}/create_model", _create_model, methods=["POST"]),
    Route(f"{PREFIX}/load_weights", _load_weights, methods=["POST"]),
    *(
        _training(kind)
        for kind in (
            "forward_backward",
            "optim_step",
            "save_weights",
            "save_weights_for_sampler",
            "save_weights_external",
        )
    ),
    Route(f"{PREFIX}/create_sampling_session", _create_sampling_session, methods=["POST"]),
    Route(f"{PREFIX}/join_sampling_session", _join_sampling_session, methods=["POST"]),
    Route(f"{PREFIX}/asample", _sample, methods=["POST"]),
]
