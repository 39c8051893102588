"""Code of the user's that takes part in a run: loss, schedule, loggers, and what is given from Python.

Only a file's own bytes are compared when a run resumes: not the modules that it imports, nor what a function closes
over.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from kernel.errors import InputError, expected, problem, unknown
from kernel.lr_schedules import Schedule, schedule
from shell.process.plugs import Plug, is_plug, load_plug, split_specs
from shell.service.protocol import CROSS_ENTROPY, Loss
from shell.settings.config import Config
from shell.training.evaluators import Evaluator, numbers, open_evaluators

Line = Mapping[str, Any]


@dataclass(frozen=True)
class FromPython:
    """Plugs that were given as objects, beside or in place of those that the settings name."""

    evaluators: Mapping[str, Plug] = field(default_factory=dict)
    loss: Plug | None = None
    loggers: tuple[Plug, ...] = ()
    schedule: Plug | None = None
    on_step: Plug | None = None


class UsersCode(NamedTuple):
    """What of a run is the user's own, loaded and not yet called."""

    evaluators: tuple[Evaluator, ...]
    loss: Loss
    loggers: "Loggers"
    decay: Plug | None
    loss_mark: str
    """the loss in the fingerprint of a run"""
    plugs: tuple[Plug, ...]

    def log_with(self, log: Callable[[str], object]) -> None:
        """Lines about calls that do not return go there."""
        for plug in self.plugs:
            plug.log = log


def open_code(config: Config, given: FromPython) -> UsersCode:
    """Loads what the settings name, and checks that it can be called."""
    evaluators = open_evaluators(config.evaluator, given.evaluators)
    loss, loss_plug = open_loss(config.loss, given.loss)
    loggers = open_loggers(config.logger, given)
    decay = given.schedule
    if decay is None and config.schedule is not None:
        decay = load_plug(_spec(config.schedule, "--schedule"), "--schedule", "a schedule")
    if decay is not None:
        decay.check_takes(2, "a step and the number of steps")
    others = (loss_plug, decay, given.on_step)
    plugs = (*(one.plug for one in evaluators), *loggers.plugs, *(plug for plug in others if plug))
    mark = " ".join([*([] if loss.function else [loss.name]), *([loss_plug.mark] if loss_plug else [])])
    return UsersCode(evaluators, loss, loggers, decay, mark, plugs)


def open_schedule(name: str, own: Plug | None, n_steps: int, warmup_steps: int, floor: float) -> Schedule:
    """The schedule of a run.

    A decay of the user's is a function `decay(step, n_steps) -> multiplier` of the learning rate, a finite number >= 0,
    in place of `--lr-schedule`; `--warmup-steps` come before it and are in neither number, and `--min-learning-rate`
    is its floor. It is called for all steps before the run starts, and never again.
    """
    if own is None:
        return schedule(name, n_steps, warmup_steps, floor)

    def decay(n: int) -> Schedule:
        multipliers = [_multiplier(own, step, n) for step in range(n)]
        return lambda step: multipliers[step]

    return schedule(decay, n_steps, warmup_steps, floor)


def _multiplier(plug: Plug, step: int, n_steps: int) -> float:
    found = plug(step, n_steps)
    if not isinstance(found, Real) or not 0 <= float(found) < math.inf:
        raise plug.problem(f"returned {found!r:.60} at step {step} of {n_steps}, not a finite number >= 0")
    return float(found)


