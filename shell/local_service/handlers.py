"""What each kind of request does: a turn in, an outcome out, nothing written.

The outcome is data: the answer, the model afterwards, and what to put on the store. The engine writes it all at once.
"""

from collections.abc import Callable
from time import time
from typing import Any, NamedTuple

import msgspec

from shell.local_service import store
from shell.local_service.database import Database
from shell.local_service.errors import UserError
from shell.local_service.learner import Learner, learn, new_learner, step, without_optimizer
from shell.local_service.lora import MAX_RANK, Adapter
from shell.local_service.model import base_weights
from shell.local_service.optimizer import AdamParams
from shell.local_service.prompts import decode_sample, perform
from shell.local_service.queue import Request
from shell.local_service.wire import (
    CreateModel,
    LoadWeights,
    LoraConfig,
    OptimStep,
    SaveWeights,
    decode,
    decode_forward_backward,
    encode_forward_backward,
)


class Turn(NamedTuple):
    """A request whose turn it is, and its model as the last one left it; None for a new model, and for sampling."""

    db: Database
    request: Request
    learner: Learner | None

    @property
    def model_id(self) -> str:
        assert self.request.model_id is not None, "every training request belongs to a model"
        return self.request.model_id

    @property
    def model(self) -> Learner:
        assert self.learner is not None, "every request after a model's first has a model"
        return self.learner


class Outcome(NamedTuple):
    """What a request comes to; learner is None where the model stays as it is."""

    answer: bytes
    learner: Learner | None = None
    checkpoint: store.Checkpoint | None = None
    sampler: store.Sampler | None = None


def handle(turn: Turn) -> Outcome:
    """Do what a request asks.

    Raises:
        UserError: it cannot be done; the model is as it was.
    """
    return HANDLERS[turn.request.kind](turn)


def failure(sentence: str, category: str) -> bytes:
    """The answer to a request that failed, as the SDK reads it; category is "user" or "server"."""
    return msgspec.json.encode({"error": sentence, "category": category})


def _create_model(turn: Turn) -> Outcome:
    asked = decode(turn.request.body, CreateModel)
    config = asked.lora_config or LoraConfig(rank=32)
    _check_optimizer(asked.optimizer_config)
    if not 1 <= config.rank <= MAX_RANK:
        raise UserError(f"expected a LoRA rank from 1 to {MAX_RANK}, got {config.rank} - at lora_config.rank")
    if not (config.train_mlp or config.train_attn or config.train_unembed):
        raise UserError("expected at least one of train_mlp, train_attn and train_unembed, got none - at lora_config")
    if not 1 <= len(asked.base_model) <= 200:
        raise UserError(f"expected a model's name, got {asked.base_model[:50]!r} - at base_model")
    adapter = Adapter(
        rank=config.rank,
        seed=(config.seed or 0) % 2**64,
        train_mlp=config.train_mlp,
        train_attn=config.train_attn,
        train_unembed=config.train_unembed,
    )
    return Outcome(_json(type="create_model", model_id=turn.model_id), new_learner(asked.base_model, adapter))


def _load_weights(turn: Turn) -> Outcome:
    asked = decode(turn.request.body, LoadWeights)
    _check_optimizer(asked.optimizer_config)
    if store.find_checkpoint(turn.db, asked.path, now=time())["kind"] != "training":
        raise UserError(f"{asked.path!r} is for sampling only; train from a path with /weights/ (save_state)")
    loaded = store.load(turn.db, asked.path, now=time())
    if turn.learner is not None:
        _check_same("base model", turn.learner.base_model, loaded.base_model, asked.path)
        _check_same("LoRA rank", turn.learner.adapter.rank, loaded.adapter.rank, asked.path)
    if asked.base_model is not None:
        _check_same("base model", asked.base_model, loaded.base_model, asked.path)
    answer = _json(type="load_weights", path=asked.path, model_id=turn.model_id)
    return Outcome(answer, loaded if asked.optimizer else without_optimizer(loaded))


def _check_same(what: str, here: object, there: object, path: str) -> None:
    if here != there:
        raise UserError(f"expected a checkpoint of {what} {here!r}, got {there!r} - at {path}")


