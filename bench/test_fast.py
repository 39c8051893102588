"""The first pass with the fast encoder: on one core, stage by stage, and on two; beside the peers on the same rows.

A pass is all rows, in batches, by a process that has just begun: it has seen none of them. On one core all its threads
share that core. On two, two threads of Python take batches in turn, and each encodes its own alone, as the processes
that make a store do: left to itself, the encoder would cut every batch in two.
"""

import json
import os
from threading import Event, Semaphore, Thread
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import BENCHED
from bench.contest import Contest, Lap, Tally
from bench.document import ARRAYS, DATUMS
from bench.elsewhere import Elsewhere, race_elsewhere
from bench.lane import STAGES, Lane, bare, naive_twin
from bench.peers import Peers
from bench.test_batches import KINDS, lane_of
from bench.workload import Workload
from shell.encoder import installed
from shell.prepared.crew import ONE_THREAD

N_ROUNDS, ON_TWO = 5, "qwen3_5"
N_WARM = 256
"""made-up rows that each thread goes through before the clock starts"""


def serve() -> None:
    """The fresh process: what to do in one line; what a pass took."""
    said = json.loads(input())
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: said["n_cores"]])  # before any library counts them

    from kernel.renderers import RENDERERS
    from shell.collector import loaded_spared
    from shell.tokenizer import open_tokenizer

    tokenizer, size = open_tokenizer(said["tokenizer"], encoder="fast"), said["batch_size"]
    batches = [said["rows"][i : i + size] for i in range(0, len(said["rows"]), size)]
    renderer = RENDERERS[said["renderer"]]
    with loaded_spared():  # as a run does
        done = (
            in_turn(renderer, tokenizer, batches)
            if said["n_cores"] == 1
            else at_once(said["ends"], renderer, tokenizer, batches, said["n_cores"])
        )
    print(json.dumps(done), flush=True)


def maker_of(renderer: Any, tokenizer: Any) -> Any:
    from bench.lane import MAX_LENGTH
    from bench.workload import MODE
    from shell.maker import DatumMaker

    return DatumMaker(renderer, tokenizer, MODE, MAX_LENGTH, split_turns=False)


def in_turn(renderer: Any, tokenizer: Any, batches: list[Any]) -> dict[str, Any]:
    """The seconds of each stage of a pass on one thread, with digests of what came out."""
    from bench.lane import digest, in_stages, lists
    from bench.made import made_rows

    maker, warm = maker_of(renderer, tokenizer), made_rows(N_WARM, seed=2)
    for rows in (warm[: N_WARM // 2], warm[N_WARM // 2 :]):
        in_stages(maker, rows, [""] * len(rows))
    seconds, n_tokens, digests = np.zeros(len(STAGES)), 0, []
    for rows in batches:
        done = in_stages(maker, rows, [""] * len(rows))
        seconds += np.diff(done.clock)
        given = [lists(datum) for datum in done.sent]
        n_tokens += sum(len(inputs) for inputs, _, _ in given)
        digests += [digest(*datum) for datum in given]
    return {"seconds": seconds.tolist(), "n_tokens": n_tokens, "digests": digests}


def at_once(ends: str, renderer: Any, tokenizer: Any, batches: list[Any], n_threads: int) -> dict[str, Any]:
    """The seconds of a pass on several threads."""
    from bench.made import made_rows
    from shell.datums import datums_to_tinker

    ready, go = Semaphore(0), Event()
    left, n_tokens = batches[::-1], list[int]()

    def work(warm: list[Any]) -> None:
        maker = maker_of(renderer, tokenizer)

        def make(rows: list[Any]) -> int:
            datums = maker.datums(rows, [""] * len(rows))
            if ends == DATUMS:
                datums_to_tinker(datums)
            return len(datums.inputs)

        make(warm[: N_WARM // 2])
        make(warm[N_WARM // 2 :])
        ready.release()
        go.wait()
        while True:
            try:
                rows = left.pop()
            except IndexError:
                return
            n_tokens.append(make(rows))

    threads = [Thread(target=work, args=(made_rows(N_WARM, seed=2 + i),)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
        ready.acquire()
    began = perf_counter()
    go.set()
    for thread in threads:
        thread.join()
    return {"seconds": perf_counter() - began, "n_tokens": sum(n_tokens)}


def passes(lane: Lane) -> dict[str, Lap]:
    """A pass on one core, and for one renderer on two."""
    rows = lane.data.to_list()
    job = {
        "renderer": lane.renderer.name,
        "tokenizer": str(lane.tokenizer),
        "batch_size": lane.batch_size,
        "rows": rows,
    }

    def took(**more: object) -> dict[str, Any]:
        fresh = Elsewhere("bench.test_fast", ONE_THREAD)
        said = fresh.ask(job | more)
        fresh.close()
        return dict(said)

    said = took(n_cores=1)
    tally, seconds = Tally(len(rows), said["n_tokens"]), said["seconds"]
    laps = {
        DATUMS: Lap(sum(seconds), tally._replace(digests=tuple(said["digests"]))),
        ARRAYS: Lap(sum(seconds[:-1]), tally),
    }
    laps |= {name: Lap(one, tally) for name, one in zip(STAGES, seconds, strict=True)}
    if lane.renderer.name == ON_TWO and len(os.sched_getaffinity(0)) > 1:
        laps |= {f"{ends}, two cores": Lap(took(n_cores=2, ends=ends)["seconds"], tally) for ends in (DATUMS, ARRAYS)}
    return laps


@pytest.mark.skipif(not installed() or not hasattr(os, "sched_setaffinity"), reason="no fast encoder, or not Linux")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BENCHED)
def test_fast(
    name: str, kind: str, workload: Workload, peers: Peers, contests: list[Contest], benchmark: BenchmarkFixture
) -> None:
    """A pass a round; the others take a batch of the same rows, on as many cores as they like."""
    lane = lane_of(name, KINDS[kind](workload))
    contest = Contest(
        f"{name}, fast encoder, first pass, {kind}", DATUMS, also={"arrays": ARRAYS}, parts=(ARRAYS, *STAGES)
    )
    others = [bare(lane), naive_twin(lane), *peers.contenders(lane)]
    contests.append(race_elsewhere(benchmark, contest, lambda _: passes(lane), others, min(N_ROUNDS, lane.n_rounds)))
    if contest.laps:
        assert contest.same("naive twin") == 1.0
