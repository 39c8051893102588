"""First passes: all rows, in batches, by a process that has just begun and has seen none of them.

With `tokenizers` on all cores and on one, beside bare tokenisation in a process of its own. With the fast encoder on
one core, stage by stage: all threads share that core. And on two: two threads of Python take batches in turn, and each
encodes its own alone, as the processes that make a store do: left to itself, the encoder would cut each batch in two.
"""

import json
import os
from pathlib import Path
from threading import Event, Semaphore, Thread
from time import perf_counter
from typing import Any

import numpy as np

from bench.contest import Lap, Tally
from bench.document import ARRAYS, BARE, DATUMS
from bench.elsewhere import Elsewhere
from bench.lane import STAGES, Lane
from shell.encoder import Choice
from shell.prepared.crew import ONE_THREAD

ON_TWO = "qwen3_5"
"""the renderer that is tried on two cores with the fast encoder too"""
N_WARM = 256
"""made-up rows that each thread goes through before the clock starts"""


def serve() -> None:
    """The fresh process: what to do in one line; what a pass took."""
    said = json.loads(input())
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: said["n_cores"]])  # before any library counts them

    from kernel.renderers import RENDERERS
    from shell.collector import loaded_spared
    from shell.tokenizer import open_tokenizer

    tokenizer, size = open_tokenizer(said["tokenizer"], encoder=said["encoder"]), said["batch_size"]
    batches = [said["rows"][i : i + size] for i in range(0, len(said["rows"]), size)]
    renderer = RENDERERS[said["renderer"]]
    with loaded_spared():  # as a run does
        if said["ends"] == BARE:
            done = bare(renderer, Path(said["tokenizer"]), batches)
        elif said["n_threads"] == 1:
            done = in_turn(renderer, tokenizer, batches)
        else:
            done = at_once(said["ends"], renderer, tokenizer, batches, said["n_threads"])
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
    began = perf_counter()
    n_tokens = sum(map(encode, strings))
    return {"seconds": perf_counter() - began, "n_tokens": n_tokens}


class Passes:
    """Passes over the rows of a lane, each by a process that has just begun.

    Args:
        encoder: "tokenizers", on all cores and on one; or "fast", on one, and for one renderer on two.
    """

    def __init__(self, lane: Lane, encoder: Choice) -> None:
        self._rows, self._renderer, self._encoder = lane.data.to_list(), lane.renderer.name, encoder
        self._job = {
            "renderer": self._renderer, "tokenizer": str(lane.tokenizer), "encoder": encoder,
            "batch_size": lane.batch_size, "rows": self._rows,
        }  # fmt: skip

    def laps(self, _: int) -> dict[str, Lap]:
        """Ours, whole and by stages; with `tokenizers` bare tokenisation too, and both once more on one core."""
        n_cores, encoder = len(os.sched_getaffinity(0)), self._encoder
        said = self._took(DATUMS, n_cores if encoder == "tokenizers" else 1, 1)
        tally, seconds = Tally(len(self._rows), said["n_tokens"]), said["seconds"]
        laps = {DATUMS: Lap(sum(seconds), tally._replace(digests=tuple(said["digests"])))}
        laps |= {ARRAYS: Lap(sum(seconds[:-1]), tally)}
        laps |= {name: Lap(one, tally) for name, one in zip(STAGES, seconds, strict=True)}

        def lap(took: float | list[float]) -> Lap:
            return Lap(sum(took) if isinstance(took, list) else took, tally)

        if encoder == "tokenizers":
            laps[BARE] = lap(self._took(BARE, n_cores, 1)["seconds"])
            laps |= {f"{ends}, one core": lap(self._took(ends, 1, 1)["seconds"]) for ends in (DATUMS, BARE)}
        elif self._renderer == ON_TWO and n_cores > 1:
            laps |= {f"{ends}, two cores": lap(self._took(ends, 2, 2)["seconds"]) for ends in (DATUMS, ARRAYS)}
        return laps

    def _took(self, ends: str, n_cores: int, n_threads: int) -> dict[str, Any]:
        fresh = Elsewhere("bench.passes", ONE_THREAD if self._encoder == "fast" else {})
        said = fresh.ask(self._job | {"ends": ends, "n_cores": n_cores, "n_threads": n_threads})
        fresh.close()
        return dict(said)
