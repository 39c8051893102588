"""State of a training run: what it consists of, and how far it is."""

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
from shell.training.sampling import Samples


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What a run consists of; nothing in it is decided while it runs."""

    plan: TrainPlan
    submit_ahead: int
    """steps queued ahead of the one that is awaited"""
    dataset: Dataset
    held_out: HeldOut
    test_sources: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """source -> the numbers of its examples in the holdout, where there are several sources"""
    rare: HeldOut = field(default_factory=dict)
    """sets that are evaluated less often"""
    samples: Samples | None = None
    n_bytes: NDArray[np.int32]
    """int32[V], the UTF-8 length of each id's own bytes"""
    adam: Callable[[int], AdamParams]
    """step -> the optimizer's parameters"""
    ttl_seconds: int | None
    """how long periodic checkpoints live; None: forever, as the final one"""
    sends_zero_loss: bool = False
    """whether a step in which nothing is trained is sent"""
    rolling_ttl_seconds: int | None = None
    fingerprint: Mapping[str, str]
    client: Client
    folder: Path
    screen: Screen
    clock: Callable[[], float]
    """seconds"""
    delete_checkpoint: Callable[[str], object] = lambda _path: None
    """requests the deletion of the checkpoint of a path, without waiting"""

    def wait_for(self, future: Future[T], what: str) -> T:
        """The service's answer; raises a ServiceFault that names `what` failed."""
        return answer(future, what, self.client.check, self.screen.log)


class Progress(NamedTuple):
    """How far a run is. A step counts once it is answered and on disk, the end of the run as one more."""

    n_finished: int
    n_sequences: int = 0
    n_tokens: int = 0
    time: float = 0.0
    """when the last step was finished, by the run's clock"""
    saved: float = 0.0
    """when the last periodic checkpoint was queued, or training began in this process, by the run's clock"""
