"""The unmodified SDK against the local service, over HTTP."""

import sqlite3
from concurrent.futures import Future

import numpy as np
import pytest
import tinker
from PIL import Image
from tinker.proto.request_conv import forward_backward_request_to_proto

from kernel.datum import Datums, Media
from kernel.errors import InputError
from shell.datums.tinker_datums import PYDANTIC, constructors_of, datums_to_tinker, with_loss_inputs
from shell.service.protocol import AdamParams, Loss, SamplingParams, ServiceFault
from shell.service.sdk import settled
from shell.service.tinker_client import TinkerClient, error_text

ADAM = AdamParams(0.01, 0.9, 0.95, 1e-8, 0.0, 0.0)
BATCH = Datums(
    np.array([5, 6, 7, 8, 9, 10, 11], np.int32),
    np.array([6, 7, 8, 9, 10, 11, 12], np.int64),
    np.array([0, 0.5, 0.5, 1, 0, 0.25, 0.75], np.float32),
    np.array([0, 3, 4, 7]),
)


@pytest.fixture(scope="module")
def sdk(service):
    client = tinker.ServiceClient(base_url=service.url, api_key="tml-test")
    yield client
    if hasattr(client, "close"):
        client.close("success").result(timeout=10)


@pytest.fixture
def client(sdk):
    return opened(sdk.create_lora_training_client("tinsmith/tiny", rank=4, seed=0))


def opened(future):
    return TinkerClient(settled(future), lambda: None)


def wire(data):
    inputs = tinker.types.ForwardBackwardInput(data=data, loss_fn="cross_entropy")
    request = tinker.types.ForwardBackwardRequest(forward_backward_input=inputs, model_id="m", seq_id=1)
    return forward_backward_request_to_proto(request).SerializeToString(deterministic=True)


def test_a_batch_goes_over_the_wire_byte_for_byte_as_if_it_were_built_from_lists():
    built = [
        tinker.Datum(
            model_input=tinker.ModelInput.from_ints(inputs.tolist()),
            loss_fn_inputs={"target_tokens": targets.tolist(), "weights": weights.tolist()},
        )
        for inputs, targets, weights in map(BATCH.example, range(3))
    ]
    assert wire(datums_to_tinker(BATCH)) == wire(built)


@pytest.mark.skipif(not constructors_of(tinker).is_fast, reason="the release's own constructors are called")
def test_datums_built_without_constructors_equal_those_built_with_them():
    def attributes(one):
        if isinstance(one, dict | list):
            return [(key, attributes(one[key])) for key in (one if isinstance(one, dict) else range(len(one)))]
        if not hasattr(one, "__dict__"):
            return one.tolist() if isinstance(one, np.ndarray) else one
        slots = [getattr(one, name, None) for name in PYDANTIC]
        return type(one), slots, [(key, attributes(vars(one)[key])) for key in sorted(vars(one))]

    inputs, targets, weights = BATCH.example(0)
    text = tinker.EncodedTextChunk.model_construct(tokens=inputs, type="encoded_text")
    tensors = {
        "target_tokens": tinker.TensorData(targets, "int64", [3]),
        "weights": tinker.TensorData(weights, "float32", [3]),
    }
    ours, theirs = datums_to_tinker(BATCH)[0], tinker.Datum(tinker.ModelInput(chunks=[text]), tensors)
    assert attributes(ours) == attributes(theirs)
    assert repr(ours) == repr(theirs)
    assert ours.model_input.to_ints() == theirs.model_input.to_ints() == inputs.tolist()


def test_sent_data_does_not_change_with_its_source_arrays():
    batch = Datums(*(np.array(part) for part in BATCH[:4]))
    sent = datums_to_tinker(batch)
    before = wire(sent)
    for part in batch[:3]:
        part += 1
    assert wire(sent) == before


@pytest.mark.parametrize(("field", "value"), [("inputs", -1), ("targets", -1), ("targets", 2**31)])
def test_ids_that_the_wire_cannot_carry_are_refused(field, value):
    broken = np.array(getattr(BATCH, field))
    broken[3] = value
    with pytest.raises(InputError, match=rf"expected token ids from 0 to 2\*\*31 - 1.* - at \$\.{field}"):
        datums_to_tinker(BATCH._replace(**{field: broken}))


def test_an_image_is_a_chunk_of_its_own_between_those_of_text(tmp_path):
    path = tmp_path / "cat.png"
    Image.new("RGB", (64, 64)).save(path)
    lengths = np.diff(BATCH.offsets).tolist()
    example = lengths.index(max(lengths))
    sent = datums_to_tinker(BATCH._replace(media=(Media(example, 1, 1, str(path)),)))[example].model_input
    assert [chunk.type for chunk in sent.chunks] == ["encoded_text", "image", "encoded_text"][: len(sent.chunks)]
    assert sent.length == lengths[example]
    assert sent.chunks[1].data == path.read_bytes()
    assert sent.chunks[1].expected_tokens == 1


