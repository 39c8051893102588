"""The kernel's loops over arrays, beside a plain copy; the SDK's objects, beside the cheapest way to make them."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tinker
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contest, race, task
from kernel.datum import Datums, build_datums
from kernel.loss import sum_loss
from shell.datums.tinker_datums import datums_to_tinker
from tests import naive

N_ROUNDS, MAX_LENGTH = 15, 1024
BATCH, MANY = 30_000, 4_000_000


def examples(n_tokens: int, mean_length: int = 230) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Tokens, weights and offsets of examples of varied length, half of their tokens trained, in runs."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(2, 2 * mean_length, n_tokens // mean_length))])
    weights = (np.arange(offsets[-1]) % 100 >= 50).astype(np.float32)
    return rng.integers(0, 200_000, offsets[-1]).astype(np.int32), weights, offsets


def batch() -> Datums:
    """What a step of 128 rows or so comes to."""
    return build_datums(*examples(BATCH), max_length=MAX_LENGTH)


@pytest.mark.parametrize("n_tokens", [BATCH, MANY])
def test_datum_kernel(n_tokens: int, contests: list[Contest], benchmark: BenchmarkFixture) -> None:
    """Cut, shift and reduce: 24 bytes a token move (8 are read, 16 written), in a copy of what is made 32."""
    tokens, weights, offsets = examples(n_tokens)
    made = build_datums(tokens, weights, offsets, max_length=MAX_LENGTH)
    arrays: list[NDArray[Any]] = list(made[:3])
    room = [np.empty_like(array) for array in arrays]
    size, times = (made.n_examples, len(made.inputs)), MANY // n_tokens // 8 or 1

    def copy_into_room() -> None:
        for there, array in zip(room, arrays, strict=True):
            np.copyto(there, array)

    ours = task("build_datums", lambda: build_datums(tokens, weights, offsets, max_length=MAX_LENGTH), *size, times)
    others = [
        task("copy of the arrays made", lambda: [array.copy() for array in arrays], *size, times),
        task("copy into room that is there", copy_into_room, *size, times),
    ]
    if n_tokens == BATCH:
        cut = [(tokens[a:b].tolist(), weights[a:b].tolist()) for a, b in pairwise(offsets.tolist())]
        others.append(task("naive twin", lambda: naive.datums(cut, MAX_LENGTH, "mean"), *size))
    title = f"datum kernel, {len(made.inputs):,} tokens a call"
    contest = Contest(title, ours.name, yardstick=others[0].name, rows="examples")
    contests.append(race(benchmark, contest, ours, others, N_ROUNDS))


def test_tinker_datums(contests: list[Contest], benchmark: BenchmarkFixture) -> None:
    """Arrays to the SDK's objects: ours copies the batch once and checks its ids."""
    datums = batch()
    views = [datums.example(b) for b in range(datums.n_examples)]
    as_lists = [(i.tolist(), t.tolist(), w.tolist()) for i, t, w in views]
    size = datums.n_examples, len(datums.inputs)

    ours = task("datums_to_tinker", lambda: datums_to_tinker(datums), *size, 5)
    others = [
        task("cheapest way: views, unchecked", lambda: [cheapest(*view) for view in views], *size, 5),
        task("validated lists of numbers", lambda: [validated(*one) for one in as_lists], *size),
    ]
    contest = Contest("tinker.Datum", ours.name, yardstick=others[0].name, rows="examples")
    contests.append(race(benchmark, contest, ours, others, N_ROUNDS))


def cheapest(inputs: NDArray[np.int32], targets: NDArray[np.int64], weights: NDArray[np.float32]) -> tinker.Datum:
    """The least that the SDK's own constructors take."""
    chunk = tinker.EncodedTextChunk.model_construct(tokens=inputs, type="encoded_text")
    shape = [len(inputs)]
    tensors = {
        "target_tokens": tinker.TensorData(targets, "int64", shape),
        "weights": tinker.TensorData(weights, "float32", shape),
    }
    return tinker.Datum(tinker.ModelInput(chunks=[chunk]), tensors)


def validated(inputs: list[int], targets: list[int], weights: list[float]) -> tinker.Datum:
    """The way of the SDK's examples."""
    tensors = {
        "target_tokens": tinker.TensorData(data=targets, dtype="int64", shape=[len(targets)]),
        "weights": tinker.TensorData(data=weights, dtype="float32", shape=[len(weights)]),
    }
    return tinker.Datum(model_input=tinker.ModelInput.from_ints(inputs), loss_fn_inputs=tensors)


def test_metrics(contests: list[Contest], benchmark: BenchmarkFixture) -> None:
    """NLL and bits per byte of a step, in one pass."""
    datums, rng = batch(), np.random.default_rng(1)
    logprobs, n_bytes = -rng.random(len(datums.inputs), np.float32), rng.integers(0, 9, 250_000).astype(np.int32)
    given = logprobs, datums.targets, datums.weights, n_bytes
    size = datums.n_examples, len(datums.inputs)

    ours, twin = (
        task("add_up", lambda: sum_loss(*given), *size, 20),
        task("naive twin", lambda: naive.sums(*given), *size),
    )
    contests.append(race(benchmark, Contest("metrics of a step", ours.name, rows="examples"), ours, [twin], N_ROUNDS))
