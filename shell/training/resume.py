"""Which of its checkpoints a run goes on from: the last that is still there, if nothing has changed since.

A checkpoint is gone when the service says so: not found, expired, or a path that it cannot use. Then the one before is
tried, and what was written past that is taken back as always. A service that cannot be reached, or refuses the key,
says nothing about checkpoints, so nothing is given up for it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import tinker
from tinker.types import RequestErrorCategory

from kernel.errors import InputError
from kernel.train_plan import candidates
from shell.service.client import Client, ServiceFault
from shell.service.sdk import error_text
from shell.training.checkpoints import Checkpoint
from shell.training.fingerprint import check_unchanged
from shell.training.run_state import Progress

GONE = (404, 410)
"""HTTP: not found, gone"""


class Resumption(NamedTuple):
    """A checkpoint that a run may go on from."""

    checkpoint: Checkpoint
    n_kept: int
    """records that stand then, its own the last"""
    accepted: Sequence[str]
    """what has changed since and was accepted, in lines"""

    @property
    def progress(self) -> Progress:
        """How far the run has come there."""
        return Progress(self.checkpoint.cursor, self.checkpoint.n_sequences, self.checkpoint.n_tokens)


def resumptions(
    checkpoints: Sequence[Checkpoint], fingerprint: Mapping[str, str], accepted: str | None
) -> Iterator[Resumption]:
    """The checkpoints that a run may go on from, the best first, each checked when it is asked for.

    Args:
        checkpoints: the run's records, oldest first.
        fingerprint: of the run as it is asked for.
        accepted: `--accept-changes`.

    Raises:
        InputError: something has changed since a checkpoint and was not accepted.
    """
    for i in candidates([checkpoint.mark for checkpoint in checkpoints]):
        one = checkpoints[i]
        lines = check_unchanged(one.fingerprint, fingerprint, accepted, f"checkpoint {one.name}")
        if not one.fingerprint:
            lines = ["warning   the checkpoint says nothing of what it was trained on, so nothing was compared"]
        yield Resumption(one, i + 1, lines)


def first_available(
    resumptions: Iterator[Resumption],
    load: Callable[[Checkpoint], Client],
    say: Callable[[str], None],
    folder: Path,
    secret: str | None = None,
) -> tuple[Client, Resumption]:
    """The model of the first checkpoint that is still there.

    Args:
        resumptions: the best first.
        load: asks the service for the model of a checkpoint.
        say: shows a line, for each that is gone.
        folder: the run's, for the message.
        secret: the key, to be kept out of messages.

    Touches: the network, through `load`.

    Raises:
        InputError: none is there, or something has changed since one that is.
        ServiceFault: the service failed otherwise.
    """
    for one in resumptions:
        try:
            return load(one.checkpoint), one
        except (InputError, ServiceFault) as error:
            reason = gone(error)
            if reason is None:
                raise
            say(f"gone      checkpoint {one.checkpoint.name} ({error_text(reason, secret)}): trying the one before")
    raise InputError(
        f"expected a checkpoint of {folder} that the service still has, got none: name the --service that saved them, "
        "or begin anew with --behavior-if-log-dir-exists delete"
    )


def gone(error: BaseException | None) -> BaseException | None:
    """The cause by which a service says that what was to be loaded is not there (any more); None for any other.

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
