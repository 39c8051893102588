"""A model in training on any Tinker-protocol service, through the unmodified SDK."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from operator import attrgetter
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import tinker
from numpy.typing import NDArray

from kernel.datum import Datums
from shell.datums.tinker_datums import datums_to_tinker
from shell.service.protocol import AdamParams, Logprobs, SamplingParams, ServiceFault, ServiceHealth
from shell.service.sdk import settled, status_of

S = TypeVar("S")
T = TypeVar("T")


class TinkerClient:
    """A `shell.service.protocol.Client` over the SDK's training client."""

    def __init__(
        self,
        training: tinker.TrainingClient,
        check: Callable[[], ServiceHealth | None],
        secret: str | None = None,
        answered: Callable[[], None] = lambda: None,
        sdk: ModuleType = tinker,
    ) -> None:
        """`secret` is the key, removed from messages; `answered` is called when a request is done, on a thread."""
        self.training = training
        self.check = check
        self._secret, self._answered, self._sdk = secret, answered, sdk

    def forward(self, datums: Datums) -> "Future[Logprobs]":
        sent = self.training.forward(datums_to_tinker(datums, self._sdk), "cross_entropy")
        return self._chained(sent, partial(_logprobs, datums.offsets))

    def forward_backward(self, datums: Datums) -> "Future[Logprobs]":
        sent = self.training.forward_backward(datums_to_tinker(datums, self._sdk), "cross_entropy")
        return self._chained(sent, partial(_logprobs, datums.offsets))

    def optim_step(self, adam: AdamParams) -> "Future[Mapping[str, float]]":
        sent = self.training.optim_step(self._sdk.AdamParams(**adam._asdict()))
        return self._chained(sent, lambda response: response.metrics or {})

    def save_state(self, name: str, ttl_seconds: int | None) -> "Future[str]":
        return self._chained(self.training.save_state(name, ttl_seconds=ttl_seconds), attrgetter("path"))

    def save_sampler(self, name: str, ttl_seconds: int | None) -> "Future[str]":
        return self._chained(self.training.save_weights_for_sampler(name, ttl_seconds=ttl_seconds), attrgetter("path"))

    def sample(self, prompts: Sequence[NDArray[np.int32]], params: SamplingParams) -> "Future[list[list[int]]]":
        """As `Client.sample`; keeps no checkpoint, and the answers are fetched on a thread."""
        exported = self.training.save_weights_and_get_sampling_client()  # a snapshot, queued when it is called
        return sampling_with(partial(settled, exported), self._secret, self._answered, self._sdk)(prompts, params)

    def _chained(self, sent: "tinker.APIFuture[S]", read: Callable[[S], T]) -> "Future[T]":
        """The answer to a request, as `read` decodes it, in a standard future; any failure becomes a `ServiceFault`."""
        answer: Future[T] = Future()

        def resolve_from(done: "Future[S]") -> None:
            self._answered()
            resolve(answer, lambda: read(done.result()), self._secret)

        sent.future().add_done_callback(resolve_from)
        return answer


def sampling_with(
    open_sampler: Callable[[], tinker.SamplingClient],
    secret: str | None = None,
    answered: Callable[[], None] = lambda: None,
    sdk: ModuleType = tinker,
) -> Callable[[Sequence[NDArray[np.int32]], SamplingParams], "Future[list[list[int]]]"]:
    """What samples prompts, all at once, with a client that is opened on a thread."""

    def sample(prompts: Sequence[NDArray[np.int32]], params: SamplingParams) -> "Future[list[list[int]]]":
        sdk_params = sdk.SamplingParams(**params._asdict())
        answer: Future[list[list[int]]] = Future()

        def fetch() -> list[list[int]]:
            sampler = open_sampler()
            answered()
            sent = [sampler.sample(sdk.ModelInput.from_ints(ids.tolist()), 1, sdk_params) for ids in prompts]
            sampled = []
            for one in sent:
                sampled.append([int(i) for i in one.result().sequences[0].tokens])
                answered()
            return sampled

        threading.Thread(target=resolve, args=(answer, fetch, secret), daemon=True).start()
        return answer

    return sample


def _logprobs(offsets: np.ndarray[Any, np.dtype[np.int64]], output: tinker.ForwardBackwardOutput) -> Logprobs:
    parts = [one["logprobs"].to_numpy().astype(np.float32, copy=False).reshape(-1) for one in output.loss_fn_outputs]
    if [len(part) for part in parts] != np.diff(offsets).tolist():
        raise ValueError(f"the service returned log-probabilities of other examples than the {len(offsets) - 1} sent")
    return np.concatenate(parts)


def resolve(answer: "Future[T]", work: Callable[[], T], secret: str | None = None) -> None:
    """Sets a future to the result of some work, or to a `ServiceFault` whatever failed."""
    try:
        answer.set_result(work())
    except BaseException as error:  # CancelledError too: a caller waits
        fault = ServiceFault(error_text(error, secret))
        fault.__cause__ = error
        answer.set_exception(fault)


def error_text(error: BaseException, secret: str | None = None) -> str:
    """The service's own error message, on one line and without the key."""
    text = getattr(error, "message", "") or str(error) or type(error).__name__
    text = " ".join(text.split(" for self.request_id")[0].removeprefix("Request failed: ").split())
    if (status := status_of(error)) is not None:
        text = f"HTTP {status}: " + text.removeprefix(f"Error code: {status} - ")
    return text.replace(secret or "\0", "***")[:500].rstrip(".")


def redacting(log: Callable[[str], None], secret: str | None) -> Callable[[str], None]:
    """A log function that removes the key from every line."""
    return lambda text: log(text.replace(secret or "\0", "***"))
