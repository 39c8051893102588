"""What the loop sends at each step and where a run goes on: the decisions of training, as data.

Steps are numbered from 0. The end of a run is one more place in the same count, step `n_steps`, where nothing is
trained and the finished weights are evaluated and saved; so there is one rule for all places. A cursor is the number of
the *next* step. Every answer here depends on its arguments alone, so a run that is cut and resumed asks the same
questions as a run that is not, and gets the same answers. The shell sends what it is told, in the order it is told: a
service runs a client's requests in order, so an evaluation sees the weights before the update of its step, and a save
sees exactly those after it.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from kernel.errors import expected

FINAL = "final"


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
    """How long a run is and what falls when. A cadence of 0 is never due.

    Periodic saves fall by any of three cadences, and one save serves them all. Steps and tokens are functions of the
    run; seconds are the clock's, so with them two runs may differ in which checkpoints exist, and in nothing else.
    """

    n_steps: int
    eval_every: int = 0
    save_every: int = 0
    """steps"""
    save_every_tokens: int = 0
    save_every_seconds: float = 0
    rolling_save_every: int = 0
    """steps between saves that only serve to resume: short-lived, each superseded by the next of any kind"""
    rare_eval_every: int = 0
    """steps between evaluations of the sets that are evaluated less often"""
    sample_every: int = 0
    """steps between samples of fixed prompts"""


class StepContext(NamedTuple):
    """What the requests of a step depend on beside its number."""

    has_loss: bool = True
    """whether any target of the step has a weight"""
    n_tokens_before: int = 0
    """trained by the run below this step"""
    n_tokens: int = 0
    """trained by the run with this step"""
    seconds: float = 0
    """since the last periodic save was queued, or since training began in this process"""


class CheckpointRef(NamedTuple):
    """Where a recorded checkpoint stands: its cursor, whether it closed a run, and whether the next supersedes it."""

    cursor: int
    final: bool = False
    rolling: bool = False


class Start(NamedTuple):
    """Where a run begins: its first step, and which of the marks to load (None: fresh weights)."""

    cursor: int
    mark: int | None
    finished: bool


def requests(plan: TrainPlan, step: int, moment: StepContext = StepContext()) -> tuple[Request, ...]:  # noqa: B008 - immutable
    """The requests of one step, in the order in which they must be queued.

    A step whose rows all have zero loss trains nothing, so it sends neither pass nor update: an update without a
    gradient would still move weights by Adam's momentum. What else falls at that step stands. The export for sampling
    comes at the end alone, because the SDK gives it its place in the queue late: nothing may follow it.

    Args:
        plan: the run.
        step: 0 to plan.n_steps; the last is the end of the run.
        moment: what the step trains on, and how far the run has come.

    >>> [request.name for request in requests(TrainPlan(n_steps=3, eval_every=2, save_every=2), 0)]
    ['EVALUATE', 'FORWARD_BACKWARD', 'OPTIM_STEP']
    >>> plan = TrainPlan(n_steps=3, eval_every=2, save_every=2)
    >>> [request.name for request in requests(plan, 1, StepContext(has_loss=False))]
    ['SAVE_STATE']
    >>> [request.name for request in requests(TrainPlan(n_steps=3, eval_every=2, save_every=2), 3)]
    ['EVALUATE', 'SAVE_STATE', 'SAVE_SAMPLER']
    >>> plan = TrainPlan(n_steps=9, eval_every=2, rare_eval_every=4, sample_every=2)
    >>> [request.name for request in requests(plan, 4)][:3]
    ['EVALUATE', 'EVALUATE_RARELY', 'SAMPLE']
    """
    at_end = step == plan.n_steps
    trains = moment.has_loss and not at_end
    saves = at_end or is_save_due(plan, step, moment)
    falls = {
        Request.EVALUATE: _falls(plan.eval_every, step, at_end),
        Request.EVALUATE_RARELY: _falls(plan.rare_eval_every, step, at_end),
        Request.SAMPLE: _falls(plan.sample_every, step, at_end),
        Request.FORWARD_BACKWARD: trains,
        Request.OPTIM_STEP: trains,
        Request.SAVE_STATE: saves,
        Request.SAVE_ROLLING: not saves and plan.rolling_save_every > 0 and (step + 1) % plan.rolling_save_every == 0,
        Request.SAVE_SAMPLER: at_end,
    }
    return tuple(request for request, due in falls.items() if due)


def _falls(every: int, step: int, at_end: bool) -> bool:
    return every > 0 and (at_end or step % every == 0)


def is_save_due(plan: TrainPlan, step: int, moment: StepContext) -> bool:
    """Whether a periodic save falls behind a step: by the steps, by the tokens trained, or by the clock.

    >>> plan = TrainPlan(n_steps=9, save_every_tokens=100)
    >>> [is_save_due(plan, 4, StepContext(n_tokens_before=a, n_tokens=b)) for a, b in ((0, 99), (99, 100), (90, 310))]
    [False, True, True]
    >>> is_save_due(TrainPlan(n_steps=9, save_every_seconds=60), 4, StepContext(seconds=60.0))
    True
    """
    by_steps = plan.save_every > 0 and (step + 1) % plan.save_every == 0
    n = plan.save_every_tokens
    by_tokens = n > 0 and moment.n_tokens // n > moment.n_tokens_before // n
    by_clock = 0 < plan.save_every_seconds <= moment.seconds
    return by_steps or by_tokens or by_clock


def checkpoint_mark(plan: TrainPlan, step: int, rolling: bool = False) -> CheckpointRef:
    """The mark of a checkpoint saved at a step: behind its update, or at the end of the run.

    >>> checkpoint_mark(TrainPlan(n_steps=3), 1), checkpoint_mark(TrainPlan(n_steps=3), 3)
    (CheckpointRef(cursor=2, final=False, rolling=False), CheckpointRef(cursor=3, final=True, rolling=False))
    """
    return CheckpointRef(plan.n_steps, final=True) if step == plan.n_steps else CheckpointRef(step + 1, rolling=rolling)


def checkpoint_name(mark: CheckpointRef) -> str:
    """The name under which a checkpoint is saved.

    >>> refs = CheckpointRef(20), CheckpointRef(25, rolling=True), CheckpointRef(60, final=True)
    >>> tuple(map(checkpoint_name, refs))
    ('000020', 'rolling-000025', 'final')
    """
    return FINAL if mark.final else f"{'rolling-' * mark.rolling}{mark.cursor:06d}"


def may_record(mark: CheckpointRef, n_finished: int) -> bool:
    """Whether a checkpoint whose save has resolved may be recorded: all the metrics below it are on disk.

    Args:
        mark: the checkpoint's place. The final one stands behind the evaluation at the end of the run.
        n_finished: how many steps are answered and on disk, the end of the run counted as one.

    >>> may_record(CheckpointRef(4), n_finished=3), may_record(CheckpointRef(4), n_finished=4)
    (False, True)
    >>> may_record(CheckpointRef(4, final=True), n_finished=4), may_record(CheckpointRef(4, final=True), n_finished=5)
    (False, True)
    """
    return n_finished >= mark.cursor + mark.final


def start(plan: TrainPlan, marks: Sequence[CheckpointRef]) -> Start:
    """Where a run begins, given the checkpoints that it has recorded so far, oldest first.

    Args:
        plan: the run as it is asked for now; it may be longer than the run that was recorded.
        marks: one for each record that is left; the last is where it begins.

    Raises:
        InputError: more steps are taken already than the plan has.

    >>> start(TrainPlan(n_steps=6), [])
    Start(cursor=0, mark=None, finished=False)
    >>> start(TrainPlan(n_steps=6), [CheckpointRef(2), CheckpointRef(4)])
    Start(cursor=4, mark=1, finished=False)
    >>> start(TrainPlan(n_steps=4), [CheckpointRef(2), CheckpointRef(4, final=True)])
    Start(cursor=4, mark=1, finished=True)
    >>> start(TrainPlan(n_steps=6), [CheckpointRef(2), CheckpointRef(4, final=True)])
    Start(cursor=4, mark=1, finished=False)
    """
    if not marks:
        return Start(0, None, finished=False)
    last = marks[-1]
    if last.cursor > plan.n_steps:
        raise expected(f"at least the {last.cursor} steps already taken", f"{plan.n_steps}", at="--max-steps")
    return Start(last.cursor, len(marks) - 1, finished=last.final and last.cursor == plan.n_steps)


def candidates(marks: Sequence[CheckpointRef]) -> list[int]:
    """Which records a run may go on from, the best first: the last, and should it be gone, the periodic ones before.

    A rolling one that others followed is not tried: it was deleted, or has a short life.

    >>> rolling = [CheckpointRef(cursor, rolling=True) for cursor in (3, 5, 6)]
    >>> candidates([CheckpointRef(2), rolling[0], CheckpointRef(4), *rolling[1:]])
    [4, 2, 0]
    """
    last = len(marks) - 1
    return [i for i in range(last, -1, -1) if i == last or not marks[i].rolling]


def superseded(marks: Sequence[CheckpointRef]) -> int | None:
    """Which record the last one has made needless, so that its checkpoint may be deleted.

    >>> refs = [CheckpointRef(2), CheckpointRef(3, rolling=True), CheckpointRef(4)]
    >>> superseded(refs), superseded(refs[:2])
    (1, None)
    """
    before_last = len(marks) - 2
    return before_last if before_last >= 0 and marks[before_last].rolling else None


def is_kept(step: int, cursor: int) -> bool:
    """Whether what was written about a step stands when a run goes on at a cursor.

    >>> [is_kept(step, cursor=2) for step in (0, 1, 2, 3)]
    [True, True, False, False]
    """
    return step < cursor
