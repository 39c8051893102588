import numpy as np
import pytest

from kernel.datum import Datums
from shell.training.evaluate import queue_evaluations, score, score_sources
from tests.shell.recording import RecordingClient, datums

N_BYTES = np.full(1000, 2, np.int32)


def test_each_set_is_evaluated_whole_in_one_forward_pass():
    client = RecordingClient()
    answers = queue_evaluations(client, {"test": datums(3), "code": datums(40)})
    assert client.calls == [("forward", None)] * 2
    assert {name: len(answer.result()) for name, answer in answers.items()} == {"test": 5, "code": 5}


def test_the_loss_is_the_weighted_mean_over_all_of_the_set():
    held_out = {"test": datums(0)}  # weights 0 1 1 0 1
    logprobs = {"test": np.array([-9, -1, -2, -9, -3], np.float32)}
    found = score(held_out, logprobs, N_BYTES)
    assert found == {"test/nll": 2.0, "test/bpb": pytest.approx(6 / np.log(2) / 6)}


def test_each_source_has_a_loss_of_its_own_where_it_has_weight():
    logprobs = np.array([-9, -1, -2, -9, -3], np.float32)  # two examples, weights 0 1 1 | 0 1
    sources = {"a": np.array([1]), "b": np.array([0]), "both": np.array([0, 1]), "none": np.array([], np.int64)}
    found = score_sources(datums(0), logprobs, sources, "test_nll")
    assert found == {"source/a/test_nll": 3.0, "source/b/test_nll": 1.5, "source/both/test_nll": 2.0}


def test_what_is_not_defined_is_left_out():
    special = np.zeros(1000, np.int32)
    assert list(score({"test": datums(0)}, {"test": np.zeros(5, np.float32)}, special)) == ["test/nll"]
    without_loss = Datums(*datums(0)[:2], np.zeros(5, np.float32), np.array([0, 5]))
    assert score({"test": without_loss}, {"test": np.zeros(5, np.float32)}, N_BYTES) == {}
