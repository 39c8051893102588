"""Runs on a local service that lacks an ability, each: what is done instead, and what is refused."""

import sys
from contextlib import contextmanager

import pytest

from shell.run_dir.run_files import read_checkpoints, read_metrics
from shell.service.local_process import start
from tests.shell.faults.runs import finish, metrics, write_rows

TWO = ("--max-steps", "2", "--eval-every", "1", "--save-every", "1")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture
def lacking(tmp_path, rows, monkeypatch):
    """Runs on a service without some abilities: `run(without, *flags)`, and how the run ended."""
    monkeypatch.setenv("TINKER_TELEMETRY", "0")

    def run(without, *flags):
        with start(tmp_path / f"service {without}", without=without) as service:
            return finish(rows, tmp_path / "run", service.url, *TWO, *flags)

    return run


def losses(folder, key):
    return [row[key] for row in read_metrics(folder) if key in row]


def test_without_forward_the_held_out_loss_is_the_samplers_under_a_name_of_its_own(lacking, tmp_path):
    assert lacking("", "--log-path", str(tmp_path / "whole")).code == 0
    whole = tmp_path / "whole"
    ending = lacking("forward")
    assert (ending.code, ending.errors) == (0, "")
    assert "without forward (the first use of forward failed: this service does not do forward)" in ending.said
    found, expected = losses(tmp_path / "run", "test/sampler_nll"), losses(whole, "test/nll")
    assert found == pytest.approx(expected, rel=1e-4)
    assert len(found) == 3
    assert losses(tmp_path / "run", "train_mean_nll") == losses(whole, "train_mean_nll")
    assert not losses(tmp_path / "run", "test/nll")
    assert "held-out (sampler)" in ending.said


def test_without_any_loss_of_held_out_rows_a_run_that_evaluates_is_refused(lacking, tmp_path):
    ending = lacking("forward,prompt_logprobs")
    assert ending.code == 2
    assert ending.errors.endswith("--eval-every 0 trains without held-out loss - at --eval-every\n")
    assert read_metrics(tmp_path / "run") == []
    again = ("--behavior-if-log-dir-exists", "delete", "--eval-every", "0")
    assert lacking("forward,prompt_logprobs", *again).code == 0


def test_without_a_time_to_live_checkpoints_are_kept_and_it_is_said(lacking, tmp_path):
    ending = lacking("ttl")
    assert (ending.code, ending.errors) == (0, "")
    assert "without ttl" in ending.said
    assert [one.cursor for one in read_checkpoints(tmp_path / "run")] == [1, 2, 2]


def test_a_service_that_saves_nothing_is_refused_unless_nothing_is_to_be_saved(lacking, tmp_path):
    ending = lacking("save")
    assert ending.errors == (
        "error: the service saves no checkpoints; --save-every 0 trains without - at --save-every\n"
    )
    ending = lacking("save", "--save-every", "0", "--behavior-if-log-dir-exists", "delete")
    assert (ending.code, ending.errors) == (0, "")
    assert (
        "unsaved   the service saves no checkpoints: the run cannot be resumed; for sampling: tinker://" in ending.said
    )
    assert read_checkpoints(tmp_path / "run") == []
    assert len(losses(tmp_path / "run", "train_mean_nll")) == 2


@pytest.mark.parametrize("without", ["sampling", "sampling,capabilities"])
def test_prompts_are_refused_where_the_service_does_not_sample(lacking, without, tmp_path):
    ending = lacking(without, "--sample-prompts", "What is 2 and 2?")
    assert ending.code == 2
    assert ending.errors.endswith(" - at --sample-prompts\n")
    assert read_metrics(tmp_path / "run") == []
    ending = lacking(without, "--behavior-if-log-dir-exists", "delete")
    assert (ending.code, ending.errors) == (0, "")
    assert [one.sampler_path for one in read_checkpoints(tmp_path / "run")] == [None] * 3


def test_a_service_that_deletes_nothing_is_reported_once(lacking):
    ending = lacking("deletion", "--rolling-save-every", "1", "--save-every", "0", "--max-steps", "4")
    assert (ending.code, ending.errors) == (0, "")
    assert ending.said.count("was not deleted (HTTP 405") == 1


def test_a_service_that_does_not_list_what_it_can_do_is_trained_on(lacking):
    assert lacking("capabilities").code == 0


def test_a_probe_changes_nothing_of_a_run_and_says_what_it_cost(lacking, tmp_path):
    assert lacking("").code == 0
    ending = lacking("", "--probe", "--log-path", str(tmp_path / "probed"))
    assert "probe     it can do all that a run needs (tried on a throwaway model, about 8 tokens)" in ending.said
    assert metrics(tmp_path / "probed") == metrics(tmp_path / "run")


@pytest.mark.parametrize(
    ("without", "flags", "flag"),
    [
        ("save", (), "--save-every"),
        ("sampling,capabilities", ("--sample-prompts", "2 and 2?"), "--sample-prompts"),
        ("forward,prompt_logprobs", (), "--eval-every"),
        ("weight_decay", ("--weight-decay", "0.1"), "--weight-decay"),
    ],
)
def test_a_probe_refuses_what_is_missing_before_the_run_has_a_model(lacking, tmp_path, without, flags, flag):
    ending = lacking(without, "--probe", *flags)
    assert ending.code == 2
    assert ending.errors.endswith(f" - at {flag}\n")
    assert "probe     it lacks " in ending.said
    assert read_metrics(tmp_path / "run") == []


def test_what_a_probe_finds_missing_is_done_another_way(lacking, tmp_path):
    ending = lacking("forward,ttl,deletion,weight_decay", "--probe")
    assert (ending.code, ending.errors) == (0, "")
    assert "probe     it lacks forward, weight decay, ttl, deletion" in ending.said
    assert len(losses(tmp_path / "run", "test/sampler_nll")) == 3
    assert len(read_checkpoints(tmp_path / "run")) == 3


@contextmanager
def module(tmp_path, monkeypatch, text):
    """A client module of the name `other_sdk`."""
    (tmp_path / "other_sdk.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        yield "other_sdk"
    finally:
        sys.modules.pop("other_sdk", None)


def test_a_run_goes_through_the_client_module_of_its_own(lacking, tmp_path, monkeypatch):
    text = """
from tinker import *
from tinker import types, ServiceClient as Plain

class ServiceClient(Plain):
    used = []

    def __init__(self, *args, **options):
        self.used.append(options["base_url"])
        super().__init__(*args, **options)
"""
    with module(tmp_path, monkeypatch, text) as name:
        ending = lacking("", "--sdk", name)
        assert (ending.code, ending.errors) == (0, "")
        assert len(sys.modules[name].ServiceClient.used) == 1
    assert lacking("", "--behavior-if-log-dir-exists", "resume").said.count("all 2 steps are done") == 1


def test_a_client_module_without_weight_decay_sends_none_and_refuses_some(lacking, tmp_path, monkeypatch):
    text = """
import tinker
from tinker import *
from tinker import types

def AdamParams(learning_rate, beta1, beta2, eps, grad_clip_norm):
    return tinker.AdamParams(learning_rate=learning_rate, beta1=beta1, beta2=beta2, eps=eps)
"""
    with module(tmp_path, monkeypatch, text) as name:
        ending = lacking("", "--sdk", name, "--weight-decay", "0.1")
        assert ending.errors == "error: the service has no weight decay; 0 trains without - at --weight-decay\n"
        ending = lacking("", "--sdk", name, "--behavior-if-log-dir-exists", "delete")
        assert (ending.code, ending.errors) == (0, "")
        assert "it has no weight decay, and none is sent" in ending.said
