"""How time and memory grow with the number of rows: prepared, shuffled and batched, in this process alone.

    python -m bench.scale 1000000 --folder /tmp/scale
    python -m bench.scale 10000000 --folder /tmp/scale --render 65536

The rows are simulated: row i is worked out from i, so they take no memory. One JSON line tells seconds a row and the
most memory that was resident (`ru_maxrss`) up to the end of each stage. With `--render N` only the first N rows are
rendered, and what they gave is written for all: the time of preparing is then that of writing, and is called so.
"""

import argparse
import json
import resource
import shutil
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from kernel.enums import TrainOnWhat
from kernel.renderers.plain_text import ROLE_COLON
from shell.data.dataset import Dataset
from shell.data.rows import Int64, Row
from shell.datums.render_rows import PendingParts, Rendered, RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.datums.supervised_dataset import SupervisedDataset
from shell.fingerprints import key_of, provenance_of
from shell.text.tokenizer import open_tokenizer
from shell.token_cache import build as building
from shell.token_cache.cache import CachedRows, ShardPlan, TokenCache, render_uncached
from shell.token_cache.shard import write_shard

BATCH_SIZE, MOST_BATCHES = 128, 8192


class SimulatedRows:
    """Rows that are worked out from their numbers."""

    name, n_rejected = "simulated", 0

    def __init__(self, n_rows: int) -> None:
        self._n_rows, self.fingerprint = n_rows, f"{n_rows} simulated rows"

    def __len__(self) -> int:
        return self._n_rows

    def take(self, indices: Int64) -> list[Row]:
        return [_row(i) for i in indices.tolist()]

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        return [_row(i)[name] for i in range(start, min(stop, self._n_rows))]

    def place(self, i: int) -> str:
        return f"simulated[{i}]"


def _row(i: int) -> Row:
    question, answer = f"What comes after {i}, and is it odd?", f"It is {i + 1}, {'even' if i % 2 else 'odd'}."
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def measure(n_rows: int, folder: Path, n_rendered: int | None = None) -> dict[str, Any]:
    """Prepares, shuffles and batches so many rows; seconds a row, and megabytes resident at the end of each stage."""
    rows = SimulatedRows(n_rows)
    maker = RowRenderer(
        ROLE_COLON,
        open_tokenizer("sample"),
        RenderSettings(train_on_what=TrainOnWhat.ALL_ASSISTANT_MESSAGES, max_length=512),
    )
    decided_by = provenance_of(rows, maker)
    plan = ShardPlan(key_of(decided_by), n_rows)
    told: dict[str, Any] = {"n_rows": n_rows, "n_rendered": n_rendered or n_rows, "mb_before": _resident()}
    render_uncached(rows, maker)(np.arange(9), list(map(str, range(9)))).result()  # compiled, and not counted
    began = perf_counter()
    if n_rendered:
        _write(folder, rows, maker, plan, decided_by, n_rendered)
    else:
        building.build_cache(folder, plan, decided_by, building.in_this_process(folder, rows, maker, plan))
    told |= {"us_a_row_" + ("written" if n_rendered else "prepared"): 1e6 * (perf_counter() - began) / n_rows}
    told |= {"mb_prepared": _resident()}
    began = perf_counter()
    cache = TokenCache(folder, plan)
    assert cache.is_whole
    told |= {"ms_to_open": 1e3 * (perf_counter() - began), "cache_bytes_a_row": cache.n_bytes / n_rows}
    began = perf_counter()
    data = SupervisedDataset(
        Dataset(rows).shuffle(seed=0),
        maker,
        BATCH_SIZE,
        tail="keep",
        render=CachedRows(cache, render_uncached(rows, maker)),
    )
    data.batch(len(data))
    told |= {"us_a_row_shuffled": 1e6 * (perf_counter() - began) / n_rows, "mb_shuffled": _resident()}
    n_batches = min(len(data) - 1, MOST_BATCHES)
    began = perf_counter()
    n_tokens = sum(len(data.batch(len(data) + i).datums.inputs) for i in range(1, 1 + n_batches))
    told |= {"us_a_row_batched": 1e6 * (perf_counter() - began) / (n_batches * BATCH_SIZE), "n_batches": n_batches}
    told |= {"tokens_a_row": n_tokens / (n_batches * BATCH_SIZE), "mb_batched": _resident()}
    began = perf_counter()
    counts, _ = cache.count(data._rows.indices)
    assert counts.n_rows == n_rows
    return told | {"us_a_row_counted": 1e6 * (perf_counter() - began) / n_rows, "mb_at_the_end": _resident()}


def _write(
    folder: Path, rows: SimulatedRows, maker: RowRenderer, plan: ShardPlan, decided_by: dict[str, Any], n_rendered: int
) -> None:
    """The cache of all rows, written from what the first rows gave."""
    assert n_rendered >= plan.n_shard
    blocks = np.split(np.arange(plan.n_shard), plan.n_shard // 1024)
    rendered = [render_uncached(rows, maker)(block, list(map(str, block))).result() for block in blocks]
    whole = PendingParts(list(zip(blocks, rendered, strict=True))).result()
    folder.mkdir(parents=True)
    for number in range(plan.n_shards):
        own, given = plan.rows_of(number), whole
        if len(own) < plan.n_shard:
            kept = len(own)  # every simulated row is one example
            examples = whole.examples
            stop = examples.offsets[kept]
            cut = examples._replace(
                tokens=examples.tokens[:stop],
                weights=examples.weights[:stop],
                offsets=examples.offsets[: kept + 1],
                rows=examples.rows[:kept],
            )
            given = Rendered(cut, {}, {})
        building.put_shard(folder, number, write_shard(given, len(own), own.start, plan.key, number))
    building.finish(folder, plan, decided_by)


def _resident() -> float:
    """The most megabytes that were resident so far (Linux counts kilobytes, macOS bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_rows", type=int)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--render", type=int)
    given = parser.parse_args()
    place = given.folder / f"{given.n_rows}"
    try:
        print(json.dumps({k: round(v, 3) for k, v in measure(given.n_rows, place, given.render).items()}))
    finally:
        shutil.rmtree(place, ignore_errors=True)
