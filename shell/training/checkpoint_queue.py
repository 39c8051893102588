"""Checkpoints on their way: asked for, not yet recorded.

A save stands in the service's queue behind its own update, and nothing waits for it. It is recorded, oldest first, once
it has resolved and all the steps below it are finished; so a save that was queued behind a failure never is. Only then
may the rolling one recorded before it go: at every moment the last record names a checkpoint that is there.
"""

from collections import deque
from concurrent.futures import Future
from typing import NamedTuple

from kernel.train_plan import CheckpointRef, Request, checkpoint_name, may_record, superseded
from shell.training.checkpoints import Checkpoint, read_checkpoints, record_checkpoint
from shell.training.run_state import Progress, TrainingRun


class PendingCheckpoint(NamedTuple):
    """A checkpoint that was asked for and is not recorded yet."""

    mark: CheckpointRef
    progress: Progress
    state: Future[str]
    sampler: Future[str] | None = None

    @property
    def resolved(self) -> bool:
        return self.state.done() and (self.sampler is None or self.sampler.done())


def queue_checkpoint(job: TrainingRun, mark: CheckpointRef, progress: Progress) -> PendingCheckpoint:
    """Queues the save of weights and optimizer for a checkpoint.

    Args:
        job: the run.
        mark: the checkpoint's place.
        progress: of the run, once the steps below it are finished.

    Touches: the network, through the client.
    """
    return PendingCheckpoint(mark, progress, job.client.save_state(checkpoint_name(mark), _ttl_seconds(job, mark)))


def with_sampler(job: TrainingRun, save: PendingCheckpoint) -> PendingCheckpoint:
    """Queues the export for sampling behind a save, for the same checkpoint.

    Touches: the network, through the client.
    """
    name, ttl_seconds = checkpoint_name(save.mark), _ttl_seconds(job, save.mark)
    return save._replace(sampler=job.client.save_sampler(name, ttl_seconds))


def _ttl_seconds(job: TrainingRun, mark: CheckpointRef) -> int | None:
    if mark.final:
        return None
    return job.rolling_ttl_seconds if mark.rolling else job.ttl_seconds


def record_checkpoints(
    job: TrainingRun, saves: deque[PendingCheckpoint], progress: Progress, wait: bool = False
) -> None:
    """Records the saves that may be recorded, and takes them out of the queue.

    Args:
        job: the run.
        saves: oldest first.
        progress: what is finished.
        wait: for those that have not resolved, too.

    Touches: `checkpoints.jsonl`; the checkpoints that it supersedes, through the job.

    Raises:
        ServiceFault: a save failed.
        InputError: the disk refuses.
    """
    while saves and may_record(saves[0].mark, progress.n_finished) and (wait or saves[0].resolved):
        record_checkpoint(job.folder, _checkpoint(job, saves.popleft()))
        checkpoints = read_checkpoints(job.folder)
        needless = superseded([checkpoint.mark for checkpoint in checkpoints])
        if needless is not None:
            job.forget(checkpoints[needless].state_path)


def _checkpoint(job: TrainingRun, save: PendingCheckpoint) -> Checkpoint:
    name = checkpoint_name(save.mark)
    state_path = job.answer(save.state, f"the {Request.SAVE_STATE.value} of checkpoint {name}")
    sampler_path = None
    if save.sampler is not None:
        sampler_path = job.answer(save.sampler, f"the {Request.SAVE_SAMPLER.value} of checkpoint {name}")
    epoch, batch = divmod(save.mark.cursor, len(job.dataset))
    return Checkpoint(
        name=name,
        cursor=save.mark.cursor,
        epoch=epoch,
        batch=batch,
        n_steps=job.plan.n_steps,
        state_path=state_path,
        sampler_path=sampler_path,
        final=save.mark.final,
        rolling=save.mark.rolling,
        n_sequences=save.progress.n_sequences,
        n_tokens=save.progress.n_tokens,
        fingerprint=dict(job.fingerprint),
    )