def _check_optimizer(config: dict[str, Any] | None) -> None:
    if config is not None and config.get("type") != "adamw":
        raise UserError(f"the service in the box has the optimizer 'adamw' only, got {config.get('type')!r}")


def _forward_backward(turn: Turn) -> Outcome:
    asked = decode_forward_backward(turn.request.body)
    try:
        after, found = learn(turn.model, asked.examples, forward_only=asked.forward_only)
    except FloatingPointError:
        raise UserError("the loss is not finite: the weights have diverged or the datums' weights are huge") from None
    answer = encode_forward_backward(found.logprobs, asked.examples.offsets, {"loss:sum": found.loss})
    return Outcome(answer, None if asked.forward_only else after)


def _optim_step(turn: Turn) -> Outcome:
    asked = decode(turn.request.body, OptimStep)
    if asked.adam_params is None:
        raise UserError("the service in the box has the optimizer 'adamw' only: expected adam_params, got none")
    try:
        params = msgspec.convert(asked.adam_params, AdamParams)
    except msgspec.ValidationError as error:
        raise UserError(f"{error} - at adam_params") from None
    params.check()
    try:
        after, norm = step(turn.model, params)
    except FloatingPointError:
        raise UserError("the step would leave weights that are not finite; lower the learning rate") from None
    return Outcome(_json(type="optim_step", metrics={"grad_norm:mean": norm}), after)


def _save_weights(turn: Turn) -> Outcome:
    asked = decode(turn.request.body, SaveWeights)
    name = f"seq-{turn.request.seq}" if asked.path is None else asked.path
    checkpoint = _checkpoint(turn, asked, "training", name)._replace(overwrite=asked.overwrite)
    return Outcome(_json(type="save_weights", path=checkpoint.path), checkpoint=checkpoint)


def _save_weights_for_sampler(turn: Turn) -> Outcome:
    """Save under a name, which a later save may take over; or without one, for a sampling session made here and now.

    All sessions of kind "inflight" of a model sample from one checkpoint, which each such save replaces.
    """
    asked = decode(turn.request.body, SaveWeights)
    kind = "save_weights_for_sampler"
    if asked.path is not None:
        checkpoint = _checkpoint(turn, asked, "sampler", asked.path)
        return Outcome(_json(type=kind, path=checkpoint.path), checkpoint=checkpoint)
    name = "inflight" if asked.kind == "inflight" else f"unnamed-{turn.request.seq}"
    checkpoint = _checkpoint(turn, asked, "sampler", name)._replace(listed=False)
    session_id = turn.model_id.partition(":")[0]
    sampler = store.Sampler(
        f"{turn.model_id}:sample:{turn.request.seq}", session_id, turn.model.base_model, checkpoint.path
    )
    return Outcome(_json(type=kind, sampling_session_id=sampler.sampler_id), checkpoint=checkpoint, sampler=sampler)


def _checkpoint(turn: Turn, asked: SaveWeights, kind: str, name: str) -> store.Checkpoint:
    path = store.checkpoint_path(turn.model_id, kind, name)
    return store.Checkpoint(path, turn.model_id, kind, name, turn.model, asked.ttl_seconds, asked.user_metadata)


def _sample(turn: Turn) -> Outcome:
    asked = decode_sample(turn.request.body)
    sampler = store.find_sampler(turn.db, turn.request.owner)
    assert sampler is not None, "a sampling request is accepted only if its sampler exists"
    if sampler.path is None:
        weights = base_weights(sampler.base_model)
    else:
        weights = store.load(turn.db, sampler.path, now=time()).weights
    return Outcome(perform(weights, asked, turn.request.request_id))


def _unsupported(turn: Turn) -> Outcome:
    raise UserError(f"the service in the box does not do {turn.request.kind}")


def _json(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


HANDLERS: dict[str, Callable[[Turn], Outcome]] = {
    "create_model": _create_model,
    "load_weights": _load_weights,
    "forward_backward": _forward_backward,
    "optim_step": _optim_step,
    "save_weights": _save_weights,
    "save_weights_for_sampler": _save_weights_for_sampler,
    "save_weights_external": _unsupported,
    "sample": _sample,
}
