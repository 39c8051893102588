"""Place -> row: the same time for a thousand rows and for a million millions; and no memory that grows."""

import tracemalloc

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contest, race, task
from kernel.shuffle import shuffled_rows

N_ROUNDS, N_PLACES = 9, 128
SIZES = (10**3, 10**6, 10**9, 10**12)


def test_cipher(contests: list[Contest], benchmark: BenchmarkFixture) -> None:
    """A step's 128 rows of a set of each size; beside "hf", which must shuffle all of it first (and here has)."""

    def ask(order: str, n_rows: int) -> None:
        shuffled_rows(order, np.arange(n_rows - N_PLACES, n_rows), n_rows, seed=4)

    ask("cipher", 10**12)
    tracemalloc.start()
    ask("cipher", 10**12)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    ways = [task(f"cipher, {n:.0e} rows", lambda n=n: ask("cipher", n), N_PLACES, times=50) for n in SIZES]
    others = [*ways[:-1], task("hf, 1e+06 rows", lambda: ask("hf", 10**6), N_PLACES, times=50)]
    contest = Contest(f"order, {N_PLACES} places", ways[-1].name, rows="places")
    contests.append(race(benchmark, contest, ways[-1], others, N_ROUNDS))
