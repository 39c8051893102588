from collections import Counter

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from kernel.shuffle import ORDERS, hf_permutation, shuffled_rows
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
def test_hf_order_of_an_epoch_is_the_double_shuffle_of_datasets(dataset, seed, epoch):
    twice = dataset.shuffle(seed=seed).shuffle(seed=seed + epoch)
    rows = hf_permutation(257, seed)[shuffled_rows("hf", np.arange(257), 257, seed=seed + epoch)]
    assert rows.tolist() == twice["row"][:]


@given(orders, st.integers(1, 300), seeds)
def test_every_row_has_one_position(order, n, seed):
    assert sorted(shuffled_rows(order, np.arange(n), n, seed=seed)) == list(range(n))


@given(st.integers(1, 2**63 - 1), st.data(), seeds)
def test_the_cipher_is_its_naive_twin_at_any_size(n, data, seed):
    position = data.draw(st.integers(0, n - 1))
    (row,) = shuffled_rows("cipher", np.array([position]), n, seed=seed)
    assert row == naive.cipher_row(n, seed, position)


def test_the_cipher_reaches_every_arrangement_of_five_rows_about_equally_often():
    n_seeds = 12_000
    counts = Counter(tuple(shuffled_rows("cipher", np.arange(5), 5, seed=seed)) for seed in range(n_seeds))
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


def test_seeds_of_the_cipher_share_no_more_positions_than_chance():
    def rows(seed):
        return shuffled_rows("cipher", np.arange(100_000), 100_000, seed=seed)

    assert (rows(0) == rows(1)).sum() < 8
    assert (rows(0) == np.arange(100_000)).sum() < 8


def test_a_position_needs_no_memory_for_the_others():
    n = 10**15
    rows = shuffled_rows("cipher", np.array([0, 1, n - 1]), n)
    assert len(set(rows)) == 3
    assert rows.max() < n


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize("position", [-1, 7])
def test_a_position_outside_the_set_is_refused(order, position):
    with pytest.raises(IndexError, match=r"expected each position in \[0, 7\)"):
        shuffled_rows(order, np.array([position]), 7)


def test_an_unknown_order_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown order 'chipher', did you mean 'cipher'\? - at \$.order"):
        shuffled_rows("chipher", np.arange(2), 2)
