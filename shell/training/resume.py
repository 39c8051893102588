"""Resumption: the last checkpoint that still exists, if nothing has changed since.

A checkpoint is gone when the service reports it (not found, expired, a path it cannot use); then the one before is
tried. A service that cannot be reached or refuses the key proves nothing about checkpoints.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import tinker
from tinker.types import RequestErrorCategory

from kernel.errors import InputError
from kernel.train_plan import candidates
from shell.run_dir.checkpoints import Checkpoint
from shell.service.client import Client, ServiceFault
from shell.service.sdk import error_text
from shell.training.fingerprint import check_unchanged
from shell.training.run_state import Progress

GONE = (404, 410)
"""HTTP: not found, gone"""


class Resumption(NamedTuple):
    """A checkpoint that a run may resume from."""

    checkpoint: Checkpoint
    n_kept: int
    """records up to and including its own"""
    accepted: Sequence[str]
    """lines about changes that were accepted"""

    @property
    def progress(self) -> Progress:
        """How far the run was."""
        return Progress(self.checkpoint.cursor, self.checkpoint.n_sequences, self.checkpoint.n_tokens)


def resumptions(
    checkpoints: Sequence[Checkpoint], fingerprint: Mapping[str, str], accepted: str | None
) -> Iterator[Resumption]:
    """The checkpoints that a run may resume from, the best first, each compared to the fingerprint when it is reached.

    Args:
        checkpoints: the run's records, oldest first.
        accepted: `--accept-changes`.
    """
    for i in candidates([checkpoint.mark for checkpoint in checkpoints]):
        one = checkpoints[i]
        lines = check_unchanged(one.fingerprint, fingerprint, accepted, f"checkpoint {one.name}")
        if not one.fingerprint:
            lines = ["warning   the checkpoint has no fingerprint, so nothing was compared"]
        yield Resumption(one, i + 1, lines)


def first_available(
    resumptions: Iterator[Resumption],
    load: Callable[[Checkpoint], Client],
    log: Callable[[str], None],
    folder: Path,
    secret: str | None = None,
) -> tuple[Client, Resumption]:
    """The model of the first checkpoint that still exists; raises if there is none, or the service fails otherwise.

    Args:
        load: opens the model of a checkpoint.
        log: shows a line for each that is gone.
        secret: the key, which is removed from messages.
    """
    for one in resumptions:
        try:
            return load(one.checkpoint), one
        except (InputError, ServiceFault) as error:
            reason = gone(error)
            if reason is None:
                raise
            log(f"gone      checkpoint {one.checkpoint.name} ({error_text(reason, secret)}): trying the one before")
    raise InputError(
        f"the service has none of the checkpoints of {folder}: use the --service that saved them, or start again with "
        "--behavior-if-log-dir-exists delete"
    )


def gone(error: BaseException | None) -> BaseException | None:
    """The cause that reports that what was to be loaded does not exist (any more), or None.

    >>> gone(InputError("expected a checkpoint of another model")) is None
    True
    """
    while error is not None:
        if isinstance(error, tinker.RequestFailedError) and error.category is RequestErrorCategory.User:
            return error
        if isinstance(error, tinker.APIStatusError) and error.status_code in GONE:
            return error
        error = error.__cause__
    return None
