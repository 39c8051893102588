"""A real run, with the real SDK and the local service, ended again and again at moments that its own files show.

What is watched is the service's database and the run's records, so a moment is hit by seeing it, not by waiting; which
moments, how far into each process and by which signal is drawn from a seed.
"""

import json
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from shell.run_dir.run_files import last_checkpoint, read_checkpoints, read_metrics
from shell.settings.cli import main
from shell.train import train

ROOT = Path(__file__).parents[3]
FLAGS = (
    "--service", "embedded", "--batch-size", "2", "--num-epochs", "5", "--test-size", "5", "--eval-every", "5",
    "--save-every", "3", "--rolling-save-every", "2", "--submit-ahead", "4", "--lora-rank", "4", "--max-length", "64",
)  # fmt: skip
RESUME = ("--behavior-if-log-dir-exists", "resume")
N_STEPS = 40
KILLS = (
    ("before a save", signal.SIGTERM),
    ("during a save", signal.SIGKILL),
    ("between a save and its record", signal.SIGKILL),
    ("after a save", signal.SIGINT),
)


class Seen(NamedTuple):
    """What the files of a run show of the process that is in it."""

    n_updates: int
    """done for the newest model"""
    is_saving: bool
    saved: frozenset[str]
    """paths that the newest model was saved under"""
    recorded: frozenset[str]
    """paths in `checkpoints.jsonl`"""

    def shows(self, moment, n_recorded):
        """Whether a moment is now, given how many records there were when it was looked for first."""
        between = bool(self.saved - self.recorded)
        return {
            "before a save": not self.is_saving and not between,
            "during a save": self.is_saving,
            "between a save and its record": between,
            "after a save": len(self.recorded) > n_recorded and not self.is_saving and not between,
        }[moment]


def look(folder):
    """What there is to see; None where the process has no model yet."""
    address = f"file:{folder}/service/state.sqlite3?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as state:
            ask = lambda query, *values: state.execute(query, values).fetchall()  # noqa: E731
            model = "SELECT model_id FROM models ORDER BY created DESC LIMIT 1"
            of_it = f"FROM requests WHERE model_id = ({model})"
            ((n_models,),) = ask("SELECT COUNT(*) FROM models WHERE base_model IS NOT NULL")
            ((n_updates,),) = ask(f"SELECT COUNT(*) {of_it} AND kind = 'optim_step' AND status = 'done'")
            ((n_saving,),) = ask(f"SELECT COUNT(*) {of_it} AND kind = 'save_weights' AND status = 'queued'")
            saved = ask(f"SELECT path FROM checkpoints WHERE kind = 'training' AND model_id = ({model})")
    except sqlite3.OperationalError:
        return 0, None
    recorded = frozenset(record.state_path for record in read_checkpoints(folder))
    return n_models, Seen(n_updates, n_saving > 0, frozenset(path for (path,) in saved), recorded)


def end_at(started, folder, moment, number, n_models, n_updates):
    """Watches a process until it shows a moment, ends it, and says what was seen; None where it came to its end."""
    n_recorded = None
    while started.poll() is None:
        readable, _, _ = select.select([started.stdout], [], [], 0.001)
        if readable:
            os.read(started.stdout.fileno(), 65536)
        now, seen = look(folder)
        if now <= n_models or seen is None or seen.n_updates < n_updates:
            continue
        n_recorded = len(seen.recorded) if n_recorded is None else n_recorded
        if seen.shows(moment, n_recorded):
            started.send_signal(number)
            started.communicate(timeout=60)
            return seen
    return None


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Twenty-one conversations: five held out, eight batches of two an epoch."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    talks = [[("user", f"How much is {i} and {i + 1}?"), ("assistant", f"It is {2 * i + 1}.")] for i in range(21)]
    lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in talk]}) for talk in talks]
    path.write_text("\n".join(lines) + "\n")
    return path


def arguments(rows, folder, *more):
    return [*FLAGS, "--dataset", str(rows), "--log-path", str(folder), *more]


def left(folder):
    """All that a run leaves which may not depend on whether it was ended on its way."""
    metrics = [{key: row[key] for key in row if not key.startswith("time/")} for row in read_metrics(folder)]
    last = last_checkpoint(folder)
    with closing(sqlite3.connect(folder / "service" / "state.sqlite3")) as state:
        find = "SELECT parameters FROM checkpoints WHERE path = ?"
        weights = [state.execute(find, [path]).fetchone()[0] for path in (last.state_path, last.sampler_path)]
    return metrics, weights, (folder / "ledger.jsonl").read_bytes(), (last.n_sequences, last.n_tokens)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5])
def test_a_run_ended_again_and_again_equals_the_run_that_nothing_happened_to(rows, tmp_path, capsys, seed):
    whole, folder, draw = tmp_path / "whole", tmp_path / "run", random.Random(seed)
    assert main(train, arguments(rows, whole)) == 0

    kills, n_models, n_tried, orphans = list(KILLS), 0, 0, 0
    draw.shuffle(kills)
    cursors = []
    while kills:
        moment, number = kills.pop()
        command = [sys.executable, "recipes/sl_basic.py", *arguments(rows, folder, *RESUME)]
        started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        seen = end_at(started, folder, moment, number, n_models, n_updates=draw.randint(2, 4))
        n_models, _ = look(folder)
        assert seen is not None, f"it ended before {moment} was seen"
        assert started.returncode == (-number if number == signal.SIGKILL else 128 + number)

        records = read_checkpoints(folder)
        with closing(sqlite3.connect(folder / "service" / "state.sqlite3")) as state:
            there = {path for (path,) in state.execute("SELECT path FROM checkpoints")}
        assert records[-1].state_path in there, "the last record names a checkpoint that is there"
        assert len(read_metrics(folder)) >= records[-1].cursor
        cursors.append(records[-1].cursor)
        if moment.startswith("between"):
            unrecorded = seen.saved - {record.state_path for record in records}
            orphans += len(unrecorded)
            n_tried += 1
            if not unrecorded and n_tried < 3:  # it was recorded in the moment between the look and the signal
                kills.append((moment, number))
    assert orphans
    assert cursors == sorted(cursors)
    assert cursors[-1] < N_STEPS

    assert main(train, arguments(rows, folder, *RESUME)) == 0
    assert left(folder) == left(whole)
    capsys.readouterr()
