"""Checkpoints of a run: one line of `checkpoints.jsonl` for each.

A line is written once its save has resolved and the metrics below its cursor are on disk. A cursor is the number of
the next step: a run that loads the checkpoint and starts at its cursor does what it would have done uninterrupted.
"""

from pathlib import Path

import msgspec

from kernel.errors import expected
from kernel.train_plan import CheckpointRef
from shell.run_dir.files import append_line, read_lines, rewrite_lines, whole_lines

FILE = "checkpoints.jsonl"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One saved state of a run."""

    name: str
    cursor: int
    epoch: int
    """epoch and batch of the cursor"""
    batch: int
    n_steps: int
    """planned length of the run, and the horizon of its learning rate"""
    state_path: str
    """weights and optimizer"""
    sampler_path: str | None = None
    """weights alone, for sampling"""
    final: bool = False
    rolling: bool = False
    """only to resume from: short-lived, and deleted when the next is recorded"""
    n_sequences: int = 0
    n_tokens: int = 0
    """examples and tokens trained so far"""
    fingerprint: dict[str, str] = {}
    """what decides the datums and the schedule, by name"""

    @property
    def mark(self) -> CheckpointRef:
        return CheckpointRef(self.cursor, self.final, self.rolling)


def record_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Appends a checkpoint; it is on disk when the call returns."""
    append_line(folder / FILE, checkpoint)


def read_checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints of a run, oldest first."""
    checkpoints: list[Checkpoint] = read_lines(folder / FILE, Checkpoint)
    return checkpoints


def keep_checkpoints(folder: Path, n_kept: int) -> None:
    """Removes all but the first `n_kept` records."""
    rewrite_lines(folder / FILE, whole_lines(folder / FILE)[:n_kept])


def last_checkpoint(folder: Path, at: str = "--load-checkpoint-path") -> Checkpoint:
    """The last checkpoint of another run's folder, which the flag `at` names; raises if there is none."""
    checkpoints = read_checkpoints(folder) if folder.is_dir() else []
    if not checkpoints:
        what = "no checkpoints.jsonl with a whole line in it" if folder.is_dir() else "no such folder"
        raise expected("a tinker:// path or the folder of a run that has saved", f"{folder} ({what})", at=at)
    return checkpoints[-1]
