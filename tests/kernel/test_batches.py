import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.batches import n_batches, n_steps, positions, rows_after_step, rows_of_step
from kernel.errors import InputError
from kernel.shuffle import shuffled_rows

sizes = st.tuples(st.integers(1, 200), st.integers(1, 50)).filter(lambda pair: pair[1] <= pair[0])


@given(sizes, st.integers(0, 3))
def test_kept_tails_visit_every_position_once_per_epoch(size, epoch):
    n = n_batches(*size, "keep")
    steps = [positions(epoch * n + i, *size, "keep") for i in range(n)]
    assert {e for e, _ in steps} == {epoch}
    assert np.concatenate([p for _, p in steps]).tolist() == list(range(size[0]))


@given(sizes, st.integers(0, 1000))
def test_dropped_tails_leave_every_step_the_same_size(size, step):
    n_rows, batch_size = size
    epoch, batch = divmod(step, n_rows // batch_size)
    found_epoch, found = positions(step, n_rows, batch_size, "drop")
    assert found_epoch == epoch
    assert found.tolist() == list(range(batch * batch_size, (batch + 1) * batch_size))
    assert found.dtype == np.int64


@given(
    sizes, st.sampled_from(["drop", "keep"]), st.sampled_from(["hf", "cipher"]), st.integers(0, 9), st.integers(0, 3)
)
def test_steps_of_an_epoch_and_what_is_left_over_are_all_its_rows(size, tail, order, seed, epoch):
    n = n_batches(*size, tail)
    steps = [rows_of_step(epoch * n + i, *size, tail, order, seed) for i in range(n)]
    assert {e for e, _ in steps} == {epoch}
    rows = [shuffled_rows(order, np.arange(size[0]), size[0], seed=seed + epoch)]
    for i in range(n):
        after = rows_after_step(epoch * n + i, *size, tail, order, seed)
        assert np.concatenate([*(batch for _, batch in steps[: i + 1]), after]).tolist() == rows[0].tolist()


def test_fewer_rows_than_a_batch_train_only_when_the_tail_is_kept():
    with pytest.raises(InputError) as error:
        n_batches(120, 128)
    assert str(error.value) == (
        "120 rows are fewer than a batch of 128: type --batch-size 120, or --tail keep to train them as one short batch"
    )
    assert "--tail keep" in str(error.value)
    assert positions(1, 120, 128, "keep")[0] == 1
    assert len(positions(1, 120, 128, "keep")[1]) == 120


def test_max_steps_only_ever_shortens_a_run():
    assert n_steps(10, 3) == 30
    assert n_steps(10, 3, 7) == 7
    assert n_steps(10, 3, 100) == 30


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: n_batches(10, 0), "expected batch_size >= 1, got 0 - at $.batch_size"),
        (lambda: n_batches(10, -3), "expected batch_size >= 1, got -3 - at $.batch_size"),
        (lambda: n_batches(0, 4, "keep"), "expected at least 1 row to train on, got 0 - at $.dataset"),
        (lambda: n_batches(10, 4, "kept"), "unknown tail 'kept', did you mean 'keep'? - at $.tail"),
        (lambda: n_steps(3, 0), "expected num_epochs > 0, got 0 - at $.num_epochs"),
        (lambda: n_steps(3, 1, 0), "expected max_steps >= 1, got 0 - at $.max_steps"),
    ],
)
def test_sizes_that_make_no_step_are_refused(ask, said):
    with pytest.raises(InputError) as error:
        ask()
    assert str(error.value) == said


@pytest.mark.parametrize(("n_epochs", "n"), [(0.5, 3), (0.01, 1), (1.0, 7), (2.3, 16), (0.1 * 10, 7)])
def test_a_fraction_of_an_epoch_is_whole_batches(n_epochs: float, n: int) -> None:
    assert n_steps(7, n_epochs) == n


@pytest.mark.parametrize("n_epochs", [0, -1.5, float("nan"), float("inf")])
def test_no_number_of_epochs_is_refused(n_epochs: float) -> None:
    with pytest.raises(InputError, match="expected num_epochs > 0"):
        n_steps(7, n_epochs)


def test_in_file_order_every_epoch_is_the_file() -> None:
    rows = [rows_of_step(step, 5, 2, "keep", "file")[1].tolist() for step in range(6)]
    assert rows == [[0, 1], [2, 3], [4]] * 2


def test_one_row_says_what_to_type() -> None:
    with pytest.raises(InputError, match="1 row is fewer than a batch of 128: type --batch-size 1, or --tail keep"):
        n_batches(1, 128)
