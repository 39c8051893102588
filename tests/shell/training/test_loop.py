"""The loop against a recording stand-in: what it sends, what it writes, and that a cut leaves no trace."""

import os
import threading
from functools import partial
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.errors import InputError
from kernel.renderers import find_renderer
from kernel.row_outcomes import Outcome, RowOutcome
from kernel.training_steps import TrainPlan, start
from shell.process.plugs import PlugError, from_python
from shell.process.signals import Stop
from shell.run_dir import run_files as run_records
from shell.run_dir.atomic_files import append_lines, read_lines
from shell.run_dir.run_files import begin_ledger, keep_checkpoints, read_checkpoints, read_entries, read_metrics, rewind
from shell.service.protocol import AdamParams, SamplingParams, ServiceFault
from shell.text.tokenizer import open_tokenizer
from shell.training import sampling
from shell.training.evaluators import Evaluator
from shell.training.loop import run_loop
from shell.training.open_run import Progress, TrainingRun
from shell.training.sampler import Sampler
from shell.training.sampling import Prompt, Samples
from tests.shell.recording import Cut, FakeDataset, Quiet, RecordingClient, State, datums

OUTSIDE = (RowOutcome(Outcome.HELD_OUT, "a.jsonl:3"),)
PLAN = TrainPlan(n_steps=5, eval_every=2, save_every=2)
PROMPTS = tuple(Prompt(({"role": "user", "content": text},), np.arange(3, dtype=np.int32)) for text in "ab")
SAMPLES = Samples(PROMPTS, SamplingParams(4, []), open_tokenizer("sample"), find_renderer("qwen3").parse)
CADENCES = {
    "none": {},
    "every step": {"save_every": 1},
    "tokens": {"save_every_tokens": 8},
    "seconds": {"save_every_seconds": 9},
    "rolling": {"rolling_save_every": 1},
    "all": {"save_every": 3, "save_every_tokens": 14, "save_every_seconds": 19, "rolling_save_every": 1},
}
EPOCHS = {"one epoch": 4, "two epochs": 2}
"""batches of an epoch, of which a run takes four in all"""


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


def ticking():
    """A clock that ticks when the loop looks at it, and stands still for the thread that builds batches."""
    ticks, loop = count(), threading.current_thread()
    return lambda: float(next(ticks)) if threading.current_thread() is loop else 0.0


def job(folder, client, plan=PLAN, submit_ahead=1, dataset=None, clock=None, **more):
    return TrainingRun(
        plan=plan,
        submit_ahead=submit_ahead,
        dataset=dataset or FakeDataset(2, without_loss=frozenset({(1, 1)})),
        held_out={"test": datums(7)},
        rare={"code": datums(30)},
        samples=SAMPLES,
        n_bytes=np.ones(1000, np.int32),
        adam=lambda step: AdamParams(1.0 - step / plan.n_steps, 0.9, 0.95, 1e-8, 0.0, 0.0),
        ttl_seconds=3600,
        rolling_ttl_seconds=60,
        fingerprint={},
        client=client,
        delete_checkpoint=client.forget,
        folder=folder,
        screen=Quiet(),
        clock=clock or ticking(),
        **more,
    )


def go_on(folder, kept, happens=lambda _: None, lazy=True, **about):
    """What `shell.run_loop` does with a folder: from its last checkpoint, or from the beginning."""
    records = read_checkpoints(folder)
    begin = start(about.get("plan", PLAN), [record.mark for record in records])
    last = None if begin.mark is None else records[begin.mark]
    client = RecordingClient(kept[last.state_path] if last else State(), kept, lazy, happens)
    if begin.finished:
        return client
    rewind(folder, begin.cursor)
    begin_ledger(folder, OUTSIDE, begin.cursor)
    keep_checkpoints(folder, 0 if begin.mark is None else begin.mark + 1)
    progress = Progress(last.cursor, last.n_sequences, last.n_tokens) if last else Progress(0)
    run_loop(job(folder, client, **about), progress, Stop())
    return client


def outcome(folder, client, kept):
    """All that may not depend on whether and where a run was cut, and the checkpoints, which may by the clock."""
    rows = [{key: row[key] for key in row if not key.startswith("time/")} for row in read_metrics(folder)]
    records = [(r.name, r.cursor, r.epoch, r.batch, r.n_sequences, r.n_tokens) for r in read_checkpoints(folder)]
    finished = read_checkpoints(folder)[-1]
    assert kept[finished.state_path] == kept[finished.sampler_path] == client.state
    return (rows, records[-1], client.state, read_entries(folder), read_samples(folder)), records


