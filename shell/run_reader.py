"""A run's folder as an object: settings, metrics, checkpoints, rows, and a sampler of its weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from kernel.errors import InputError, problem
from kernel.row_outcomes import Outcome, RowOutcome, totals
from shell.process.plugs import check_trusted
from shell.run_dir.run_files import (
    CONFIG,
    Checkpoint,
    is_marked,
    read_checkpoints,
    read_config,
    read_entries,
    read_metrics,
)
from shell.service.connect import Weights, connected
from shell.service.tinker_client import sampling_with
from shell.settings.choose_service import choose_service, read_environment
from shell.settings.config import Config
from shell.text.renderer_by_name import format_names
from shell.training.sampler import Sampler


class Run:
    """A finished or running run, read from its folder.

    Args:
        folder: what `log_path` was.

    Raises:
        InputError: the folder holds no run.

    >>> import tinsmith
    >>> run = tinsmith.Run("runs/a")  # doctest: +SKIP
    >>> run.metrics[-1]["train_mean_nll"], run.checkpoints[-1].name, run.is_finished  # doctest: +SKIP
    (1.234, 'final', True)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir() or not is_marked(self.folder):
            raise InputError(f"{self.folder} holds no run (no config.json of one)")

    def __repr__(self) -> str:
        state = "finished" if self.is_finished else f"{len(self.metrics)} steps"
        return f"Run({str(self.folder)!r}, {state})"

    @cached_property
    def config(self) -> Config:
        """The settings of the run, without its key."""
        return msgspec.convert(read_config(self.folder)["config"], Config)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, one per step, as they are now."""
        return read_metrics(self.folder)

    @property
    def frame(self) -> Any:
        """The metrics as a pandas DataFrame, indexed by step; ImportError without pandas."""
        import pandas  # type: ignore[import-untyped, unused-ignore]

        return pandas.DataFrame(self.metrics).set_index("step")

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints, oldest first: `name`, `cursor`, `state_path`, `sampler_path`, ..."""
        return read_checkpoints(self.folder)

    @property
    def rows(self) -> list[RowOutcome]:
        """Every row that was not trained whole, with its location and reason (`ledger.jsonl`)."""
        return read_entries(self.folder)

    @property
    def totals(self) -> Mapping[int | None, Mapping[Outcome, int]]:
        """The number of rows of each outcome, for each epoch and (None) outside them."""
        n_whole: dict[int, int] = {}
        for line in self.metrics:
            n_whole[line["epoch"]] = n_whole.get(line["epoch"], 0) + line.get("num_rows_whole", 0)
        return totals(self.rows, n_whole)

    @property
    def is_finished(self) -> bool:
        return any(checkpoint.final for checkpoint in self.checkpoints)

    @contextmanager
    def sampler(self, step: int | None = None, *, allow_code: bool = False) -> Iterator[Sampler]:
        """Opens the weights of a checkpoint for sampling, on the service that the run was trained on.

        Args:
            step: steps that the checkpoint has trained; None: the last that can be sampled.
            allow_code: run the code of a `renderer_name` FILE.py:NAME, though it has changed since.

        Raises:
            InputError: no such checkpoint can be sampled, or no key of the service is here.

        >>> with tinsmith.Run("runs/a").sampler() as sampler:  # doctest: +SKIP
        ...     sampler("What is 2 and 2?")["content"]
        '4'
        """
        path = self._sampler_path(step)
        config, document = self.config, read_config(self.folder)
        if config.renderer_name and not allow_code:
            at, file = f"{self.folder}/{CONFIG} $.renderer_name", self.folder / CONFIG
            check_trusted(config.renderer_name, file, document.get("code", {}), "give allow_code=True", at)
        endpoint = choose_service(config.service, config.model_name, None, read_environment())
        chat_format, tokenizer = format_names(config).open()
        with connected(endpoint, self.folder, Weights(), {}, print, sdk_name=config.sdk) as connection:
            sampler = connection.sdk.create_sampling_client(model_path=path)
            sample = sampling_with(lambda: sampler, connection.secret, connection.answered, connection.module)
            yield Sampler(sample, chat_format, tokenizer)

    def _sampler_path(self, step: int | None) -> str:
        paths = {one.cursor: one.sampler_path for one in self.checkpoints if one.sampler_path}
        if not paths or (step is not None and step not in paths):
            which = f"; those of steps {', '.join(map(str, paths))} can" if paths else ""
            raise problem(
                f"no checkpoint of {self.folder} {'' if step is None else f'at step {step} '}can be sampled{which}"
            )
        return str(paths[max(paths) if step is None else step])