def test_answers_are_aligned_with_the_targets(client):
    whole = client.forward(BATCH).result()
    assert whole.dtype == np.float32
    assert whole.shape == BATCH.targets.shape
    assert (whole < 0).all()
    second = Datums(*(part[3:4] for part in BATCH[:3]), np.array([0, 1]))
    assert client.forward(second).result()[0] == pytest.approx(whole[3], abs=1e-5)


def test_an_evaluation_sees_the_weights_before_the_update_queued_after_it(client):
    before = client.forward(BATCH).result()
    evaluation, _ = client.forward(BATCH), client.forward_backward(BATCH)
    update, after = client.optim_step(ADAM), client.forward(BATCH)
    assert (evaluation.result() == before).all()
    assert "grad_norm:mean" in update.result()
    assert (after.result() != before).any()


def test_a_save_holds_exactly_the_updates_before_it_while_later_ones_are_queued(client, sdk):
    saves, evaluations = [], []
    for step in range(4):
        client.forward_backward(BATCH)
        client.optim_step(ADAM)
        saves.append(client.save_state(f"{step + 1:06d}", None))
        evaluations.append(client.forward(BATCH))
    for save, evaluation in zip(saves, evaluations, strict=True):
        loaded = opened(sdk.create_training_client_from_state_with_optimizer(save.result()))
        assert (loaded.forward(BATCH).result() == evaluation.result()).all()


def test_an_export_after_which_nothing_is_queued_holds_the_finished_weights(client, state_dir):
    for _ in range(3):
        client.forward_backward(BATCH)
        client.optim_step(ADAM)
    paths = [client.save_state("final", None).result(), client.save_sampler("final", None).result()]
    with sqlite3.connect(state_dir / "state.sqlite3") as state:
        found = [state.execute("SELECT parameters FROM checkpoints WHERE path = ?", [p]).fetchone() for p in paths]
    assert found[0] == found[1] != (None,)


def test_a_failed_request_is_a_fault_in_the_services_words(client):
    batch = BATCH._replace(targets=BATCH.targets + 10**6)
    with pytest.raises(ServiceFault) as fault:
        client.forward_backward(batch).result()
    assert fault.value.exit_code == 1
    assert "self.request_id" not in str(fault.value)
    assert "\n" not in str(fault.value)


def test_the_key_is_in_no_message():
    assert error_text(RuntimeError("refused tml-secret"), "tml-secret") == "refused ***"
    assert error_text(RuntimeError(), "tml-secret") == "RuntimeError"


def test_an_answer_of_another_shape_is_a_fault():
    class Training:
        def save_state(self, *_, **__):
            return self

        def future(self):
            done = Future()
            done.set_result("nonsense")
            return done

    with pytest.raises(ServiceFault, match="has no attribute 'path'"):
        TinkerClient(Training(), lambda: None).save_state("final", None).result()


def test_inputs_of_a_loss_are_sent_beside_the_targets(client):
    loss = Loss("cross_entropy", inputs=lambda example: {"weights": example["weights"] * 2})
    first = client.forward_backward(BATCH).result(), client.optim_step(ADAM).result()
    twice = client.forward_backward(BATCH, one := loss.fresh()).result(), client.optim_step(ADAM).result()
    assert set(one.metrics) == {"loss:sum"}
    assert loss.metrics == {}
    expected_loss = -(twice[0] * BATCH.weights * 2).sum()
    assert one.metrics["loss:sum"] == pytest.approx(expected_loss, rel=1e-5)
    assert len(first[0]) == len(twice[0])


def test_the_weights_are_no_input_of_other_losses():
    examples = with_loss_inputs(
        datums_to_tinker(BATCH), BATCH, "ppo", lambda example: {"advantages": example["weights"] + np.float32(1)}
    )
    assert [sorted(example.loss_fn_inputs) for example in examples] == [["advantages", "target_tokens"]] * 3
    assert examples[0].loss_fn_inputs["advantages"].to_numpy().tolist() == [1, 1.5, 1.5]
    assert examples[0].loss_fn_inputs["target_tokens"].to_numpy().tolist() == [6, 7, 8]
    assert examples[2].model_input.to_ints() == [9, 10, 11]


def test_a_snapshot_keeps_its_weights_while_training_goes_on(client):
    params = SamplingParams(4, [])
    prompts = [np.array([5, 6, 7], np.int32)] * 2
    before = client.snapshot()
    expected = client.sample(prompts, params).result()
    client.forward_backward(BATCH).result()
    client.optim_step(ADAM._replace(learning_rate=1.0)).result()
    assert before(prompts, params).result() == expected
    assert client.sample(prompts, params).result() != expected


def test_a_loss_that_the_service_has_not_is_its_fault(client):
    inputs = Loss("ppo", inputs=lambda example: {"logprobs": example["weights"], "advantages": example["weights"]})
    with pytest.raises(ServiceFault, match="cross_entropy"):
        client.forward_backward(BATCH, inputs).result()
