"""First passes: all rows, in batches, by a process that has just begun and has seen none of them.

With `tokenizers` on all cores, on one, and on all by a process each, beside bare tokenisation in the same ways. With
the fast encoder on one core, stage by stage: all threads share that core. And on two: two such processes at once, each
with every other row, as those that make a store are (two threads of one process wait for each other's Python).
"""

import json
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bench.contest import Lap, Tally
from bench.document import ARRAYS, BARE, DATUMS
from bench.elsewhere import Elsewhere
from bench.lane import STAGES, Lane
from shell.prepared.crew import ONE_THREAD
from shell.text.encoder import Choice

ON_TWO = "qwen3_5"
"""the renderer that is tried on two cores with the fast encoder too"""
N_WARM = 256
"""made-up rows that a process goes through before the clock starts"""


def serve() -> None:
    """The fresh process: what to do in one line; "ready"; and when it is told to go, what a pass took."""
    said = json.loads(input())
    os.sched_setaffinity(0, said["cores"])  # before any library counts them

    from kernel.renderers import RENDERERS
    from shell.process.collector import loaded_spared
    from shell.text.tokenizer import open_tokenizer

    tokenizer, size = open_tokenizer(said["tokenizer"], encoder=said["encoder"]), said["batch_size"]
    batches = [said["rows"][i : i + size] for i in range(0, len(said["rows"]), size)]
    renderer = RENDERERS[said["renderer"]]
    with loaded_spared():  # as a run does
        if said["ends"] == BARE:
            done = bare(renderer, Path(said["tokenizer"]), batches)
        else:
            done = whole(renderer, tokenizer, batches)
    print(json.dumps(done), flush=True)


def wait_to_go() -> None:
    print(json.dumps("ready"), flush=True)
    input()


def whole(renderer: Any, tokenizer: Any, batches: list[Any]) -> dict[str, Any]:
    """The seconds of each stage of a pass, with digests of what came out."""
    from bench.lane import MAX_LENGTH, digest, in_stages, lists
    from bench.made import made_rows
    from bench.workload import MODE
    from shell.datums.maker import DatumMaker

    maker = DatumMaker(renderer, tokenizer, MODE, MAX_LENGTH, split_turns=False)
    warm = made_rows(N_WARM, seed=2)
    for rows in (warm[: N_WARM // 2], warm[N_WARM // 2 :]):
        in_stages(maker, rows, [""] * len(rows))
    wait_to_go()
    passed = [in_stages(maker, rows, [""] * len(rows)) for rows in batches]
    seconds = np.sum([np.diff(done.clock) for done in passed], axis=0)
    given = [lists(datum) for done in passed for datum in done.sent]
    n_tokens = sum(len(inputs) for inputs, _, _ in given)
    return {"seconds": seconds.tolist(), "n_tokens": n_tokens, "digests": [digest(*datum) for datum in given]}


def bare(renderer: Any, file: Path, batches: list[Any]) -> dict[str, Any]:
    """The seconds of `encode_batch_fast` of the strings that ours encodes, counted and let go."""
    from tokenizers import Tokenizer as Backend

    from bench.made import made_rows
    from bench.workload import MODE, literal
    from kernel.compositor import Compositor
    from kernel.reading import read_conversation

    backend, compositor = Backend.from_str(literal(file)), Compositor(renderer, split_turns=False)

    def texts(rows: list[Any]) -> list[str]:
        return compositor.compose([read_conversation(row) for row in rows], MODE).texts

    def encode(strings: list[str]) -> int:
        return sum(map(len, backend.encode_batch_fast(strings, add_special_tokens=False)))

    encode(texts(made_rows(N_WARM, seed=2)))
    strings = [texts(rows) for rows in batches]
    wait_to_go()
    began = perf_counter()
    n_tokens = sum(map(encode, strings))
    return {"seconds": [perf_counter() - began], "n_tokens": n_tokens}


class Passes:
    """Passes over the rows of a lane, each by a process that has just begun.

    Args:
        encoder: "tokenizers", on all cores and on one; or "fast", on one, and for one renderer on two.
    """

    def __init__(self, lane: Lane, encoder: Choice) -> None:
        self._rows, self._renderer, self._encoder = lane.data.to_list(), lane.renderer.name, encoder
        self._job: dict[str, Any] = {
            "renderer": self._renderer, "tokenizer": str(lane.tokenizer), "encoder": encoder,
            "batch_size": lane.batch_size,
        }  # fmt: skip

    def laps(self, _: int) -> dict[str, Lap]:
        """Ours, whole and by stages; with `tokenizers` bare too, and both on one core and by a process a core."""
        cores = sorted(os.sched_getaffinity(0))
        (said,) = self._took(DATUMS, cores if self._encoder == "tokenizers" else cores[:1])
        tally, seconds = Tally(len(self._rows), said["n_tokens"]), said["seconds"]
        laps = {DATUMS: Lap(sum(seconds), tally._replace(digests=tuple(said["digests"])))}
        laps |= {ARRAYS: Lap(sum(seconds[:-1]), tally)}
        laps |= {name: Lap(one, tally) for name, one in zip(STAGES, seconds, strict=True)}
        if self._encoder == "tokenizers":
            laps[BARE] = Lap(sum(self._took(BARE, cores)[0]["seconds"]), tally)
            for ends in (DATUMS, BARE):
                laps[f"{ends}, one core"] = Lap(sum(self._took(ends, cores[:1])[0]["seconds"]), tally)
                each = [sum(one["seconds"]) for one in self._took(ends, *([core] for core in cores))]
                laps[f"{ends}, a process a core"] = Lap(max(each), tally)
        elif self._renderer == ON_TWO and len(cores) > 1:
            both = [one["seconds"] for one in self._took(DATUMS, cores[:1], cores[1:2])]
            laps[f"{DATUMS}, two cores"] = Lap(max(map(sum, both)), tally)
            laps[f"{ARRAYS}, two cores"] = Lap(max(sum(one[:-1]) for one in both), tally)
        return laps

    def _took(self, ends: str, *cores: list[int]) -> list[dict[str, Any]]:
        """What each of some processes took, which go at once, on the cores that they are given."""
        fresh = [Elsewhere("bench.passes", ONE_THREAD if self._encoder == "fast" else {}) for _ in cores]
        for i, one in enumerate(fresh):
            one.tell(self._job | {"ends": ends, "cores": cores[i], "rows": self._rows[i :: len(cores)]})
        assert all(one.hear() == "ready" for one in fresh)
        for one in fresh:
            one.tell("go")
        said = [dict(one.hear()) for one in fresh]
        for one in fresh:
            one.close()
        return said
