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
from kernel.errors import InputError
from shell.datums.tinker_datums import datums_to_tinker, with_loss_inputs
from shell.service.protocol import (
    CROSS_ENTROPY,
    AdamParams,
    Logprobs,
    Loss,
    Sample,
    SamplingParams,
    ServiceFault,
    ServiceHealth,
)
from shell.service.sdk import settled, status_of, takes

S = TypeVar("S")
T = TypeVar("T")


class TinkerClient:
    """A `shell.service.protocol.Client` over the SDK's training client."""

    nll_prefix = ""

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
        self.sdk, self._secret, self._answered = sdk, secret, answered

    def forward(self, datums: Datums) -> "Future[Logprobs]":
        sent = self.training.forward(datums_to_tinker(datums, self.sdk), "cross_entropy")
        return self._chained(sent, partial(_logprobs, datums.offsets))

    def forward_backward(self, datums: Datums, loss: Loss = CROSS_ENTROPY) -> "Future[Logprobs]":
        examples = datums_to_tinker(datums, self.sdk)
        if loss is CROSS_ENTROPY:
            return self._chained(
                self.training.forward_backward(examples, "cross_entropy"), partial(_logprobs, datums.offsets)
            )
        if loss.function is not None:
            sent = self.training.forward_backward_custom(examples, loss.function)
        else:
            examples = with_loss_inputs(examples, datums, loss.name, loss.inputs, self.sdk) if loss.inputs else examples
            sent = self.training.forward_backward(examples, loss.name)  # type: ignore[arg-type]

        def read(output: tinker.ForwardBackwardOutput) -> Logprobs:
            loss.metrics.update(output.metrics)
            return _logprobs(datums.offsets, output)

        return self._chained(sent, read)

    def optim_step(self, adam: AdamParams) -> "Future[Mapping[str, float]]":
        params = {name: value for name, value in adam._asdict().items() if value or takes(self.sdk.AdamParams, name)}
        sent = self.training.optim_step(self.sdk.AdamParams(**params))
        return self._chained(sent, lambda response: response.metrics or {})

    def save_state(self, name: str, ttl_seconds: int | None) -> "Future[str]":
        return self._chained(self.training.save_state(name, **_lifetime(ttl_seconds)), attrgetter("path"))

    def save_sampler(self, name: str, ttl_seconds: int | None) -> "Future[str]":
        sent = self.training.save_weights_for_sampler(name, **_lifetime(ttl_seconds))
        return self._chained(sent, attrgetter("path"))

    def sample(self, prompts: Sequence[NDArray[np.int32]], params: SamplingParams) -> "Future[list[list[int]]]":
        """As `Client.sample`; keeps no checkpoint, and the answers are fetched on a thread."""
        return self.snapshot()(prompts, params)

    def snapshot(self) -> Sample:
        return sampling_with(self._exported(), self._secret, self._answered, self.sdk)

    def note_pause(self) -> None:
        self._answered()

    def forward_by_sampler(self, datums: Datums) -> "Future[Logprobs]":
        """As `forward`, from the prompt logprobs of the weights at the request's turn; text only."""
        open_sampler = self._exported()

        def fetch() -> Logprobs:
            sampler = open_sampler()
            self._answered()
            texts = [[*inputs.tolist(), int(targets[-1])] for inputs, targets, _ in map(datums.example, range(n))]
            sent = [sampler.compute_logprobs(self.sdk.ModelInput.from_ints(text)) for text in texts]
            parts = []
            for one in sent:
                parts.append(np.array(one.result()[1:], np.float32))
                self._answered()
            return _checked(parts, datums.offsets)

        n = datums.n_examples
        if datums.media:
            raise ServiceFault("the service has no forward, and prompt logprobs are of text only, not of images")
        return _on_thread(fetch, self._secret)

    def _exported(self) -> Callable[[], Any]:
        """The weights at this place of the queue, opened for sampling when called; before 0.38 the SDK waits here."""
        exported: Future[Any] = Future()
        resolve(exported, self.training.save_weights_and_get_sampling_client, self._secret)
        return lambda: settled(exported.result())

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
) -> Sample:
    """What samples prompts, all at once, with a client that is opened on a thread."""

    def sample(prompts: Sequence[NDArray[np.int32]], params: SamplingParams) -> "Future[list[list[int]]]":
        sdk_params = sdk.SamplingParams(**params._asdict())

        def fetch() -> list[list[int]]:
            sampler = open_sampler()
            answered()
            sent = [sampler.sample(sdk.ModelInput.from_ints(ids.tolist()), 1, sdk_params) for ids in prompts]
            sampled = []
            for one in sent:
                sampled.append([int(i) for i in one.result().sequences[0].tokens])
                answered()
            return sampled

        return _on_thread(fetch, secret)

    return sample


def _on_thread(work: Callable[[], T], secret: str | None) -> "Future[T]":
    answer: Future[T] = Future()
    threading.Thread(target=resolve, args=(answer, work, secret), daemon=True).start()
    return answer


def _lifetime(ttl_seconds: int | None) -> dict[str, Any]:
    """A time to live as an argument; none is none, also where a client has no such parameter."""
    return {} if ttl_seconds is None else {"ttl_seconds": ttl_seconds}


def _logprobs(offsets: np.ndarray[Any, np.dtype[np.int64]], output: tinker.ForwardBackwardOutput) -> Logprobs:
    parts = [one["logprobs"].to_numpy().astype(np.float32, copy=False).reshape(-1) for one in output.loss_fn_outputs]
    return _checked(parts, offsets)


def _checked(parts: "list[NDArray[np.float32]]", offsets: np.ndarray[Any, np.dtype[np.int64]]) -> Logprobs:
    """The examples' logprobs, joined; raises where they are not of those that were sent."""
    if [len(part) for part in parts] != np.diff(offsets).tolist():
        raise ValueError(f"the service returned log-probabilities of other examples than the {len(offsets) - 1} sent")
    return np.concatenate(parts)


def resolve(answer: "Future[T]", work: Callable[[], T], secret: str | None = None) -> None:
    """Sets a future to the result of some work, or to a `ServiceFault` whatever failed at the service."""
    try:
        answer.set_result(work())
    except InputError as error:  # code of the user's that took part
        answer.set_exception(error)
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
