"""From rows to what a step sends, stage by stage and whole, beside bare tokenisation, the naive twin and the peers."""

import os
from dataclasses import replace

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import BENCHED
from bench.contest import Again, Contest, race
from bench.document import ARRAYS, BARE, DATUMS
from bench.elsewhere import race_elsewhere
from bench.lane import STAGES, Lane, bare, naive_twin, staged, whole
from bench.passes import Passes
from bench.peers import Peers
from bench.workload import Workload
from kernel.renderers import RENDERERS
from shell.text.encoder import installed

N_PASSES = 5
KINDS = {"mixed languages": lambda workload: workload, "English": Workload.english}
renderers = pytest.mark.parametrize("name", BENCHED)


def lane_of(name: str, workload: Workload) -> Lane:
    if name not in RENDERERS:
        pytest.skip(f"there is no renderer {name}")
    return Lane(RENDERERS[name], workload)


def contest_of(lane: Lane, which: str, ours: str = DATUMS) -> Contest:
    note = f"{lane.n_left_out} conversations left out, which {lane.renderer.name} cannot write"
    notes = (note,) if lane.n_left_out else ()
    title = f"{lane.renderer.name}, {which}"
    return Contest(title, ours, yardstick=BARE, also={"arrays": ARRAYS}, parts=(ARRAYS, *STAGES), notes=notes)


@renderers
def test_first_pass(
    name: str, workload: Workload, peers: Peers, contests: list[Contest], benchmark: BenchmarkFixture
) -> None:
    """A pass a round; the others take a batch of the same rows. One example a conversation, as the peers make."""
    lane = lane_of(name, workload)
    split = [whole(lane, "from the file, turns split", split_turns=True)] if lane.splits() else []
    others = [whole(lane, "from the file"), *split, naive_twin(lane), *peers.contenders(lane)]
    contest, laps = contest_of(lane, "first pass"), Passes(lane, "tokenizers").laps
    contests.append(race_elsewhere(benchmark, contest, laps, others, min(N_PASSES, lane.n_rounds)))
    if contest.laps:
        assert contest.same("from the file") == contest.same("naive twin") == 1.0


@pytest.mark.skipif(not installed() or not hasattr(os, "sched_setaffinity"), reason="no fast encoder, or not Linux")
@pytest.mark.parametrize("kind", KINDS)
@renderers
def test_first_pass_with_the_fast_encoder(
    name: str, kind: str, workload: Workload, peers: Peers, contests: list[Contest], benchmark: BenchmarkFixture
) -> None:
    """The same on one core; the others take a batch of the same rows, on as many cores as they like."""
    lane = lane_of(name, KINDS[kind](workload))
    contest, laps = contest_of(lane, f"fast encoder, first pass, {kind}"), Passes(lane, "fast").laps
    others = [bare(lane), naive_twin(lane), *peers.contenders(lane)]
    contests.append(race_elsewhere(benchmark, contest, laps, others, min(N_PASSES, lane.n_rounds)))
    if contest.laps:
        assert contest.same("naive twin") == 1.0


@renderers
def test_second_pass(name: str, workload: Workload, contests: list[Contest], benchmark: BenchmarkFixture) -> None:
    """Every batch is of rows that the contender was given a moment ago: the most that remembering words can do."""
    lane = lane_of(name, workload)
    ours = staged(lane, "tokenizers")

    def seen(turn: int) -> object:
        ours.run(ours.ready(turn))
        return ours.ready(turn)

    contest = contest_of(lane, "second pass over the same rows")
    contests.append(race(benchmark, contest, replace(ours, ready=seen), [Again(bare(lane))], lane.n_rounds))