def read_samples(folder):
    return read_lines(folder / "samples.jsonl")


class Events:
    """Counts what happens, and cuts at one of them; at a write, in the middle of its line."""

    def __init__(self, monkeypatch, cut_at=None):
        self.n, self.cut_at = 0, cut_at
        monkeypatch.setattr(run_records, "append_line", lambda path, value: self.append(path, [value]))
        for module in (run_records, sampling):
            monkeypatch.setattr(module, "append_lines", self.append)

    def __call__(self, _):
        self.n += 1
        if self.n == self.cut_at:
            raise Cut

    def append(self, path, values):
        try:
            self("write")
        except Cut:
            append_lines(path, values)
            with path.open("ab+") as file:
                file.truncate(file.tell() - 3)
            raise
        append_lines(path, values)
        self("written")


def about(cadence, epochs="two epochs", **more):
    n_batches = EPOCHS[epochs]
    dataset = FakeDataset(n_batches, without_loss=frozenset({divmod(2, n_batches)}))
    return {"plan": TrainPlan(n_steps=4, eval_every=2, **CADENCES[cadence]), "dataset": dataset, **more}


def is_by_the_clock(told):
    return told["plan"].save_every_seconds > 0


@pytest.mark.parametrize("epochs", EPOCHS)
@pytest.mark.parametrize("cadence", CADENCES)
@pytest.mark.parametrize("submit_ahead", range(5))
def test_a_run_cut_at_any_event_and_resumed_equals_the_run_uncut(tmp_path, monkeypatch, submit_ahead, cadence, epochs):
    monkeypatch.setattr("shell.training.loop.prefetched", lambda items: items)  # no thread
    told = about(cadence, epochs, submit_ahead=submit_ahead, lazy=epochs == "one epoch")
    uncut, kept = Events(monkeypatch), {}
    whole, records = outcome(made(tmp_path / "whole"), go_on(tmp_path / "whole", kept, uncut, **told), kept)
    for cut_at in range(1, uncut.n + 1):
        folder, kept = made(tmp_path / f"{cut_at}"), {}
        with pytest.raises(Cut):
            go_on(folder, kept, Events(monkeypatch, cut_at), **told)
        resumed = outcome(folder, go_on(folder, kept, Events(monkeypatch), **told), kept)
        assert resumed[0] == whole
        assert is_by_the_clock(told) or resumed[1] == records


@pytest.mark.parametrize("cadence", ["every step", "rolling"])
@pytest.mark.parametrize("submit_ahead", [0, 1, 3])
def test_samples_and_rare_evaluations_of_a_run_cut_anywhere_are_those_of_the_run_uncut(
    tmp_path, monkeypatch, submit_ahead, cadence
):
    monkeypatch.setattr("shell.training.loop.prefetched", lambda items: items)  # no thread
    told = about(cadence, submit_ahead=submit_ahead)
    told["plan"] = told["plan"]._replace(rare_eval_every=3, sample_every=2)
    uncut, kept = Events(monkeypatch), {}
    whole, _ = outcome(made(tmp_path / "whole"), go_on(tmp_path / "whole", kept, uncut, **told), kept)
    assert [(line["step"], line["number"]) for line in whole[-1]] == [(s, n) for s in (0, 2, 4) for n in (0, 1)]
    assert [row["step"] for row in whole[0] if "code/nll" in row] == [0, 3, 4]
    for cut_at in range(1, uncut.n + 1):
        folder, kept = made(tmp_path / f"{cut_at}"), {}
        with pytest.raises(Cut):
            go_on(folder, kept, Events(monkeypatch, cut_at), **told)
        assert outcome(folder, go_on(folder, kept, Events(monkeypatch), **told), kept)[0] == whole


def evaluating(function):
    """What a run has beside, with an evaluator."""
    open_sampler = partial(Sampler, chat_format=find_renderer("qwen3_instruct"), tokenizer=SAMPLES.tokenizer)
    return {"evaluators": [Evaluator("mine", from_python(function, "evaluators"))], "open_sampler": open_sampler}


def first_letter(sampler):
    answers = sampler.many(["a", [{"role": "user", "content": "b"}]])
    return {"letter": ord(answers[0]["content"])}