def open_loss(text: str, given: Plug | None) -> tuple[Loss, Plug | None]:
    """The loss of a run, and the user's code in it.

    `cross_entropy` is the service's weighted cross-entropy. `NAME=FILE.py:NAME` (say `ppo=mine.py:inputs`) is another
    loss of the service and a function of the user's for its inputs: `inputs(example) -> {"advantages": [...], ...}`,
    where example has the arrays `input_ids`, `target_tokens` and `weights` of one datum, T numbers each, and so has
    each input that is returned; the targets are sent as they are.

    `FILE.py:NAME` is a loss of the user's, through the SDK's `forward_backward_custom`:
    `loss(data, logprobs) -> (loss, metrics)`, where data are the `tinker.Datum` of a step and logprobs a
    `torch.Tensor` for each, loss is a scalar tensor to differentiate and metrics are numbers by name, in
    `metrics.jsonl` as `loss/KEY`. It needs torch, and one more forward pass a step. It must follow from its arguments
    alone. After an exception in it, the run resumes from its last checkpoint.
    """
    if given is None and text == CROSS_ENTROPY.name:
        return CROSS_ENTROPY, None
    name, spec = ("", text) if given else next(split_specs(text), ("", text))
    if given is None and (name or not is_plug(spec)):
        return _services_loss(name or spec, spec if name else None)
    plug = given or load_plug(spec, "--loss", "a loss")
    plug.check_takes(2, "a list of datums and a list of log-probabilities")
    if find_spec("torch") is None:
        raise problem(f"{plug.spec} needs torch, which is not installed: pip install 'tinsmith[loss]'", plug.at)

    def function(data: Sequence[Any], logprobs: Sequence[Any]) -> tuple[Any, dict[str, float]]:
        found = plug(data, logprobs)
        if not isinstance(found, tuple) or len(found) != 2:
            raise plug.problem(f"returned {type(found).__name__}, not a loss and its metrics")
        loss, metrics = found
        if not getattr(loss, "requires_grad", False) or loss.numel() != 1 or not math.isfinite(loss.item()):
            raise plug.problem(f"returned the loss {loss!r:.60}, not a finite scalar that follows from logprobs")
        return loss, numbers(plug, metrics)

    return Loss(plug.spec, function=function), plug


def _services_loss(name: str, spec: str | None) -> tuple[Loss, Plug]:
    from tinker.types import LossFnType

    names = [one for one in get_args(LossFnType) if one != "custom"]
    if name not in names:
        raise unknown("loss", name, names, at="--loss")
    if spec is None:
        raise problem(f"{name} has inputs beside the targets: give --loss {name}=FILE.py:NAME", "--loss")
    plug = load_plug(spec, "--loss", "a function of loss inputs")
    plug.check_takes(1, "an example")

    def inputs(example: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = plug(example)
        if not isinstance(found, Mapping):
            raise plug.problem(f"returned {type(found).__name__}, not a mapping of names to arrays")
        return {str(key): _tokens(plug, str(key), value, len(example["input_ids"])) for key, value in found.items()}

    return Loss(name, inputs=inputs), plug


def _tokens(plug: Plug, name: str, value: Any, length: int) -> NDArray[Any]:
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.shape != (length,) or not np.isfinite(array).all():
            raise ValueError
    except ValueError:
        raise plug.problem(f"returned {value!r:.60} as {name!r}, not {length} finite numbers, one a token") from None
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)


class Loggers:
    """Where lines of metrics go besides `metrics.jsonl`: `log(line)`, called with each line as it is written, a dict.

    A class is called first, with the folder of the run; what it returns gets the lines. `close()`, where there is one,
    is called when training ends, however it ends. After a cut, lines from the last checkpoint on come again (`step`).
    A class that fails stops the run before its first step; an exception later is said once, and stops nothing.
    """

    def __init__(self, plugs: Sequence[Plug], on_step: Plug | None = None) -> None:
        self.plugs, self._on_step = tuple(plugs), on_step
        self._said: set[str] = set()
        for plug in self.plugs:
            plug.check_takes(1, "the folder of a run" if inspect.isclass(plug.found) else "a line of metrics")
        if on_step:
            on_step.check_takes(1, "a line of metrics")

    def open(self, folder: Path) -> None:
        """Calls the classes."""
        for plug in self.plugs:
            if inspect.isclass(plug.found):
                plug.found = plug(folder)
                plug.check_takes(1, "a line of metrics")

    def write(self, line: Line) -> None:
        """Passes a line on; an exception of `on_step` alone is raised."""
        for plug in self.plugs:
            self._try(plug, lambda plug=plug: plug(dict(line)))  # type: ignore[misc]
        if self._on_step:
            self._on_step(dict(line))

    def close(self) -> None:
        for plug in self.plugs:
            if callable(close := getattr(plug.found, "close", None)) and not inspect.isclass(plug.found):
                closing = Plug(close, plug.spec, plug.at, plug.path)
                self._try(plug, closing)

    def _try(self, plug: Plug, call: Callable[[], object]) -> None:
        try:
            call()
        except InputError as error:
            if plug.spec not in self._said:
                self._said.add(plug.spec)
                plug.log(f"warning   {error}; the run goes on without what it would have logged")


def open_loggers(text: str | None, given: FromPython) -> Loggers:
    plugs = [load_plug(_spec(str(one), "--logger"), "--logger", "a logger") for one in split_specs(text or "")]
    return Loggers([*plugs, *given.loggers], given.on_step)


def _spec(text: str, flag: str) -> str:
    if not is_plug(text):
        raise expected("FILE.py:NAME", repr(text), at=flag)
    return text
