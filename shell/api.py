"""The Python API, as `import tinsmith` has it: train, read runs, encode rows for other trainers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from kernel.dataset_formats import to_messages
from kernel.enums import TrainOnWhat
from kernel.errors import problem
from kernel.length_limit import apply_length_limit
from shell.data.rows import Row
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.process.plugs import from_python, name_of, versioned
from shell.run_reader import Run
from shell.settings.cli import resolve_config
from shell.settings.config import Config, ShowConfig
from shell.text.renderer_by_name import format_names
from shell.training.users_code import FromPython

__all__ = ["Config", "Encoded", "Run", "encode", "train", "versioned"]

Function = Callable[..., Any]


def train(
    config: Config,
    *,
    evaluators: Mapping[str, Function] | Sequence[Function] = (),
    loss: Function | None = None,
    loggers: Sequence[Function] = (),
    schedule: Function | None = None,
    on_step: Callable[[Mapping[str, Any]], object] | None = None,
) -> Run:
    """Trains, or resumes, the run of a config, and returns it. Ctrl-C stops after a checkpoint.

    It may run in a notebook, where each step is a line, and in a thread, where no signal stops it.

    Args:
        config: `Config(log_path=..., dataset=..., ...)`; what is not given follows from the service and the dataset,
            as on the command line.
        evaluators: `evaluate(sampler) -> {"accuracy": 0.5}`, by name or each under its own, as with `--evaluator`.
        loss: `loss(data, logprobs) -> (loss, metrics)`, in place of `config.loss`, as with `--loss FILE.py:NAME`.
        loggers: `log(line)` of metrics, as with `--logger`; exceptions in them stop nothing.
        schedule: `decay(step, n_steps) -> multiplier`, in place of `config.lr_schedule`, as with `--schedule`.
        on_step: called with each line of metrics; an exception in it stops the run, which can be resumed.

    A loss and a schedule decide the steps: a run recognises them by `versioned(function, "1")`, and resumes with one
    that has no version only by `accept_changes`.

    Raises:
        InputError: something cannot be used; nothing was overwritten.
        ServiceFault: the service failed; what was finished is on disk.

    >>> import tinsmith
    >>> run = tinsmith.train(tinsmith.Config(log_path="runs/a", max_steps=2))  # doctest: +SKIP
    >>> run.metrics[-1]["step"], run.is_finished  # doctest: +SKIP
    (1, True)
    """
    from shell.train import train as train_resolved

    named = evaluators if isinstance(evaluators, Mapping) else {name_of(one): one for one in evaluators}
    if len(named) < len(evaluators):
        raise problem("two evaluators have the same name: give them as {name: function}", "evaluators")
    given = FromPython(
        evaluators={name: from_python(one, f"evaluators[{name!r}]") for name, one in named.items()},
        loss=from_python(loss, "loss") if loss else None,
        loggers=tuple(from_python(one, "loggers") for one in loggers),
        schedule=from_python(schedule, "schedule") if schedule else None,
        on_step=from_python(on_step, "on_step") if on_step else None,
    )
    train_resolved(resolve_config(config), given)
    return Run(config.log_path)


UNTRAINED = -100
"""the label of a token that is not trained, as Hugging Face trainers have it"""


class Encoded(NamedTuple):
    """Examples of rows for a trainer that shifts labels itself, as those of Hugging Face do.

    Example e is `input_ids[offsets[e]:offsets[e + 1]]`, of row `rows[e]`; `dicts()` gives one dict per example.
    """

    input_ids: NDArray[np.int32]
    """int32[T], all examples one after the other"""
    labels: NDArray[np.int64]
    """int64[T], the same ids, not shifted; -100 where a token is not trained"""
    offsets: NDArray[np.int64]
    """int64[E + 1]"""
    rows: NDArray[np.int64]
    """int64[E], the number of the row that each example is of"""

    def dicts(self) -> Iterator[dict[str, list[int]]]:
        """Each example as `input_ids`, `labels` and `attention_mask`, for `datasets.Dataset.from_list`."""
        for start, stop in pairwise(self.offsets.tolist()):
            ids, labels = self.input_ids[start:stop].tolist(), self.labels[start:stop].tolist()
            yield {"input_ids": ids, "labels": labels, "attention_mask": [1] * len(ids)}


def encode(
    rows: Sequence[Row],
    *,
    model_name: str = "tinsmith/tiny",
    renderer_name: str | None = None,
    tokenizer: str | None = None,
    train_on_what: TrainOnWhat | str = TrainOnWhat.ALL_ASSISTANT_MESSAGES,
    max_length: int | None = None,
    split_turns: bool = True,
) -> Encoded:
    """Tokens and labels of rows of chat data, for trainers other than Tinker's.

    A datum differs from what this gives in three ways: its targets are shifted by one already, its weights are numbers
    (here trained or not: fractions of a weight are lost, and refused), and it has no last input token.

    Args:
        rows: rows of any dataset format.
        model_name: whose renderer and tokenizer to use, unless these are given.
        max_length: tokens per example; longer ones are cut at the right.
        split_turns: whether a row may become several examples, where a later turn changes how an earlier is written.

    Raises:
        InputError: a row that cannot be read or written, with its number; a weight that is neither 0 nor 1.

    >>> import tinsmith
    >>> row = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
    >>> encoded = tinsmith.encode([row])  # doctest: +SKIP
    >>> [sum(label != -100 for label in one["labels"]) for one in encoded.dicts()]  # doctest: +SKIP
    [2]
    """
    names = ShowConfig(model_name=model_name, renderer_name=renderer_name, tokenizer=tokenizer)
    chat_format, opened = format_names(names).open()
    settings = RenderSettings(train_on_what=TrainOnWhat(train_on_what), max_length=max_length, split_turns=split_turns)
    locations = [f"row {i}" for i in range(len(rows))]
    messages = [cast(dict[str, Any], to_messages(row, at)) for row, at in zip(rows, locations, strict=True)]
    rendered = RowRenderer(chat_format, opened, settings).render(messages, locations)
    examples = apply_length_limit(rendered.examples, max_length, settings.length_policy).examples
    uneven = np.flatnonzero((examples.weights != 0) & (examples.weights != 1))
    if len(uneven):
        example = int(np.searchsorted(examples.offsets, uneven[0], side="right")) - 1
        row = locations[int(examples.rows[example])]
        raise problem(f"a weight of {examples.weights[uneven[0]]:g} cannot be a label; leave out weights", row)
    labels = np.where(examples.weights > 0, examples.tokens, UNTRAINED).astype(np.int64)
    return Encoded(examples.tokens, labels, examples.offsets, examples.rows)
