"""The contenders of this process: our path, whole and by stages; bare tokenisation; the naive twin.

Each has a tokenizer of its own, made for the contest. `tokenizers` remembers the words it has seen, so contenders that
shared one would warm it for each other, and a second contest on the same rows would not be a first pass.
"""

from hashlib import blake2b
from time import perf_counter
from typing import Any

import numpy as np
import tinker
from tokenizers import Tokenizer as Backend

from bench.contest import Lap, Tally, Timed
from bench.workload import MAX_ROUNDS, MODE, Workload, literal
from kernel.atoms import Kind
from kernel.compositor import Compositor
from kernel.conversation import Conversation
from kernel.example import weigh
from kernel.pieces import Renderer
from kernel.reading import read_conversation
from kernel.renderer import write
from kernel.script import Ragged, assemble
from shell.adapter import Dataset
from shell.dataset import SupervisedDataset
from shell.maker import DatumMaker
from shell.rows import Row
from shell.service import datums_to_tinker
from shell.tokenizer import open_tokenizer
from tests import naive

MAX_LENGTH = 32768
GREETING: Row = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]}
STAGES = ("read rows", "conversations", "compose", "encode", "assemble", "datums", "tinker.Datum")
ARRAYS, DATUMS = "rows to flat arrays", "rows to list[tinker.Datum]"


class Lane:
    """A renderer's conversations, cut into disjoint batches: round k of a contest is batch k of the dataset."""

    def __init__(self, renderer: Renderer, workload: Workload) -> None:
        self.renderer, self.tokenizer = renderer, workload.tokenizer
        self.data: Dataset = workload.fitting(renderer)
        self.n_left_out = len(workload.data) - len(self.data)
        self.batch_size = min(workload.batch_size, len(self.data))
        self._batches = SupervisedDataset(self.data, self.open_maker(), self.batch_size)
        self.n_rounds = min(len(self._batches), MAX_ROUNDS)

    def open_maker(self, split_turns: bool = False) -> DatumMaker:
        """Rows to datums, with a tokenizer that has seen none of them, and whatever is compiled compiled."""
        tokenizer = open_tokenizer(str(self.tokenizer))
        maker = DatumMaker(self.renderer, tokenizer, MODE, MAX_LENGTH, split_turns=split_turns)
        datums_to_tinker(maker.datums([GREETING], ["greeting"]))
        return maker

    def open_dataset(self, split_turns: bool = False) -> SupervisedDataset:
        """The batches, with a maker of their own."""
        return SupervisedDataset(self.data, self.open_maker(split_turns), self.batch_size)

    def splits(self) -> bool:
        """Whether training makes several examples of some of these conversations."""
        talks = [read_conversation(row) for row in self.data.to_list()]
        return len(Compositor(self.renderer).compose(talks, MODE).rows) > len(talks)

    def rows(self, turn: int) -> list[Row]:
        return self.data.read(self._batches.rows_of(turn))

    def places(self, turn: int) -> list[str]:
        return [self.data.place(i) for i in self._batches.rows_of(turn).tolist()]


def whole(lane: Lane, name: str = "whole batch", split_turns: bool = False) -> Timed:
    """Ours: what a step of training waits for, from the file to what the SDK sends."""
    dataset = lane.open_dataset(split_turns)
    return Timed(
        name,
        ready=lambda turn: turn,
        run=lambda turn: datums_to_tinker(dataset.get_batch(turn)),
        tally=lambda datums: tally(lane.batch_size, [lists(datum) for datum in datums]),
    )


