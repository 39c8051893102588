"""Small whole runs, and what is left of them to be compared: all of it that is not measured by a clock."""

import io
import json
import sqlite3
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from shell.run_dir.run_files import last_checkpoint, read_checkpoints, read_metrics
from shell.settings.cli import main
from shell.train import train

FLAGS = ("--batch-size", "2", "--test-size", "2", "--eval-every", "3", "--save-every", "2",
         "--lora-rank", "2", "--max-length", "32", "--learning-rate", "0.01")  # fmt: skip
N_STEPS = 5
RESUME = ("--behavior-if-log-dir-exists", "resume")


def write_rows(path: Path) -> Path:
    """Twelve conversations: two held out, five batches of two."""
    talks = [[("user", f"How much is {i} and {i + 1}?"), ("assistant", f"It is {2 * i + 1}.")] for i in range(12)]
    lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in talk]}) for talk in talks]
    path.write_text("\n".join(lines) + "\n")
    return path


class Ending(NamedTuple):
    """How a run ended: exit code, what stood on screen, what stood on standard error."""

    code: int
    said: str
    errors: str


def finish(rows: Path, folder: Path, service: str, *more: str) -> Ending:
    """Runs to the end, whatever that is."""
    said, errors = io.StringIO(), io.StringIO()
    told = ["--service", service, "--model-name", "tinsmith/tiny", "--tokenizer", "sample",
            "--renderer-name", "role_colon", "--dataset", str(rows), "--log-path", str(folder)]  # fmt: skip
    with redirect_stdout(said), redirect_stderr(errors):
        code = main(train, [*told, *FLAGS, *more])
    return Ending(code, said.getvalue(), errors.getvalue())


def metrics(folder: Path) -> list[dict[str, Any]]:
    """What was measured, times aside."""
    return [{key: row[key] for key in row if not key.startswith("time/")} for row in read_metrics(folder)]


def weights(folder: Path, state_dir: Path) -> bytes:
    """Weights and optimizer of a run's last checkpoint, as the service keeps them."""
    with sqlite3.connect(state_dir / "state.sqlite3") as state:
        query = "SELECT parameters FROM checkpoints WHERE path = ?"
        return bytes(state.execute(query, [last_checkpoint(folder).state_path]).fetchone()[0])


def cursors(folder: Path) -> list[int]:
    """Where the run can be taken up."""
    return [checkpoint.cursor for checkpoint in read_checkpoints(folder)]
