"""What the training loop asks of a service: six requests, each answered later.

The loop, the evaluation and the tests know a service only by this protocol, in the kernel's arrays and plain values.
`shell.service.sdk.TinkerClient` fulfils it over the `tinker` SDK, and a recording stand-in can do so over nothing. A
request takes its place in the service's queue when its method is called (`save_sampler` alone may take it later:
nothing may follow it). Its answer is a standard future, whose error, if it has one, is a `ServiceFault`.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import count
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums

Logprobs = NDArray[np.float32]
"""The log-probability in nats of every target of a batch, float32[N], aligned with its `targets`."""

NOTICE_SECONDS = 10
"""of silence, after which it is said"""

T = TypeVar("T")


class ServiceFault(RuntimeError):  # noqa: N818 - a fault is what it is; `InputError` is the user's
    """The service failed, not the user. `str(error)` says what happened and how to go on; recipes exit with code 1."""

    exit_code = 1


class ServiceHealth(NamedTuple):
    """How a service is, while an answer of it is waited for."""

    silent_seconds: float
    """since it last answered anything"""
    said: str = ""
    """what it said that was no answer, in words of ours"""


class AdamParams(NamedTuple):
    """The optimizer's parameters for one update."""

    learning_rate: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    grad_clip_norm: float


class SamplingParams(NamedTuple):
    """How prompts are answered."""

    max_tokens: int
    stop: list[int] | list[str]
    """what ends an answer: ids, or texts"""
    temperature: float = 0.0
    seed: int = 0


class Client(Protocol):
    """One model in training on a service. Requests run in the order in which these methods are called."""

    def forward(self, datums: Datums) -> Future[Logprobs]:
        """Asks for the targets' log-probabilities under the weights as they will be when the request's turn comes."""
        ...

    def forward_backward(self, datums: Datums) -> Future[Logprobs]:
        """Asks for the same and adds the gradient of the loss, the sum of -logprob * weight."""
        ...

    def optim_step(self, adam: AdamParams) -> Future[Mapping[str, float]]:
        """Asks for an update by the gradients gathered; answers with the service's own metrics."""
        ...

    def save_state(self, name: str, ttl_seconds: int | None) -> Future[str]:
        """Asks for weights and optimizer to be kept; answers with their path. None: for ever."""
        ...

    def save_sampler(self, name: str, ttl_seconds: int | None) -> Future[str]:
        """Asks for the weights to be exported for sampling; answers with their path."""
        ...

    def sample(self, prompts: Sequence[NDArray[np.int32]], drawing: SamplingParams) -> Future[list[list[int]]]:
        """Asks for an answer to each prompt by the weights as they will be when the request's turn comes."""
        ...

    def check(self) -> ServiceHealth | None:
        """Tells how the service is, if that is known; a ServiceFault if no answer is to be expected any more."""
        ...


def answer(future: Future[T], what: str, check: Callable[[], ServiceHealth | None], say: Callable[[str], None]) -> T:
    """Waits for an answer, and says so when none comes: after ten seconds, and every minute.

    How long it waits is for `check` to say: as long as the service is alive.

    Args:
        future: the answer.
        what: what is waited for, for the messages.
        check: tells how the service is; raises if no answer is to be expected any more. Called every second.
        say: shows a line.

    Raises:
        ServiceFault: the service failed; the message says at what.
    """
    try:
        for n_seconds in count(1):
            try:
                return future.result(timeout=1)
            except TimeoutError:
                signs = check()
                if n_seconds == NOTICE_SECONDS or n_seconds % 60 == 0:
                    say(f"still waiting for {what}: {_so_far(n_seconds, signs or ServiceHealth(n_seconds))}")
    except ServiceFault as fault:
        raise ServiceFault(f"{what} failed: {fault}") from fault
    raise AssertionError("unreachable")


def _so_far(n_seconds: int, signs: ServiceHealth) -> str:
    if signs.silent_seconds < NOTICE_SECONDS:
        return f"{n_seconds} s, {signs.said or 'the service is answering'}"
    return ", ".join(filter(None, (f"{signs.silent_seconds:.0f} s without an answer", signs.said)))