class Stages:
    """Ours, stage by stage, and the sums that others compare with."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.maker = lane.open_maker()
        self.compositor = Compositor(lane.renderer, split_turns=False)
        self.statics = self.maker.tokenizer.encode_statics([])

    def laps(self, turn: int) -> dict[str, Lap]:
        places, clock = self.lane.places(turn), [perf_counter()]
        rows = self.lane.rows(turn)
        clock.append(perf_counter())
        talks = [read_conversation(row, at) for row, at in zip(rows, places, strict=True)]
        clock.append(perf_counter())
        script = self.compositor.compose(talks, MODE, places)
        clock.append(perf_counter())
        statics, texts = self._statics(), self.maker.tokenizer.encode(script.texts)
        clock.append(perf_counter())
        examples = assemble(script, statics, texts)
        clock.append(perf_counter())
        datums = self.maker.cut(examples, places)
        clock.append(perf_counter())
        sent = datums_to_tinker(datums)
        clock.append(perf_counter())
        done = tally(len(rows), [lists(datum) for datum in sent])
        seconds = np.diff(clock).tolist()
        laps = {name: Lap(took, done._replace(digests=())) for name, took in zip(STAGES, seconds, strict=True)}
        return {ARRAYS: Lap(sum(seconds[1:-1]), laps[STAGES[0]].tally), DATUMS: Lap(sum(seconds[1:]), done)} | laps

    def _statics(self) -> Ragged:
        if len(self.compositor.statics) + 1 > len(self.statics.offsets):
            self.statics = self.maker.tokenizer.encode_statics(self.compositor.statics)
        return self.statics


def bare(lane: Lane) -> Timed:
    """`encode_batch_fast` of the strings that ours encodes, and nothing else: what nobody can do without."""
    backend, compositor = Backend.from_str(literal(lane.tokenizer)), Compositor(lane.renderer, split_turns=False)
    return Timed(
        "bare encode_batch_fast",
        ready=lambda turn: compositor.compose([read_conversation(row) for row in lane.rows(turn)], MODE).texts,
        run=lambda texts: backend.encode_batch_fast(texts, add_special_tokens=False),
        tally=lambda encodings: Tally(lane.batch_size, sum(len(encoding.ids) for encoding in encodings)),
    )


def naive_twin(lane: Lane) -> Timed:
    """The same datums by the definition: spans written out, runs encoded one by one, lists of Python numbers."""
    backend = Backend.from_str(literal(lane.tokenizer))
    controls = open_tokenizer(str(lane.tokenizer)).controls
    return Timed(
        "naive twin",
        ready=lane.rows,
        run=lambda rows: naive.datums(
            [naive_example(read_conversation(row), lane.renderer, backend, controls) for row in rows],
            MAX_LENGTH,
            "mean",
        ),
        tally=lambda datums: tally(
            lane.batch_size, [(inputs, targets, weights) for inputs, targets, weights, _ in datums]
        ),
    )


def naive_example(
    talk: Conversation, renderer: Renderer, backend: Backend, controls: dict[str, int]
) -> tuple[list[int], list[float]]:
    """Tokens and weights of one conversation."""
    spans = write(renderer, talk)
    tokens: list[int] = []
    weights: list[float] = []
    run, on, last = "", 0.0, None
    for span, weight in [*zip(spans, weigh(renderer, talk, spans, MODE), strict=True), (None, 0.0)]:
        if run and (span is None or span.kind is Kind.CONTROL or last is None or span[2:] != last[2:]):
            ids = backend.encode(run, add_special_tokens=False).ids
            tokens += ids
            weights += [on] * len(ids)
            run = ""
        if span is not None and span.kind is Kind.CONTROL:
            tokens.append(controls[span.text])
            weights.append(weight)
        elif span is not None:
            run, on = run + span.text, weight
        last = span
    return tokens, weights


def lists(datum: tinker.Datum) -> tuple[Any, Any, Any]:
    """Inputs, targets and weights of a datum of the SDK's."""
    (chunk,) = datum.model_input.chunks
    assert isinstance(chunk, tinker.EncodedTextChunk)
    inputs = datum.loss_fn_inputs
    return chunk.tokens, inputs["target_tokens"].to_numpy(), inputs["weights"].to_numpy()


def tally(n_rows: int, examples: list[tuple[Any, Any, Any]]) -> Tally:
    """What the examples (inputs, targets, weights) of some rows amount to."""
    return Tally(n_rows, sum(len(inputs) for inputs, _, _ in examples), tuple(digest(*e) for e in examples))


def digest(inputs: Any, targets: Any, weights: Any) -> str:
    """Equal for equal tokens and weights. `peers_worker.py` has the same function."""
    types = zip((inputs, targets, weights), (np.int64, np.int64, np.float32), strict=True)
    return blake2b(b"".join(np.asarray(values, kind).tobytes() for values, kind in types), digest_size=8).hexdigest()
