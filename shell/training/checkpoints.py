"""What a run has saved: one line of `checkpoints.jsonl` for each checkpoint that it can go on from.

A line is written after its save has resolved and after the metrics below its cursor are on disk, so whatever is found
here can be trusted. A cursor is the number of the next step: a run that loads the checkpoint and begins at its cursor
does what it would have done had it never stopped.
"""

from pathlib import Path

import msgspec

from kernel.errors import expected
from kernel.train_plan import CheckpointRef
from shell.run_dir.files import append_line, read_lines, replace, whole_lines

FILE = "checkpoints.jsonl"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One saved state of a run."""

    name: str
    cursor: int
    epoch: int
    """epoch and batch of the cursor, the next to be trained"""
    batch: int
    n_steps: int
    """the length that the run was planned for, and with it the learning rate's horizon"""
    state_path: str
    """weights and optimizer: what a run resumes from"""
    sampler_path: str | None = None
    """weights alone, for sampling"""
    final: bool = False
    rolling: bool = False
    """serves to resume alone, lives shortly, and is deleted when the next is recorded"""
    n_sequences: int = 0
    n_tokens: int = 0
    """examples and tokens trained so far"""
    fingerprint: dict[str, str] = {}
    """what decides the datums and the schedule, by name"""

    @property
    def mark(self) -> CheckpointRef:
        return CheckpointRef(self.cursor, self.final, self.rolling)


def record_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint down; it is on disk when the call returns.

    Touches: `checkpoints.jsonl` in the folder.

    Raises:
        InputError: the disk refuses.
    """
    append_line(folder / FILE, checkpoint)


def read_checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints of a run, oldest first; none if it has not saved yet.

    Touches: `checkpoints.jsonl` in the folder.

    Raises:
        InputError: a line is not a checkpoint.
    """
    checkpoints: list[Checkpoint] = read_lines(folder / FILE, Checkpoint)
    return checkpoints


def keep_checkpoints(folder: Path, n_kept: int) -> None:
    """Leaves the first `n_kept` records, to the byte, and nothing else: no later one, no half-written line.

    Touches: `checkpoints.jsonl` in the folder, if anything in it goes.

    Raises:
        InputError: the disk refuses.
    """
    path = folder / FILE
    kept = b"".join(whole_lines(path)[:n_kept])
    if path.exists() and path.stat().st_size != len(kept):
        replace(path, kept)


def last_checkpoint(folder: Path, at: str = "--load-checkpoint-path") -> Checkpoint:
    """The last checkpoint of another run's folder.

    Args:
        at: the flag that named the folder.

    Touches: `checkpoints.jsonl` in the folder.

    Raises:
        InputError: there is no such folder, or no checkpoint in it.
    """
    checkpoints = read_checkpoints(folder) if folder.is_dir() else []
    if not checkpoints:
        what = "no checkpoints.jsonl with a whole line in it" if folder.is_dir() else "no such folder"
        raise expected("a tinker:// path or the folder of a run that has saved", f"{folder} ({what})", at=at)
    return checkpoints[-1]
