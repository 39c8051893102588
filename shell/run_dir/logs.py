"""Files that a run writes: `config.json`, `metrics.jsonl` and `logs.log`.

A line of `metrics.jsonl` is one step, with one more for the end of the run. Keys that begin with `time/` are seconds
by the clock; all else is a function of the run, so lines at and past the cursor are removed when it resumes.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kernel.errors import InputError
from kernel.train_plan import is_kept
from shell.run_dir.files import append_line, read_lines, replace, rewrite_lines, whole_lines, writing

CONFIG, METRICS, SAMPLES, LOG = "config.json", "metrics.jsonl", "samples.jsonl", "logs.log"
MARKER = "tinsmith"
_STEP_LINE = re.compile(rb"^\S+ \S+ step (\d+)/")


def write_config(folder: Path, document: Mapping[str, object]) -> None:
    """Writes the resolved config; its key `tinsmith` marks the folder as a run of ours."""
    assert MARKER in document
    text = msgspec.json.format(msgspec.json.encode(document), indent=2)
    replace(folder / CONFIG, text + b"\n")


def read_config(folder: Path) -> dict[str, Any]:
    """What `write_config` wrote; empty if there is nothing of that kind."""
    try:
        document = msgspec.json.decode((folder / CONFIG).read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return document if isinstance(document, dict) and MARKER in document else {}


def is_marked(folder: Path) -> bool:
    """Whether a folder is a run of ours: its own `config.json` has the mark."""
    return not (folder / CONFIG).is_symlink() and bool(read_config(folder))


def append_metrics(folder: Path, row: Mapping[str, object]) -> None:
    """Appends a step to `metrics.jsonl`; it is on disk when the call returns."""
    append_line(folder / METRICS, row)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The steps of `metrics.jsonl`."""
    return read_lines(folder / METRICS)


class _Step(msgspec.Struct):
    step: int


def rewind(folder: Path, cursor: int) -> None:
    """Removes the lines of steps at and past a cursor, and any half-written line, from metrics, samples and log."""
    for path in (folder / METRICS, folder / SAMPLES):
        steps = read_lines(path, _Step)
        pairs = zip(steps, whole_lines(path), strict=True)
        rewrite_lines(path, [line for one, line in pairs if is_kept(one.step, cursor)])
    logged = [(_STEP_LINE.match(line), line) for line in whole_lines(folder / LOG)]
    rewrite_lines(folder / LOG, [line for step, line in logged if not step or is_kept(int(step[1]) - 1, cursor)])


def log_line(folder: Path, text: str) -> None:
    """Appends a line with the time of day to `logs.log`."""
    path = folder / LOG
    with writing(path), path.open("ab+") as file:
        is_cut = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"  # by a crash
        file.write(f"{chr(10) * is_cut}{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode())


@contextmanager
def sdk_warnings_to(log: Callable[[str], None]) -> Iterator[None]:
    """Passes the SDK's warnings (a paused queue, a lost connection) to `log` while it is open, and to nothing else."""
    sdk, handler = logging.getLogger("tinker"), _Forward(log)
    propagated, sdk.propagate = sdk.propagate, False
    sdk.addHandler(handler)
    try:
        yield
    finally:
        sdk.removeHandler(handler)
        sdk.propagate = propagated


class _Forward(logging.Handler):
    """Forwards warnings, each as one line."""

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.log(f"tinker: {' '.join(record.getMessage().split())}")
        except InputError:  # a full disk: the run's own next line reports it
            pass
        except Exception:
            self.handleError(record)
