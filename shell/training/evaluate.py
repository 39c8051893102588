"""Held-out loss: exact, over whole sets, with the weights as they are at one place of the run.

An evaluation is a forward pass through the training client, queued like any other request. So it sees the weights
before the update behind it, nothing waits for it, and no weights are exported for it.
"""

import math
from collections.abc import Mapping
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums
from kernel.loss import mean_nll, sum_loss, tokens_of
from shell.service.client import Client, Logprobs

Int64 = NDArray[np.int64]
HOLDOUT = "test"
"""the name of the set that is held out of what is trained"""
HeldOut = Mapping[str, Datums]
"""evaluation sets by name; each is evaluated whole"""


def queue_evaluations(client: Client, held_out: HeldOut) -> dict[str, Future[Logprobs]]:
    """Queues one forward pass over each set.

    Touches: the network, through the client.
    """
    return {name: client.forward(datums) for name, datums in held_out.items()}


def score(held_out: HeldOut, logprobs: Mapping[str, Logprobs], n_bytes: NDArray[np.int32]) -> dict[str, float]:
    """The metrics of an evaluation: `NAME/nll` in nats a token and `NAME/bpb` in bits a byte.

    Args:
        held_out: the sets.
        logprobs: what the service answered for each.
        n_bytes: int32[V], the UTF-8 length of each id's own bytes.

    Returns:
        What is defined: a set without any trained text has no bits per byte.
    """
    metrics: dict[str, float] = {}
    for name, datums in held_out.items():
        sums = sum_loss(logprobs[name], datums.targets, datums.weights, n_bytes)
        metrics |= {f"{name}/nll": sums.nll, f"{name}/bpb": sums.bpb}
    return {key: value for key, value in metrics.items() if not math.isnan(value)}


def score_sources(datums: Datums, logprobs: Logprobs, sources: Mapping[str, Int64], key: str) -> dict[str, float]:
    """The mean loss of each source of a mixture as `source/NAME/KEY`, in nats a token, where something has weight.

    Args:
        datums: of all sources.
        logprobs: what the service answered for them.
        sources: the examples of each source, int64[E], by their numbers in `datums`.

    >>> inputs, weights = np.array([5, 6, 7], np.int32), np.array([1, 1, 1], np.float32)
    >>> datums = Datums(inputs, inputs.astype(np.int64) + 1, weights, np.array([0, 2, 3]))
    >>> score_sources(datums, np.array([-1, -3, -5], np.float32), {"a": np.array([0]), "b": np.array([1])}, "test_nll")
    {'source/a/test_nll': 2.0, 'source/b/test_nll': 5.0}
    """
    own = {name: tokens_of(examples, datums.offsets) for name, examples in sources.items()}
    scores = {f"source/{name}/{key}": mean_nll(logprobs[at], datums.weights[at]) for name, at in own.items()}
    return {name: score for name, score in scores.items() if not math.isnan(score)}
