"""What a config's names lead to: renderer, tokenizer, data, and the plan and schedule of a run."""

from typing import NamedTuple

from kernel.batch import n_steps
from kernel.plan import Plan
from kernel.schedule import Schedule, schedule
from kernel.truncation import Truncation
from shell.builder import ChatDatasetBuilder, Opened
from shell.client import Adam
from shell.config import Config
from shell.formats import check_name, open_format, read_variables
from shell.models import learning_rate_advice, names_for, require
from shell.sources import DatasetSpec
from shell.tokenizer import open_tokenizer


class Parts(NamedTuple):
    """What a config's names lead to."""

    renderer_name: str
    data: Opened
    plan: Plan
    learning_rate: float
    schedule: Schedule


def open_parts(config: Config) -> Parts:
    """The renderer, the data and the plan of a run.

    Touches: the data's and the tokenizer's files; for those of the Hub the network.

    Raises:
        InputError: something that was given cannot be used.
    """
    assert config.model_name is not None
    assert config.dataset is not None
    names = names_for(config.model_name, config.renderer_name, config.tokenizer)
    check_name(names.renderer)
    tokenizer = open_tokenizer(names.tokenizer, names.revision, config.encoder)
    variables = read_variables(config.template_variables)
    renderer = open_format(names.renderer, tokenizer, names.tokenizer, names.revision, variables)
    builder = ChatDatasetBuilder(
        spec=DatasetSpec(
            dataset=config.dataset,
            dataset_config=config.dataset_config,
            dataset_split=config.dataset_split,
            dataset_column=config.dataset_column,
            dataset_format=config.dataset_format,
            max_bad_rows=config.max_bad_rows,
            test_size=config.test_size,
            seed=config.seed,
            streaming=config.streaming,
            shuffle_buffer=config.shuffle_buffer,
            streaming_length=config.streaming_length,
            mix_stopping=config.mix_stopping,
        ),
        batch_size=config.batch_size,
        max_length=config.max_length,
        train_on_what=config.train_on_what,
        reduction=config.reduction,
        tail=config.tail,
        order=config.order,
        split_turns=config.split_turns,
        truncation=Truncation(config.truncation),
        cut_answers=config.cut_answers,
        zero_loss=config.zero_loss,
        max_bad_rows=config.max_bad_rows,
    )
    data = builder(renderer, tokenizer)
    has_test = data.test is not None and bool(data.test.weights.any())
    total = n_steps(len(data.train), config.num_epochs, config.max_steps)
    rate = (
        learning_rate_advice(require(config.model_name)).rate
        if config.learning_rate == "auto"
        else config.learning_rate
    )
    return Parts(
        renderer.name,
        data,
        Plan(
            n_steps=total,
            eval_every=config.eval_every if has_test else 0,
            save_every=config.save_every,
            save_every_tokens=config.save_every_tokens,
            save_every_seconds=config.save_every_seconds,
            rolling_save_every=config.rolling_save_every,
        ),
        rate,
        schedule(config.lr_schedule, total, config.warmup_steps, config.min_learning_rate / rate),
    )


def adam_at(config: Config, parts: Parts, step: int) -> Adam:
    """The optimizer's parameters for the update of a step."""
    return Adam(
        learning_rate=parts.learning_rate * parts.schedule(step),
        beta1=config.adam_beta1,
        beta2=config.adam_beta2,
        eps=config.adam_eps,
        weight_decay=config.weight_decay,
        grad_clip_norm=config.grad_clip_norm,
    )
