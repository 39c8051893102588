"""The first pass on one core and on two, with the fast encoder, beside tinker-cookbook on the same rows.

A pass is all rows, in batches, by a process that has just begun: it has seen none of them. On one core all its threads
share that core. On two, two threads of Python take batches in turn, and each encodes its own alone, as the processes
that make a store do: left to itself, the encoder would cut every batch in two.
"""

import json
import os
from threading import Event, Semaphore, Thread
from time import perf_counter

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contest, Lap, Tally
from bench.elsewhere import Elsewhere, race_elsewhere
from bench.peers import Peers
from bench.test_batches import KINDS, lane_of, needs_fast
from bench.workload import Workload
from shell.prepared.crew import ONE_THREAD

RENDERER, N_ROUNDS = "qwen3_5", 5
WAYS = {
    f"rows to {what}, {n} core{'s' * (n > 1)}": (n, what)
    for n in (1, 2)
    for what in ("flat arrays", "list[tinker.Datum]")
}
N_WARM = 256
"""made-up rows that each thread goes through before the clock starts"""


def serve() -> None:
    """The fresh process: what to do in one line; the seconds and the tokens of a pass."""
    said = json.loads(input())
    n_cores = said["n_cores"]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_cores])  # before any library counts them

    from bench.made import made_rows
    from bench.workload import MODE
    from kernel.renderers import RENDERERS
    from shell.collector import loaded_spared
    from shell.datums import datums_to_tinker
    from shell.maker import DatumMaker
    from shell.rows import Row
    from shell.tokenizer import open_tokenizer

    tokenizer, size = open_tokenizer(said["tokenizer"], encoder="fast"), said["batch_size"]
    batches: list[list[Row]] = [said["rows"][i : i + size] for i in range(0, len(said["rows"]), size)][::-1]
    ready, go = Semaphore(0), Event()
    n_tokens: list[int] = []

    def work(warm: list[Row]) -> None:
        maker = DatumMaker(RENDERERS[RENDERER], tokenizer, MODE, None, split_turns=False)

        def make(rows: list[Row]) -> int:
            datums = maker.datums(rows, [""] * len(rows))
            if said["what"] != "flat arrays":
                datums_to_tinker(datums)
            return len(datums.inputs)

        for i in range(0, N_WARM, size):
            make(warm[i : i + size])
        ready.release()
        go.wait()
        while batches:
            try:
                n_tokens.append(make(batches.pop()))
            except IndexError:  # another was faster
                return

    threads = [Thread(target=work, args=(made_rows(N_WARM, seed=2 + i),)) for i in range(n_cores)]
    for thread in threads:
        thread.start()
        ready.acquire()
    with loaded_spared():  # as a run does
        began = perf_counter()
        go.set()
        for thread in threads:
            thread.join()
        ended = perf_counter()
    print(json.dumps({"seconds": ended - began, "n_tokens": sum(n_tokens)}), flush=True)


@needs_fast
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core alone")
@pytest.mark.parametrize("kind", KINDS)
def test_cores(
    kind: str, workload: Workload, peers: Peers, contests: list[Contest], benchmark: BenchmarkFixture
) -> None:
    """Both ways, on one core and on two."""
    lane = lane_of(RENDERER, KINDS[kind](workload))
    rows = lane.data.to_list()
    job = {"tokenizer": str(lane.tokenizer), "batch_size": lane.batch_size, "rows": rows}

    def passes(_: int) -> dict[str, Lap]:
        laps = {}
        for name, (n_cores, what) in WAYS.items():
            fresh = Elsewhere("bench.test_cores", ONE_THREAD)
            said = fresh.ask(job | {"n_cores": n_cores, "what": what})
            fresh.close()
            laps[name] = Lap(said["seconds"], Tally(len(rows), said["n_tokens"]))
        return laps

    one_core = {"arrays": "rows to flat arrays, 1 core", "Datums": "rows to list[tinker.Datum], 1 core"}
    contest = Contest(f"{RENDERER}, fast encoder, one core and two, {kind}", next(iter(WAYS)), also=one_core)
    contests.append(race_elsewhere(benchmark, contest, passes, peers.contenders(lane), N_ROUNDS))
