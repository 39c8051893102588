"""The protocol, request by request: order, retries, refusals, and that no body brings the service down."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tinker.proto import tinker_public_pb2 as proto

from shell.local_service import routes
from shell.local_service.database import Database
from shell.local_service.routes import build_app
from shell.service.local_process import ServiceProcess
from tests.shell.local_service.serving import ADAM, RawClient, forward_backward_body, some_rows

STEPS = [some_rows(seed) for seed in range(3)]


TRAINING = [("fb", 1), ("adam", 2), ("fb", 3), ("adam", 4), ("fb", 5), ("adam", 6)]


def send(client: RawClient, model_id: str, kind: str, seq: int, moved: int = 0) -> str:
    """Send one of the requests of TRAINING, `moved` numbers later than there."""
    if kind == "fb":
        return client.forward_backward(model_id, seq + moved, STEPS[(seq - 1) // 2])
    return client.optim_step(model_id, seq + moved)


@pytest.fixture
def trained(client: RawClient) -> np.ndarray[Any, Any]:
    """The logprobs of a model after three steps sent in order, once each."""
    model_id = client.new_model()
    for kind, seq in TRAINING:
        send(client, model_id, kind, seq)
    return client.logprobs(model_id, 7, STEPS[0])


def test_requests_may_arrive_in_any_order(client: RawClient, trained: np.ndarray[Any, Any]) -> None:
    model_id = client.new_model(1)
    for kind, seq in reversed(TRAINING):
        send(client, model_id, kind, seq)
    np.testing.assert_array_equal(client.logprobs(model_id, 7, STEPS[0]), trained)


def test_requests_may_arrive_twice(client: RawClient, trained: np.ndarray[Any, Any]) -> None:
    model_id = client.new_model(1)
    for kind, seq in TRAINING:
        assert send(client, model_id, kind, seq) == send(client, model_id, kind, seq)
    for kind, seq in TRAINING:
        send(client, model_id, kind, seq)
    np.testing.assert_array_equal(client.logprobs(model_id, 7, STEPS[0]), trained)


def test_a_failed_request_uses_its_number_up(client: RawClient, trained: np.ndarray[Any, Any]) -> None:
    model_id = client.new_model(1)
    bad = client.send("forward_backward", forward_backward_body(model_id, 1, [[1, 2]], loss_fn="dro"))
    worse = client.post("optim_step", model_id=model_id, seq_id=2, adam_params={"learning_rate": "fast"})
    for kind, seq in TRAINING:
        send(client, model_id, kind, seq, moved=2)
    np.testing.assert_array_equal(client.logprobs(model_id, 9, STEPS[0]), trained)
    for refused in (bad.json(), worse):
        assert client.result(refused["request_id"])["category"] == "user"


def test_gradients_of_several_requests_add_up(client: RawClient) -> None:
    halves, whole = client.new_model(1), client.new_model(2)
    client.forward_backward(halves, 1, STEPS[0][:2])
    client.forward_backward(halves, 2, STEPS[0][2:])
    client.forward_backward(whole, 1, STEPS[0])
    norms = [client.result(client.optim_step(model, seq))["metrics"] for model, seq in ((halves, 3), (whole, 2))]
    assert norms[0]["grad_norm:mean"] == pytest.approx(norms[1]["grad_norm:mean"], rel=1e-4)


def test_a_forward_request_changes_nothing(client: RawClient, trained: np.ndarray[Any, Any]) -> None:
    model_id = client.new_model(1)
    for kind, seq in TRAINING:
        client.logprobs(model_id, 2 * seq - 1, STEPS[1])
        send(client, model_id, kind, seq, moved=seq)
    np.testing.assert_array_equal(client.logprobs(model_id, 13, STEPS[0]), trained)


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("retrieve_future", {"request_id": "nobody:1"}, 404),
        ("optim_step", {"model_id": "nobody", "seq_id": 1, "adam_params": ADAM}, 404),
        ("get_info", {"model_id": "nobody"}, 404),
        ("session_heartbeat", {"session_id": "nobody"}, 404),
        ("create_model", {"session_id": "nobody", "model_seq_id": 0, "base_model": "b"}, 404),
        ("create_model", {"session_id": "nobody", "model_seq_id": -1, "base_model": "b"}, 400),
        ("create_sampling_session", {"session_id": "nobody", "sampling_session_seq_id": 0, "base_model": "b"}, 404),
        ("asample", {"sampling_session_id": "nobody", "prompt": {"chunks": []}, "sampling_params": {}}, 404),
        ("asample", {"prompt": {"chunks": []}, "sampling_params": {}}, 400),
        ("weights_info", {"tinker_path": "tinker://a/weights/b"}, 404),
        ("no_such_thing", {}, 404),
    ],
)
def test_what_is_not_there_is_refused(client: RawClient, path: str, fields: dict[str, Any], status: int) -> None:
    assert client.http.post(path, json=fields).status_code == status


def test_a_finished_session_takes_no_more(client: RawClient) -> None:
    model_id = client.new_model()
    for _ in range(2):
        client.post(f"sessions/{client.session_id}/finish", reason={"type": "success"})
    for path, fields in (
        ("session_heartbeat", {"session_id": client.session_id}),
        ("optim_step", {"model_id": model_id, "seq_id": 1, "adam_params": ADAM}),
        ("create_model", {"session_id": client.session_id, "model_seq_id": 1, "base_model": "b"}),
    ):
        assert client.http.post(path, json=fields).status_code == 410


def test_sampling_clients_learn_what_finished_from_one_long_poll(client: RawClient) -> None:
    session = {"session_id": client.session_id, "sampling_session_seq_id": 0, "base_model": "b"}
    sampler_id = client.post("create_sampling_session", **session)["sampling_session_id"]
    assert [client.post("join_sampling_session", sampling_session_id=sampler_id)["client_counter"] for _ in "ab"] == [
        1,
        2,
    ]
    prompt = {"chunks": [{"type": "encoded_text", "tokens": [1, 2]}]}
    asked = {"sampling_session_id": sampler_id, "prompt": prompt, "sampling_params": {"max_tokens": 1}}
    own, bad, cloned = (
        client.post("asample", **asked, seq_id=seq, num_samples=n)["request_id"]
        for seq, n in ((0, 1), (1, 0), (2_000_000_000, 1))
    )

    def finished(number: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        target, cursor = {"sampling_session_id": sampler_id, "cloned_sampler_id": number}, 0
        while len(found) < (2 if number == 0 else 1):
            answer = client.post("retrieve_futures", target=target, prev_cursor=cursor)
            assert answer["cursor"] > cursor
            cursor = answer["cursor"]
            found += [(each["request_id"], each["state"]) for each in answer["completions"]]
        return found

    assert finished(0) == [(own, "finished"), (bad, "failed")]
    assert finished(2) == [(cloned, "finished")]
    assert client.post("cancel_future", request_id=own) == {}
    answer = client.http.post("retrieve_future", json={"request_id": own})
    assert len(proto.SampleResponse.FromString(answer.content).sequences) == 1


def test_another_name_for_this_machine_is_refused(service: ServiceProcess) -> None:
    answer = httpx.get(f"{service.url}/api/v1/healthz", headers={"Host": "evil.example"})
    assert answer.status_code == 400


def test_a_zstd_body_is_read_and_other_encodings_are_refused(client: RawClient) -> None:
    model_id = client.new_model()
    plain = forward_backward_body(model_id, 1, STEPS[0])
    packed = zstandard.compress(plain)
    assert client.send("forward_backward", packed, **{"Content-Encoding": "zstd"}).status_code == 200
    assert client.send("forward_backward", packed[:-3], **{"Content-Encoding": "zstd"}).status_code == 400
    assert client.send("forward_backward", plain, **{"Content-Encoding": "zstd"}).status_code == 400
    assert client.send("forward_backward", plain, **{"Content-Encoding": "br"}).status_code == 415


# Bodies that make no sense.

POSTS = [
    "client/config",
    "client/dynamic_config",
    "create_session",
    "session_heartbeat",
    "telemetry",
    "get_info",
    "create_model",
    "load_weights",
    "forward_backward",
    "optim_step",
    "save_weights",
    "save_weights_for_sampler",
    "save_weights_external",
    "create_sampling_session",
    "join_sampling_session",
    "asample",
    "retrieve_futures",
    "cancel_future",
    "weights_info",
    "sessions/x/finish",
]
NAMES = [
    "session_id",
    "model_id",
    "seq_id",
    "model_seq_id",
    "base_model",
    "lora_config",
    "rank",
    "seed",
    "path",
    "optimizer",
    "adam_params",
    "learning_rate",
    "ttl_seconds",
    "request_id",
    "target",
    "prev_cursor",
    "timeout",
    "sampling_session_id",
    "sampling_session_seq_id",
    "model_path",
    "prompt",
    "chunks",
    "tokens",
    "sampling_params",
    "max_tokens",
    "stop",
    "num_samples",
    "tinker_path",
    "user_metadata",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(POSTS), sent=objects, addressed=st.booleans())
def test_no_json_is_a_server_error(client: RawClient, path: str, sent: dict[str, Any], addressed: bool) -> None:
    known = {"session_id": client.session_id, "model_id": "m", "model_seq_id": 0, "seq_id": 1} if addressed else {}
    answer = client.send(path, json.dumps(sent | known).encode())
    assert answer.status_code in (200, 400, 404, 410), (path, sent, answer.text)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(POSTS), sent=st.binary(max_size=60))
def test_no_bytes_are_a_server_error(client: RawClient, path: str, sent: bytes) -> None:
    assert client.send(path, sent).status_code in (400, 404), (path, sent)


def test_the_service_still_works_after_all_that(client: RawClient) -> None:
    assert client.logprobs(client.new_model(), 1, STEPS[0]).shape == (44,)


# In process, where the limits can be small.


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(routes, "POLL_S", 0.05)
    monkeypatch.setattr(routes, "MAX_BODY", 10_000)
    with Database(tmp_path) as db, TestClient(build_app(db), base_url="http://127.0.0.1/api/v1/") as http:
        yield http


def test_a_large_body_is_refused_however_it_comes(small: TestClient) -> None:
    assert small.post("telemetry", content=b"{" + b" " * 9_000 + b"}").status_code == 200
    assert small.post("telemetry", content=b" " * 10_001).status_code == 413
    assert small.post("telemetry", content=(b" " * 1000 for _ in range(11))).status_code == 413
    bomb = zstandard.compress(b" " * 1_000_000)
    assert small.post("telemetry", content=bomb, headers={"Content-Encoding": "zstd"}).status_code == 413


def test_a_queued_request_says_what_it_waits_for(small: TestClient) -> None:
    session_id = small.post("create_session", json={}).json()["session_id"]
    model = {"session_id": session_id, "model_seq_id": 0, "base_model": "b"}
    model_id = small.post("create_model", json=model).json()["model_id"]
    asked = {"model_id": model_id, "seq_id": 3, "adam_params": ADAM}
    request_id = small.post("optim_step", json=asked).json()["request_id"]
    while (
        "paused" not in (answer := small.post("retrieve_future", json={"request_id": request_id}).json())["queue_state"]
    ):
        assert answer["type"] == "try_again"
    assert answer["queue_state_reason"].startswith("request 1 of this model has not arrived")
