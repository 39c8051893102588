"""The requests of each step, and where a run resumes: the decisions of training, as data.

Steps are numbered from 0; step `n_steps` trains nothing: the finished weights are evaluated and saved. A cursor is the
number of the next step. A service runs requests in order: an evaluation sees the weights before the step's update.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from kernel.errors import expected


class Request(Enum):
    """One request to the service; the value is its name in messages."""

    EVALUATE = "evaluation"
    EVALUATE_RARELY = "infrequent evaluation"
    SAMPLE = "sampling"
    FORWARD_BACKWARD = "forward and backward pass"
    OPTIM_STEP = "optimizer step"
    SAVE_STATE = "save"
    SAVE_ROLLING = "rolling save"
    SAVE_SAMPLER = "export for sampling"


class TrainPlan(NamedTuple):
    """The length of a run and its cadences; a cadence of 0 is never due.

    One periodic save serves all three cadences that make it due. With the clock's, two runs may differ in which
    checkpoints exist, and in nothing else.
    """

    n_steps: int
    eval_every: int = 0
    save_every: int = 0  # steps
    save_every_tokens: int = 0
    save_every_seconds: float = 0
    rolling_save_every: int = 0  # steps between short-lived saves, each superseded by the next save of any kind
    rare_eval_every: int = 0  # steps between evaluations of the sets that are evaluated less often
    sample_every: int = 0  # steps between samples of fixed prompts


class StepContext(NamedTuple):
    """What the requests of a step depend on, beside its number."""

    has_loss: bool = True  # whether any target of the step has a weight
    n_tokens_before: int = 0  # trained by the run below this step
    n_tokens: int = 0  # trained by the run with this step
    seconds: float = 0  # since the last periodic save was queued, or since training began in this process


class CheckpointRef(NamedTuple):
    """A recorded checkpoint: its cursor, whether it ended a run, and whether the next one supersedes it."""

    cursor: int
    final: bool = False
    rolling: bool = False


class Start(NamedTuple):
    """Where a run begins: its first step, and the number of the checkpoint to load (None: fresh weights)."""

    cursor: int
    mark: int | None
    finished: bool


def requests(plan: TrainPlan, step: int, context: StepContext = StepContext()) -> tuple[Request, ...]:  # noqa: B008 - immutable
    """The requests of one step, in the order in which they must be sent.

    A step whose rows all have zero loss sends neither pass nor update: an update without a gradient would still move
    weights by Adam's momentum. Its other requests remain. The export for sampling comes at the end alone, because the
    SDK sends it late: nothing may follow it.

    Args:
        plan: the run.
        step: 0 to plan.n_steps; the last is the end of the run.
        context: of the step.

    >>> plan = TrainPlan(n_steps=3, eval_every=2, save_every=2)
    >>> [request.name for request in requests(plan, 0)]
    ['EVALUATE', 'FORWARD_BACKWARD', 'OPTIM_STEP']
    >>> [request.name for request in requests(plan, 1, StepContext(has_loss=False))]
    ['SAVE_STATE']
    >>> [request.name for request in requests(plan, 3)]
    ['EVALUATE', 'SAVE_STATE', 'SAVE_SAMPLER']
    """
    at_end = step == plan.n_steps
    trains = context.has_loss and not at_end
    saves = at_end or is_save_due(plan, step, context)

    def is_due(every: int) -> bool:
        return every > 0 and (at_end or step % every == 0)

    due = {
        Request.EVALUATE: is_due(plan.eval_every),
        Request.EVALUATE_RARELY: is_due(plan.rare_eval_every),
        Request.SAMPLE: is_due(plan.sample_every),
        Request.FORWARD_BACKWARD: trains,
        Request.OPTIM_STEP: trains,
        Request.SAVE_STATE: saves,
        Request.SAVE_ROLLING: not saves and plan.rolling_save_every > 0 and (step + 1) % plan.rolling_save_every == 0,
        Request.SAVE_SAMPLER: at_end,
    }
    return tuple(request for request, is_sent in due.items() if is_sent)


def is_save_due(plan: TrainPlan, step: int, context: StepContext) -> bool:
    """Whether a periodic save is due after a step: by the steps, by the tokens trained, or by the clock."""
    by_steps = plan.save_every > 0 and (step + 1) % plan.save_every == 0
    n = plan.save_every_tokens
    by_tokens = n > 0 and context.n_tokens // n > context.n_tokens_before // n
    by_clock = 0 < plan.save_every_seconds <= context.seconds
    return by_steps or by_tokens or by_clock


def checkpoint_mark(plan: TrainPlan, step: int, rolling: bool = False) -> CheckpointRef:
    """The checkpoint saved at a step: after its update, or at the end of the run."""
    return CheckpointRef(plan.n_steps, final=True) if step == plan.n_steps else CheckpointRef(step + 1, rolling=rolling)


def checkpoint_name(checkpoint: CheckpointRef) -> str:
    """The name under which a checkpoint is saved."""
    return "final" if checkpoint.final else f"{'rolling-' * checkpoint.rolling}{checkpoint.cursor:06d}"


def may_record(checkpoint: CheckpointRef, n_finished: int) -> bool:
    """Whether all metrics below a saved checkpoint are on disk; `n_finished` counts steps, and the end of the run."""
    return n_finished >= checkpoint.cursor + checkpoint.final


def start(plan: TrainPlan, checkpoints: Sequence[CheckpointRef]) -> Start:
    """Where a run begins, after the checkpoints that it has recorded, oldest first; the plan may be a longer one."""
    if not checkpoints:
        return Start(0, None, finished=False)
    last = checkpoints[-1]
    if last.cursor > plan.n_steps:
        raise expected(f"at least the {last.cursor} steps already taken", f"{plan.n_steps}", at="--max-steps")
    return Start(last.cursor, len(checkpoints) - 1, finished=last.final and last.cursor == plan.n_steps)


def candidates(checkpoints: Sequence[CheckpointRef]) -> list[int]:
    """The checkpoints that a run may resume from, the best first: the last, then the periodic ones before it."""
    last = len(checkpoints) - 1
    return [i for i in range(last, -1, -1) if i == last or not checkpoints[i].rolling]


def superseded(checkpoints: Sequence[CheckpointRef]) -> int | None:
    """The checkpoint that the last one supersedes, so that it may be deleted."""
    before_last = len(checkpoints) - 2
    return before_last if before_last >= 0 and checkpoints[before_last].rolling else None


def is_kept(step: int, cursor: int) -> bool:
    """Whether what was logged for a step remains when a run resumes at a cursor."""
    return step < cursor
