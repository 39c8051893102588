"""A mixture stands in the order of `datasets.interleave_datasets`, and what it holds out it never trains."""

import time

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel import mixture_order
from kernel.enums import MixStopping
from kernel.errors import InputError
from kernel.mixture_order import interleave, mix

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=4)
STRATEGIES = st.sampled_from(list(MixStopping))
SEEDS = st.integers(0, 2**32)


def theirs(sizes, weights, strategy, seed):
    """(source, row) of each place, by the library itself."""
    tables = [
        datasets.Dataset.from_dict({"source": [s] * size, "row": list(range(size))}) for s, size in enumerate(sizes)
    ]
    probabilities = [weight / sum(weights) for weight in weights]
    table = datasets.interleave_datasets(tables, probabilities=probabilities, seed=seed, stopping_strategy=strategy)
    return list(zip(table["source"][:], table["row"][:], strict=True))


def ours(drawn):
    return list(zip(drawn.sources.tolist(), drawn.rows.tolist(), strict=True))


@given(SIZES, st.data(), STRATEGIES, SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_order_is_that_of_interleave_datasets(sizes, data, strategy, seed):
    weights = data.draw(st.lists(st.floats(0.05, 20), min_size=len(sizes), max_size=len(sizes)))
    assert ours(interleave(sizes, weights, strategy, seed)) == theirs(sizes, weights, strategy, seed)


@pytest.mark.parametrize("strategy", list(MixStopping))
def test_the_order_is_that_of_interleave_datasets_beyond_its_blocks_and_ours(strategy, monkeypatch):
    monkeypatch.setattr(mixture_order, "_BLOCK", 700)
    sizes, weights = [2500, 1900, 40], [0.2, 0.7, 0.1]
    assert ours(interleave(sizes, weights, strategy, 5)) == theirs(sizes, weights, strategy, 5)


@given(SIZES, STRATEGIES, SEEDS)
@settings(max_examples=30, deadline=None)
def test_without_weights_every_row_is_as_likely_as_any_other(sizes, strategy, seed):
    assert ours(mix(sizes, strategy=strategy, seed=seed).train) == theirs(sizes, sizes, strategy, seed)


@given(SIZES, STRATEGIES, SEEDS, st.data())
@settings(deadline=None)
def test_no_row_is_both_held_out_and_drawn_and_a_strategy_keeps_its_word(sizes, strategy, seed, data):
    n_test = data.draw(st.integers(0, sum(sizes) - len(sizes)))
    weights = data.draw(st.none() | st.lists(st.floats(0.1, 10), min_size=len(sizes), max_size=len(sizes)))
    mixture = mix(sizes, weights, strategy=strategy, seed=seed, n_test=n_test)
    held, drawn = ours(mixture.test), ours(mixture.train)
    assert len(set(held)) == len(held) == n_test
    assert not set(held) & set(drawn)
    everything = {(s, row) for s, size in enumerate(sizes) for row in range(size)}
    if strategy == "first_exhausted":
        assert any({row for row in everything - set(held) if row[0] == s} <= set(drawn) for s in range(len(sizes)))
        assert len(set(drawn)) == len(drawn)
    else:
        assert set(drawn) == everything - set(held)
    if strategy == "all_exhausted_without_replacement":
        assert len(drawn) == len(everything) - n_test


@given(SIZES, SEEDS, st.data())
@settings(deadline=None)
def test_counts_are_kept_to_the_row_whatever_is_held_out(sizes, seed, data):
    counts = [data.draw(st.none() | st.integers(1, size)) for size in sizes]
    room = sum(size - (count or 1) for size, count in zip(sizes, counts, strict=True))
    n_test = data.draw(st.integers(0, room))
    mixed = mix(sizes, counts=counts, strategy="all_exhausted_without_replacement", seed=seed, n_test=n_test)
    drawn, held = ours(mixed.train), ours(mixed.test)
    assert len(set(drawn)) == len(drawn)
    assert len(set(held)) == len(held) == n_test
    assert not set(drawn) & set(held)
    for s, count in enumerate(counts):
        if count is not None:
            assert sum(source == s for source, _ in drawn) == count


def test_a_count_takes_rows_by_the_seed_and_not_the_first_of_the_file():
    taken = {seed: mix([100], counts=[10], seed=seed).train.rows.tolist() for seed in (0, 1)}
    assert set(taken[0]) != set(taken[1])
    assert set(taken[0]) != set(range(10))


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({"weights": [1.0, 0.0]}, "expected a weight > 0, got 0"),
        ({"weights": [1.0, float("nan")]}, "expected a weight > 0, got nan"),
        ({"counts": [11, None]}, "expected a count of 1 to 10 rows, got 11"),
        ({"weights": [1.0, 1e-9]}, "expected a mixture of at most 268,435,456 rows, got a weight of 1e-09 in 1"),
        ({"n_test": 19}, "expected test_size <= 18 rows, which leaves the sources their own, got 19 - at --test-size"),
        ({"strategy": "first"}, "unknown strategy 'first', did you mean 'first_exhausted'"),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_one_sentence(about, sentence):
    with pytest.raises(InputError) as error:
        mix([10, 10], **about)
    assert str(error.value).startswith(sentence)


def test_a_million_rows_are_mixed_in_seconds_and_every_row_is_drawn():
    began = time.process_time()
    drawn = interleave([600_000, 200_000], [0.7, 0.3], "all_exhausted", 0)
    assert time.process_time() - began < 5
    for s, size in enumerate((600_000, 200_000)):
        assert len(np.unique(drawn.rows[drawn.sources == s])) == size


@pytest.mark.parametrize(
    ("sizes", "weights", "n_test", "seed", "strategy", "train", "test"),
    [
        ([10, 5], None, 4, 5, "all_exhausted_without_replacement",
         [(1, 3), (1, 2), (0, 7), (0, 2), (0, 0), (0, 1), (0, 5), (0, 4), (0, 8), (1, 1), (0, 3)],
         [(1, 0), (0, 9), (1, 4), (0, 6)]),
        ([16, 21, 2], [2.43, 1.94, 1.7], 11, 0, "first_exhausted",
         [(1, 12), (0, 8), (0, 2), (0, 9), (2, 0)],
         [(1, 16), (1, 14), (1, 5), (0, 4), (0, 7), (0, 12), (1, 19), (2, 1), (1, 18), (1, 6), (0, 5)]),
        ([13, 9], None, 7, 3, "first_exhausted",
         [(0, 5), (0, 10), (1, 4), (1, 1), (0, 12), (0, 11), (0, 9), (0, 4), (1, 3), (0, 1), (0, 8)],
         [(1, 7), (1, 0), (0, 6), (0, 3), (0, 2), (0, 7), (0, 0)]),
    ],
)  # fmt: skip
def test_rows_are_held_out_as_tinker_cookbook_holds_them_out(sizes, weights, n_test, seed, strategy, train, test):
    """What tinker-cookbook 0.6.1's `InterleavedChatDatasetBuilder` answered."""
    mixed = mix(sizes, weights, strategy=strategy, seed=seed, n_test=n_test)
    assert (ours(mixed.train), ours(mixed.test)) == (train, test)
