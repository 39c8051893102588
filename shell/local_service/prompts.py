"""Sampling requests: Tinker's messages in and out, and what is done for one.

The service has no tokenizer, so stops are token ids and there is no implicit end of text: without a stop, a sample runs
to its max_tokens.
"""

import hashlib
from typing import Any

import msgspec
import numpy as np
from tinker.proto import tinker_public_pb2 as proto

from shell.local_service.arrays import Floats, Ints, Weights
from shell.local_service.errors import UserError
from shell.local_service.model import N_IDS, hidden_states, next_logprobs
from shell.local_service.sampling import Continuation, Rule, Top, choose, likeliest, sample, stack
from shell.local_service.wire import MAX_CONTEXT, Number, decode

DEFAULT_MAX_TOKENS = 256
MAX_WIDTH = 1024  # samples of one prompt, and ids reported, scored or drawn at one position
_EMPTY = -99999.0  # the logprob of an empty cell in a top-k matrix, as the SDK reads it


class Params(msgspec.Struct):
    """How to sample, as the SDK sends it."""

    max_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str | int] | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0


class Chunk(msgspec.Struct):
    """A piece of a prompt; one without tokens is not text."""

    tokens: list[int] | None = None


class Prompt(msgspec.Struct):
    chunks: list[Chunk]


class Tensor(msgspec.Struct):
    """Ids to score, dense [T - 1, K] or sparse CSR of that shape; -1 asks for nothing."""

    data: list[int]
    dtype: str
    shape: list[int] = []
    sparse_crow_indices: list[Number] | None = None
    sparse_col_indices: list[Number] | None = None


class Sample(msgspec.Struct):
    """A sampling request."""

    prompt: Prompt
    sampling_params: Params
    num_samples: int = 1
    sampling_session_id: str | None = None
    seq_id: Number | None = None
    base_model: str | None = None
    model_path: str | None = None
    prompt_logprobs: bool | None = None
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_logprobs: Tensor | None = None
    prompt_alt_tokens_k: int = 0
    prompt_logprobs_last_n: int | None = None


def decode_sample(body: bytes) -> Sample:
    """A sampling request, checked.

    Raises:
        UserError: what is wrong with it, and where.
    """
    asked = decode(body, Sample)
    params, n_prompt = asked.sampling_params, len(prompt_tokens(asked))
    if isinstance(params.stop, str) or any(isinstance(stop, str) for stop in params.stop or ()):
        raise UserError("the service in the box has no tokenizer: expected stop as token ids, got text - at stop")
    last_n = asked.prompt_logprobs_last_n
    for name, value, good, range_ in (
        ("max_tokens", params.max_tokens, (params.max_tokens or 0) >= 0, ">= 0"),
        ("temperature", params.temperature, 0 <= params.temperature < float("inf"), ">= 0"),
        ("top_p", params.top_p, 0 < params.top_p <= 1, "in (0, 1]"),
        ("top_k", params.top_k, params.top_k == -1 or params.top_k > 0, "-1 or > 0"),
        ("num_samples", asked.num_samples, 1 <= asked.num_samples <= MAX_WIDTH, f"from 1 to {MAX_WIDTH}"),
        *(
            (name, getattr(asked, name), 0 <= getattr(asked, name) <= MAX_WIDTH, f"from 0 to {MAX_WIDTH}")
            for name in ("topk_prompt_logprobs", "topk_sample_logprobs", "prompt_alt_tokens_k")
        ),
        ("prompt_logprobs_last_n", last_n, last_n is None or 1 <= last_n < n_prompt, f"from 1 to {n_prompt - 1}"),
    ):
        if not good:
            raise UserError(f"expected {name} {range_}, got {value} - at {name}")
    if n_prompt + (params.max_tokens or DEFAULT_MAX_TOKENS) > MAX_CONTEXT:
        raise UserError(f"expected prompt and max_tokens to make {MAX_CONTEXT} tokens at most, got more")
    if asked.target_prompt_logprobs is not None:
        _targets(asked.target_prompt_logprobs, n_prompt)
    return asked


def prompt_tokens(asked: Sample) -> Ints:
    """The prompt as one array, int64[T]."""
    if any(chunk.tokens is None for chunk in asked.prompt.chunks):
        raise UserError("the service in the box reads text only - at prompt.chunks")
    tokens = [token for chunk in asked.prompt.chunks for token in chunk.tokens or ()]
    if not 1 <= len(tokens) <= MAX_CONTEXT:
        raise UserError(f"expected a prompt of 1 to {MAX_CONTEXT} tokens, got {len(tokens)} - at prompt")
    if bad := [token for token in tokens if not 0 <= token < N_IDS]:
        raise UserError(f"expected token ids from 0 to {N_IDS - 1}, got {bad[0]} - at prompt")
    return np.array(tokens, np.int64)


def perform(weights: Weights, asked: Sample, request_id: str) -> bytes:
    """All that a checked request asks of a model, as the answer's protobuf.

    Without a seed, randomness comes from the request's own name: a request run again comes out the same.
    """
    prompt, params = prompt_tokens(asked), asked.sampling_params
    named = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8], "little")
    seed = named if params.seed is None else params.seed % 2**64
    rule = Rule(params.temperature, params.top_k, params.top_p)
    answer = proto.SampleResponse()
    for i in range(asked.num_samples):
        continuation = sample(
            weights,
            prompt,
            np.random.default_rng([seed, i]),
            max_tokens=DEFAULT_MAX_TOKENS if params.max_tokens is None else params.max_tokens,
            rule=rule,
            stop={int(stop) for stop in params.stop or ()},
            n_top=asked.topk_sample_logprobs,
        )
        answer.sequences.append(_sequence(continuation, asked.topk_sample_logprobs))
    _score_prompt(weights, prompt, asked, rule, np.random.default_rng([seed, asked.num_samples]), answer)
    return bytes(answer.SerializeToString())


