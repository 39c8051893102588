from collections import Counter

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from kernel.shuffle import ORDERS, hf_permutation, holdout_rows, positions_of, shuffled_rows
from tests import naive

orders = st.sampled_from(sorted(ORDERS))
seeds = st.integers(0, 2**63)


@pytest.fixture
def dataset():
    return datasets.Dataset.from_dict({"row": range(257)})


@pytest.mark.parametrize("seed", [0, 1, 7, 12345])
@pytest.mark.parametrize("n", [1, 2, 97])
def test_hf_permutation_is_that_of_datasets(n, seed):
    shuffled = datasets.Dataset.from_dict({"row": range(n)}).shuffle(seed=seed)
    assert hf_permutation(n, seed).tolist() == shuffled["row"][:]


@pytest.mark.parametrize("epoch", [0, 1, 5])
@pytest.mark.parametrize("seed", [0, 3])
def test_hf_order_is_the_double_shuffle_of_datasets(dataset, seed, epoch):
    twice = dataset.shuffle(seed=seed).shuffle(seed=seed + epoch)
    assert shuffled_rows("hf", np.arange(257), 257, seed=seed, epoch=epoch).tolist() == twice["row"][:]


@pytest.mark.parametrize("epoch", [0, 2])
def test_hf_order_with_a_holdout_takes_skips_and_shuffles_as_datasets_does(dataset, epoch):
    builder = dataset.shuffle(seed=0)
    assert holdout_rows("hf", 257, 40).tolist() == builder.take(40)["row"][:]
    train = builder.skip(40).shuffle(seed=epoch)
    assert shuffled_rows("hf", np.arange(217), 257, epoch=epoch, n_test=40).tolist() == train["row"][:]


@given(orders, st.integers(1, 300), st.data(), seeds, st.integers(0, 3))
def test_every_row_is_visited_once_an_epoch_or_held_out(order, n, data, seed, epoch):
    n_test = data.draw(st.integers(0, n))
    rows = shuffled_rows(order, np.arange(n - n_test), n, seed=seed, epoch=epoch, n_test=n_test)
    held_out = holdout_rows(order, n, n_test, seed=seed)
    assert sorted([*rows, *held_out]) == list(range(n))


@given(orders, st.integers(1, 300), st.data(), seeds, st.integers(0, 3))
def test_places_of_inverts_rows_at(order, n, data, seed, epoch):
    n_test = data.draw(st.integers(0, n - 1))
    places = np.array(data.draw(st.lists(st.integers(0, n - n_test - 1))), np.int64)
    rows = shuffled_rows(order, places, n, seed=seed, epoch=epoch, n_test=n_test)
    assert positions_of(order, rows, n, seed=seed, epoch=epoch, n_test=n_test).tolist() == places.tolist()


@given(st.integers(1, 2**63 - 1), st.data(), seeds)
def test_the_cipher_is_a_bijection_of_any_size(n, data, seed):
    place = data.draw(st.integers(0, n - 1))
    (row,) = ORDERS["cipher"].rows(n, seed, np.array([place]))
    assert row == naive.cipher_row(n, seed, place)
    assert ORDERS["cipher"].places(n, seed, np.array([row])) == place


def test_the_cipher_reaches_every_arrangement_of_five_rows_about_equally_often():
    n_seeds = 12_000
    counts = Counter(tuple(ORDERS["cipher"].rows(5, seed, np.arange(5))) for seed in range(n_seeds))
    expected = n_seeds / 120
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert len(counts) == 120
    assert chi_squared < 170  # 119 degrees of freedom: p = 0.0015


def test_the_cipher_scatters_neighbours_and_strides():
    n = 10**6
    rows = shuffled_rows("cipher", np.arange(n), n)
    for stride in (1, 2, 1000, 1024):
        correlation = np.corrcoef(rows[:-stride], rows[stride:])[0, 1]
        assert abs(correlation) < 0.004  # four standard deviations
    where = np.histogram2d(np.arange(n), rows, bins=32)[0]
    expected = n / 32**2
    assert ((where - expected) ** 2 / expected).sum() < 1200  # about 961 degrees of freedom, 5 deviations


def test_epochs_and_seeds_of_the_cipher_share_no_more_places_than_chance():
    def epoch(**which):
        return shuffled_rows("cipher", np.arange(100_000), 100_000, **which)

    assert (epoch() == epoch(epoch=1)).sum() < 8
    assert (epoch() == epoch(seed=1)).sum() < 8
    assert (epoch() == np.arange(100_000)).sum() < 8


def test_asking_a_place_needs_no_memory_for_the_rest():
    n = 10**15
    rows = shuffled_rows("cipher", np.array([0, 1, n - 1]), n)
    assert len(set(rows)) == 3
    assert rows.max() < n


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize("place", [-1, 7])
def test_a_place_outside_the_epoch_is_refused(order, place):
    with pytest.raises(IndexError, match=r"expected each place in \[0, 7\)"):
        shuffled_rows(order, np.array([place]), 10, n_test=3)


def test_a_held_out_row_has_no_place():
    with pytest.raises(IndexError, match="place"):
        positions_of("hf", holdout_rows("hf", 10, 3), 10, n_test=3)


def test_an_unknown_order_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown order 'chipher', did you mean 'cipher'\? - at \$.order"):
        shuffled_rows("chipher", np.arange(2), 2)
