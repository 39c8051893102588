"""Learning rate schedules: functions from a step to a multiplier of the base rate, composed after optax.

The decays are tinker-cookbook's to the bit; they reach their end at step n_steps, so no step trains at a rate of 0.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from kernel.errors import expected, unknown

Schedule = Callable[[int], float]  # step >= 0 -> multiplier in [0, 1]


def constant(n_steps: int) -> Schedule:  # noqa: ARG001 - every decay takes its length
    """1 at every step.

    >>> constant(10)(9)
    1.0
    """
    return lambda _step: 1.0


def linear(n_steps: int) -> Schedule:
    """Falls in a straight line from 1 at step 0 to 0 at step `n_steps`.

    >>> [linear(4)(step) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    return lambda step: 1 - step / n_steps


def cosine(n_steps: int) -> Schedule:
    """Falls along half a cosine from 1 at step 0 to 0 at step `n_steps`.

    >>> [round(cosine(4)(step), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    return lambda step: 0.5 * (1 + math.cos(math.pi * step / n_steps))


def warmup(n_steps: int) -> Schedule:
    """Rises in a straight line from 1 / n_steps at step 0 to 1 at step n_steps - 1: no step is spent at 0.

    >>> [warmup(4)(step) for step in range(4)]
    [0.25, 0.5, 0.75, 1.0]
    """
    return lambda step: (step + 1) / n_steps


def above(floor: float, schedule: Schedule) -> Schedule:
    """The same curve between `floor`, in [0, 1], and 1 in place of 0 and 1."""
    return lambda step: floor + (1 - floor) * schedule(step)


def join(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Schedules one after another, each counting from its own first step.

    Args:
        schedules: one more than boundaries.
        boundaries: the first steps of the second, third, ... schedule, rising.

    >>> [join([warmup(2), linear(2)], [2])(step) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if len(schedules) != len(boundaries) + 1 or sorted(boundaries) != list(boundaries):
        raise ValueError(f"expected a rising boundary between each two of {len(schedules)} schedules, got {boundaries}")
    begins = [0, *boundaries]

    def joined(step: int) -> float:
        part = bisect_right(boundaries, step)
        return schedules[part](step - begins[part])

    return joined


DECAYS: dict[str, Callable[[int], Schedule]] = {"linear": linear, "cosine": cosine, "constant": constant}


def schedule(
    name: str | Callable[[int], Schedule], n_steps: int, warmup_steps: int = 0, floor: float = 0.0
) -> Schedule:
    """The schedule of a run: `warmup_steps` of warmup, then the decay down to `floor` over the steps that remain.

    Args:
        name: of `DECAYS`, or a decay: a function of its number of steps.
        n_steps: steps of the run, >= 1.
        warmup_steps: in [0, n_steps].
        floor: in [0, 1], where the decay ends, as a fraction of the base rate. The warmup is not raised by it.

    Returns:
        With W = warmup_steps: (s + 1) / W at a step s < W, and the decay over n_steps - W steps at s - W after it.

    Raises:
        InputError: an unknown name or a number out of its range.

    >>> [schedule("linear", 6, warmup_steps=2)(step) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if isinstance(name, str) and name not in DECAYS:
        raise unknown("schedule", name, DECAYS, at="$.lr_schedule")
    if n_steps < 1:
        raise expected("at least 1 step", str(n_steps), at="$.max_steps")
    if not 0 <= warmup_steps <= n_steps:
        raise expected(f"warmup_steps from 0 to the run's {n_steps} steps", str(warmup_steps), at="$.warmup_steps")
    if not 0 <= floor <= 1:
        raise expected("min_learning_rate from 0 to the learning rate", f"{floor:g} of it", at="$.min_learning_rate")
    decay = (DECAYS[name] if isinstance(name, str) else name)(n_steps - warmup_steps)
    return join([warmup(warmup_steps), above(floor, decay)], [warmup_steps])
