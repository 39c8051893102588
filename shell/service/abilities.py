"""Abilities of a service: tried on a throwaway model, or found out as a run first needs them.

What is missing is done another way where there is one (held-out loss through the sampler, checkpoints without a time
to live), and refused by name where there is none. The first request of each kind is waited for, so that what replaces
it sees the same weights.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums
from kernel.errors import problem
from shell.service.connect import Connection, Weights, open_model
from shell.service.protocol import AdamParams, Logprobs, Sample, SamplingParams, ServiceFault, T, answer
from shell.service.sdk import delete_checkpoint, is_users, rest_client, root_of, status_of, takes
from shell.service.tinker_client import TinkerClient
from shell.settings.config import Config

TTL_SECONDS = 3600  # of what the probe saves
SMALL = Datums(np.array([5, 6], np.int32), np.array([6, 7]), np.array([1, 1], np.float32), np.array([0, 2]))
UNKNOWN = (400, 404, 405, 422, 501)
"""HTTP: the request is one that the service does not know"""
N_TOKENS = 8
"""tokens that a probe is billed for: forward, training, prompt and sample"""


@dataclass
class Abilities:
    """What a service can do; None: not known yet."""

    forward: bool | None = None
    prompt_logprobs: bool | None = None
    sampling: bool | None = None
    weight_decay: bool | None = None
    save: bool | None = None
    ttl: bool | None = None
    deletion: bool | None = None

    @property
    def missing(self) -> list[str]:
        return [name for name, can in vars(self).items() if can is False]


def abilities_of_sdk(sdk: ModuleType, training: Any) -> Abilities:
    """What the client module has no call or parameter for; the rest is not known."""
    return Abilities(
        forward=None if hasattr(training, "forward") else False,
        weight_decay=None if takes(sdk.AdamParams, "weight_decay") else False,
        ttl=None if takes(training.save_state, "ttl_seconds") else False,
    )


def probe(connection: Connection, config: Config) -> Abilities:
    """Tries everything on a throwaway model, which it trains."""
    client, log = open_model(connection, config, Weights(), {"recipe_name": "probe"}), connection.log
    can = abilities_of_sdk(client.sdk, client.training)

    def works(name: str, send: Callable[[], Future[T]]) -> T | None:
        if getattr(can, name) is False:
            return None
        try:
            found = answer(send(), f"the trial of {name}", client.check, log)
        except (ServiceFault, AttributeError, NotImplementedError) as error:
            if isinstance(error, ServiceFault) and not is_lack(error):
                raise
            setattr(can, name, False)
            return None
        setattr(can, name, True)
        return found

    adam = AdamParams(1e-4, 0.9, 0.95, 1e-8, 0.1, 0.0)
    works("forward", partial(client.forward, SMALL))
    answer(client.forward_backward(SMALL), "the trial of training", client.check, log)
    works("weight_decay", partial(client.optim_step, adam))
    path = works("ttl", partial(client.save_state, "probe", TTL_SECONDS))
    can.save = True if path else None
    path = path or works("save", partial(client.save_state, "probe-kept", None))
    works("sampling", partial(client.sample, [SMALL.inputs], SamplingParams(1, [])))
    if can.sampling:
        works("prompt_logprobs", partial(client.forward_by_sampler, SMALL))
    else:
        can.prompt_logprobs = False
    if path is not None:
        try:
            rest = rest_client(connection.module, connection.sdk, connection.url, connection.secret)
            delete_checkpoint(rest, path)
            can.deletion = True
        except Exception:  # of any kind: the client may lack the call
            can.deletion = False
    lacks = (
        f"it lacks {', '.join(name.replace('_', ' ') for name in can.missing)}"
        if can.missing
        else "it can do all that a run needs"
    )
    log(f"probe     {lacks} (tried on a throwaway model, about {N_TOKENS} tokens)")
    return can


def careful(
    client: TinkerClient, can: Abilities | None, config: Config, evaluates: bool, log: Callable[[str], None]
) -> "CarefulClient":
    """A client that does without what the service lacks; raises for what the run needs. `can` is of a probe, if any."""
    if can is None:
        can = abilities_of_sdk(client.sdk, client.training)
    for line in check_needs(can, config, evaluates):
        log(line)
    return CarefulClient(client, can, config, log)


def check_needs(can: Abilities, config: Config, evaluates: bool) -> list[str]:
    """Lines on what will be done without; raises for what the config needs and the service is known to lack."""
    if can.save is False and _must_save(config):
        raise no_save()
    if can.sampling is False and config.sample_prompts:
        raise no_sampling()
    if evaluates and can.forward is False and can.prompt_logprobs is False:
        raise no_loss()
    if can.weight_decay is False and config.weight_decay:
        raise problem("the service has no weight decay; 0 trains without", at="--weight-decay")
    lines = []
    if can.weight_decay is False:
        lines.append("service   it has no weight decay, and none is sent")
    if can.ttl is False and config.ttl_seconds is not None and can.save is not False:
        lines.append("service   it has no TTL: checkpoints live until they are deleted")
    if can.deletion is False and config.rolling_save_every:
        lines.append("service   it deletes nothing: superseded rolling checkpoints stay")
    return lines


def no_save() -> Exception:
    return problem("the service saves no checkpoints; --save-every 0 trains without", at="--save-every")


def no_sampling() -> Exception:
    return problem("the service does not sample; leave --sample-prompts out", at="--sample-prompts")


def no_loss() -> Exception:
    return problem(
        "the service has neither forward nor prompt logprobs; --eval-every 0 trains without held-out loss",
        at="--eval-every",
    )


def _must_save(config: Config) -> bool:
    return any((config.save_every, config.save_every_tokens, config.save_every_seconds, config.rolling_save_every))


class CarefulClient:
    """A Client of a service whose abilities may not be known: they are found out at the first request of each kind."""

    def __init__(self, inner: TinkerClient, can: Abilities, config: Config, log: Callable[[str], None]) -> None:
        self._inner, self._can, self._log = inner, can, log
        self._must_save = _must_save(config)
        self.forward_backward, self.optim_step, self.check = inner.forward_backward, inner.optim_step, inner.check
        self.note_pause = inner.note_pause

    @property
    def nll_prefix(self) -> str:
        return "sampler_" if self._can.forward is False else ""

    def forward(self, datums: Datums) -> Future[Logprobs]:
        if sent := self._try("forward", partial(self._inner.forward, datums)):
            return sent
        if sent := self._try("prompt_logprobs", partial(self._inner.forward_by_sampler, datums)):
            return sent
        raise no_loss()

    def sample(self, prompts: Sequence[NDArray[np.int32]], params: SamplingParams) -> Future[list[list[int]]]:
        if sent := self._try("sampling", partial(self._inner.sample, prompts, params)):
            return sent
        raise no_sampling()

    def snapshot(self) -> Sample:
        if self._can.sampling is False:
            raise no_sampling()
        return self._inner.snapshot()

    def save_state(self, name: str, ttl_seconds: int | None) -> Future[str]:
        """As `Client.save_state`; an empty path where the service saves nothing and the run needs no save."""
        if ttl_seconds is not None and (sent := self._try("ttl", partial(self._inner.save_state, name, ttl_seconds))):
            self._can.save = True
            return sent
        if sent := self._try("save", partial(self._inner.save_state, name, None)):
            return sent
        if self._must_save:
            raise no_save()
        return _done("")

    def save_sampler(self, name: str, ttl_seconds: int | None) -> Future[str]:
        """As `Client.save_sampler`; an empty path where the service does not sample."""
        ttl = None if self._can.ttl is False else ttl_seconds
        return self._try("sampling", partial(self._inner.save_sampler, name, ttl)) or _done("")

    def _try(self, ability: str, send: Callable[[], Future[T]]) -> Future[T] | None:
        """A request's answer, waited for if it is the first that needs an ability; None where that is missing.

        What fails for another reason is left to the one who waits for the answer.
        """
        known = getattr(self._can, ability)
        if known is False:
            return None
        sent: Future[T] | None = None
        try:
            sent = send()
            if known:
                return sent
            answer(sent, f"the first use of {ability}", self.check, self._log)
        except (ServiceFault, AttributeError, NotImplementedError) as error:
            if sent is not None and not is_lack(error):
                return sent
            self._log(f"service   without {ability.replace('_', ' ')} ({error})")
            setattr(self._can, ability, False)
            return None
        setattr(self._can, ability, True)
        return sent


def is_lack(error: BaseException) -> bool:
    """Whether a request failed by what it asked, not by the service's state."""
    root = root_of(error)
    return is_users(root) or status_of(root) in UNKNOWN


def _done(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future
