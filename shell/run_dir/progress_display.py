"""Lines of a run on the screen and in `logs.log`, and its progress, loss and time left.

On a terminal the steps move one bar; elsewhere (a file, a pipe) each step is a plain line.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import rich.console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from shell.run_dir.run_files import log_line

Row = Mapping[str, Any]


class Console(rich.console.Console):
    """A console that raises for a closed pipe as `print` does; rich's own ends the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Pace(NamedTuple):
    """Work done since this process began to train."""

    n_steps: int = 0
    n_tokens: int = 0
    seconds: float = 0.0

    def after(self, row: Row) -> "Pace":
        """The pace after one more step."""
        return Pace(self.n_steps + 1, self.n_tokens + row["num_tokens"], self.seconds + row["time/step"])


HELD_OUT_LOSSES = ("/nll", "/sampler_nll")
"""how the metrics of an evaluation end"""


def step_line(row: Row, n_steps: int, pace: Pace) -> str:
    """One step in one line."""
    parts = [f"step {row['step'] + 1}/{n_steps}"]
    parts += [f"loss {row['train_mean_nll']:.4f}"] if "train_mean_nll" in row else ["nothing to train"]
    parts += [f"{set_name(key)} {row[key]:.4f}" for key in row if key.endswith(HELD_OUT_LOSSES)]
    parts += [f"{key.removeprefix('eval/')} {row[key]:.4g}" for key in row if key.startswith("eval/")]
    if pace.seconds > 0:
        left = (n_steps - row["step"] - 1) * pace.seconds / pace.n_steps
        parts += [f"{pace.n_tokens / pace.seconds:,.0f} tok/s", f"{duration(left)} left"]
    return "  ".join(parts)


def set_name(key: str) -> str:
    """The name of an evaluation set for people."""
    name, _, kind = key.rpartition("/")
    return ("held-out" if name == "test" else name) + (" (sampler)" if kind != "nll" else "")


def training_on(mode: str) -> str:
    """A mode of TrainOnWhat for people."""
    return f"training on {'messages marked trainable' if mode == 'customized' else mode.replace('_', ' ')}"


def duration(seconds: float) -> str:
    """Seconds as [h:]mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def row_progress(console: rich.console.Console | None = None) -> Callable[[int, int], None]:
    """A callback that shows how many rows are prepared: in place on a terminal, else at every tenth."""
    console = console or Console(highlight=False, emoji=False, force_jupyter=False)
    last_tenth = -1

    def show(n_done: int, n_rows: int) -> None:
        nonlocal last_tenth
        tenth = 10 * n_done // n_rows
        end = "\r" if console.is_terminal and n_done < n_rows else "\n"
        if console.is_terminal or tenth > last_tenth:
            console.print(f"preparing {n_done:,} of {n_rows:,} rows", end=end, markup=False, soft_wrap=True)
        last_tenth = tenth

    return show


class Screen:
    """One run's lines on a console and in its `logs.log` (or, without `logs`, only from `begin_log` on)."""

    def __init__(self, folder: Path, console: rich.console.Console | None = None, logs: bool = True) -> None:
        self.folder = folder
        self._unlogged: list[str] | None = None if logs else []
        self.console = console or Console(highlight=False, emoji=False, force_jupyter=False)  # a line is a line
        self.pace = Pace()
        self._bar: tuple[Progress, TaskID] | None = None

    def log(self, text: str) -> None:
        """Shows a line, and writes it to `logs.log`."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._write(text)

    def begin_log(self) -> None:
        """Writes the lines so far to `logs.log`, and from now on every line."""
        unlogged, self._unlogged = self._unlogged or [], None
        for text in unlogged:
            self._write(text)

    def _write(self, text: str) -> None:
        if self._unlogged is None:
            log_line(self.folder, text)
        else:
            self._unlogged.append(text)

    def step(self, row: Row, n_steps: int) -> None:
        """Shows a step: moves the bar where there is one, else logs a line."""
        self.pace = self.pace.after(row)
        line = step_line(row, n_steps, self.pace)
        if self._bar is None:
            self.log(line)
            return
        bar, task = self._bar
        bar.update(task, completed=row["step"] + 1, description=line)
        self._write(line)

    @contextmanager
    def progress(self, n_done: int, n_steps: int) -> Iterator[None]:
        """Shows a bar while it is open, if the screen is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=self.console) as bar:
            self._bar = bar, bar.add_task(f"step {n_done}/{n_steps}", total=n_steps, completed=n_done)
            try:
                yield
            finally:
                self._bar = None
