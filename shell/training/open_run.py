"""A run: opened and checked from its config, as the loop gets it, and how far it is.

numba compiles a loop of the kernel at its first call and caches it beside the source (or in NUMBA_CACHE_DIR): seconds
once per machine, which the screen explains.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernel.batches import n_steps
from kernel.conversation import Message
from kernel.datum import build_datums
from kernel.enums import TrainOnWhat
from kernel.errors import expected
from kernel.length_limit import LengthPolicy, apply_length_limit
from kernel.loss import sum_loss
from kernel.lr_schedules import Schedule
from kernel.ragged_batches import Ragged, reorder, take_ragged
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.token_program import assemble
from kernel.renderers.qwen3 import QWEN3
from kernel.row_outcomes import RowOutcome
from kernel.training_steps import TrainPlan
from shell.data.load_dataset import DatasetSpec, spec_of
from shell.datums.open_run_data import OpenDataset, open_dataset
from shell.datums.supervised_dataset import Batches
from shell.run_dir.progress_display import Screen
from shell.service.protocol import CROSS_ENTROPY, AdamParams, Client, Loss, SamplingParams, T, answer
from shell.settings.config import Config
from shell.text.known_models import learning_rate_advice, require
from shell.text.renderer_by_name import Format, format_names
from shell.text.tokenizer import Tokenizer
from shell.token_cache.cache import Log
from shell.training.evaluate import HOLDOUT, EvalSet, HeldOut, check_names, open_sets, read_names
from shell.training.evaluators import Evaluator
from shell.training.sampler import Sampler
from shell.training.sampling import Samples, open_prompts, stops_of
from shell.training.users_code import FromPython, Line, UsersCode, open_code, open_schedule

CONVERSATION = Message("user", "2+2?"), Message("assistant", "4")
PATIENCE = 1.5  # seconds in which cached loops are loaded


class OpenRun(NamedTuple):
    """A run that is opened and checked, and not started."""

    renderer_name: str
    data: OpenDataset
    plan: TrainPlan
    learning_rate: float
    schedule: Schedule
    code: UsersCode
    sets: tuple[EvalSet, ...] = ()  # named sets, beside the holdout
    rare_sets: tuple[EvalSet, ...] = ()
    samples: Samples | None = None

    @property
    def held_out(self) -> HeldOut:
        """The sets of each evaluation: the holdout, if something of it can be evaluated, and the named sets."""
        test = self.data.test
        own = {} if test is None or not test.weights.any() else {HOLDOUT: test}
        return own | {one.name: one.datums for one in self.sets}

    @property
    def outside(self) -> tuple[RowOutcome, ...]:
        return (*self.data.outside, *(entry for one in (*self.sets, *self.rare_sets) for entry in one.entries))


def open_run(
    config: Config,
    log: Log = lambda _line: None,
    done: Callable[[int, int], object] = lambda _n_done, _n_rows: None,
    given: FromPython = FromPython(),  # noqa: B008 - immutable
) -> OpenRun:
    """Opens all that a run needs before it starts; raises for whatever cannot be used."""
    code = open_code(config, given)
    names, spec = format_names(config, config.encoder), spec_of(config)
    renderer, tokenizer = names.open(log)
    compile_kernel(log)
    _check_cadences(config, code)
    data = open_dataset(config, renderer, tokenizer, names, log, done)
    sets, rare_sets = _open_sets(config, spec, data)
    samples = _open_samples(config, renderer, tokenizer)
    sample_every = config.eval_every if config.sample_every is None else config.sample_every
    total = n_steps(len(data.train), config.num_epochs, config.max_steps)
    rate = config.learning_rate
    if rate == "auto":
        rate = learning_rate_advice(require(str(config.model_name)))
    opened = OpenRun(
        renderer.name,
        data,
        TrainPlan(
            n_steps=total,
            save_every=config.save_every,
            save_every_tokens=config.save_every_tokens,
            save_every_seconds=config.save_every_seconds,
            rolling_save_every=config.rolling_save_every,
            rare_eval_every=config.infrequent_eval_every if rare_sets else 0,
            sample_every=sample_every if samples else 0,
        ),
        rate,
        open_schedule(config.lr_schedule, code.decay, total, config.n_warmup(total), config.min_learning_rate / rate),
        code,
        sets,
        rare_sets,
        samples,
    )
    evaluates = opened.held_out or code.evaluators
    return opened._replace(plan=opened.plan._replace(eval_every=config.eval_every if evaluates else 0))


def _check_cadences(config: Config, code: UsersCode) -> None:
    """Raises for sets that would never be evaluated, and prompts that would never be sampled."""
    if config.eval_dataset and not config.eval_every:
        raise expected("--eval-every of at least 1 step", "0", at="--eval-dataset")
    if code.evaluators and not config.eval_every:
        raise expected("--eval-every of at least 1 step", "0", at="--evaluator")
    if config.infrequent_eval_dataset and not config.infrequent_eval_every:
        raise expected("--infrequent-eval-every of at least 1 step", "0", at="--infrequent-eval-dataset")
    if config.sample_prompts and config.sample_every is None and not config.eval_every:
        raise expected("--sample-every, as nothing is evaluated", "none", at="--sample-prompts")
    if config.sample_every and not config.sample_prompts:
        raise expected("--sample-prompts to sample", "none", at="--sample-every")


def _open_sets(config: Config, spec: DatasetSpec, data: OpenDataset) -> tuple[tuple[EvalSet, ...], tuple[EvalSet, ...]]:
    often, rarely = "--eval-dataset", "--infrequent-eval-dataset"
    wanted = read_names(config.eval_dataset, often) if config.eval_dataset else {}
    rare = read_names(config.infrequent_eval_dataset, rarely) if config.infrequent_eval_dataset else {}
    check_names(list(wanted), list(rare), at=rarely)
    source, row_renderer = data.source, data.renderer
    sets = open_sets(wanted, spec, source, row_renderer, often)
    return tuple(sets), tuple(open_sets(rare, spec, source, row_renderer, rarely))


def _open_samples(config: Config, chat_format: Format, tokenizer: Tokenizer) -> Samples | None:
    if config.sample_prompts is None:
        return None
    params = SamplingParams(
        config.sample_max_tokens, stops_of(chat_format, tokenizer), config.sample_temperature, config.seed
    )
    prompts = open_prompts(config.sample_prompts, chat_format, tokenizer, config.dataset_column)
    return Samples(prompts, params, tokenizer, chat_format.parse)


def adam_at(config: Config, opened: OpenRun, step: int) -> AdamParams:
    return AdamParams(
        learning_rate=opened.learning_rate * opened.schedule(step),
        beta1=config.adam_beta1,
        beta2=config.adam_beta2,
        eps=config.adam_eps,
        weight_decay=config.weight_decay,
        grad_clip_norm=config.grad_clip_norm,
    )


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What a run consists of; nothing in it is decided while it runs."""

    plan: TrainPlan
    submit_ahead: int
    dataset: Batches
    held_out: HeldOut
    test_sources: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """source -> the numbers of its examples in the holdout, where there are several sources"""
    rare: HeldOut = field(default_factory=dict)
    samples: Samples | None = None
    evaluators: Sequence[Evaluator] = ()
    open_sampler: Callable[..., Sampler] = Sampler
    """of `Sample` and `wait`"""
    loss: Loss = CROSS_ENTROPY
    on_line: Callable[[Line], object] = lambda _line: None
    """called with each line of metrics, once it is on disk"""
    n_bytes: NDArray[np.int32]  # int32[V], the UTF-8 length of each id's own bytes
    adam: Callable[[int], AdamParams]
    ttl_seconds: int | None  # how long periodic checkpoints live; None: forever, as the final one
    sends_zero_loss: bool = False
    rolling_ttl_seconds: int | None = None
    fingerprint: Mapping[str, str]
    client: Client
    folder: Path
    screen: Screen
    clock: Callable[[], float]  # seconds
    delete_checkpoint: Callable[[str], object] = lambda _path: None

    def wait_for(self, future: Future[T], what: str) -> T:
        """The service's answer; raises a ServiceFault that names `what` failed."""
        return answer(future, what, self.client.check, self.screen.log)


