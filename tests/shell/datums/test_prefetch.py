import threading
from contextlib import closing
from itertools import count
from typing import Any, NamedTuple

import pytest

from kernel.errors import InputError
from shell.datums.prefetch import batches, prefetched
from tests.shell.recording import FakeDataset


def test_a_run_begun_in_the_middle_gets_the_batches_that_the_whole_run_would_have_there():
    def firsts(steps):
        return [int(batch.datums.inputs[0]) for batch in batches(FakeDataset(), steps)]

    whole = firsts(range(9))
    assert whole == [0, 10, 20, 100, 110, 120, 200, 210, 220]
    for begin in range(10):
        assert firsts(range(begin, 9)) == whole[begin:]


def test_the_time_of_a_batch_is_that_of_beginning_it_and_of_waiting_for_it_by_the_clock_that_is_given():
    ticks = count(step=2.5)
    assert [batch.seconds for batch in batches(FakeDataset(), range(2), lambda: next(ticks))] == [5.0, 5.0]


class Waiting(FakeDataset):
    """Batches that know how many were submitted when each was waited for; the third cannot be submitted."""

    def __init__(self):
        super().__init__()
        self.submitted, self.beside = [], []

    def submit(self, step):
        if step == 2:
            raise InputError("a.jsonl:17: expected text, got null")
        self.submitted.append(step)
        return PendingStep(self, super().submit(step))


class PendingStep(NamedTuple):
    dataset: Waiting
    pending: Any

    def result(self):
        self.dataset.beside.append(len(self.dataset.submitted))
        return self.pending.result()


def test_the_first_batch_is_there_at_once_and_the_next_are_submitted_while_others_are_waited_for(monkeypatch):
    monkeypatch.setattr("shell.datums.prefetch.n_threads", lambda: 3)
    dataset = Waiting()
    assert len(list(batches(dataset, range(3, 12)))) == 9
    assert dataset.beside == [1, 3, 5, 7, 8, 9, 9, 9, 9]


@pytest.mark.parametrize(("batch_size", "beside"), [(256, [1, 3, 5, 6, 6, 6]), (10_000, [1, 3, 4, 5, 6, 6])])
def test_no_more_rows_are_submitted_than_rendering_beside_the_encoders_takes(batch_size, beside, monkeypatch):
    monkeypatch.setattr("shell.datums.prefetch.n_threads", lambda: 8)
    dataset = Waiting()
    dataset.batch_size = batch_size
    list(batches(dataset, range(3, 9)))
    assert dataset.beside == beside


def test_a_batch_that_cannot_be_submitted_stops_nobody_before_its_turn(monkeypatch):
    monkeypatch.setattr("shell.datums.prefetch.n_threads", lambda: 2)
    made = batches(Waiting(), range(5))
    assert [int(next(made).datums.inputs[0]) for _ in range(2)] == [0, 10]
    with pytest.raises(InputError, match=r"a\.jsonl:17"):
        next(made)


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
