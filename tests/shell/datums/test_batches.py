import threading
from contextlib import closing
from itertools import count

import pytest

from shell.datums.batches import batches, prefetched
from tests.shell.recording import FakeDataset


def test_a_run_begun_in_the_middle_gets_the_batches_that_the_whole_run_would_have_there():
    def firsts(steps):
        return [int(batch.datums.inputs[0]) for batch in batches(FakeDataset(), steps)]

    whole = firsts(range(9))
    assert whole == [0, 10, 20, 100, 110, 120, 200, 210, 220]
    for begin in range(10):
        assert firsts(range(begin, 9)) == whole[begin:]


def test_an_epoch_is_set_when_its_first_step_is_built_and_not_again():
    dataset = FakeDataset()
    list(batches(dataset, range(2, 7)))
    assert dataset.epochs_set == [0, 1, 2]


def test_the_time_of_a_batch_is_measured_by_the_clock_that_is_given():
    ticks = count(step=2.5)
    assert [batch.seconds for batch in batches(FakeDataset(), range(2), lambda: next(ticks))] == [2.5, 2.5]


def test_prefetching_changes_neither_items_nor_order():
    assert list(prefetched(iter(range(20)), n_ahead=3)) == list(range(20))
    assert list(prefetched(iter([]))) == []


def test_the_next_item_is_made_on_another_thread_while_one_is_in_use():
    made = threading.Event()

    def items():
        yield threading.current_thread()
        made.set()
        yield None

    with closing(prefetched(items())) as ahead:
        assert next(ahead) is not threading.current_thread()
        assert made.wait(10), "nobody asked for the second item, and still it was made"


def test_what_making_an_item_raises_is_raised_in_its_place():
    def items():
        yield 1
        raise ValueError("row 17")

    ahead = prefetched(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="row 17"):
        next(ahead)


def test_closing_stops_the_making():
    made = []
    ahead = prefetched((made.append(i) for i in range(100)), n_ahead=2)
    next(ahead)
    ahead.close()
    assert len(made) <= 3