class Progress(NamedTuple):
    """How far a run is. A step counts once it is answered and on disk, the end of the run as one more."""

    n_finished: int
    n_sequences: int = 0
    n_tokens: int = 0
    time: float = 0.0  # when the last step was finished, by the run's clock
    saved: float = 0.0
    """when the last periodic checkpoint was queued, or training began in this process, by the run's clock"""


def compile_kernel(log: Callable[[str], object]) -> None:
    """Calls each loop between rows and metrics on one short conversation; `log` may be called from a thread."""
    timer = Timer(PATIENCE, log, ("compiling the kernel's loops: once per machine, then cached",))
    timer.start()
    try:
        batch_renderer = BatchRenderer(QWEN3)
        program = batch_renderer.render([CONVERSATION], TrainOnWhat.LAST_ASSISTANT_MESSAGE)
        texts = take_ragged(_codes(program.texts), np.arange(len(program.texts)))
        examples = assemble(program, _codes([text for _, text in batch_renderer.constant_texts]), texts)
        examples = apply_length_limit(reorder(examples, np.arange(1)), 2048, LengthPolicy()).examples
        datums = build_datums(examples.tokens, examples.weights, examples.offsets, max_length=2048, units=examples.rows)
        sum_loss(datums.weights, datums.targets, datums.weights, np.zeros(128, np.int32))
    finally:
        timer.cancel()


def _codes(texts: Sequence[str]) -> Ragged:
    """ASCII texts as an encoder returns them."""
    ids = np.frombuffer("".join(texts).encode("ascii"), np.uint8).astype(np.int32)
    return Ragged(ids, np.cumsum([0, *map(len, texts)], dtype=np.int64))
