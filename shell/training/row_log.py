"""Outcomes of rows in `ledger.jsonl`: a line for every row that was not trained whole, and totals that must add up.

The lines of a step are on disk before its line of metrics, and lines at and past the cursor are removed when a run
resumes. Rows trained whole have no line: `metrics.jsonl` counts them (`num_rows_whole`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from kernel.row_outcomes import OUTSIDE, Intake, Outcome, RowOutcome, missing, totals
from kernel.train_plan import is_kept
from shell.run_dir.files import append_lines, read_lines, replace
from shell.run_dir.logs import read_metrics

LEDGER = "ledger.jsonl"


_KEYS = RowOutcome._fields[:7]
_LINE: Any = msgspec.defstruct(
    "Line",
    [(key, RowOutcome.__annotations__[key], RowOutcome._field_defaults.get(key, msgspec.NODEFAULT)) for key in _KEYS],
    rename={"location": "place"},
    omit_defaults=True,
)
"""a line of the ledger: these fields of a `RowOutcome`, less what is as by default"""


def begin_ledger(folder: Path, outside: Iterable[RowOutcome], cursor: int) -> None:
    """Writes the entries outside every epoch (rows held out, and the like), and keeps the lines below a cursor."""
    lines = [line for line in _lines(folder) if line.step is not None and is_kept(line.step, cursor)]
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in [*(_line(one) for one in outside), *lines])
    replace(folder / LEDGER, text)


def append_entries(folder: Path, entries: Sequence[RowOutcome]) -> None:
    """Appends entries, if there are any; they are on disk when the call returns."""
    if entries:
        append_lines(folder / LEDGER, [_line(one) for one in entries])


def read_entries(folder: Path) -> list[RowOutcome]:
    """The entries written so far."""
    return [RowOutcome(**msgspec.structs.asdict(line)) for line in _lines(folder)]


def _lines(folder: Path) -> list[Any]:
    return read_lines(folder / LEDGER, _LINE)


def _line(one: RowOutcome) -> Any:
    return _LINE(*one[: len(_KEYS)])


def account(folder: Path, intake: Intake, sources: Mapping[str, Intake] = MappingProxyType({})) -> list[str]:
    """The totals of all rows as lines: of each epoch that was begun, of the rows outside, and a warning on a mismatch.

    Args:
        intake: the rows of an epoch.
        sources: the same for each source, where there are several.
    """
    metrics, entries = read_metrics(folder), read_entries(folder)
    lines = _account(entries, metrics, "num_rows_whole", intake)
    for name, part in sources.items():
        own = [entry for entry in entries if entry.source == name]
        lines += [f"{name}: {line}" for line in _account(own, metrics, f"source/{name}/num_rows_whole", part)]
    return lines


def _account(
    entries: Sequence[RowOutcome], metrics: Sequence[Mapping[str, Any]], key: str, intake: Intake
) -> list[str]:
    n_whole: dict[int, int] = {}
    for row in metrics:
        if key in row:
            n_whole[row["epoch"]] = n_whole.get(row["epoch"], 0) + row[key]
    counts = totals(entries, n_whole)
    return [*total_lines(counts, *intake), *_gap_lines(missing(counts, intake.n_drawn), intake.n_drawn)]


def _gap_lines(gaps: dict[int, int], n_train: int) -> list[str]:
    """
    >>> _gap_lines({1: -2}, 430)
    ['warning: epoch 1 has 432 outcomes for 430 rows; was the run resumed with other batches?']
    """
    question = "was the run resumed with other batches?"
    return [
        f"warning: epoch {e} has {n_train - gap:,} outcomes for {n_train:,} rows; {question}" for e, gap in gaps.items()
    ]


def total_lines(counts: dict[int | None, dict[Outcome, int]], n_drawn: int, n_again: int = 0) -> list[str]:
    """The totals as lines; epochs with equal totals share one. The arguments are those of an `Intake`.

    >>> W, Z, H = Outcome.WHOLE, Outcome.ZERO_LOSS, Outcome.HELD_OUT
    >>> total_lines({None: {H: 60}, 0: {W: 428, Z: 2}, 1: {W: 428, Z: 2}}, 430)
    ['490 rows: 60 held out, 430 to train on', 'epochs 0 and 1: 428 trained whole, 2 zero loss']
    >>> total_lines({0: {W: 12}}, 12, n_again=2)
    ['10 rows: 10 to train on, 2 more draws of them in an epoch', 'epoch 0: 12 trained whole']
    """
    outside = counts.get(None, {})
    n_outside = sum(outside.values())
    parts = [f"{outside[o]:,} {WORDS[o]}" for o in OUTSIDE if outside.get(o)]
    n_train = n_drawn - n_again
    parts += [f"{n_train:,} to train on", *([f"{n_again:,} more draws of them in an epoch"] if n_again else [])]
    lines = [f"{n_train + n_outside:,} rows: {', '.join(parts)}"]
    alike: dict[str, list[int]] = {}
    for epoch, of in counts.items():
        if epoch is not None:
            alike.setdefault(", ".join(f"{of[o]:,} {WORDS[o]}" for o in Outcome if of.get(o)), []).append(epoch)
    return lines + [f"{_epochs(epochs)}: {text}" for text, epochs in alike.items()]


WORDS = {
    Outcome.WHOLE: "trained whole",
    Outcome.TRUNCATED: "trained truncated",
    Outcome.ZERO_LOSS: "zero loss",
    Outcome.TOO_LONG: "too long",
    Outcome.REJECTED: "rejected",
    Outcome.LEFT_OVER: "left over in the tail",
    Outcome.NOT_REACHED: "not reached",
    Outcome.HELD_OUT: "held out",
    Outcome.DUPLICATE: "held out but also in training (not evaluated)",
    Outcome.NOT_DRAWN: "not drawn",
}


def _epochs(epochs: list[int]) -> str:
    if len(epochs) == 1:
        return f"epoch {epochs[0]}"
    if epochs == list(range(epochs[0], epochs[-1] + 1)) and len(epochs) > 2:
        return f"epochs {epochs[0]} to {epochs[-1]}"
    return f"epochs {', '.join(map(str, epochs[:-1]))} and {epochs[-1]}"
