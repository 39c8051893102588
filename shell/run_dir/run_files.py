"""Files that a run writes: `config.json`, `metrics.jsonl`, `ledger.jsonl`, `checkpoints.jsonl` and `logs.log`.

A line of `metrics.jsonl` is one step, one of `ledger.jsonl` a row not trained whole, on disk before its step's.
Both are removed at and past the cursor, the number of the next step, when a run resumes.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kernel.errors import InputError, expected
from kernel.row_outcomes import RowOutcome
from kernel.training_steps import CheckpointRef, is_kept
from shell.run_dir.atomic_files import (
    append_line,
    append_lines,
    read_lines,
    replace,
    rewrite_lines,
    whole_lines,
    writing,
)

CONFIG, METRICS, SAMPLES, LOG = "config.json", "metrics.jsonl", "samples.jsonl", "logs.log"
CHECKPOINTS, LEDGER = "checkpoints.jsonl", "ledger.jsonl"
MARKER = "tinsmith"
_STEP_LINE = re.compile(rb"^\S+ \S+ step (\d+)/")
_KEYS = RowOutcome._fields[:7]
_LINE: Any = msgspec.defstruct(
    "Line",
    [(key, RowOutcome.__annotations__[key], RowOutcome._field_defaults.get(key, msgspec.NODEFAULT)) for key in _KEYS],
    rename={"location": "place"},
    omit_defaults=True,
)
"""a line of the ledger: these fields of a `RowOutcome`, less what is as by default"""


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
    append_line(folder / METRICS, row)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
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


def begin_ledger(folder: Path, outside: Iterable[RowOutcome], cursor: int) -> None:
    """Writes the entries outside every epoch (rows held out, and the like), and keeps the lines below a cursor."""
    lines = [
        line for line in read_lines(folder / LEDGER, _LINE) if line.step is not None and is_kept(line.step, cursor)
    ]
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in [*(_line(one) for one in outside), *lines])
    replace(folder / LEDGER, text)


def append_entries(folder: Path, entries: Sequence[RowOutcome]) -> None:
    """Appends entries, if there are any; they are on disk when the call returns."""
    if entries:
        append_lines(folder / LEDGER, [_line(one) for one in entries])


def read_entries(folder: Path) -> list[RowOutcome]:
    """The entries written so far."""
    return [RowOutcome(**msgspec.structs.asdict(line)) for line in read_lines(folder / LEDGER, _LINE)]


def _line(one: RowOutcome) -> Any:
    return _LINE(*one[: len(_KEYS)])


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One saved state of a run."""

    name: str
    cursor: int
    epoch: int
    batch: int
    n_steps: int  # planned length of the run, and the horizon of its learning rate
    state_path: str  # weights and optimizer
    sampler_path: str | None = None
    final: bool = False
    rolling: bool = False  # only to resume from: short-lived, and deleted when the next is recorded
    n_sequences: int = 0
    n_tokens: int = 0
    fingerprint: dict[str, str] = {}  # what decides the datums and the schedule, by name

    @property
    def mark(self) -> CheckpointRef:
        return CheckpointRef(self.cursor, self.final, self.rolling)


def record_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    append_line(folder / CHECKPOINTS, checkpoint)


def read_checkpoints(folder: Path) -> list[Checkpoint]:
    return list(read_lines(folder / CHECKPOINTS, Checkpoint))


def keep_checkpoints(folder: Path, n_kept: int) -> None:
    """Removes all but the first `n_kept` records."""
    rewrite_lines(folder / CHECKPOINTS, whole_lines(folder / CHECKPOINTS)[:n_kept])


def last_checkpoint(folder: Path, at: str = "--load-checkpoint-path") -> Checkpoint:
    """The last checkpoint of another run's folder, which the flag `at` names; raises if there is none."""
    checkpoints = read_checkpoints(folder) if folder.is_dir() else []
    if not checkpoints:
        what = "no checkpoints.jsonl with a whole line in it" if folder.is_dir() else "no such folder"
        raise expected("a tinker:// path or the folder of a run that has saved", f"{folder} ({what})", at=at)
    return checkpoints[-1]


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
