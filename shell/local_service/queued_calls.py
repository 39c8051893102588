"""What each kind of request does: a request and its model in, an outcome out, or a UserError."""

import hashlib
from collections.abc import Callable
from time import time
from typing import Any, NamedTuple

import msgspec
import numpy as np
from tinker.proto import tinker_public_pb2 as proto

from shell.local_service import UserError, database, wire_format
from shell.local_service.database import Database
from shell.local_service.model import Ints, Weights
from shell.local_service.model.learner import MAX_RANK, Adapter, Learner, learn, new_learner, start_state, step
from shell.local_service.model.sampling import Rule, Top, choose, likeliest, sample
from shell.local_service.model.transformer import base_weights, hidden_states, next_logprobs
from shell.local_service.queue import Request
from shell.local_service.wire_format import CreateModel, LoadWeights, Sample, SaveWeights

_EMPTY = -99999.0  # the logprob of an empty cell in a top-k matrix, as the SDK reads it


class Task(NamedTuple):
    """A request to run, and its model as the last one left it; None for a new model, and for sampling."""

    db: Database
    request: Request
    learner: Learner | None

    @property
    def model(self) -> Learner:
        assert self.learner is not None, "every request after a model's first has a model"
        return self.learner


class Outcome(NamedTuple):
    """The result of a request; learner is None where the model does not change."""

    answer: bytes
    learner: Learner | None = None
    checkpoint: database.Checkpoint | None = None
    sampler: database.Sampler | None = None


