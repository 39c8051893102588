"""Runs of recipes/sl_basic.py as a user types them, and what their files hold; imports nothing of what it guards."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "sl_basic.py"
SMALL = ("--service", "embedded", "--lora-rank", "4", "--learning-rate", "1e-3", "--encoder", "tokenizers")
RECORD = ("name", "cursor", "epoch", "batch", "n_steps", "final", "n_sequences", "n_tokens")
DYING = """
import os, runpy, sys

class Dying:
    def __init__(self, stream, text): self.stream, self.text = stream, text
    def __getattr__(self, name): return getattr(self.stream, name)
    def write(self, text):
        if self.text in text: os.kill(os.getpid(), 9)
        return self.stream.write(text)

sys.stdout = Dying(sys.stdout, sys.argv.pop(1))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

Files = dict[str, list[dict[str, Any]]]


def bare(home: Path) -> dict[str, str]:
    """The environment without credentials, and with a home that has no cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TINKER_", "TINSMITH_"))}
    return kept | {"HOME": str(home), "NO_COLOR": "1"}


def train(home: Path, *flags: str) -> str:
    """Runs the recipe in this process; what it printed."""
    printed = StringIO()
    here = patch.object(sys, "argv", [str(RECIPE), *flags]), patch.dict(os.environ, bare(home), clear=True)
    with here[0], here[1], redirect_stdout(printed), pytest.raises(SystemExit) as end:
        runpy.run_path(str(RECIPE), run_name="__main__")
    assert end.value.code == 0, printed.getvalue()
    return printed.getvalue()


def train_until(home: Path, text: str, *flags: str) -> None:
    """Runs the recipe in a process that is killed before it prints this text."""
    argv = [sys.executable, "-c", DYING, text, str(RECIPE), *flags]
    killed = subprocess.run(argv, cwd=ROOT, env=bare(home), capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr


def files_of(folder: Path) -> Files:
    """The lines of a run's files, without times, addresses and what a refactor changes by its nature."""
    metrics = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows_of(folder / "metrics.jsonl")]
    records = [{k: row[k] for k in RECORD if k in row} for row in rows_of(folder / "checkpoints.jsonl")]
    ledger = [row | {"place": relative(row["place"], folder)} for row in rows_of(folder / "ledger.jsonl")]
    return {"metrics": metrics, "checkpoints": records, "ledger": ledger}


def relative(place: str, folder: Path) -> str:
    return place.replace(f"{ROOT}/", "").replace(f"{folder.parent}/", "")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def lines_of(files: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    for name, rows in files.items():
        yield from (f"{name} {json.dumps(row, ensure_ascii=False)}" for row in rows)
