"""Evaluators of the user's: code that scores the weights at their place in a run, by sampling from them.

Each call is on a thread of its own, so the run goes on until it needs the numbers; an evaluator is never called twice
at once.
"""

import math
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from numbers import Integral, Real
from threading import Lock, Thread
from typing import Any

from kernel.errors import expected
from shell.process.plugs import Plug, is_plug, load_plug, split_specs
from shell.training.sampler import Sampler

FLAG = "--evaluator"


class Evaluator:
    """A function of the user's that scores weights: `evaluate(sampler) -> {"accuracy": 0.5, ...}`.

    It is called with a `Sampler` of exactly the weights before the update of its step (`--eval-every`), and at the end
    with the final ones. `sampler(messages)` answers one conversation, `sampler.many(conversations)` several at once:
    messages in, a message out, in the model's own format (`sampler.chat_format`, `sampler.tokenizer`). What it returns
    is a mapping of names to finite numbers, in `metrics.jsonl` as `eval/NAME/KEY`. A run that was cut calls it again
    from its last checkpoint on, so its numbers should follow from the weights alone: give a seed where there is a
    temperature. No number of it decides a step, so it may change when a run resumes.
    """

    def __init__(self, name: str, plug: Plug) -> None:
        self.name, self.plug, self._lock = name, plug, Lock()
        plug.check_takes(1, "a sampler")

    def start(self, sampler: Sampler) -> "Future[dict[str, float]]":
        """Calls it on a thread; its metrics."""
        scores: Future[dict[str, float]] = Future()

        def work() -> None:
            try:
                with self._lock:
                    found = self.plug(sampler)
                scores.set_result({f"eval/{self.name}/{k}": v for k, v in numbers(self.plug, found).items()})
            except BaseException as error:
                scores.set_exception(error)

        Thread(target=work, daemon=True).start()
        return scores


def numbers(plug: Plug, found: Any) -> dict[str, float]:
    """What a plug returned, as plain numbers by name; a PlugError where it is anything else."""
    if not isinstance(found, Mapping):
        raise plug.problem(f"returned {type(found).__name__}, not a mapping of names to numbers")
    for key, value in found.items():
        if not isinstance(key, str) or not key:
            raise plug.problem(f"returned the key {key!r:.60}, not a name")
        if not isinstance(value, Real) or not math.isfinite(value):
            raise plug.problem(f"returned {value!r:.60} for {key!r:.60}, not a finite number")
    return {key: int(value) if isinstance(value, Integral) else float(value) for key, value in found.items()}


def open_evaluators(text: str | None, given: Mapping[str, Plug]) -> tuple[Evaluator, ...]:
    """The evaluators of the flag, then those from Python; each has a name of its own."""
    found: dict[str, Plug] = {}

    def add(name: str, open_one: Callable[[], Plug]) -> None:
        if name in found or not re.fullmatch(r"[\w.-]+", name):
            raise expected("a name of its own for each evaluator (NAME=FILE.py:NAME)", repr(name), at=FLAG)
        found[name] = open_one()

    for one in split_specs(text or ""):
        if not is_plug(one.spec):
            raise expected("[NAME=]FILE.py:NAME", repr(str(one)), at=FLAG)
        add(one.name or one.spec.rpartition(":")[2], lambda spec=one.spec: load_plug(spec, FLAG, "an evaluator"))  # type: ignore[misc]
    for name, plug in given.items():
        add(name, lambda plug=plug: plug)  # type: ignore[misc]
    return tuple(Evaluator(name, plug) for name, plug in found.items())
