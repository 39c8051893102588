import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from kernel.training_steps import (
    CheckpointRef,
    Request,
    StepContext,
    TrainPlan,
    candidates,
    checkpoint_mark,
    checkpoint_name,
    is_kept,
    may_record,
    requests,
    start,
    superseded,
)

TRAINING = (Request.FORWARD_BACKWARD, Request.OPTIM_STEP)
cadences = st.integers(0, 9)
plans = st.builds(
    TrainPlan,
    n_steps=st.integers(1, 40),
    eval_every=cadences,
    save_every=cadences,
    save_every_tokens=st.integers(0, 99),
    save_every_seconds=cadences,
    rolling_save_every=cadences,
)
by_steps = st.builds(TrainPlan, n_steps=st.integers(1, 40), save_every=cadences, rolling_save_every=cadences)
moments = st.builds(
    lambda has_loss, before, n, seconds: StepContext(has_loss, before, before + has_loss * n, seconds),
    st.booleans(),
    st.integers(0, 500),
    st.integers(1, 200),
    st.integers(0, 20),
)
SAVES = (Request.SAVE_STATE, Request.SAVE_ROLLING)


def every_step(plan):
    return range(plan.n_steps + 1)


@given(plans, moments)
def test_the_requests_of_a_step_stand_in_the_order_evaluate_train_update_save(plan, moment):
    order = list(Request)
    for step in every_step(plan):
        places = [order.index(request) for request in requests(plan, step, moment)]
        assert places == sorted(set(places))


@given(plans)
def test_every_step_but_the_end_trains_and_updates_once(plan):
    for step in every_step(plan):
        trained = tuple(request for request in requests(plan, step) if request in TRAINING)
        assert trained == (TRAINING if step < plan.n_steps else ())


@given(plans, moments)
def test_a_step_without_loss_sends_neither_pass_nor_update_but_all_that_falls_at_it(plan, moment):
    for step in every_step(plan):
        with_loss, without = (requests(plan, step, moment._replace(has_loss=has_loss)) for has_loss in (True, False))
        assert without == tuple(r for r in with_loss if r not in TRAINING)


@given(plans)
def test_evaluations_fall_at_multiples_of_eval_every_and_on_the_finished_weights(plan):
    found = {step for step in every_step(plan) if Request.EVALUATE in requests(plan, step)}
    due = {step for step in range(plan.n_steps) if plan.eval_every and step % plan.eval_every == 0}
    assert found == (due | {plan.n_steps} if plan.eval_every else set())


@given(by_steps)
def test_saves_fall_behind_step_k_where_k_plus_1_is_a_multiple_and_bear_the_cursors_name(plan):
    cursors = [checkpoint_mark(plan, step) for step in every_step(plan) if Request.SAVE_STATE in requests(plan, step)]
    multiples = [c for c in range(1, plan.n_steps + 1) if plan.save_every and c % plan.save_every == 0]
    assert cursors == [*(CheckpointRef(c) for c in multiples), CheckpointRef(plan.n_steps, final=True)]
    assert [checkpoint_name(mark) for mark in cursors] == [*(f"{c:06d}" for c in multiples), "final"]


@given(by_steps)
def test_rolling_saves_fall_at_their_own_multiples_where_no_other_save_does(plan):
    found = [step + 1 for step in every_step(plan) if Request.SAVE_ROLLING in requests(plan, step)]
    every, periodic = plan.rolling_save_every, plan.save_every
    multiples = [c for c in range(1, plan.n_steps + 1) if every and c % every == 0]
    assert found == [c for c in multiples if not (periodic and c % periodic == 0)]


@given(plans, moments)
def test_a_step_saves_at_most_once_and_the_end_of_a_run_for_good(plan, moment):
    for step in every_step(plan):
        assert sum(request in SAVES for request in requests(plan, step, moment)) <= 1
    assert Request.SAVE_STATE in requests(plan, plan.n_steps, moment)


