"""The training loop's protocol to a service: six requests, each answered by a future, and its health meanwhile.

`shell.service.tinker_client.TinkerClient` implements it over the `tinker` SDK. The service's last answer is read from
the SDK's loggers: its queue-state observers are not called for refusals, nor for accepted requests.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import count
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums
from shell.local_service.model.learner import AdamParams as AdamParams  # the same record; re-exported

Logprobs = NDArray[np.float32]  # of every target of a batch, in nats, aligned with its `targets`

NOTICE_SECONDS = 10  # of silence, after which it is logged
SILENCE_LIMIT = 600  # seconds without any answer after which a run stops, unless `--silence-limit` is given
QUEUED = "the service has it queued"
_OF_THE_SDK = ("/session_heartbeat", "/telemetry", "/client/config", "/client/dynamic_config")

T = TypeVar("T")
Sample = Callable[[Sequence[NDArray[np.int32]], "SamplingParams"], "Future[list[list[int]]]"]
"""prompts and how they are sampled, to one answer per prompt"""


class ServiceFault(RuntimeError):  # noqa: N818 - `InputError` is the user's
    """The service failed, not the user; the message names at what. Recipes exit with code 1."""

    exit_code = 1


class ServiceHealth(NamedTuple):
    """Health of the service while a request is pending: seconds since its last answer, and what it sent instead."""

    silent_seconds: float
    message: str = ""


class SamplingParams(NamedTuple):
    """How prompts are sampled; `stop` are the ids or the texts that end an answer."""

    max_tokens: int
    stop: list[int] | list[str]
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Loss:
    """A loss of the service, by name, with what gives its inputs; or a function that is one. Metrics of its passes."""

    name: str
    inputs: Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]] | None = None
    """`input_ids`, `target_tokens` and `weights` of an example -> inputs beside or in place of the last"""
    function: Callable[[Sequence[Any], Sequence[Any]], tuple[Any, dict[str, float]]] | None = None
    """datums and tensors of log-probabilities -> loss and metrics, for the SDK's `forward_backward_custom`"""
    metrics: dict[str, float] = field(default_factory=dict)
    """of one pass, once it is answered; the cross-entropy has none"""

    def fresh(self) -> "Loss":
        """The same for another pass."""
        return self if self is CROSS_ENTROPY else replace(self, metrics={})


CROSS_ENTROPY = Loss("cross_entropy")


class Client(Protocol):
    """One model in training. Requests run in the order of these calls (no call may follow `save_sampler`).

    A future fails with a `ServiceFault`.
    """

    @property
    def nll_prefix(self) -> str:
        """What goes before the name of a held-out loss: nothing, or `sampler_` where it is the sampler's."""

    def forward(self, datums: Datums) -> Future[Logprobs]:
        """The targets' log-probabilities under the weights at the request's turn."""

    def forward_backward(self, datums: Datums, loss: Loss = CROSS_ENTROPY) -> Future[Logprobs]:
        """The same; adds the gradient of the loss: the sum of -logprob * weight, or another that fills its metrics."""

    def optim_step(self, adam: AdamParams) -> Future[Mapping[str, float]]:
        """Updates the weights by the summed gradient; the service's own metrics."""

    def save_state(self, name: str, ttl_seconds: int | None) -> Future[str]:
        """Saves weights and optimizer, for ever if None; their path."""

    def save_sampler(self, name: str, ttl_seconds: int | None) -> Future[str]:
        """Exports the weights for sampling; their path."""

    def sample(self, prompts: Sequence[NDArray[np.int32]], params: SamplingParams) -> Future[list[list[int]]]:
        """One answer per prompt, from the weights at the request's turn."""

    def snapshot(self) -> Sample:
        """What samples, at any time, from the weights at the request's turn."""

    def note_pause(self) -> None:
        """Nothing was requested until now, so that the service's silence proves nothing."""

    def check(self) -> ServiceHealth | None:
        """The service's health, if known; a ServiceFault if no answer is to be expected any more."""


def answer(future: Future[T], what: str, check: Callable[[], ServiceHealth | None], log: Callable[[str], None]) -> T:
    """Waits for a future while `check`, called every second, does not raise; a ServiceFault names `what` failed."""
    try:
        for n_seconds in count(1):
            try:
                return future.result(timeout=1)
            except TimeoutError:
                health = check() or ServiceHealth(n_seconds)
                if n_seconds == NOTICE_SECONDS or n_seconds % 60 == 0:
                    state = f"{n_seconds} s, {health.message or 'the service is answering'}"
                    if health.silent_seconds >= NOTICE_SECONDS:
                        silence = f"{health.silent_seconds:.0f} s without an answer"
                        state = f"{silence}, {health.message}" if health.message else silence
                    log(f"still waiting for {what}: {state}")
    except ServiceFault as fault:
        raise ServiceFault(f"{what} failed: {fault}") from fault
    raise AssertionError("unreachable")


class Liveness:
    """The last answer of the service at one address, and how many seconds it may be silent."""

    def __init__(self, url: str, limit_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.url, self.limit_seconds, self._clock = url, limit_seconds, clock
        self._last_answer, self._message = clock(), ""

    def note_answer(self, message: str = "") -> None:
        """Notes an answer, or with a message that the service will run the request."""
        self._last_answer, self._message = self._clock(), message

    def note_response(self, url: str, status: int) -> None:
        """Notes an HTTP response to a request for `url`."""
        if not url.startswith(f"{self.url}/") or url.endswith(_OF_THE_SDK):
            return
        if status == 408:
            self.note_answer(QUEUED)
        elif status in (409, 429) or status >= 500:
            self._message = f"the service answers HTTP {status}"
        else:
            self.note_answer()

    def check(self) -> ServiceHealth:
        """The service's health; a ServiceFault if it has been silent for too long."""
        silent = self._clock() - self._last_answer
        if silent < self.limit_seconds:
            return ServiceHealth(silent, self._message)
        how = f", {self._message}" if self._message else ""
        raise ServiceFault(f"no answer from {self.url} in {self.limit_seconds:g} s (--silence-limit){how}")


@contextmanager
def listening(liveness: Liveness) -> Iterator[None]:
    """Feeds a Liveness from the SDK's loggers; the SDK logs a paused queue after ten seconds, not fifteen minutes."""
    responses, try_agains = logging.getLogger("httpx"), logging.getLogger("tinker.lib.api_future_impl")
    level, threshold = responses.level, responses.getEffectiveLevel()
    queue_states: ModuleType | None = None
    with suppress(ImportError):
        queue_states = import_module("tinker.lib.queue_state_logger")
    grace = getattr(queue_states, "PAUSE_GRACE_PERIOD", None)  # a release may have none

    def note_response(record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and len(record.args) == 5 and isinstance(record.args[3], int):
            liveness.note_response(str(record.args[1]), record.args[3])
        return record.levelno >= threshold

    def note_try_again(record: logging.LogRecord) -> bool:
        if not record.getMessage().endswith("because of try_again"):
            return True
        liveness.note_answer(QUEUED)
        return False  # a line per poll is of no use

    responses.addFilter(note_response)
    responses.setLevel(min(threshold, logging.INFO))
    try_agains.addFilter(note_try_again)
    if queue_states is not None and grace is not None:
        queue_states.PAUSE_GRACE_PERIOD = NOTICE_SECONDS  # type: ignore[attr-defined]
    try:
        yield
    finally:
        responses.removeFilter(note_response)
        responses.setLevel(level)
        try_agains.removeFilter(note_try_again)
        if queue_states is not None and grace is not None:
            queue_states.PAUSE_GRACE_PERIOD = grace  # type: ignore[attr-defined]
