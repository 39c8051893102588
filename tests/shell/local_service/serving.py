"""What the tests of the service share: small data, and a client that speaks the wire protocol without the SDK.

The SDK retries, orders and combines by itself; a test of the service's own order, retries and refusals must not.
"""

from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
from tinker import types
from tinker.proto import tinker_public_pb2 as proto

ADAM = {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0, "grad_clip_norm": 0.0}
API_KEY = "tml-embedded"  # the service takes any key; the SDK insists on this prefix
Rows = Sequence[Sequence[int]]


def some_rows(seed: int, n: int = 4, length: int = 12) -> list[list[int]]:
    """Rows of ids whose next id depends on the last, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    return [[int(start + 7 * k) % 900 for k in range(length)] for start in rng.integers(0, 900, n)]


def data(seed: int, n: int = 4, length: int = 12) -> list[types.Datum]:
    """The same rows as the SDK has them."""
    return [
        types.Datum(
            model_input=types.ModelInput.from_ints(row[:-1]),
            loss_fn_inputs={
                "target_tokens": types.TensorData.from_numpy(np.array(row[1:])),
                "weights": types.TensorData.from_numpy(np.ones(len(row) - 1, np.float32)),
            },
        )
        for row in some_rows(seed, n, length)
    ]


def forward_backward_body(model_id: str, seq: int, rows: Rows, *, forward_only: bool = False, **fields: Any) -> bytes:
    """A forward_backward request of rows, each predicting its own next token with weight 1."""
    message = proto.ForwardBackwardRequest(
        model_id=model_id, seq_id=seq, loss_fn="cross_entropy", forward_only=forward_only
    )
    for row in rows:
        datum = message.data.add()
        datum.model_input.add().encoded_text.tokens = np.array(row[:-1], np.int32).tobytes()
        targets, weights = datum.loss_fn_inputs["target_tokens"], datum.loss_fn_inputs["weights"]
        targets.dense, targets.dtype = np.array(row[1:], np.int64).tobytes(), proto.DTYPE_INT64
        weights.dense, weights.dtype = np.ones(len(row) - 1, np.float32).tobytes(), proto.DTYPE_FLOAT32
        targets.shape.append(len(row) - 1)
        weights.shape.append(len(row) - 1)
    for name, value in fields.items():
        setattr(message, name, value)
    return message.SerializeToString()


class RawClient:
    """One session of the wire protocol, request by request."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/api/v1/", timeout=60, headers={"X-API-Key": "tml-test"})
        self.session_id = self.post("create_session", tags=[], sdk_version="test")["session_id"]

    def send(self, path: str, body: bytes, **headers: str) -> httpx.Response:
        return self.http.post(path, content=body, headers=headers)

    def post(self, route: str, /, **fields: Any) -> dict[str, Any]:
        answer = self.http.post(route, json=fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def result(self, request_id: str) -> Any:
        """The final answer to a request: JSON, or protobuf as logprobs."""
        while True:
            answer = self.http.post("retrieve_future", json={"request_id": request_id})
            assert answer.status_code == 200, answer.text
            if answer.headers["content-type"] == "application/x-protobuf":
                return logprobs_of(answer.content)
            if answer.json().get("type") != "try_again":
                return answer.json()

    def new_model(self, number: int = 0, rank: int = 4, base_model: str = "tiny", seed: int = 3) -> str:
        lora = {"rank": rank, "seed": seed}
        asked = {"session_id": self.session_id, "model_seq_id": number, "base_model": base_model, "lora_config": lora}
        return str(self.result(self.post("create_model", **asked)["request_id"])["model_id"])

    def forward_backward(self, model_id: str, seq: int, rows: Rows, *, forward_only: bool = False) -> str:
        answer = self.send("forward_backward", forward_backward_body(model_id, seq, rows, forward_only=forward_only))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])

    def optim_step(self, model_id: str, seq: int, **adam: float) -> str:
        return str(self.post("optim_step", model_id=model_id, seq_id=seq, adam_params=ADAM | adam)["request_id"])

    def save(self, model_id: str, seq: int, name: str, **fields: Any) -> str:
        return str(self.post("save_weights", model_id=model_id, seq_id=seq, path=name, **fields)["request_id"])

    def load(self, path: str, number: int, *, optimizer: bool, **fields: Any) -> Any:
        asked = {"session_id": self.session_id, "model_seq_id": number, "path": path, "optimizer": optimizer}
        return self.result(self.post("load_weights", **asked, **fields)["request_id"])

    def logprobs(self, model_id: str, seq: int, rows: Rows) -> np.ndarray[Any, Any]:
        found = self.result(self.forward_backward(model_id, seq, rows, forward_only=True))
        assert isinstance(found, np.ndarray), found
        return found


def logprobs_of(content: bytes) -> np.ndarray[Any, Any]:
    """All logprobs of a forward_backward answer, concatenated."""
    message = proto.ForwardBackwardOutput.FromString(content)
    return np.frombuffer(message.loss_fn_outputs[0].fields["logprobs"].data, np.float32)