@given(st.integers(1, 300), st.lists(st.integers(0, 90), min_size=1, max_size=40))
def test_by_tokens_one_save_falls_where_the_count_reaches_a_multiple_or_leaps_over_some(every, n_tokens):
    plan, total, reached, saved = TrainPlan(len(n_tokens), save_every_tokens=every), 0, every, []
    for step, n in enumerate(n_tokens):
        if Request.SAVE_STATE in requests(plan, step, StepContext(n > 0, total, total + n)):
            saved.append(step)
        total += n
    expected, total = [], 0
    for step, n in enumerate(n_tokens):
        total += n
        if total >= reached:
            expected.append(step)
            reached = (total // every + 1) * every
    assert saved == expected


@given(st.integers(1, 9), st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_by_the_clock_a_save_falls_once_the_seconds_since_the_last_are_up(every, takes):
    plan, waited = TrainPlan(len(takes), save_every_seconds=every), 0
    for step, seconds in enumerate(takes):
        waited += seconds
        is_due = Request.SAVE_STATE in requests(plan, step, StepContext(seconds=waited))
        assert is_due == (waited >= every)
        waited = 0 if is_due else waited


@given(st.lists(st.builds(CheckpointRef, st.integers(1, 9), st.booleans(), st.booleans()), max_size=12))
def test_only_a_rolling_checkpoint_is_superseded_and_never_the_last(marks):
    deleted = set()
    for n in range(1, len(marks) + 1):
        deleted.add(superseded(marks[:n]))
        assert n - 1 not in deleted, "the last recorded one"
    assert deleted - {None} == {i for i, mark in enumerate(marks[:-1]) if mark.rolling}
    assert not deleted & set(candidates(marks))
    assert set(candidates(marks)) | deleted >= set(range(len(marks)))


@given(by_steps)
def test_weights_are_exported_for_sampling_only_where_nothing_follows(plan):
    exporting = [step for step in every_step(plan) if Request.SAVE_SAMPLER in requests(plan, step)]
    assert exporting == [plan.n_steps]
    assert requests(plan, plan.n_steps)[-1] is Request.SAVE_SAMPLER


@given(plans, st.integers(0, 40))
def test_a_checkpoint_is_recorded_when_exactly_the_steps_below_it_are_finished(plan, n_finished):
    for step in every_step(plan):
        assert may_record(checkpoint_mark(plan, step), n_finished) == (n_finished >= step + 1)


@given(plans, st.data())
def test_a_resumed_run_and_what_is_kept_of_the_first_make_up_every_step_once(plan, data):
    cursors = data.draw(st.lists(st.integers(1, plan.n_steps), unique=True).map(sorted))
    begin = start(plan, [CheckpointRef(cursor) for cursor in cursors])
    done_before = data.draw(st.integers(begin.cursor, plan.n_steps))
    kept = [step for step in range(done_before) if is_kept(step, begin.cursor)]
    assert kept + list(range(begin.cursor, plan.n_steps + 1)) == list(every_step(plan))


def test_a_run_starts_fresh_at_its_last_checkpoint_or_not_at_all():
    plan = TrainPlan(n_steps=6)
    assert start(plan, []) == (0, None, False)
    assert start(plan, [CheckpointRef(2), CheckpointRef(4)]) == (4, 1, False)
    assert start(plan, [CheckpointRef(6)]) == (6, 0, False), "trained to the end, but not closed"
    assert start(plan, [CheckpointRef(6), CheckpointRef(6, final=True)]) == (6, 1, True)


def test_a_finished_run_of_which_more_steps_are_asked_goes_on_from_its_end():
    assert start(TrainPlan(n_steps=9), [CheckpointRef(4), CheckpointRef(6, final=True)]) == (6, 1, False)


def test_fewer_steps_than_are_taken_already_are_refused():
    with pytest.raises(InputError) as error:
        start(TrainPlan(n_steps=5), [CheckpointRef(6, final=True)])
    assert str(error.value) == "expected at least the 6 steps already taken, got 5 - at --max-steps"
