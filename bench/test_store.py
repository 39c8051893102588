"""Batches out of a token cache, beside the same batches rendered and tinker-cookbook's `get_batch`.

The cache is read by a process that has just begun and has made no token itself: it opens a whole cache, takes each of
its rows once, in random order, and never a row twice. The pages of the files may be in the system's cache, as they are
when a second epoch, a sweep or a resumed run follows the first. A lap is
`N_BATCHES` batches, one after the other: one alone takes so little that it would time a process that wakes up. So the
cache holds the conversations as many times.
"""

import json
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import BENCHED
from bench.contest import Contest, Lap, Tally
from bench.elsewhere import Elsewhere, race_elsewhere
from bench.lane import MAX_LENGTH
from bench.peers import Peers
from bench.test_batches import lane_of
from bench.workload import MODE, Workload
from shell.data.rows import ListRows
from shell.fingerprints import key_of, provenance_of
from shell.token_cache.build import build_cache, in_this_process
from shell.token_cache.cache import ShardPlan

ARRAYS, DATUMS = "cache to flat arrays", "cache to list[tinker.Datum]"
N_BATCHES = 32


def serve() -> None:
    """The fresh process: a cache and its rows on the first line, then a turn a line; a lap of each way for each."""
    from time import perf_counter

    import numpy as np

    from bench.lane import digest, lists
    from kernel.renderers import RENDERERS
    from shell.datums.render_rows import RowRenderer
    from shell.datums.render_settings import RenderSettings
    from shell.datums.tinker_datums import datums_to_tinker
    from shell.text.tokenizer import open_tokenizer
    from shell.token_cache.cache import CachedRows, TokenCache

    said = json.loads(input())
    settings = RenderSettings(train_on_what=MODE, max_length=MAX_LENGTH, split_turns=False)
    maker = RowRenderer(RENDERERS[said["renderer"]], open_tokenizer(said["tokenizer"]), settings)
    cache = TokenCache(Path(said["folder"]), ShardPlan(said["key"], said["n_rows"]))
    assert cache.is_whole

    def refused(*_: object) -> object:
        raise AssertionError("a row was rendered")

    render, batch_size = CachedRows(cache, refused), said["batch_size"]  # type: ignore[arg-type]
    order = np.random.default_rng(0).permutation(said["n_rows"])[batch_size:]
    first = np.random.default_rng(0).permutation(said["n_rows"])[:batch_size]  # compiles, and is not timed
    datums_to_tinker(maker.finish(render(first, [""] * batch_size).result(), [""] * batch_size).datums)
    print(json.dumps("ready"), flush=True)
    places = [""] * batch_size
    while line := sys.stdin.readline():
        batches = np.split(order[int(line) * batch_size * N_BATCHES :][: batch_size * N_BATCHES], N_BATCHES)
        arrays = whole = 0.0
        n_tokens, digests = 0, []
        for rows in batches:
            began = perf_counter()
            datums = maker.finish(render(rows, places).result(), places).datums
            made = perf_counter()
            sent = datums_to_tinker(datums)
            ended = perf_counter()
            arrays, whole, n_tokens = arrays + made - began, whole + ended - began, n_tokens + len(datums.inputs)
            digests += [digest(*lists(datum)) for datum in sent]
        print(json.dumps({"arrays": arrays, "datums": whole, "n_tokens": n_tokens, "digests": digests}), flush=True)


@pytest.mark.parametrize("name", BENCHED)
def test_warm(
    name: str,
    workload: Workload,
    peers: Peers,
    contests: list[Contest],
    benchmark: BenchmarkFixture,
    tmp_path: Path,
) -> None:
    """Batches of rows that the process has not taken before, out of a whole cache, in random order."""
    lane = lane_of(name, workload)
    maker = lane.open_maker(encoder="auto")
    rows = ListRows(N_BATCHES * lane.data.to_list())
    decided_by = provenance_of(rows, maker)
    plan = ShardPlan(key_of(decided_by), len(rows))
    folder = tmp_path / plan.key
    build_cache(folder, plan, decided_by, in_this_process(folder, rows, maker, plan))
    fresh = Elsewhere("bench.test_store")
    job = {"renderer": name, "tokenizer": str(lane.tokenizer), "folder": str(folder), "key": plan.key}
    assert fresh.ask(job | {"n_rows": len(rows), "batch_size": lane.batch_size}) == "ready"

    def laps(turn: int) -> dict[str, Lap]:
        said = fresh.ask(turn)
        tally = Tally(N_BATCHES * lane.batch_size, said["n_tokens"], tuple(said["digests"]))
        return {ARRAYS: Lap(said["arrays"], tally), DATUMS: Lap(said["datums"], tally)}

    n_rounds = min(lane.n_rounds, len(lane.data) // lane.batch_size - 1)
    contest = Contest(f"{name}, warm", ARRAYS, yardstick=DATUMS)
    try:
        contests.append(race_elsewhere(benchmark, contest, laps, peers.contenders(lane), n_rounds))
    finally:
        fresh.close()