def _sequence(found: Continuation, n_top: int) -> proto.SampledSequence:
    sequence = proto.SampledSequence(
        stop_reason=proto.STOP_REASON_STOP if found.stopped else proto.STOP_REASON_LENGTH,
        tokens=found.tokens.astype("<i4").tobytes(),
        logprobs=found.logprobs.astype("<f4").tobytes(),
    )
    if n_top:
        sequence.topk_sampled_logprobs.CopyFrom(_top(found.top, n_top))
    return sequence


def _score_prompt(
    weights: Weights, prompt: Ints, asked: Sample, rule: Rule, rng: np.random.Generator, answer: proto.SampleResponse
) -> None:
    """Whatever was asked about the prompt's own tokens; row i of every table is about the token after prompt[i]."""
    n_top, n_drawn = asked.topk_prompt_logprobs, asked.prompt_alt_tokens_k
    if not (asked.prompt_logprobs or n_top or n_drawn or asked.target_prompt_logprobs):
        return
    hidden = hidden_states(weights, prompt[:-1]) if len(prompt) > 1 else ()
    own = np.full(len(prompt), np.nan, np.float32)
    empty = Top(np.zeros(n_top, np.int32), np.full(n_top, _EMPTY, np.float32))
    first = 1 if asked.prompt_logprobs_last_n is None else len(prompt) - asked.prompt_logprobs_last_n
    tops, drawn, drawn_logprobs = [empty], [], []
    rows, ids, target_logprobs = _targets(asked.target_prompt_logprobs, len(prompt))
    for i, state in enumerate(hidden):
        next_ = next_logprobs(weights, state)
        if i + 1 >= first:
            own[i + 1] = next_[prompt[i + 1]]
        tops.append(likeliest(next_, n_top) if i + 1 >= first else empty)
        draws = [choose(next_, rule, rng.random()) for _ in range(n_drawn)]
        drawn.append(draws)
        drawn_logprobs.append(next_[draws])
        cells = np.flatnonzero((rows == i) & (ids >= 0))
        target_logprobs[cells] = next_[ids[cells]]
    if asked.prompt_logprobs:
        answer.prompt_logprobs = own.astype("<f4").tobytes()
    if n_top:
        answer.topk_prompt_logprobs.CopyFrom(_top(stack(tops, n_top), n_top))
    if n_drawn:
        shape = [len(prompt) - 1, n_drawn]
        answer.prompt_alt_tokens.tokens.CopyFrom(_tensor(np.array(drawn, "<i4"), proto.DTYPE_INT32, shape))
        logprobs = np.array(drawn_logprobs, "<f4")
        answer.prompt_alt_tokens.logprobs.CopyFrom(_tensor(logprobs, proto.DTYPE_FLOAT32, shape))
    if target := asked.target_prompt_logprobs:
        tensor = _tensor(target_logprobs, proto.DTYPE_FLOAT32, target.shape)
        if target.sparse_crow_indices is not None:
            tensor.sparse_csr.values = tensor.dense
            tensor.sparse_csr.crow_indices = np.array(target.sparse_crow_indices, "<i8").tobytes()
            tensor.sparse_csr.col_indices = np.array(target.sparse_col_indices, "<i8").tobytes()
        answer.target_prompt_logprobs.CopyFrom(tensor)


def _targets(target: Tensor | None, n_prompt: int) -> tuple[Ints, Ints, Floats]:
    """For each id to score: its row, the id, and a place for its logprob."""
    if target is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    at = "at target_prompt_logprobs"
    if len(target.shape) != 2 or target.shape[0] != n_prompt - 1 or not 1 <= target.shape[1] <= MAX_WIDTH:
        raise UserError(f"expected shape [{n_prompt - 1}, K], K from 1 to {MAX_WIDTH}, got {target.shape} - {at}")
    if any(not -1 <= id_ < N_IDS for id_ in target.data):
        raise UserError(f"expected token ids from 0 to {N_IDS - 1}, or -1 - {at}")
    if target.sparse_crow_indices is None:
        rows = np.repeat(np.arange(target.shape[0]), target.shape[1])
    else:
        crow = np.array(target.sparse_crow_indices)
        if len(crow) != n_prompt or crow[0] != 0 or (np.diff(crow) < 0).any() or crow[-1] != len(target.data):
            raise UserError(f"expected row pointers from 0 to {len(target.data)} in order - {at}")
        rows = np.repeat(np.arange(target.shape[0]), np.diff(crow))
    if len(rows) != len(target.data):
        raise UserError(f"expected {len(rows)} ids, got {len(target.data)} - {at}")
    return rows, np.array(target.data, np.int64), np.zeros(len(rows), np.float32)


def _top(top: Top, k: int) -> proto.TopkLogprobs:
    return proto.TopkLogprobs(
        token_ids=top.ids.astype("<i4").tobytes(),
        logprobs=top.logprobs.astype("<f4").tobytes(),
        k=k,
        length=len(top.ids),
    )


def _tensor(array: Any, dtype: Any, shape: list[int]) -> proto.Tensor:
    return proto.Tensor(dense=array.tobytes(), dtype=dtype, shape=shape)
