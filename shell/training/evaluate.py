"""Evaluation sets: read from `--eval-dataset`, opened, queued and scored.

    held.jsonl                           a set by the name of its file
    code=code.jsonl,chat=no_robots       sets by names of their own
    hf:REPO, hf:REPO:SPLIT               the split `test` of a repository, or another

A set is evaluated whole (of `no_robots` and `sample` their test rows), without the rows that are also trained. An
evaluation is a forward pass queued like any other request, so it sees the weights before the next update.
"""

import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.datum import Datums
from kernel.errors import expected
from kernel.loss import mean_nll, sum_loss, tokens_of
from kernel.row_outcomes import Outcome, RowOutcome
from shell.data.dataset import Dataset
from shell.data.load_dataset import DatasetSpec, Source, open_source
from shell.data.mixture_spec import Share, names, own_rows
from shell.data.open_rows import exists
from shell.datums.render_rows import RowRenderer
from shell.service.protocol import Client, Logprobs

HOLDOUT = "test"  # the name of the set that is held out of the training data
TAKEN = ("test", "time", "source")  # names that metrics already use
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
HeldOut = Mapping[str, Datums]  # evaluation sets by name


class EvalSet(NamedTuple):
    """A set to evaluate, whole."""

    name: str
    datums: Datums
    entries: tuple[RowOutcome, ...]
    n_rows: int
    n_duplicates: int  # rows left out, as they are also trained

    def __str__(self) -> str:
        also = f" (without {self.n_duplicates:,} that training also has)" if self.n_duplicates else ""
        n_out = sum(bool(entry.reason) and entry.outcome is Outcome.HELD_OUT for entry in self.entries)
        also += f", of which {n_out:,} are not evaluated whole (see the ledger)" if n_out else ""
        return f"{self.name}: {self.n_rows:,} rows{also}"


def read_names(text: str, at: str = "--eval-dataset") -> dict[str, str]:
    """Set name -> what it is read from. A path may hold commas or an equals sign, if the file exists."""
    sets: dict[str, str] = {}
    pieces = text.split(",")
    while pieces:
        tries = [(",".join(pieces[:n]), n) for n in range(len(pieces), 1, -1)]
        one, n = next((t for t in tries if exists(t[0]) or exists(t[0].partition("=")[2])), (pieces[0], 1))
        pieces = pieces[n:]
        named = None if exists(one) else _NAMED.fullmatch(one.strip())
        name, data = (named[1], named[2]) if named else (names((Share(one.strip()),))[0], one.strip())
        if not data:
            raise expected("NAME=DATA between the commas", "nothing", at=at)
        if name in sets or name in TAKEN or "/" in name:
            raise expected("a name of its own for each set (NAME=DATA)", repr(name), at=at)
        sets[name] = data
    return sets


def open_sets(
    wanted: Mapping[str, str], spec: DatasetSpec, source: Source, row_renderer: RowRenderer, at: str
) -> list[EvalSet]:
    """Opens the sets `wanted` (name -> what it is read from); raises for one of which nothing can be evaluated."""
    trained = _trained(source, spec.dataset_column) if wanted else None
    return [_open(name, data, spec, trained, row_renderer, at) for name, data in wanted.items()]


def check_names(sets: Sequence[str], others: Sequence[str], at: str) -> None:
    """Raises for a name that both kinds of sets have."""
    for name in others:
        if name in sets:
            raise expected("a name of its own for each set (NAME=DATA)", repr(name), at=at)


def _open(
    name: str, data: str, spec: DatasetSpec, trained: NDArray[np.uint64] | None, row_renderer: RowRenderer, at: str
) -> EvalSet:
    own = own_rows(open_source(_spec_of(data, spec)))
    rows = own.test if len(own.test) else own.train
    label = f"evaluation set {name}"
    seen = np.zeros(len(rows), np.bool_)
    if trained is not None:
        seen = np.isin(rows.rows.digests(spec.dataset_column)[rows.indices], trained)
    fresh, left = rows.select(np.flatnonzero(~seen)), rows.select(np.flatnonzero(seen))
    reason = "its content also stands in training"
    entries = [RowOutcome(Outcome.DUPLICATE, place, reason, source=label) for place in left.places()]
    if not len(fresh):
        got = f"none, as training has all {len(rows):,}" if len(rows) else "none"
        raise expected("at least one row to evaluate", got, at=f"{at} {name}={data}")
    locations = fresh.places()
    result = row_renderer.batch(fresh.to_list(), locations)
    if not result.datums.weights.any():
        mode = row_renderer.settings.train_on_what.value
        raise expected(f"a set of which {mode} trains something", "none", at=f"{at} {name}={data}")
    reasons = {one.row: f"{one.outcome.value}: {one.reason}" for one in result.outcomes}
    entries += [
        RowOutcome(Outcome.HELD_OUT, place, reasons.get(i, ""), source=label) for i, place in enumerate(locations)
    ]
    return EvalSet(name, result.datums, tuple(entries), len(fresh), len(left))


def _trained(source: Source, column: str) -> NDArray[np.uint64] | None:
    """The digests of all rows that are trained; None for a stream."""
    if not isinstance(source.train, Dataset):
        return None
    return np.unique(source.train.rows.digests(column)[source.train.indices])


def _spec_of(data: str, spec: DatasetSpec) -> DatasetSpec:
    """How to open a set's data: of the built-in sets their test rows, of others all rows."""
    split, config = "train", None
    if data.startswith("hf:"):
        repo, colon, split = data.removeprefix("hf:").partition(":")
        data, split, config = f"hf:{repo}", split if colon else "test", spec.dataset_config
    elif not exists(data) and exists(path := data.rpartition(":")[0]):  # FILE:SPLIT
        data, split = path, data.rpartition(":")[2]
    return msgspec.structs.replace(
        spec,
        dataset=data,
        dataset_config=config,
        dataset_split=split,
        test_size=None if data in ("no_robots", "sample") else 0,
        streaming=False,
        streaming_length=None,
    )


def queue_evaluations(client: Client, held_out: HeldOut) -> dict[str, Future[Logprobs]]:
    """Requests one forward pass over each set."""
    return {name: client.forward(datums) for name, datums in held_out.items()}


def score(
    held_out: HeldOut, logprobs: Mapping[str, Logprobs], n_bytes: NDArray[np.int32], prefix: str = ""
) -> dict[str, float]:
    """The metrics of an evaluation: `NAME/nll` in nats per token and `NAME/bpb` in bits per byte, where defined."""
    metrics: dict[str, float] = {}
    for name, datums in held_out.items():
        sums = sum_loss(logprobs[name], datums.targets, datums.weights, n_bytes)
        metrics |= {f"{name}/{prefix}nll": sums.nll, f"{name}/{prefix}bpb": sums.bpb}
    return {key: value for key, value in metrics.items() if not math.isnan(value)}


def score_sources(
    datums: Datums, logprobs: Logprobs, sources: Mapping[str, NDArray[np.int64]], key: str
) -> dict[str, float]:
    """The mean loss of each source of a mixture as `source/NAME/KEY`, in nats per token, where something has weight."""
    own = {name: tokens_of(examples, datums.offsets) for name, examples in sources.items()}
    scores = {f"source/{name}/{key}": mean_nll(logprobs[at], datums.weights[at]) for name, at in own.items()}
    return {name: score for name, score in scores.items() if not math.isnan(score)}
