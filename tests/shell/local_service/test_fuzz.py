"""Bodies that are nearly right: whatever they are, the service refuses or fails them as the user's, and works on."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tinker.proto import tinker_public_pb2 as proto

from shell.local_service import routes
from shell.local_service.database import Database
from shell.local_service.routes import build_app
from shell.service.local_process import ServiceProcess
from tests.shell.local_service.serving import ADAM, forward_backward_body, some_rows

ROWS = some_rows(0, n=2, length=5)
REFUSALS = (400, 404, 410, 413, 415)


class Bench:
    """The service in this process, and one model on it whose requests are numbered as they come."""

    def __init__(self, http: TestClient) -> None:
        self.http, self.seq = http, 0
        session_id = http.post("create_session", json={}).json()["session_id"]
        asked = {"session_id": session_id, "model_seq_id": 0, "base_model": "b", "lora_config": {"rank": 1}}
        self.session_id, self.model_id = session_id, http.post("create_model", json=asked).json()["model_id"]
        self.outcome(f"{self.model_id}:0")

    def outcome(self, request_id: str) -> Any:
        """The final answer to a request: None for one in protobuf."""
        while True:
            answer = self.http.post("retrieve_future", json={"request_id": request_id})
            assert answer.status_code == 200, answer.text
            if answer.headers["content-type"] == "application/x-protobuf":
                return None
            if answer.json().get("type") != "try_again":
                return answer.json()

    def check(self, path: str, body: bytes) -> None:
        """Sends a body for the next number, and sees what comes of it."""
        answer = self.http.post(path, content=body)
        assert answer.status_code in (200, *REFUSALS), answer.text
        request_id = answer.json().get("request_id")
        if answer.status_code != 200 or request_id is None:
            return
        if request_id != f"{self.model_id}:{self.seq + 1}":
            return  # a number or a model of its own making
        self.seq += 1
        outcome = self.outcome(request_id)
        assert outcome is None or outcome.get("category") in (None, "user"), outcome


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch, Database(tmp_path_factory.mktemp("state")) as db:
        patch.setattr(routes, "POLL_S", 0.05)
        with TestClient(build_app(db), base_url="http://127.0.0.1/api/v1/") as http:
            yield Bench(http)
            after = Bench(http)  # a model of its own: the other has learnt at rates of any size
            sound = forward_backward_body(after.model_id, 1, ROWS)
            assert after.outcome(http.post("forward_backward", content=sound).json()["request_id"]) is None


blobs = st.binary(max_size=24) | st.integers(0, 6).map(lambda n: bytes(4 * n)) | st.just(b"\xff" * 16)
numbers = st.sampled_from([0, 1, 2, 3, -1, 2**31 - 1, 2**31, -(2**63)]) | st.integers(-5, 5)


@st.composite
def datums(draw: st.DrawFn) -> proto.Datum:
    datum = proto.Datum()
    for _ in range(draw(st.integers(0, 2))):
        chunk = datum.model_input.add()
        if draw(st.booleans()):
            chunk.encoded_text.tokens = draw(blobs)
    for name in draw(st.lists(st.sampled_from(["target_tokens", "weights", "advantages", ""]), max_size=3)):
        tensor = datum.loss_fn_inputs[name]
        tensor.dtype = draw(st.sampled_from([proto.DTYPE_INT64, proto.DTYPE_FLOAT32, proto.DTYPE_INT32, 77]))
        tensor.shape.extend(draw(st.lists(numbers, max_size=2)))
        if draw(st.booleans()):
            tensor.dense = draw(blobs)
        elif draw(st.booleans()):
            tensor.sparse_csr.values = draw(blobs)
            tensor.sparse_csr.crow_indices = draw(blobs)
    return datum


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(datums(), max_size=3), st.sampled_from(["cross_entropy", "ppo", ""]), st.booleans())
def test_no_message_of_the_right_kind_is_a_server_error(
    bench: Bench, data: list[proto.Datum], loss: str, forward_only: bool
) -> None:
    message = proto.ForwardBackwardRequest(
        model_id=bench.model_id, seq_id=bench.seq + 1, data=data, loss_fn=loss, forward_only=forward_only
    )
    bench.check("forward_backward", message.SerializeToString())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 30))
def test_no_sound_message_with_bytes_changed_is_a_server_error(
    bench: Bench, changes: list[tuple[int, int]], n_cut: int
) -> None:
    body = bytearray(forward_backward_body(bench.model_id, bench.seq + 1, ROWS))
    for position, value in changes:
        body[position % len(body)] = value
    bench.check("forward_backward", bytes(body[: len(body) - n_cut]))


values = st.one_of(
    st.none(), st.booleans(), numbers, st.floats(), st.text(max_size=6), st.lists(numbers, max_size=3),
    st.dictionaries(st.text(max_size=4), numbers, max_size=2),
    st.sampled_from(["1e999", "../../x", "tinker://a/weights/b", "a" * 300, 1e308, -1e308, 1e-320]),
)  # fmt: skip
SOUND: dict[str, dict[str, Any]] = {
    "optim_step": {"adam_params": ADAM},
    "save_weights": {"path": "a", "overwrite": True, "ttl_seconds": 100, "user_metadata": {}},
    "save_weights_for_sampler": {"path": "a", "kind": "snapshot", "sampling_session_seq_id": 0},
    "save_weights_external": {"path": "a"},
    "load_weights": {"path": "tinker://a/weights/b", "optimizer": True},
    "create_model": {"model_seq_id": 1, "base_model": "b", "lora_config": {"rank": 1, "seed": 1, "train_mlp": True}},
    "asample": {"base_model": "b", "prompt": {"chunks": [{"tokens": [1, 2]}]}, "num_samples": 1,
                "sampling_params": {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "top_k": -1, "seed": 1}},
}  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(sorted(SOUND)))
def test_no_sound_request_with_a_value_changed_is_a_server_error(bench: Bench, data: st.DataObject, path: str) -> None:
    asked = json.loads(json.dumps(SOUND[path])) | {"model_id": bench.model_id, "seq_id": bench.seq + 1}
    if path == "create_model":
        asked["session_id"] = bench.session_id
    inside = [asked, *(value for value in asked.values() if isinstance(value, dict) and value)]
    table = data.draw(st.sampled_from(inside))
    table[data.draw(st.sampled_from(sorted(table)))] = data.draw(values)
    bench.check(path, json.dumps(asked).encode())


ASKS = [
    ("GET", "training_runs"), ("GET", "training_runs/{}"), ("GET", "training_runs/{}/checkpoints"),
    ("GET", "checkpoints"), ("GET", "samplers/{}"), ("GET", "sessions"), ("GET", "sessions/{}"),
    ("DELETE", "training_runs/{}/checkpoints/weights/{}"), ("POST", "training_runs/{}/checkpoints/weights/{}/publish"),
    ("PUT", "training_runs/{}/checkpoints/weights/{}/ttl"), ("POST", "retrieve_future"), ("POST", "weights_info"),
]  # fmt: skip
segments = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ASKS), segments, st.dictionaries(st.sampled_from(["limit", "offset", "x"]), values), values)
def test_no_look_up_is_a_server_error(
    bench: Bench, asked: tuple[str, str], name: str, query: dict[str, Any], body: Any
) -> None:
    method, path = asked
    params = {key: str(value) for key, value in query.items()}
    content = json.dumps({"request_id": body, "tinker_path": body, "ttl_seconds": body}).encode()
    answer = bench.http.request(method, path.replace("{}", quote(name, safe="")), params=params, content=content)
    assert answer.status_code in (200, 404, 405, *REFUSALS), answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: 999999999999", b"413"),
        ("Content-Length: -1", b"400"),
        ("Content-Length: 1e3", b"400"),
        ("Content-Length: " + "9" * 40, b"400 413"),
        ("Transfer-Encoding: gzip", b"400 501"),
        ("X: " + "y" * 70_000, b"400 431"),
    ],
)
def test_a_request_that_lies_about_its_size_is_refused_before_it_is_read(
    service: ServiceProcess, headers: str, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=10) as raw:
        raw.sendall(f"POST /api/v1/telemetry HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n\r\n".encode())
        assert raw.recv(4096).split()[1] in status.split()
