import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.loss import LossSums, mean_nll, sum_loss
from tests import naive

N_BYTES = np.array([0, 1, 4, 7, 0, 2], np.int32)  # ids 0 and 4 are control tokens

logprobs = st.floats(-100, 0, width=32)
weights = st.one_of(st.just(0.0), st.floats(2**-20, 1, width=32))
batches = st.lists(st.tuples(logprobs, st.integers(0, 5), weights), max_size=50)


def arrays(batch):
    logprobs, targets, weights = zip(*batch, strict=True) if batch else ((), (), ())
    return np.array(logprobs, np.float32), np.array(targets, np.int64), np.array(weights, np.float32)


@given(batches)
def test_one_pass_equals_the_naive_sums(batch):
    assert sum_loss(*arrays(batch), N_BYTES) == pytest.approx(naive.sums(*arrays(batch), N_BYTES), rel=1e-12)


@given(batches, st.data())
def test_chunks_add_up_to_the_whole(batch, data):
    cut = data.draw(st.integers(0, len(batch)))
    parts = [sum_loss(*arrays(batch[:cut]), N_BYTES), sum_loss(*arrays(batch[cut:]), N_BYTES)]
    assert LossSums(*map(sum, zip(*parts, strict=True))) == pytest.approx(sum_loss(*arrays(batch), N_BYTES), rel=1e-12)


@given(batches, st.sampled_from([0.5, 2.0, 64.0]))
def test_scaling_all_weights_changes_no_score(batch, factor):
    lp, targets, w = arrays(batch)
    before, after = sum_loss(lp, targets, w, N_BYTES), sum_loss(lp, targets, w * np.float32(factor), N_BYTES)
    assert (after.nll, after.bpb) == pytest.approx((before.nll, before.bpb), nan_ok=True)


@given(batches)
def test_mean_nll_is_the_same_with_and_without_targets(batch):
    lp, targets, w = arrays(batch)
    assert mean_nll(lp, w) == pytest.approx(sum_loss(lp, targets, w, N_BYTES).nll, nan_ok=True)


def test_control_tokens_count_for_nll_but_not_for_bpb():
    sums = sum_loss(*arrays([(-2, 3, 1), (-8, 4, 1)]), N_BYTES)
    assert sums.nll == 5
    assert sums.bpb == pytest.approx(2 / (math.log(2) * 7))
    assert sums.n_loss_tokens == 2


def test_bpb_takes_weights_as_a_mask():
    assert sum_loss(*arrays([(-2, 3, 0.25), (-3, 1, 0.75), (-9, 2, 0)]), N_BYTES).bpb == pytest.approx(
        5 / (math.log(2) * 8)
    )


def test_what_nothing_has_weight_for_has_no_score():
    nothing = sum_loss(*arrays([(-2, 3, 0), (-math.inf, 1, 0)]), N_BYTES)
    assert nothing == LossSums()
    assert math.isnan(nothing.nll)
    assert math.isnan(nothing.bpb)


def test_only_control_tokens_have_an_nll_but_no_bpb():
    sums = sum_loss(*arrays([(-2, 0, 1)]), N_BYTES)
    assert sums.nll == 2
    assert math.isnan(sums.bpb)


def test_sums_are_kept_in_float64():
    sums = sum_loss(*arrays([(-(2**24), 1, 1)] + [(-1, 1, 1)] * 100), N_BYTES)  # float32 has no 2**24 + 1
    assert (sums.nats, sums.text_nats) == (2**24 + 100, 2**24 + 100)


@pytest.mark.parametrize("target", [-1, 6])
def test_a_target_outside_the_table_is_refused(target):
    with pytest.raises(ValueError, match=r"expected targets in \[0, 6\)"):
        sum_loss(*arrays([(-1, target, 1)]), N_BYTES)


def test_arrays_of_different_lengths_are_refused():
    lp, targets, w = arrays([(-1, 1, 1), (-1, 2, 1)])
    with pytest.raises(ValueError, match="expected equal lengths"):
        sum_loss(lp[:1], targets, w, N_BYTES)
