"""What a training run is made of, and how far it has come."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernel.train_plan import TrainPlan
from shell.datums.prefetch import Dataset
from shell.run_dir.screen import Screen
from shell.service.client import AdamParams, Client, T, answer
from shell.training.evaluate import HeldOut
from shell.training.samples import Samples


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """All that a run is made of; nothing in it is decided while it runs."""

    plan: TrainPlan
    submit_ahead: int
    """steps queued beyond the one that is awaited"""
    dataset: Dataset
    held_out: HeldOut
    test_sources: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """the examples of each source in the holdout, where there are several, by their numbers in it"""
    rare: HeldOut = field(default_factory=dict)
    """sets that are evaluated less often"""
    samples: Samples | None = None
    n_bytes: NDArray[np.int32]
    """int32[V], the UTF-8 length of each id's own bytes"""
    adam: Callable[[int], AdamParams]
    """step -> the optimizer's parameters"""
    ttl_seconds: int | None
    """how long periodic checkpoints are kept; None: for ever, as the final one"""
    sends_zero_loss: bool = False
    """whether a step of which nothing is trained is sent all the same"""
    rolling_ttl_seconds: int | None = None
    fingerprint: Mapping[str, str]
    """what decides the datums and the schedule, by name"""
    client: Client
    folder: Path
    screen: Screen
    clock: Callable[[], float]
    """seconds"""
    forget: Callable[[str], object] = lambda _path: None
    """asks for the checkpoint of a path to be deleted, and waits for nothing; by default it lives on"""

    def answer(self, future: Future[T], what: str) -> T:
        """Waits for an answer of the service, and raises a ServiceFault that says `what` failed."""
        return answer(future, what, self.client.check, self.screen.say)


class Progress(NamedTuple):
    """How far a run has come. A step counts when it is answered and on disk, the end of the run as one more."""

    n_finished: int
    n_sequences: int = 0
    n_tokens: int = 0
    time: float = 0.0
    """when the last of them was finished, by the job's clock"""
    saved: float = 0.0
    """when the last periodic save was queued in this process, or training began, by the job's clock"""
