"""What a run writes about itself: `config.json`, `metrics.jsonl` and `logs.log`.

Each line of `metrics.jsonl` is one step, plus one for the end of the run, where the finished weights were evaluated.
Keys that begin with `time/` are seconds by the clock; everything else is a function of the run, so a run that was cut
and resumed leaves the same lines as one that was not. For that, lines at and past the cursor are taken back when a run
goes on. `logs.log` is for people: what stood on screen, and the SDK's warnings. Its lines about single steps are taken
back too, its account of what happened (a fault, a stop) stays.
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
from shell.run_dir.files import append_line, keep_lines, read_lines, replace, writing

CONFIG, METRICS, SAMPLES, LOG = "config.json", "metrics.jsonl", "samples.jsonl", "logs.log"
MARKER = "tinsmith"
_STEP_LINE = re.compile(rb"^\S+ \S+ step (\d+)/")


def write_config(folder: Path, document: Mapping[str, object]) -> None:
    """Writes the resolved config, and with it the mark by which a run's folder is known to be ours.

    Args:
        document: what to write; plain values only, no key of a service, and Tinsmith's version as `tinsmith`.

    Touches: `config.json` in the folder.

    Raises:
        InputError: the disk refuses.
    """
    assert MARKER in document
    text = msgspec.json.format(msgspec.json.encode(document), indent=2)
    replace(folder / CONFIG, text + b"\n")


def read_config(folder: Path) -> dict[str, Any]:
    """What `write_config` wrote; empty if there is nothing of that kind.

    Touches: `config.json` in the folder.
    """
    try:
        document = msgspec.json.decode((folder / CONFIG).read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return document if isinstance(document, dict) and MARKER in document else {}


def is_marked(folder: Path) -> bool:
    """Whether a folder was made by a run: its own `config.json` carries the mark.

    Touches: `config.json` in the folder.
    """
    return not (folder / CONFIG).is_symlink() and bool(read_config(folder))


def append_metrics(folder: Path, row: Mapping[str, object]) -> None:
    """Writes down a step; it is on disk when the call returns.

    Touches: `metrics.jsonl` in the folder.

    Raises:
        InputError: the disk refuses.
    """
    append_line(folder / METRICS, row)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The steps written down so far.

    Touches: `metrics.jsonl` in the folder.

    Raises:
        InputError: a line is not an object.
    """
    return read_lines(folder / METRICS)


def rewind(folder: Path, cursor: int) -> None:
    """Takes back what was written about steps at and past a cursor, and any half-written line.

    Touches: `metrics.jsonl`, `samples.jsonl` and `logs.log` in the folder.

    Raises:
        InputError: the disk refuses, or a line of the first two has no step.
    """
    for name in (METRICS, SAMPLES):
        read_lines(folder / name, _Step)
        keep_lines(folder / name, lambda line: is_kept(msgspec.json.decode(line, type=_Step).step, cursor))
    keep_lines(folder / LOG, lambda line: not (said := _STEP_LINE.match(line)) or is_kept(int(said[1]) - 1, cursor))


class _Step(msgspec.Struct):
    step: int


def log_line(folder: Path, text: str) -> None:
    """Adds a line to the account for people, with the time of day.

    Touches: `logs.log` in the folder.

    Raises:
        InputError: the disk refuses.
    """
    path = folder / LOG
    with writing(path), path.open("ab+") as file:
        is_cut = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"  # by a crash
        file.write(f"{chr(10) * is_cut}{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode())


@contextmanager
def sdk_warnings_to(say: Callable[[str], None]) -> Iterator[None]:
    """Hands the SDK's warnings (a paused queue, a lost connection) to `say` while it is open, and to nothing else.

    Touches: the handlers of the logger "tinker".
    """
    sdk, handler = logging.getLogger("tinker"), _Relay(say)
    propagated, sdk.propagate = sdk.propagate, False
    sdk.addHandler(handler)
    try:
        yield
    finally:
        sdk.removeHandler(handler)
        sdk.propagate = propagated


class _Relay(logging.Handler):
    """Passes the text of warnings on, each on one line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.say(f"tinker: {' '.join(record.getMessage().split())}")
        except InputError:  # the disk refuses; the run's own next line says so, once
            pass
        except Exception:
            self.handleError(record)
