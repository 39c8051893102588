"""Opening of a run: renderer, tokenizer, data, evaluation sets, plan and schedule from its config."""

from collections.abc import Callable
from typing import NamedTuple

from kernel.batches import n_steps
from kernel.errors import expected
from kernel.row_outcomes import RowOutcome
from kernel.schedules import Schedule, schedule
from kernel.train_plan import TrainPlan
from shell.data.sources import DatasetSpec, spec_of
from shell.datums.open_dataset import OpenDataset, open_dataset
from shell.process.runtime import compile_kernel
from shell.service.client import AdamParams, SamplingParams
from shell.settings.config import Config
from shell.text.formats import Format, format_names
from shell.text.models import learning_rate_advice, require
from shell.text.tokenizer import Tokenizer
from shell.token_cache.cache import Log
from shell.training.evaluate import HOLDOUT, EvalSet, HeldOut, check_names, open_sets, read_names
from shell.training.sampling import Samples, open_prompts, stops_of


class OpenRun(NamedTuple):
    """A run that is opened and checked, and not started."""

    renderer_name: str
    data: OpenDataset
    plan: TrainPlan
    learning_rate: float
    schedule: Schedule
    sets: tuple[EvalSet, ...] = ()
    """named sets, beside the holdout"""
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
        """The entries of rows outside every epoch."""
        return (*self.data.outside, *(entry for one in (*self.sets, *self.rare_sets) for entry in one.entries))


def open_run(
    config: Config,
    log: Log = lambda _line: None,
    done: Callable[[int, int], object] = lambda _n_done, _n_rows: None,
) -> OpenRun:
    """Opens all that a run needs before it starts; raises for whatever cannot be used.

    Args:
        log, done: progress of the token cache, see `shell.token_cache.open_cache`.
    """
    names, spec = format_names(config, config.encoder), spec_of(config)
    renderer, tokenizer = names.open(log)
    compile_kernel(log)
    _check_cadences(config)
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
        schedule(config.lr_schedule, total, config.warmup_steps, config.min_learning_rate / rate),
        sets,
        rare_sets,
        samples,
    )
    return opened._replace(plan=opened.plan._replace(eval_every=config.eval_every if opened.held_out else 0))


def _check_cadences(config: Config) -> None:
    """Raises for sets that would never be evaluated, and prompts that would never be sampled."""
    if config.eval_dataset and not config.eval_every:
        raise expected("--eval-every of at least 1 step", "0", at="--eval-dataset")
    if config.infrequent_eval_dataset and not config.infrequent_eval_every:
        raise expected("--infrequent-eval-every of at least 1 step", "0", at="--infrequent-eval-dataset")
    if config.sample_prompts and config.sample_every is None and not config.eval_every:
        raise expected("--sample-every, as nothing is evaluated", "none", at="--sample-prompts")
    if config.sample_every and not config.sample_prompts:
        raise expected("--sample-prompts to sample", "none", at="--sample-every")


def _open_sets(config: Config, spec: DatasetSpec, data: OpenDataset) -> tuple[tuple[EvalSet, ...], tuple[EvalSet, ...]]:
    """The sets to evaluate often, and those to evaluate less often."""
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
    """The optimizer's parameters for the update of a step."""
    return AdamParams(
        learning_rate=opened.learning_rate * opened.schedule(step),
        beta1=config.adam_beta1,
        beta2=config.adam_beta2,
        eps=config.adam_eps,
        weight_decay=config.weight_decay,
        grad_clip_norm=config.grad_clip_norm,
    )