@pytest.mark.parametrize("cadence", ["every step", "rolling"])
@pytest.mark.parametrize("submit_ahead", [0, 1, 3])
def test_the_scores_of_an_evaluator_in_a_run_cut_anywhere_are_those_of_the_run_uncut(
    tmp_path, monkeypatch, submit_ahead, cadence
):
    monkeypatch.setattr("shell.training.loop.prefetched", lambda items: items)  # no thread
    told = about(cadence, submit_ahead=submit_ahead, lazy=False, **evaluating(first_letter))
    uncut, kept = Events(monkeypatch), {}
    whole, _ = outcome(made(tmp_path / "whole"), go_on(tmp_path / "whole", kept, uncut, **told), kept)
    letters = {row["step"]: row["eval/mine/letter"] for row in whole[0] if "eval/mine/letter" in row}
    assert letters == {step: ord(client_text(70 + n)) for step, n in ((0, 0), (2, 2), (4, 3))}, "before each update"
    for cut_at in range(1, uncut.n + 1):
        folder, kept = made(tmp_path / f"{cut_at}"), {}
        with pytest.raises(Cut):
            go_on(folder, kept, Events(monkeypatch, cut_at), **told)
        assert outcome(folder, go_on(folder, kept, Events(monkeypatch), **told), kept)[0] == whole


def test_evaluators_run_beside_the_steps_after_them_and_one_never_twice_at_once(tmp_path):
    running, most, began = [], [], threading.Event()

    def slow(sampler):
        running.append(1)
        most.append(len(running))
        began.wait(0.2)
        running.pop()
        return first_letter(sampler)

    client = RecordingClient()
    more = evaluating(slow)
    plan = TrainPlan(n_steps=4, eval_every=1)
    run_loop(job(tmp_path, client, plan, 3, FakeDataset(), **more), Progress(0), Stop())
    assert most == [1] * 5
    assert [kind for kind, _ in client.calls].index("save_state") > 4 * 4


def test_where_an_evaluator_fails_what_was_saved_before_is_recorded(tmp_path):
    def failing(sampler):
        if sampler.many(["a"])[0]["content"] == client_text(72):
            raise RuntimeError("no")
        return {}

    client = RecordingClient(save_takes=3)
    plan = TrainPlan(n_steps=6, eval_every=1, save_every=1)
    with pytest.raises(PlugError, match=r"failing raised RuntimeError: no in .*test_loop\.py:\d+ - at evaluators"):
        run_loop(job(tmp_path, client, plan, 1, FakeDataset(), **evaluating(failing)), Progress(0), Stop())
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1]
    assert read_checkpoints(tmp_path)[-1].cursor == 2


def test_each_line_of_metrics_is_passed_on_once_it_is_on_disk(tmp_path):
    lines = []

    def on_line(line):
        assert read_metrics(tmp_path)[-1]["step"] == line["step"]
        lines.append(line["step"])

    run_loop(job(tmp_path, RecordingClient(), PLAN, on_line=on_line), Progress(0), Stop())
    assert lines == [0, 1, 2, 3, 4, 5]


def test_a_sample_is_of_the_weights_before_the_update_of_its_step(tmp_path):
    plan = TrainPlan(n_steps=4, eval_every=2, sample_every=2)
    client = go_on(tmp_path, {}, plan=plan, submit_ahead=3, dataset=FakeDataset())
    assert [kind for kind, _ in client.calls][:4] == ["forward", "sample", "forward_backward", "optim_step"]
    letters = [client_text(70 + n_updates) for n_updates in (0, 2, 4)]
    assert [line["text"] for line in read_samples(tmp_path) if line["number"] == 0] == letters


def client_text(number):
    return SAMPLES.tokenizer.decode([number])