def _json(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def failure(sentence: str, category: str) -> bytes:
    """The answer to a request that failed, as the SDK reads it; category is "user" or "server"."""
    return _json(error=sentence, category=category)


def _create_model(task: Task) -> Outcome:
    asked = wire_format.decode(task.request.body, CreateModel)
    config = asked.lora_config or Adapter(rank=32)
    _check_optimizer(asked.optimizer_config)
    if not 1 <= config.rank <= MAX_RANK:
        raise UserError(f"expected a LoRA rank from 1 to {MAX_RANK}, got {config.rank} - at lora_config.rank")
    if not (config.train_mlp or config.train_attn or config.train_unembed):
        raise UserError("expected at least one of train_mlp, train_attn and train_unembed, got none - at lora_config")
    if not 1 <= len(asked.base_model) <= 200:
        raise UserError(f"expected a model's name, got {asked.base_model[:50]!r} - at base_model")
    adapter = msgspec.structs.replace(config, seed=(config.seed or 0) % 2**64)
    return Outcome(_json(type="create_model", model_id=task.request.owner), new_learner(asked.base_model, adapter))


def _load_weights(task: Task) -> Outcome:
    asked = wire_format.decode(task.request.body, LoadWeights)
    _check_optimizer(asked.optimizer_config)
    if database.read_checkpoint_row(task.db, asked.path, now=time())["kind"] != "training":
        raise UserError(f"{asked.path!r} is for sampling only; train from a path with /weights/ (save_state)")
    loaded = database.load(task.db, asked.path, now=time())
    if task.learner is not None:
        _check_same("base model", task.learner.base_model, loaded.base_model, asked.path)
        _check_same("LoRA rank", task.learner.adapter.rank, loaded.adapter.rank, asked.path)
    if asked.base_model is not None:
        _check_same("base model", asked.base_model, loaded.base_model, asked.path)
    answer = _json(type="load_weights", path=asked.path, model_id=task.request.owner)
    fresh = msgspec.structs.replace(loaded, adam=start_state(loaded.adapter.size))
    return Outcome(answer, loaded if asked.optimizer else fresh)


def _check_same(what: str, here: object, there: object, path: str) -> None:
    if here != there:
        raise UserError(f"expected a checkpoint of {what} {here!r}, got {there!r} - at {path}")


def _check_optimizer(config: dict[str, Any] | None) -> None:
    if config is not None and config.get("type") != "adamw":
        raise UserError(f"the local service only has the optimizer 'adamw', got {config.get('type')!r}")


def _forward_backward(task: Task) -> Outcome:
    examples, forward_only = wire_format.decode_forward_backward(task.request.body)
    try:
        after, found = learn(task.model, examples, forward_only=forward_only)
    except FloatingPointError:
        raise UserError("the loss is not finite: the weights have diverged or the datums' weights are huge") from None
    answer = wire_format.encode_forward_backward(found.logprobs, examples.offsets, {"loss:sum": found.loss})
    return Outcome(answer, None if forward_only else after)


def _optim_step(task: Task) -> Outcome:
    try:
        after, norm = step(task.model, wire_format.decode_adam_params(task.request.body))
    except FloatingPointError:
        raise UserError("the step would leave weights that are not finite; lower the learning rate") from None
    return Outcome(_json(type="optim_step", metrics={"grad_norm:mean": norm}), after)


def _save_weights(task: Task) -> Outcome:
    asked = wire_format.decode(task.request.body, SaveWeights)
    name = f"seq-{task.request.seq}" if asked.path is None else asked.path
    checkpoint = _checkpoint(task, asked, "training", name)._replace(overwrite=asked.overwrite)
    return Outcome(_json(type="save_weights", path=checkpoint.path), checkpoint=checkpoint)


def _save_weights_for_sampler(task: Task) -> Outcome:
    """Save under a name, or for a new sampling session; all "inflight" sessions of a model share one checkpoint."""
    asked = wire_format.decode(task.request.body, SaveWeights)
    kind = "save_weights_for_sampler"
    if asked.path is not None:
        checkpoint = _checkpoint(task, asked, "sampler", asked.path)
        return Outcome(_json(type=kind, path=checkpoint.path), checkpoint=checkpoint)
    name = "inflight" if asked.kind == "inflight" else f"unnamed-{task.request.seq}"
    checkpoint = _checkpoint(task, asked, "sampler", name)._replace(listed=False)
    session_id = task.request.owner.partition(":")[0]
    sampler_id = f"{task.request.owner}:sample:{task.request.seq}"
    sampler = database.Sampler(sampler_id, session_id, task.model.base_model, checkpoint.path)
    return Outcome(_json(type=kind, sampling_session_id=sampler_id), checkpoint=checkpoint, sampler=sampler)


def _checkpoint(task: Task, asked: SaveWeights, kind: str, name: str) -> database.Checkpoint:
    path = database.checkpoint_path(task.request.owner, kind, name)
    return database.Checkpoint(path, task.request.owner, kind, name, task.model, asked.ttl_seconds, asked.user_metadata)


def _unsupported(task: Task) -> Outcome:
    raise UserError(f"the local service does not do {task.request.kind}")


def _sample(task: Task) -> Outcome:
    """Without a seed, randomness comes from the request's id, so that a request run again gives the same."""
    asked, prompt = wire_format.decode_sample(task.request.body)
    sampler = database.read_sampler(task.db, task.request.owner)
    if sampler.path is None:
        weights = base_weights(sampler.base_model)
    else:
        weights = database.load(task.db, sampler.path, now=time()).weights
    params, n_top = asked.sampling_params, asked.topk_sample_logprobs
    id_hash = int.from_bytes(hashlib.sha256(task.request.request_id.encode()).digest()[:8], "little")
    seed = id_hash if params.seed is None else params.seed % 2**64
    rule = Rule(params.temperature, params.top_k, params.top_p)
    max_tokens = wire_format.DEFAULT_MAX_TOKENS if params.max_tokens is None else params.max_tokens
    stop = {int(stop) for stop in params.stop or ()}
    answer = proto.SampleResponse()
    if asked.prompt_logprobs or asked.topk_prompt_logprobs or asked.prompt_alt_tokens_k or asked.target_prompt_logprobs:
        _score_prompt(weights, prompt, asked, rule, seed, answer)
    for i in range(asked.num_samples):
        found = sample(weights, prompt, np.random.default_rng([seed, i]), rule, max_tokens, stop, n_top)
        sequence = answer.sequences.add(
            stop_reason=proto.STOP_REASON_STOP if found.stopped else proto.STOP_REASON_LENGTH,
            tokens=found.tokens.astype("<i4").tobytes(),
            logprobs=found.logprobs.astype("<f4").tobytes(),
        )
        if n_top:
            _write_top(sequence.topk_sampled_logprobs, found.tops, n_top)
    return Outcome(bytes(answer.SerializeToString()))


def _score_prompt(
    weights: Weights, prompt: Ints, asked: Sample, rule: Rule, seed: int, answer: proto.SampleResponse
) -> None:
    """What was asked about the prompt's own tokens; row i of every table is about the token after prompt[i]."""
    n_top, n_drawn = asked.topk_prompt_logprobs, asked.prompt_alt_tokens_k
    hidden = hidden_states(weights, prompt[:-1]) if len(prompt) > 1 else ()
    own = np.full(len(prompt), np.nan, np.float32)
    empty = Top(np.zeros(n_top, np.int32), np.full(n_top, _EMPTY, np.float32))
    first = 1 if asked.prompt_logprobs_last_n is None else len(prompt) - asked.prompt_logprobs_last_n
    tops, drawn, drawn_logprobs = [empty], [], []
    rows, ids = wire_format.decode_target_ids(asked.target_prompt_logprobs, len(prompt))
    rng = np.random.default_rng([seed, asked.num_samples])
    target_logprobs = np.zeros(len(ids), np.float32)
    for i, state in enumerate(hidden):
        next_ = next_logprobs(weights, state)
        if i + 1 >= first:
            own[i + 1] = next_[prompt[i + 1]]
        if n_top:
            tops.append(likeliest(next_, n_top) if i + 1 >= first else empty)
        draws = [choose(next_, rule, rng.random()) for _ in range(n_drawn)]
        drawn.append(draws)
        drawn_logprobs.append(next_[draws])
        cells = np.flatnonzero((rows == i) & (ids >= 0))
        target_logprobs[cells] = next_[ids[cells]]
    if asked.prompt_logprobs:
        answer.prompt_logprobs = own.astype("<f4").tobytes()
    if n_top:
        _write_top(answer.topk_prompt_logprobs, tops, n_top)
    if n_drawn:
        for tensor, values, dtype in (
            (answer.prompt_alt_tokens.tokens, np.array(drawn, "<i4"), proto.DTYPE_INT32),
            (answer.prompt_alt_tokens.logprobs, np.array(drawn_logprobs, "<f4"), proto.DTYPE_FLOAT32),
        ):
            shape = [len(prompt) - 1, n_drawn]
            tensor.CopyFrom(proto.Tensor(dense=values.tobytes(), dtype=dtype, shape=shape))
    if target := asked.target_prompt_logprobs:
        tensor = answer.target_prompt_logprobs
        tensor.CopyFrom(proto.Tensor(dense=target_logprobs.tobytes(), dtype=proto.DTYPE_FLOAT32, shape=target.shape))
        if target.sparse_crow_indices is not None:
            tensor.sparse_csr.values = tensor.dense
            tensor.sparse_csr.crow_indices = np.array(target.sparse_crow_indices, "<i8").tobytes()
            tensor.sparse_csr.col_indices = np.array(target.sparse_col_indices or (), "<i8").tobytes()


def _write_top(message: Any, tops: list[Top], k: int) -> None:
    """Fills a TopkLogprobs, a message that older releases name otherwise."""
    message.token_ids = np.array([top.ids for top in tops], "<i4").tobytes()
    message.logprobs = np.array([top.logprobs for top in tops], "<f4").tobytes()
    message.k, message.length = k, len(tops)


HANDLERS: dict[str, Callable[[Task], Outcome]] = {
    "create_model": _create_model,
    "load_weights": _load_weights,
    "forward_backward": _forward_backward,
    "optim_step": _optim_step,
    "save_weights": _save_weights,
    "save_weights_for_sampler": _save_weights_for_sampler,
    "save_weights_external": _unsupported,
    "sample": _sample,
}
