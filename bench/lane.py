"""The contenders of this process: our path, by stages, whole and on threads; bare tokenisation; the naive twin.

Each has a tokenizer of its own, made for the contest. `tokenizers` remembers the words it has seen, so contenders that
shared one would warm it for each other, and a second contest on the same rows would not be a first pass.
"""

from hashlib import blake2b
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import tinker
from tokenizers import Tokenizer as Backend

from bench.bare import Bare
from bench.contest import Lap, Tally, Timed
from bench.document import ARRAYS, BARE, DATUMS
from bench.made import made_rows
from bench.workload import MAX_ROUNDS, MODE, Workload, literal
from kernel.conversation import Conversation
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.token_program import assemble
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderer_language.pieces import Renderer
from kernel.row_to_conversation import read_conversation
from shell.data.dataset import Dataset
from shell.data.rows import Row
from shell.datums.render_rows import Rendered, RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.datums.supervised_dataset import SupervisedDataset
from shell.datums.tinker_datums import datums_to_tinker
from shell.text.encoder import Choice
from shell.text.tokenizer import Tokenizer, open_tokenizer
from tests import naive
from tests.naive import write
from tests.spans import weigh

MAX_LENGTH = 32768
N_WARM = 64
"""made-up rows that a contender goes through before each lap, untimed: it has slept through the laps of the others"""
GREETING: Row = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]}
STAGES = ("conversations", "compose", "encode", "assemble", "finish", "tinker.Datum")


class Lane:
    """A renderer's conversations, cut into disjoint batches: round k of a contest is batch k of the dataset."""

    def __init__(self, renderer: Renderer, workload: Workload) -> None:
        self.renderer, self.tokenizer = renderer, workload.tokenizer
        self.data: Dataset = workload.fitting(renderer)
        self.n_left_out = len(workload.data) - len(self.data)
        self.batch_size = min(workload.batch_size, len(self.data))
        self._batches = SupervisedDataset(self.data, self.open_maker(), self.batch_size)
        self.n_rounds = min(len(self._batches), MAX_ROUNDS)
        made = made_rows(N_WARM * self.n_rounds, seed=1)
        self._warm = [made[i * N_WARM : (i + 1) * N_WARM] for i in range(self.n_rounds)]

    def open_maker(
        self, split_turns: bool = False, encoder: Choice = "tokenizers", shared: Tokenizer | None = None
    ) -> RowRenderer:
        """Rows to datums, with a tokenizer that has seen none of them, and whatever is compiled compiled."""
        tokenizer = shared or open_tokenizer(str(self.tokenizer), encoder=encoder)
        maker = RowRenderer(
            self.renderer,
            tokenizer,
            RenderSettings(train_on_what=MODE, max_length=MAX_LENGTH, split_turns=split_turns),
        )
        datums_to_tinker(maker.batch([GREETING], ["greeting"]).datums)
        return maker

    def splits(self) -> bool:
        """Whether training makes several examples of some of these conversations."""
        talks = [read_conversation(row) for row in self.data.to_list()]
        return len(BatchRenderer(self.renderer).render(talks, MODE).rows) > len(talks)

    def rows(self, turn: int) -> list[Row]:
        return self.data.read(self._batches.rows_of(turn))

    def warm_rows(self, turn: int) -> list[Row]:
        """Made-up rows to go through before the lap of that turn."""
        return self._warm[turn]

    def places(self, turn: int) -> list[str]:
        return [self.data.place(i) for i in self._batches.rows_of(turn).tolist()]


def whole(lane: Lane, name: str = "whole batch", split_turns: bool = False) -> Timed:
    """Ours: what a step of training waits for, from the file to what the SDK sends."""
    maker = lane.open_maker(split_turns)
    dataset = SupervisedDataset(lane.data, maker, lane.batch_size)

    def ready(turn: int) -> int:
        datums_to_tinker(maker.batch(lane.warm_rows(turn), [""] * N_WARM).datums)
        return turn

    return Timed(
        name,
        ready,
        run=lambda turn: datums_to_tinker(dataset.get_batch(turn)),
        tally=lambda datums: tally(lane.batch_size, [lists(datum) for datum in datums]),
    )