@given(st.lists(st.integers(1, 50), max_size=4), st.integers(0, 4), st.sampled_from([*CADENCES]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_run_cut_several_times_equals_the_run_uncut(tmp_path_factory, cuts, submit_ahead, cadence):
    told = about(cadence, submit_ahead=submit_ahead)
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder, kept = tmp_path_factory.mktemp("cut"), {}
        for cut_at in cuts:
            try:
                go_on(folder, kept, Events(monkeypatch, cut_at), **told)
            except Cut:
                continue
        resumed = outcome(folder, go_on(folder, kept, Events(monkeypatch), **told), kept)
        whole, all_kept = tmp_path_factory.mktemp("whole"), {}
        uncut = outcome(whole, go_on(whole, all_kept, Events(monkeypatch), **told), all_kept)
    assert resumed[0] == uncut[0]
    assert is_by_the_clock(told) or resumed[1] == uncut[1]


def made(folder):
    folder.mkdir()
    return folder


def test_requests_are_queued_in_the_plans_order_and_never_waited_for_out_of_it(tmp_path):
    client = go_on(tmp_path, {}, plan=TrainPlan(n_steps=4, eval_every=2, save_every=3), dataset=FakeDataset())
    rates = [1.0, 0.75, 0.5, 0.25]
    expected = [
        ("forward", None), ("forward_backward", 0), ("optim_step", rates[0]),
        ("forward_backward", 10), ("optim_step", rates[1]),
        ("forward", None), ("forward_backward", 20), ("optim_step", rates[2]), ("save_state", ("000003", 3600)),
        ("forward_backward", 100), ("optim_step", rates[3]),
        ("forward", None), ("save_state", ("final", None)), ("save_sampler", ("final", None)),
    ]  # fmt: skip
    assert client.calls == expected


@pytest.mark.parametrize("submit_ahead", [0, 1, 3])
def test_submit_ahead_steps_stand_beyond_the_one_that_is_awaited(tmp_path, submit_ahead):
    waits = []
    client = RecordingClient(happens=lambda event: waits.append(event))
    plan = TrainPlan(n_steps=8)
    run_loop(job(tmp_path, client, plan, submit_ahead, FakeDataset()), Progress(0), Stop())
    before_first_wait = waits[: waits.index("wait")]
    assert before_first_wait.count("forward_backward") == submit_ahead + 1


@pytest.mark.parametrize("submit_ahead", [0, 3])
def test_saves_fall_at_multiples_of_the_tokens_trained_whoever_trained_them(tmp_path, submit_ahead):
    plan = TrainPlan(n_steps=7, save_every_tokens=8)
    dataset = FakeDataset(7, without_loss=frozenset({(0, 3)}))  # tokens trained: 5, 10, 15, 15, 20, 25, 30
    run_loop(job(made(tmp_path / "whole"), RecordingClient(), plan, submit_ahead, dataset), Progress(0), Stop())
    assert [record.cursor for record in read_checkpoints(tmp_path / "whole")] == [2, 5, 6, 7]
    run_loop(job(made(tmp_path / "rest"), RecordingClient(), plan, submit_ahead, dataset), Progress(3, 6, 15), Stop())
    assert [record.cursor for record in read_checkpoints(tmp_path / "rest")] == [5, 6, 7]


@pytest.mark.parametrize("submit_ahead", [0, 3])
def test_saves_by_the_clock_fall_once_the_seconds_since_the_last_are_up(tmp_path, submit_ahead):
    client, plan = RecordingClient(), TrainPlan(n_steps=10, save_every_seconds=25, rolling_save_every=5)

    def clock():  # ten seconds a step that was queued
        return 10.0 * [kind for kind, _ in client.calls].count("forward_backward")

    run_loop(job(tmp_path, client, plan, submit_ahead, FakeDataset(10), clock), Progress(0), Stop())
    told = [record.name for record in read_checkpoints(tmp_path)]
    assert told == ["000004", "rolling-000005", "000007", "000010", "final"]


@pytest.mark.parametrize("save_takes", [0, 5, 50])
@pytest.mark.parametrize("submit_ahead", range(5))
@pytest.mark.parametrize("cadence", CADENCES)
def test_the_requests_in_flight_do_not_dip_at_a_save_however_long_it_takes(tmp_path, cadence, submit_ahead, save_takes):
    def in_flight_at_passes(name, takes):
        client, folder = RecordingClient(save_takes=takes), made(tmp_path / name)
        plan = TrainPlan(n_steps=9, **CADENCES[cadence if name == "saving" else "none"])
        run_loop(job(folder, client, plan, submit_ahead, FakeDataset()), Progress(0), Stop())
        assert read_checkpoints(folder)[-1].final
        told = zip(client.calls, client.n_in_flight, strict=True)
        return [n for (kind, _), n in told if kind == "forward_backward"]

    saving, plain = in_flight_at_passes("saving", save_takes), in_flight_at_passes("plain", 0)
    assert all(one >= other for one, other in zip(saving, plain, strict=True))


def test_a_rolling_checkpoint_goes_when_the_next_is_recorded_and_never_the_last_recorded(tmp_path):
    kept, last_kept = {}, []

    def happens(event):
        records = read_checkpoints(tmp_path)
        if event == "forget":
            last_kept.append(records[-1].state_path)
        assert not records or records[-1].state_path in kept

    plan = TrainPlan(n_steps=6, save_every=3, rolling_save_every=1)
    client = go_on(tmp_path, kept, happens, plan=plan, dataset=FakeDataset())
    records = read_checkpoints(tmp_path)
    names = ["rolling-000001", "rolling-000002", "000003", "rolling-000004", "rolling-000005", "000006", "final"]
    assert [record.name for record in records] == names
    assert [record.name for record in records if record.state_path in kept] == ["000003", "000006", "final"]
    assert [told for kind, told in client.calls if kind == "save_state"] == [
        (name, 60 if name.startswith("rolling") else None if name == "final" else 3600) for name in names
    ]
    assert last_kept == [records[i].state_path for i in (1, 2, 4, 5)]


def test_a_step_without_loss_is_not_sent_and_still_has_its_line(tmp_path):
    client = go_on(tmp_path, {}, plan=TrainPlan(n_steps=6))
    assert [told for kind, told in client.calls if kind == "forward_backward"] == [0, 10, 100, 200, 210]
    assert [kind for kind, _ in client.calls].count("optim_step") == 5
    rows = read_metrics(tmp_path)
    assert rows[3]["num_loss_tokens"] == 0
    assert "train_mean_nll" not in rows[3]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert read_checkpoints(tmp_path)[-1].n_sequences == 10


def test_each_step_is_built_once_and_a_resumed_run_begins_with_the_right_one(tmp_path):
    dataset = FakeDataset()
    run_loop(job(tmp_path, RecordingClient(), TrainPlan(n_steps=7), 1, dataset), Progress(4), Stop())
    assert dataset.steps == [4, 5, 6]


def test_a_line_of_metrics_holds_what_the_step_was(tmp_path):
    go_on(tmp_path, {}, plan=TrainPlan(n_steps=4, eval_every=3), dataset=FakeDataset())
    first, *_, last, end = read_metrics(tmp_path)
    assert list(first)[:5] == ["step", "epoch", "progress", "learning_rate", "num_sequences"]
    assert (first["num_sequences"], first["num_tokens"], first["num_loss_tokens"]) == (2, 5, 3)
    assert first["train_mean_nll"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 5) / 3)
    assert first["grad_norm:mean"] == 1.0
    assert last["step"] == 3
    assert (last["epoch"], last["progress"]) == (1, 0.75)
    assert end["step"] == 4
    assert (end["progress"], end["test/nll"]) == (1.0, pytest.approx(first["test/nll"] * 5))
    phases = {"time/get_batch", "time/wait_batch", "time/submit_batch", "time/finish_batch", "time/step", "time/evals"}
    assert phases <= set(first)


def test_records_bear_the_next_step_and_what_was_trained_below_it(tmp_path):
    go_on(tmp_path, {}, plan=TrainPlan(n_steps=4, save_every=2), submit_ahead=3, dataset=FakeDataset())
    told = [(r.name, r.cursor, r.epoch, r.batch, r.n_tokens, r.final) for r in read_checkpoints(tmp_path)]
    assert told == [("000002", 2, 0, 2, 10, False), ("000004", 4, 1, 1, 20, False), ("final", 4, 1, 1, 20, True)]


def test_every_checkpoint_holds_exactly_the_updates_below_its_cursor(tmp_path):
    kept = {}
    client = go_on(tmp_path, kept, plan=TrainPlan(n_steps=6, save_every=2), submit_ahead=4, dataset=FakeDataset())
    records = read_checkpoints(tmp_path)
    assert [len(kept[record.state_path].updates) for record in records] == [2, 4, 6, 6]
    assert kept[records[-1].sampler_path] == client.state


@pytest.mark.parametrize("submit_ahead", [0, 1, 3])
@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("n_good", [4, 5])
def test_a_failed_pass_stops_the_run_and_nothing_queued_behind_it_is_believed(tmp_path, submit_ahead, lazy, n_good):
    plan = TrainPlan(n_steps=8, save_every=2)
    whole = RecordingClient()
    run_loop(job(made(tmp_path / "whole"), whole, plan, 0, FakeDataset()), Progress(0), Stop())
    place = [i for i, (kind, _) in enumerate(whole.calls) if kind == "forward_backward"][n_good]

    folder, kept = made(tmp_path / "cut"), {}
    client = RecordingClient(kept=kept, lazy=lazy, failing={place: "out of memory"})
    with pytest.raises(ServiceFault) as fault:
        run_loop(job(folder, client, plan, submit_ahead, FakeDataset()), Progress(0), Stop())
    assert str(fault.value) == f"the forward and backward pass of step {n_good} failed: out of memory"
    assert [row["step"] for row in read_metrics(folder)] == list(range(n_good))
    assert [record.cursor for record in read_checkpoints(folder)] == [2, 4]
    resumed = go_on(folder, kept, plan=plan, dataset=FakeDataset())
    assert resumed.state == whole.state


def test_a_failed_save_stops_the_run_and_leaves_the_checkpoint_before_it(tmp_path):
    place = 7  # two steps, the first save, two steps, and then this
    plan = TrainPlan(n_steps=8, save_every=2)
    client = RecordingClient(failing={9: "no room"})
    with pytest.raises(ServiceFault, match="the save of checkpoint 000004 failed: no room"):
        run_loop(job(tmp_path, client, plan, 1, FakeDataset()), Progress(0), Stop())
    assert client.calls[place + 2] == ("save_state", ("000004", 3600))
    assert [record.name for record in read_checkpoints(tmp_path)] == ["000002"]


@pytest.mark.parametrize("submit_ahead", [0, 2])
@pytest.mark.parametrize("cadence", ["none", "rolling", "all"])
@pytest.mark.parametrize("n_events", [1, 5, 9, 14])
def test_a_stop_finishes_what_is_in_flight_saves_there_and_resumes_exactly(tmp_path, submit_ahead, n_events, cadence):
    stop, seen, kept, told = Stop(), count(1), {}, about(cadence, submit_ahead=submit_ahead)
    told["plan"] = told["plan"]._replace(n_steps=7)

    def happens(_):
        if next(seen) == n_events:
            stop.signal = 2

    folder, whole = made(tmp_path / "stopped"), made(tmp_path / "whole")
    client = RecordingClient(kept=kept, happens=happens)
    progress = run_loop(job(folder, client, **told), Progress(0), stop)
    assert progress.n_finished <= told["plan"].n_steps
    last = read_checkpoints(folder)[-1]
    assert (last.cursor, last.final, last.rolling) == (progress.n_finished, False, False)
    assert client.calls[-1] == ("save_state", (last.name, 3600))
    assert last.state_path in kept
    assert len(read_metrics(folder)) == last.cursor
    assert not client._queue, "something is left in flight"
    resumed, all_kept = go_on(folder, kept, **told), {}
    uncut = go_on(whole, all_kept, **told)
    assert outcome(folder, resumed, kept)[0] == outcome(whole, uncut, all_kept)[0]


def test_a_stop_before_the_first_step_saves_nothing(tmp_path):
    stop = Stop()
    stop.signal = 15
    client = RecordingClient()
    assert run_loop(job(tmp_path, client), Progress(0), stop).n_finished == 0
    assert client.calls == []
    assert stop.exit_code == 143


def test_a_row_that_cannot_be_used_stops_the_run_with_its_own_sentence(tmp_path):
    class Broken(FakeDataset):
        def submit(self, step):
            if step == 2:
                raise InputError("train.jsonl:17 $.messages[0]: expected text, got null")
            return super().submit(step)

    with pytest.raises(InputError, match=r"train.jsonl:17"):
        run_loop(job(tmp_path, RecordingClient(), dataset=Broken()), Progress(0), Stop())


def test_a_longer_plan_goes_on_from_the_end_of_a_finished_run(tmp_path):
    kept = {}
    go_on(tmp_path, kept, plan=TrainPlan(n_steps=3, eval_every=2), dataset=FakeDataset())
    client = go_on(tmp_path, kept, plan=TrainPlan(n_steps=5, eval_every=2), dataset=FakeDataset())
    assert len(client.state.updates) == 5
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2, 3, 4, 5]
    assert [record.name for record in read_checkpoints(tmp_path)] == ["final", "final"]


def test_a_silent_service_is_named_on_the_screen_and_a_dead_one_is_not_waited_for(tmp_path):
    class Silent(RecordingClient):
        n_checks = 0

        def _run_until(self, _):
            raise TimeoutError

        def check(self):
            self.n_checks += 1
            if self.n_checks == 60:
                raise ServiceFault("the service has ended")

    quiet = job(tmp_path, Silent(), dataset=FakeDataset())
    with pytest.raises(ServiceFault, match="the service has ended"):
        run_loop(quiet, Progress(0), Stop())
    assert quiet.screen.lines == ["still waiting for the evaluation (test) of step 0: 10 s without an answer"]
