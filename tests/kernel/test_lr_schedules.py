import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from kernel.lr_schedules import DECAYS, above, constant, join, linear, schedule, warmup

names = st.sampled_from(sorted(DECAYS))
fractions = st.floats(0, 1)


@st.composite
def runs(draw):
    n_steps = draw(st.integers(1, 500))
    return n_steps, draw(st.integers(0, n_steps)), draw(st.integers(0, n_steps - 1))


@given(st.integers(1, 10**6), st.data())
def test_without_warmup_or_floor_each_decay_is_the_references_to_the_bit(n_steps, data):
    step = data.draw(st.integers(0, n_steps - 1))
    assert schedule("linear", n_steps)(step) == 1 - step / n_steps
    assert schedule("cosine", n_steps)(step) == 0.5 * (1 + math.cos(math.pi * step / n_steps))
    assert schedule("constant", n_steps)(step) == 1


@given(names, runs(), fractions)
def test_a_warmup_rises_by_equal_parts_and_the_decay_fills_the_rest(name, run, floor):
    n_steps, n_warmup, step = run
    multiplier = schedule(name, n_steps, n_warmup, floor)(step)
    if step < n_warmup:
        assert multiplier == (step + 1) / n_warmup
    else:
        assert multiplier == above(floor, DECAYS[name](n_steps - n_warmup))(step - n_warmup)


@given(names, runs(), fractions)
def test_every_multiplier_trains_and_none_exceeds_the_peak(name, run, floor):
    n_steps, n_warmup, step = run
    multiplier = schedule(name, n_steps, n_warmup, floor)(step)
    assert 0 < multiplier <= 1 + 1e-15
    assert multiplier >= floor - 1e-15 or step < n_warmup


@given(names, runs(), fractions)
def test_the_rate_never_rises_after_the_warmup(name, run, floor):
    n_steps, n_warmup, _ = run
    run_schedule = schedule(name, n_steps, n_warmup, floor)
    decay = [run_schedule(step) for step in range(n_warmup, n_steps)]
    assert decay == sorted(decay, reverse=True)


def test_the_last_linear_step_trains_at_one_part_of_the_rate():
    assert schedule("linear", 10)(9) == pytest.approx(0.1)


def test_three_schedules_join_each_counting_from_its_own_beginning():
    joined = join([warmup(2), constant(3), linear(4)], [2, 5])
    assert [joined(step) for step in range(9)] == [0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("boundaries", [[], [1], [3, 2], [1, 2, 3]])
def test_a_join_needs_a_rising_boundary_between_each_two(boundaries):
    with pytest.raises(ValueError, match="boundary"):
        join([constant(1)] * 3, boundaries)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("cosin", 10), "unknown schedule 'cosin', did you mean 'cosine'? - at $.lr_schedule"),
        (("linear", 0), "expected at least 1 step, got 0 - at $.max_steps"),
        (("linear", -1), "expected at least 1 step, got -1 - at $.max_steps"),
        (("linear", 10, 11), "expected warmup_steps from 0 to the run's 10 steps, got 11 - at $.warmup_steps"),
        (("linear", 10, -1), "expected warmup_steps from 0 to the run's 10 steps, got -1 - at $.warmup_steps"),
        (
            ("linear", 10, 0, 1.5),
            "expected min_learning_rate from 0 to the learning rate, got 1.5 of it - at $.min_learning_rate",
        ),
    ],
)
def test_what_is_no_schedule_is_refused(args, said):
    with pytest.raises(InputError) as error:
        schedule(*args)
    assert str(error.value) == said