def staged(lane: Lane, encoder: Choice) -> Timed:
    """Ours: rows in memory to what the SDK sends, one example a conversation, with the time of each stage."""
    maker = lane.open_maker(encoder=encoder)

    def ready(turn: int) -> tuple[list[Row], list[str]]:
        in_stages(maker, lane.warm_rows(turn), [""] * N_WARM)
        return lane.rows(turn), lane.places(turn)

    def run(given: tuple[list[Row], list[str]]) -> Staged:
        return in_stages(maker, *given)

    def parts(done: Staged) -> dict[str, Lap]:
        made = tally(done.n_rows, [lists(datum) for datum in done.sent])._replace(digests=())
        seconds = np.diff(done.clock).tolist()
        laps = {name: Lap(took, made) for name, took in zip(STAGES, seconds, strict=True)}
        return {ARRAYS: Lap(sum(seconds[:-1]), made), **laps}

    return Timed(DATUMS, ready, run, tally=sent, parts=parts)


class Staged(NamedTuple):
    """What came of rows, and when each stage ended."""

    sent: list[tinker.Datum]
    n_rows: int
    clock: list[float]


def in_stages(maker: RowRenderer, rows: list[Row], places: list[str]) -> Staged:
    """What `maker.batch` and `datums_to_tinker` do, a stage at a time."""
    clock = [perf_counter()]
    talks = [read_conversation(row, at, maker.settings.column) for row, at in zip(rows, places, strict=True)]
    clock.append(perf_counter())
    script = maker._batch_renderer.render(talks, maker.settings.train_on_what, places)
    clock.append(perf_counter())
    if len(maker._batch_renderer.constant_texts) + 1 > len(maker._constants.offsets):
        maker._constants = maker.tokenizer.encode_constants(maker._batch_renderer.constant_texts)
    texts = maker.tokenizer.encode(script.texts)
    clock.append(perf_counter())
    examples = assemble(script, maker._constants, texts)
    clock.append(perf_counter())
    datums = maker.finish(Rendered(examples, {}, {}), places).datums
    clock.append(perf_counter())
    datums_sent = datums_to_tinker(datums)
    clock.append(perf_counter())
    return Staged(datums_sent, len(rows), clock)


def sent(done: Staged) -> Tally:
    return tally(done.n_rows, [lists(datum) for datum in done.sent])


def bare(lane: Lane) -> Timed:
    """Bare tokenisation of a batch."""
    its = Bare(lane.renderer, lane.tokenizer)

    def ready(turn: int) -> list[str]:
        its.encode(its.strings(lane.warm_rows(turn)))
        return its.strings(lane.rows(turn))

    return Timed(
        BARE,
        ready,
        its.encode,
        tally=lambda n_tokens: Tally(lane.batch_size, n_tokens),
    )


def naive_twin(lane: Lane) -> Timed:
    """The same datums by the definition: spans written out, runs encoded one by one, lists of Python numbers."""
    backend = Backend.from_str(literal(lane.tokenizer))
    controls = open_tokenizer(str(lane.tokenizer)).controls

    def run(rows: list[Row]) -> Any:
        talks = [read_conversation(row) for row in rows]
        examples = [naive_example(talk, lane.renderer, backend, controls) for talk in talks]
        return naive.datums(examples, MAX_LENGTH, "mean")

    def ready(turn: int) -> list[Row]:
        run(lane.warm_rows(turn))
        return lane.rows(turn)

    return Timed(
        "naive twin",
        ready,
        run,
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
        if run and (span is None or span.kind is SpanKind.CONTROL or last is None or span[2:] != last[2:]):
            ids = backend.encode(run, add_special_tokens=False).ids
            tokens += ids
            weights += [on] * len(ids)
            run = ""
        if span is not None and span.kind is SpanKind.CONTROL:
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
