"""First passes: all rows, in batches, by a process that has just begun and has seen none of them.

With `tokenizers` as training does it, batches begun while others are encoded, beside bare tokenisation: on all cores,
on one, and on all by a process each with every other row. With the fast encoder on one core, stage by stage: all
threads share that core. And on two: two such processes at once, as those that make a store are (two threads of one
process wait for each other's Python), each with all rows, so that a pass is as long as on one.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bench.contest import Lap, Tally
from bench.document import ARRAYS, BARE, DATUMS
from bench.elsewhere import Elsewhere
from bench.lane import STAGES, Lane
from shell.text.encoder import Choice
from shell.token_cache.workers import ONE_THREAD

N_WARM = 256
"""made-up rows that a process goes through before the clock starts"""
Said = dict[str, Any]
"""what a process was told, or tells"""


def serve() -> None:
    """The fresh process: what to do in one line; "ready"; and when it is told to go, what a pass took."""
    said = json.loads(input())
    os.sched_setaffinity(0, said["cores"])  # before any library counts them

    from shell.process.gc_and_cpus import loaded_spared

    with loaded_spared():  # as a run does
        print(json.dumps(WAYS[said["way"]](said)), flush=True)


def wait_to_go() -> None:
    print(json.dumps("ready"), flush=True)
    input()


def trained(said: Said) -> Said:
    """The seconds from rows in memory to what the SDK sends, in the order of training, and digests of it."""
    from shell.data.dataset import Dataset
    from shell.datums.prefetch import batches, prefetched
    from shell.datums.supervised_dataset import SupervisedDataset
    from shell.datums.tinker_datums import datums_to_tinker

    maker = warm_maker(said)
    dataset = SupervisedDataset(Dataset.from_list(said["rows"]), maker, said["batch_size"], tail="keep")
    wait_to_go()
    began = perf_counter()
    sent = [datums_to_tinker(batch.datums) for batch in prefetched(batches(dataset, range(len(dataset))))]
    return made_of(sent, [perf_counter() - began])


def in_turn(said: Said) -> Said:
    """The seconds of each stage from rows in memory to what the SDK sends, and digests of it."""
    from bench.lane import in_stages

    maker, rows, size = warm_maker(said), said["rows"], said["batch_size"]
    cut = [rows[i : i + size] for i in range(0, len(rows), size)]
    wait_to_go()
    passed = [in_stages(maker, some, [""] * len(some)) for some in cut]
    return made_of([done.sent for done in passed], np.sum([np.diff(done.clock) for done in passed], axis=0).tolist())


def bare(said: Said) -> Said:
    """The seconds of bare tokenisation."""
    from bench.bare import Bare
    from kernel.renderers import RENDERERS

    its, rows, size = Bare(RENDERERS[said["renderer"]], Path(said["tokenizer"])), said["rows"], said["batch_size"]
    for warm in warm_halves():
        its.encode(its.strings(warm))
    strings = [its.strings(rows[i : i + size]) for i in range(0, len(rows), size)]
    wait_to_go()
    began = perf_counter()
    n_tokens = sum(map(its.encode, strings))
    return {"seconds": [perf_counter() - began], "n_tokens": n_tokens}


WAYS: dict[str, Callable[[Said], Said]] = {"trained": trained, "in turn": in_turn, "bare": bare}


def warm_maker(said: Said) -> Any:
    """Rows to datums, which has been through the made-up rows."""
    from bench.lane import MAX_LENGTH, in_stages
    from bench.workload import MODE
    from kernel.renderers import RENDERERS
    from shell.datums.render_rows import RowRenderer
    from shell.datums.render_settings import RenderSettings
    from shell.text.tokenizer import open_tokenizer

    tokenizer = open_tokenizer(said["tokenizer"], encoder=said["encoder"])
    maker = RowRenderer(
        RENDERERS[said["renderer"]],
        tokenizer,
        RenderSettings(train_on_what=MODE, max_length=MAX_LENGTH, split_turns=False),
    )
    for rows in warm_halves():
        in_stages(maker, rows, [""] * len(rows))
    return maker


def warm_halves() -> Sequence[list[Any]]:
    from bench.made import made_rows

    warm = made_rows(N_WARM, seed=2)
    return warm[: N_WARM // 2], warm[N_WARM // 2 :]


def made_of(sent: list[Any], seconds: list[float]) -> Said:
    """What came out of a pass, and the seconds it took."""
    from bench.lane import digest, lists

    given = [lists(datum) for batch in sent for datum in batch]
    n_tokens = sum(len(inputs) for inputs, _, _ in given)
    return {"seconds": seconds, "n_tokens": n_tokens, "digests": [digest(*datum) for datum in given]}


class Passes:
    """Passes over the rows of a lane, each by a process that has just begun.

    Args:
        encoder: "tokenizers" or "fast".
    """

    def __init__(self, lane: Lane, encoder: Choice) -> None:
        self._rows, self._encoder = lane.data.to_list(), encoder
        self._cores, self._n_turns = sorted(os.sched_getaffinity(0)), 0
        self._job: Said = {
            "renderer": lane.renderer.name, "tokenizer": str(lane.tokenizer), "encoder": encoder,
            "batch_size": lane.batch_size,
        }  # fmt: skip

    def laps(self, _: int) -> dict[str, Lap]:
        """Ours, whole and by stages; with `tokenizers` bare too."""
        one, n_rows = self._cores[:1], len(self._rows)
        (staged,) = self._took({"in turn": [one]})["in turn"]
        tally, seconds = Tally(n_rows, staged["n_tokens"]), staged["seconds"]
        laps = {DATUMS: Lap(sum(seconds), tally._replace(digests=tuple(staged["digests"])))}
        laps |= {ARRAYS: Lap(sum(seconds[:-1]), tally)}
        laps |= {name: Lap(stage, tally) for name, stage in zip(STAGES, seconds, strict=True)}
        if self._encoder == "tokenizers":
            each = [[core] for core in self._cores]
            for how, cores in (("", [self._cores]), (", one core", [one]), (", a process a core", each)):
                took = self._took({"trained": cores, "bare": cores}, shared=True)
                for name, way in ((DATUMS, "trained"), (BARE, "bare")):
                    digests = tuple(digest for said in took[way] for digest in said.get("digests", ()))
                    laps[f"{name}{how}"] = Lap(longest(took[way]), tally._replace(digests=digests))
        elif len(self._cores) > 1:
            both = self._took({"in turn": [one, self._cores[1:2]]})["in turn"]
            twice = Tally(2 * n_rows, 2 * tally.n_tokens)
            laps[f"{DATUMS}, two cores"] = Lap(longest(both), twice)
            laps[f"{ARRAYS}, two cores"] = Lap(max(sum(said["seconds"][:-1]) for said in both), twice)
        return laps

    def _took(self, ways: dict[str, list[list[int]]], shared: bool = False) -> dict[str, list[Said]]:
        """What processes took, those of a way at once, on the cores that each is given, one way right after the other.

        Args:
            ways: how -> the cores of each process.
            shared: whether the processes of a way share the rows among them.
        """
        fresh = {way: [self._fresh() for _ in cores] for way, cores in ways.items()}
        for way, cores in ways.items():
            for i, process in enumerate(fresh[way]):
                rows = self._rows[i :: len(cores)] if shared else self._rows
                process.tell(self._job | {"way": way, "cores": cores[i], "rows": rows})
        assert all(process.hear() == "ready" for some in fresh.values() for process in some)
        took = {}
        self._n_turns += 1
        for way, some in list(fresh.items())[:: 1 if self._n_turns % 2 else -1]:
            for process in some:
                process.tell("go")
            took[way] = [dict(process.hear()) for process in some]
            for process in some:
                process.close()  # a process that ends is busy with it
        return took

    def _fresh(self) -> Elsewhere:
        return Elsewhere("bench.passes", ONE_THREAD if self._encoder == "fast" else {})


def longest(said: Sequence[Said]) -> float:
    """The seconds of the process that took most."""
    return max(sum(one["seconds"]) for one in said)
