"""The unmodified tinker SDK against the service: the whole supervised path, sampling, and the look-ups."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tinker
from tinker import types

from shell.local_service.model.transformer import base_weights, hidden_states, next_logprobs
from shell.service.local_process import ServiceProcess
from shell.service.sdk import is_users, rest_client, settled, status_of, takes
from tests.shell.local_service.serving import API_KEY, data, some_rows

ADAM = types.AdamParams(learning_rate=0.01, eps=1e-8)
GREEDY = types.SamplingParams(max_tokens=4, temperature=0.0)


def needs(function: Any, parameter: str) -> pytest.MarkDecorator:
    """Skips a test where the installed release lacks a parameter."""
    return pytest.mark.skipif(not takes(function, parameter), reason=f"{function.__name__} has no {parameter}")


PROMPT = types.ModelInput.from_ints([5, 12, 19])


@pytest.fixture(scope="module")
def sdk(service: ServiceProcess) -> Iterator[tinker.ServiceClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINKER_TELEMETRY", "0")
        client = tinker.ServiceClient(base_url=service.url, api_key=API_KEY)
        yield client
        if hasattr(client, "close"):  # releases before 0.28 end with the process
            client.close("success").result()


@pytest.fixture(scope="module")
def rest(service: ServiceProcess, sdk: tinker.ServiceClient) -> Any:
    return rest_client(tinker, sdk, service.url, API_KEY)


@pytest.fixture
def model(sdk: tinker.ServiceClient) -> tinker.TrainingClient:
    return new_model(sdk)


def new_model(sdk: tinker.ServiceClient) -> tinker.TrainingClient:
    return settled(sdk.create_lora_training_client("tinsmith/tiny", rank=4, seed=1))


def train(model: tinker.TrainingClient, seeds: range) -> None:
    """One step per seed, sent ahead, all awaited."""
    waiting: list[Any] = []
    for seed in seeds:
        waiting += [model.forward_backward(data(seed), "cross_entropy"), model.optim_step(ADAM)]
    for future in waiting:
        future.result()


def logprobs(model: tinker.TrainingClient, examples: list[types.Datum]) -> list[list[float]]:
    answer = model.forward(examples, "cross_entropy").result()
    return [output["logprobs"].tolist() for output in answer.loss_fn_outputs]


def test_a_model_is_what_was_asked_for(model: tinker.TrainingClient) -> None:
    info = model.get_info()
    assert (info.model_data.model_name, info.is_lora, info.lora_rank) == ("tinsmith/tiny", True, 4)


def test_training_lowers_the_loss_and_reports_what_the_sdk_expects(model: tinker.TrainingClient) -> None:
    first = model.forward_backward(data(0), "cross_entropy").result()
    step = model.optim_step(ADAM).result()
    train(model, range(1, 10))
    last = model.forward_backward(data(0), "cross_entropy").result()
    assert last.metrics["loss:sum"] < 0.9 * first.metrics["loss:sum"]
    found = np.concatenate([output["logprobs"].to_numpy() for output in first.loss_fn_outputs])
    assert first.metrics["loss:sum"] == pytest.approx(-found.sum(), rel=1e-5)
    assert [output["logprobs"].to_numpy().shape for output in first.loss_fn_outputs] == [(11,)] * 4
    assert step.metrics is not None
    assert step.metrics["grad_norm:mean"] > 0


def test_a_batch_of_several_chunks_is_the_sum_of_its_parts(sdk: tinker.ServiceClient) -> None:
    many = data(1, n=1500, length=4)
    whole, parts = new_model(sdk), new_model(sdk)
    waiting = [whole.forward_backward(many, "cross_entropy"), whole.optim_step(ADAM)]
    waiting += [parts.forward_backward(half, "cross_entropy") for half in (many[:1024], many[1024:])]
    waiting += [parts.optim_step(ADAM)]
    answers: list[Any] = [future.result() for future in waiting]
    assert len(answers[0].loss_fn_outputs) == 1500
    losses = [answers[i].metrics["loss:sum"] for i in (0, 2, 3)]
    assert losses[0] == pytest.approx(losses[1] + losses[2])
    assert logprobs(whole, data(2)) == logprobs(parts, data(2))


def test_a_run_cut_at_a_checkpoint_continues_bit_for_bit(sdk: tinker.ServiceClient) -> None:
    uncut = new_model(sdk)
    train(uncut, range(3))
    path = uncut.save_state("cut", ttl_seconds=3600).result().path
    train(uncut, range(3, 6))
    resumed = settled(sdk.create_training_client_from_state_with_optimizer(path))
    assert resumed.get_info().lora_rank == 4
    train(resumed, range(3, 6))
    assert logprobs(resumed, data(9)) == logprobs(uncut, data(9))


def test_weights_alone_start_with_a_fresh_optimizer(sdk: tinker.ServiceClient, model: tinker.TrainingClient) -> None:
    train(model, range(3))
    path = model.save_state("weights").result().path
    with_optimizer = settled(sdk.create_training_client_from_state_with_optimizer(path))
    without = settled(sdk.create_training_client_from_state(path))
    assert logprobs(without, data(9)) == logprobs(model, data(9))
    for client in (with_optimizer, without):
        train(client, range(3, 4))
    assert logprobs(without, data(9)) != logprobs(with_optimizer, data(9))


def test_a_loaded_gradient_is_none(sdk: tinker.ServiceClient, model: tinker.TrainingClient) -> None:
    path = model.save_state("clean").result().path
    model.forward_backward(data(0), "cross_entropy")
    dirty = model.save_state("dirty").result().path
    clean_model, dirty_model = (settled(sdk.create_training_client_from_state(at)) for at in (path, dirty))
    for client in (clean_model, dirty_model):
        assert client.optim_step(ADAM).result().metrics == {"grad_norm:mean": 0.0}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("tinker://nobody/weights/x", "there is no checkpoint"),
        ("somewhere", "there is no checkpoint"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_a_user_error(sdk: tinker.ServiceClient, path: str, words: str) -> None:
    with pytest.raises((tinker.RequestFailedError, tinker.NotFoundError), match=words) as failed:
        settled(sdk.create_training_client_from_state(path))
    assert is_users(failed.value) or status_of(failed.value) == 404  # before 0.38 it is looked up first


def test_what_does_not_fit_is_a_user_error(sdk: tinker.ServiceClient, model: tinker.TrainingClient) -> None:
    sampler = model.save_weights_for_sampler("only-sampling").result().path
    with pytest.raises(tinker.RequestFailedError, match="for sampling only"):
        settled(sdk.create_training_client_from_state(sampler))
    state = model.save_state("once").result().path
    with pytest.raises(tinker.RequestFailedError, match="exists already"):
        model.save_state("once").result()
    assert model.save_state("once", overwrite=True).result().path == state
    if takes(sdk.create_training_client_from_state, "base_model"):
        with pytest.raises(tinker.RequestFailedError, match="base model 'other'"):
            settled(sdk.create_training_client_from_state(state, base_model="other"))
    with pytest.raises(tinker.RequestFailedError, match="cross_entropy"):
        model.forward_backward(data(0), "importance_sampling").result()
    with pytest.raises(tinker.RequestFailedError, match="rank from 1 to"):
        settled(sdk.create_lora_training_client("tinsmith/tiny", rank=0))
    train(model, range(1))


def test_loading_into_a_model_needs_the_same_shape(sdk: tinker.ServiceClient, model: tinker.TrainingClient) -> None:
    path = model.save_state("shape").result().path
    same, other = new_model(sdk), settled(sdk.create_lora_training_client("tinsmith/tiny", rank=5))
    train(same, range(2))
    with warnings.catch_warnings(category=FutureWarning, action="ignore"):
        same.load_state(path).result()
        with pytest.raises(tinker.RequestFailedError, match="LoRA rank 5, got 4"):
            other.load_state(path).result()
    assert logprobs(same, data(9)) == logprobs(model, data(9))


# Sampling.


def test_the_base_model_is_sampled_greedily_and_by_seed(sdk: tinker.ServiceClient) -> None:
    sampler = settled(sdk.create_sampling_client(base_model="tinsmith/tiny"))
    greedy = [sampler.sample(PROMPT, 1, GREEDY).result().sequences[0] for _ in range(2)]
    assert greedy[0].tokens == greedy[1].tokens
    assert greedy[0].stop_reason == "length"
    states = hidden_states(base_weights("tinsmith/tiny"), np.array(PROMPT.to_ints()))
    assert greedy[0].tokens[0] == int(np.argmax(next_logprobs(base_weights("tinsmith/tiny"), states[-1])))
    params = [types.SamplingParams(max_tokens=4, seed=seed) for seed in (1, 1, 2)]
    seeded = [[s.tokens for s in sampler.sample(PROMPT, 2, each).result().sequences] for each in params]
    assert seeded[0] == seeded[1] != seeded[2]
    assert seeded[0][0] != seeded[0][1]


def test_saved_weights_are_sampled_as_they_were(sdk: tinker.ServiceClient, model: tinker.TrainingClient) -> None:
    train(model, range(8))
    expected = logprobs(model, data(0))
    path = model.save_weights_for_sampler("then").result().path
    unnamed = settled(model.save_weights_and_get_sampling_client())
    train(model, range(8, 10))
    named = settled(sdk.create_sampling_client(model_path=path))
    row = some_rows(0)[0]
    for sampler in (named, unnamed):
        scored = sampler.compute_logprobs(types.ModelInput.from_ints(row)).result()
        assert scored[0] is None
        assert scored[1:] == pytest.approx(expected[0], abs=1e-4)


@needs(tinker.TrainingClient.save_weights_and_get_sampling_client, "kind")
def test_inflight_samplers_follow_the_model(model: tinker.TrainingClient) -> None:
    first = settled(model.save_weights_and_get_sampling_client(kind="inflight"))
    before = first.compute_logprobs(PROMPT).result()
    train(model, range(2))
    second = settled(model.save_weights_and_get_sampling_client(kind="inflight"))
    assert first.compute_logprobs(PROMPT).result() == second.compute_logprobs(PROMPT).result() != before


def test_a_stop_token_ends_a_sample(sdk: tinker.ServiceClient) -> None:
    sampler = settled(sdk.create_sampling_client(base_model="tinsmith/tiny"))
    first = sampler.sample(PROMPT, 1, GREEDY).result().sequences[0].tokens[0]
    stopping = types.SamplingParams(max_tokens=4, temperature=0.0, stop=[first])
    stopped = sampler.sample(PROMPT, 1, stopping).result().sequences[0]
    assert (stopped.tokens, stopped.stop_reason) == ([first], "stop")
    with pytest.raises(tinker.RequestFailedError, match="no tokenizer"):
        sampler.sample(PROMPT, 1, types.SamplingParams(max_tokens=4, stop=["\n"])).result()


@needs(tinker.SamplingClient.sample, "prompt_logprobs_last_n")
def test_a_prompt_is_scored_in_every_way_the_sdk_asks(sdk: tinker.ServiceClient) -> None:
    sampler = settled(sdk.create_sampling_client(base_model="tinsmith/tiny"))
    targets = types.TensorData.from_numpy(np.array([[12, -1], [19, 7]]))
    answer = sampler.sample(
        PROMPT,
        1,
        types.SamplingParams(max_tokens=2, seed=1),
        include_prompt_logprobs=True,
        topk_prompt_logprobs=3,
        topk_sample_logprobs=2,
        target_prompt_logprobs=targets,
        prompt_alt_tokens_k=4,
        prompt_logprobs_last_n=1,
    ).result()
    own, top = answer.prompt_logprobs, answer.topk_prompt_logprobs
    assert own is not None
    assert top is not None
    assert own[:2] == [None, None]
    assert top[:2] == [None, None]
    assert len(top[2] or ()) == 3
    assert answer.target_prompt_logprobs is not None
    scored = answer.target_prompt_logprobs.to_numpy()
    assert scored.shape == (2, 2)
    assert scored[0, 1] == 0
    assert scored[1, 0] == own[2]
    assert answer.prompt_alt_tokens is not None
    assert answer.prompt_alt_tokens.tokens.to_numpy().shape == (2, 4)
    sampled = answer.sequences[0]
    assert sampled.topk_logprobs is not None
    assert [len(row or ()) for row in sampled.topk_logprobs] == [2, 2]
    assert sampled.sequence_id.endswith(":0")


# Look-ups.


@needs(tinker.TrainingClient.save_state, "user_metadata")
def test_the_look_ups_find_what_was_created(sdk: tinker.ServiceClient, rest: Any, model: tinker.TrainingClient) -> None:
    state = model.save_state("looked-up", ttl_seconds=3600, user_metadata={"step": "0"}).result().path
    sampler = model.save_weights_for_sampler("looked-up").result().path
    assert [m.model_name for m in sdk.get_server_capabilities().supported_models] == ["tinsmith/tiny"]
    info = rest.get_weights_info_by_tinker_path(state).result()
    assert (info.base_model, info.is_lora, info.lora_rank, info.train_mlp) == ("tinsmith/tiny", True, 4, True)
    run = rest.get_training_run_by_tinker_path(state).result()
    assert run.last_checkpoint is not None
    assert run.last_checkpoint.tinker_path == state
    assert run.last_checkpoint.user_metadata == {"step": "0"}
    assert run.last_checkpoint.expires_at is not None
    listed = rest.list_checkpoints(run.training_run_id).result().checkpoints
    assert [(c.tinker_path, c.checkpoint_type) for c in listed] == [(state, "training"), (sampler, "sampler")]
    assert run.training_run_id in [r.training_run_id for r in rest.list_training_runs().result().training_runs]
    page = rest.list_user_checkpoints(limit=1).result()
    assert len(page.checkpoints) == 1
    assert page.cursor is not None
    assert page.cursor.total_count >= 2
    assert run.training_run_id in rest.get_session(sdk.holder.get_session_id()).result().training_run_ids
    assert sdk.holder.get_session_id() in rest.list_sessions().result().sessions


def test_a_checkpoint_can_be_kept_published_and_deleted(
    sdk: tinker.ServiceClient, rest: Any, model: tinker.TrainingClient
) -> None:
    path = model.save_state("changing", ttl_seconds=3600).result().path
    rest.set_checkpoint_ttl_from_tinker_path(path, None).result()
    rest.publish_checkpoint_from_tinker_path(path).result()
    (checkpoint,) = rest.list_checkpoints(model.get_info().model_id).result().checkpoints
    assert (checkpoint.expires_at, checkpoint.public) == (None, True)
    rest.delete_checkpoint_from_tinker_path(path).result()
    assert rest.list_checkpoints(model.get_info().model_id).result().checkpoints == []
    with pytest.raises((tinker.RequestFailedError, tinker.NotFoundError), match="no checkpoint"):
        settled(sdk.create_training_client_from_state(path))
    with pytest.raises(tinker.NotFoundError):
        rest.get_weights_info_by_tinker_path(path).result()


def test_a_closed_client_leaves_its_checkpoints(service: ServiceProcess, sdk: tinker.ServiceClient) -> None:
    other = tinker.ServiceClient(base_url=service.url, api_key=API_KEY)
    path = new_model(other).save_state("left").result().path
    if hasattr(other, "close"):
        other.close("success").result()
    assert settled(sdk.create_training_client_from_state(path)).get_info().lora_rank == 4
