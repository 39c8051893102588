"""Checkpoints requested and not yet recorded, and the deletion of superseded ones.

A save is recorded, oldest first, once it has resolved and all steps below it are finished. Only then is the rolling one
before it deleted: at every moment the last record names a checkpoint that exists.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import Any

from kernel.training_steps import CheckpointRef, Request, checkpoint_name, may_record, superseded
from shell.run_dir.run_files import Checkpoint, read_checkpoints, record_checkpoint
from shell.service.connect import Connection
from shell.service.sdk import delete_checkpoint, rest_client
from shell.service.tinker_client import resolve
from shell.training.open_run import Progress, TrainingRun

DELETION_SECONDS = 5.0


@dataclass
class PendingCheckpoint:
    ref: CheckpointRef
    progress: Progress
    state: Future[str]
    sampler: Future[str] | None = None

    @property
    def is_resolved(self) -> bool:
        return self.state.done() and (self.sampler is None or self.sampler.done())


class CheckpointQueue:
    """The pending checkpoints of a run and the recorded ones, each oldest first."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self.pending: deque[PendingCheckpoint] = deque()
        self.recorded = read_checkpoints(run.folder)

    def save(self, ref: CheckpointRef, progress: Progress) -> PendingCheckpoint:
        state = self.run.client.save_state(checkpoint_name(ref), self._ttl_seconds(ref))
        self.pending.append(PendingCheckpoint(ref, progress, state))
        return self.pending[-1]

    def export(self, one: PendingCheckpoint) -> None:
        one.sampler = self.run.client.save_sampler(checkpoint_name(one.ref), self._ttl_seconds(one.ref))

    def _ttl_seconds(self, ref: CheckpointRef) -> int | None:
        if ref.final:
            return None
        return self.run.rolling_ttl_seconds if ref.rolling else self.run.ttl_seconds

    def record(self, progress: Progress, wait: bool = False) -> None:
        """Records those that may be recorded; with `wait`, also waits for those not resolved. Raises as they failed."""
        pending = self.pending
        while pending and may_record(pending[0].ref, progress.n_finished) and (wait or pending[0].is_resolved):
            one = self._checkpoint(pending.popleft())
            if not one.state_path:  # of a service that saves nothing
                sampled = f"; for sampling: {one.sampler_path}" if one.sampler_path else ""
                self.run.screen.log(f"unsaved   the service saves no checkpoints: the run cannot be resumed{sampled}")
                continue
            self.recorded.append(one)
            record_checkpoint(self.run.folder, self.recorded[-1])
            needless = superseded([checkpoint.mark for checkpoint in self.recorded])
            if needless is not None:
                self.run.delete_checkpoint(self.recorded[needless].state_path)

    def _checkpoint(self, one: PendingCheckpoint) -> Checkpoint:
        run, name = self.run, checkpoint_name(one.ref)
        state_path = run.wait_for(one.state, f"the {Request.SAVE_STATE.value} of checkpoint {name}")
        sampler_path = None
        if one.sampler is not None:
            sampler_path = run.wait_for(one.sampler, f"the {Request.SAVE_SAMPLER.value} of checkpoint {name}") or None
        epoch, batch = divmod(one.ref.cursor, len(run.dataset))
        return Checkpoint(
            name=name,
            cursor=one.ref.cursor,
            epoch=epoch,
            batch=batch,
            n_steps=run.plan.n_steps,
            state_path=state_path,
            sampler_path=sampler_path,
            final=one.ref.final,
            rolling=one.ref.rolling,
            n_sequences=one.progress.n_sequences,
            n_tokens=one.progress.n_tokens,
            fingerprint=dict(run.fingerprint),
        )


@contextmanager
def deleting(connection: Connection, limit_seconds: float = DELETION_SECONDS) -> Iterator[Callable[[str], None]]:
    """A callback that deletes the checkpoint of a path at a service; at the end, pending ones get `limit_seconds`."""
    # one thread and one client, as opening one waits for the service; what is not deleted lives for its `ttl_seconds`
    requested: list[Future[None]] = []
    queue: SimpleQueue[tuple[Future[None], str] | None] = SimpleQueue()

    @cache
    def client() -> Any:
        return rest_client(connection.module, connection.sdk, connection.url, connection.secret)

    def work() -> None:
        has_failed = False
        while item := queue.get():
            resolve(item[0], lambda: delete_checkpoint(client(), item[1]))
            if (error := item[0].exception()) and not has_failed:
                has_failed = True
                connection.log(f"warning   {item[1]} was not deleted ({error}): it stays until it expires")

    def request(path: str) -> None:
        if not requested:
            threading.Thread(target=work, daemon=True).start()
        requested.append(Future())
        queue.put((requested[-1], path))

    try:
        yield request
        wait(requested, limit_seconds)
    finally:
        queue.put(None)
