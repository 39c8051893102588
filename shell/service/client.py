"""The training loop's protocol to a service: six requests, each answered by a standard future.

`shell.service.sdk.TinkerClient` implements it over the `tinker` SDK, tests over a recording stand-in.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import count
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums
from shell.local_service.model.learner import AdamParams as AdamParams  # the same record; re-exported

Logprobs = NDArray[np.float32]
"""The log-probability in nats of every target of a batch, float32[N], aligned with its `targets`."""

NOTICE_SECONDS = 10
"""of silence, after which it is logged"""

T = TypeVar("T")


class ServiceFault(RuntimeError):  # noqa: N818 - `InputError` is the user's
    """The service failed, not the user; the message says at what. Recipes exit with code 1."""

    exit_code = 1


class ServiceHealth(NamedTuple):
    """Health of the service while a request is pending."""

    silent_seconds: float
    """since its last answer"""
    message: str = ""
    """what it sent instead of an answer"""


class SamplingParams(NamedTuple):
    """How prompts are sampled; `stop` are the ids or the texts that end an answer."""

    max_tokens: int
    stop: list[int] | list[str]
    temperature: float = 0.0
    seed: int = 0


class Client(Protocol):
    """One model in training. Requests run in the order in which these methods are called.

    A request is queued when its method is called (`save_sampler` alone may be later: nothing may follow it). A future
    fails with a `ServiceFault`.
    """

    def forward(self, datums: Datums) -> Future[Logprobs]:
        """The targets' log-probabilities under the weights at the request's turn."""

    def forward_backward(self, datums: Datums) -> Future[Logprobs]:
        """The same; adds the gradient of the loss, the sum of -logprob * weight."""

    def optim_step(self, adam: AdamParams) -> Future[Mapping[str, float]]:
        """Updates the weights by the summed gradient; the service's own metrics."""

    def save_state(self, name: str, ttl_seconds: int | None) -> Future[str]:
        """Saves weights and optimizer, for ever if None; their path."""

    def save_sampler(self, name: str, ttl_seconds: int | None) -> Future[str]:
        """Exports the weights for sampling; their path."""

    def sample(self, prompts: Sequence[NDArray[np.int32]], params: SamplingParams) -> Future[list[list[int]]]:
        """One answer per prompt, from the weights at the request's turn."""

    def check(self) -> ServiceHealth | None:
        """The service's health, if known; a ServiceFault if no answer is to be expected any more."""


def answer(future: Future[T], what: str, check: Callable[[], ServiceHealth | None], log: Callable[[str], None]) -> T:
    """Waits for a future as long as `check`, called every second, does not raise; logs after 10 s and every minute.

    Raises a ServiceFault that names `what` failed.
    """
    try:
        for n_seconds in count(1):
            try:
                return future.result(timeout=1)
            except TimeoutError:
                health = check() or ServiceHealth(n_seconds)
                if n_seconds == NOTICE_SECONDS or n_seconds % 60 == 0:
                    log(f"still waiting for {what}: {_so_far(n_seconds, health)}")
    except ServiceFault as fault:
        raise ServiceFault(f"{what} failed: {fault}") from fault
    raise AssertionError("unreachable")


def _so_far(n_seconds: int, health: ServiceHealth) -> str:
    if health.silent_seconds < NOTICE_SECONDS:
        return f"{n_seconds} s, {health.message or 'the service is answering'}"
    return ", ".join(filter(None, (f"{health.silent_seconds:.0f} s without an answer", health.message)))
