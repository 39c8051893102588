"""How many threads encode."""

import pytest

from shell.process.gc_and_cpus import MOST_THREADS, n_cores, n_threads


@pytest.mark.parametrize(("wanted", "n"), [("1", 1), ("3", 3), ("1000", MOST_THREADS)])
def test_threads_are_as_many_as_the_variable_asks_up_to_the_most_that_help(
    wanted: str, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", wanted)
    assert n_threads() == n


@pytest.mark.parametrize("wanted", ["", "0", "-1", "many", "²"])
def test_an_invalid_number_of_threads_means_one_per_processor(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", wanted)
    assert n_threads() == min(n_cores(), MOST_THREADS)
