"""A model in training on a Tinker service, driven through the unmodified SDK.

Whatever the service is (Tinker, another that speaks its protocol, or the one in the box), `tinker` is the only client.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import numpy as np
import tinker
from numpy.typing import NDArray

from kernel.datum import Datums
from shell.datums.tinker_datums import datums_to_tinker
from shell.service.client import AdamParams, Logprobs, SamplingParams, ServiceFault, ServiceHealth

S = TypeVar("S")
T = TypeVar("T")


class TinkerClient:
    """A `shell.service.client.Client` over the SDK's training client."""

    def __init__(
        self,
        training: tinker.TrainingClient,
        check: Callable[[], ServiceHealth | None],
        secret: str | None = None,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        """Wraps a training client.

        Args:
            training: the SDK's.
            check: as `Client.check`.
            secret: the key, to be kept out of messages.
            answered: called when a request is done, on the SDK's thread.
        """
        self.training = training
        self.check = check
        self._secret, self._answered = secret, answered
        self._chained = partial(chained, secret=secret, answered=answered)

    def forward(self, datums: Datums) -> "Future[Logprobs]":
        sent = self.training.forward(datums_to_tinker(datums), "cross_entropy")
        return self._chained(sent, partial(_logprobs, datums.offsets))

    def forward_backward(self, datums: Datums) -> "Future[Logprobs]":
        sent = self.training.forward_backward(datums_to_tinker(datums), "cross_entropy")
        return self._chained(sent, partial(_logprobs, datums.offsets))

    def optim_step(self, adam: AdamParams) -> "Future[Mapping[str, float]]":
        sent = self.training.optim_step(tinker.AdamParams(**adam._asdict()))
        return self._chained(sent, lambda response: response.metrics or {})

    def save_state(self, name: str, ttl_seconds: int | None) -> "Future[str]":
        sent = self.training.save_state(name, ttl_seconds=ttl_seconds)
        return self._chained(sent, lambda response: response.path)

    def save_sampler(self, name: str, ttl_seconds: int | None) -> "Future[str]":
        sent = self.training.save_weights_for_sampler(name, ttl_seconds=ttl_seconds)
        return self._chained(sent, lambda response: response.path)

    def sample(self, prompts: Sequence[NDArray[np.int32]], drawing: SamplingParams) -> "Future[list[list[int]]]":
        """As `Client.sample`. Nothing is drained for it, and no checkpoint is kept.

        Of the SDK's two ways to export weights this one takes its place in the queue when it is called; the sampler
        reads a snapshot, so what follows in the queue does not reach it. The answers are asked for on a thread.
        """
        exported = self.training.save_weights_and_get_sampling_client()
        params = tinker.SamplingParams(**drawing._asdict())
        answer: Future[list[list[int]]] = Future()

        def draw() -> list[list[int]]:
            sampler = exported.result()
            self._answered()
            sent = [sampler.sample(tinker.ModelInput.from_ints(ids.tolist()), 1, params) for ids in prompts]
            drawn = []
            for one in sent:
                drawn.append([int(i) for i in one.result().sequences[0].tokens])
                self._answered()
            return drawn

        threading.Thread(target=settle, args=(answer, draw, self._secret), daemon=True).start()
        return answer


def _logprobs(offsets: np.ndarray[Any, np.dtype[np.int64]], output: tinker.ForwardBackwardOutput) -> Logprobs:
    parts = [one["logprobs"].to_numpy().astype(np.float32, copy=False).reshape(-1) for one in output.loss_fn_outputs]
    if [len(part) for part in parts] != np.diff(offsets).tolist():
        raise ValueError(f"expected log-probabilities of {len(offsets) - 1} examples, got those of others")
    return np.concatenate(parts)


def chained(
    sent: "tinker.APIFuture[S]",
    read: Callable[[S], T],
    secret: str | None = None,
    answered: Callable[[], None] = lambda: None,
) -> "Future[T]":
    """The answer to a request as a plain future of what is read from it; any failure becomes a `ServiceFault`."""
    answer: Future[T] = Future()

    def settle_from(done: "Future[S]") -> None:
        answered()
        settle(answer, lambda: read(done.result()), secret)

    sent.future().add_done_callback(settle_from)
    return answer


def settle(answer: "Future[T]", work: Callable[[], T], secret: str | None = None) -> None:
    """Gives a future what comes of some work: a result or a `ServiceFault`, whatever it was that failed."""
    try:
        answer.set_result(work())
    except BaseException as error:  # CancelledError too: whoever waits must hear of it
        fault = ServiceFault(error_text(error, secret))
        fault.__cause__ = error
        answer.set_exception(fault)


def error_text(error: BaseException, secret: str | None = None) -> str:
    """What went wrong, in the service's words, on one line and without the key."""
    text = getattr(error, "message", "") or str(error) or type(error).__name__
    text = " ".join(text.split(" for self.request_id")[0].removeprefix("Request failed: ").split())
    if isinstance(error, tinker.APIStatusError):
        text = f"HTTP {error.status_code}: " + text.removeprefix(f"Error code: {error.status_code} - ")
    return text.replace(secret or "\0", "***")[:500].rstrip(".")


def redacting(say: Callable[[str], None], secret: str | None) -> Callable[[str], None]:
    """A way to show lines in which the key never stands, whoever wrote them.

    >>> redacting(print, "tml-secret")("the service says: tml-secret is no key")
    the service says: *** is no key
    """
    return lambda text: say(text.replace(secret or "\0", "***"))
