"""The ledger of real runs: every row has one outcome in every epoch, and the totals add up to what came in."""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kernel.row_outcomes import Intake, Outcome, RowOutcome
from shell.datums.check_rows import RowCounts
from shell.run_dir.run_files import append_entries, begin_ledger, read_entries, read_metrics
from shell.service.local_process import ServiceProcess
from shell.settings.cli import main
from shell.text.renderer_by_name import TEMPLATE
from shell.train import train
from shell.training.summary import account, foreign_line, loss_summary, share_lines, split_line, total_lines

GOOD = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}


@pytest.fixture
def trained(tmp_path: Path, service: ServiceProcess) -> Callable[..., tuple[int, Path]]:
    """Trains on rows; the exit code and the run's folder."""
    return partial(run_on, service.url, tmp_path)


def run_on(url: str, home: Path, rows: list[Any], *flags: str, name: str = "run") -> tuple[int, Path]:
    data = home / "a.jsonl"
    data.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows))
    folder = home / name
    where = ["--service", url, "--model-name", "tinsmith/tiny"]
    argv = [*where, "--log-path", str(folder), "--dataset", str(data), "--batch-size", "4", "--eval-every", "0", *flags]
    return main(train, argv), folder


def numbered(n: int) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"it is {i}"}]}
        for i in range(n)
    ]


def by_epoch(folder: Path) -> dict[int | None, Counter]:
    counts: dict[int | None, Counter] = {}
    for entry in read_entries(folder):
        counts.setdefault(entry.epoch, Counter())[entry.outcome] += entry.n_rows
    for row in read_metrics(folder):
        if "num_rows" in row:
            counts.setdefault(row["epoch"], Counter())[Outcome.WHOLE] += row["num_rows_whole"]
    return counts


def test_every_row_of_every_epoch_has_one_outcome(trained, capsys):
    rows = numbered(13)
    rows[3] = {"messages": [{"role": "user", "content": "anybody?"}]}
    rows[5]["messages"][1]["content"] = "word " * 90
    code, folder = trained(rows, "--num-epochs", "2", "--test-size", "2", "--max-length", "40")
    assert code == 0
    counts = by_epoch(folder)
    assert counts[None] == {Outcome.HELD_OUT: 2}
    for epoch in (0, 1):
        assert counts[epoch].total() == 11
        assert counts[epoch][Outcome.LEFT_OVER] == 3
    said = capsys.readouterr().out
    assert "13 rows: 2 held out, 11 to train on" in said
    assert "warning" not in said
    places = [entry.location for entry in read_entries(folder) if entry.epoch in (None, 0)]
    assert len(places) == len(set(places))


def test_a_run_that_ends_early_says_how_many_rows_it_did_not_reach(trained, capsys):
    code, folder = trained(numbered(13), "--max-steps", "2")
    assert code == 0
    assert by_epoch(folder)[0] == {Outcome.WHOLE: 8, Outcome.NOT_REACHED: 5}
    assert "epoch 0: 8 trained whole, 5 not reached" in capsys.readouterr().out


def test_bad_rows_are_listed_with_their_reasons_and_stop_the_run_only_past_the_limit(trained, capsys):
    rows: list[Any] = numbered(12)
    rows[4] = {"messages": [{"role": "humna", "content": "a"}]}
    code, folder = trained(rows, "--max-bad-rows", "1", "--tail", "keep")
    assert code == 0
    (entry,) = [entry for entry in read_entries(folder) if entry.outcome is Outcome.REJECTED]
    assert entry.location.endswith("a.jsonl:5")
    assert "humna" in entry.reason
    assert by_epoch(folder)[0] == {Outcome.WHOLE: 11, Outcome.REJECTED: 1}
    capsys.readouterr()
    rows[7] = {"messages": []}
    code, folder = trained(rows, "--max-bad-rows", "1", name="again")
    assert code == 2
    assert "2 of 12 rows cannot be used, and --max-bad-rows allows 1:" in (said := capsys.readouterr().err)
    assert "a.jsonl:" in said
    assert not folder.exists()


def test_a_cut_that_leaves_nothing_to_train_is_refused_before_anything_is_made(trained, capsys):
    rows = numbered(8)
    for one in rows:
        one["messages"][0]["content"] = "word " * 60
    code, folder = trained(rows, "--max-length", "16")
    assert code == 2
    assert "an example that trains something in the 8 rows" in capsys.readouterr().err
    assert not folder.exists()


def test_a_duplicate_in_the_holdout_is_neither_trained_nor_evaluated_and_said(trained):
    code, folder = trained([GOOD] * 9, "--test-size", "1", "--tail", "keep")
    assert code == 0
    assert by_epoch(folder)[None] == {Outcome.DUPLICATE: 1}


@pytest.mark.parametrize(("n_whole", "warned"), [(7, False), (6, True)])
def test_totals_that_do_not_add_up_are_said(tmp_path, n_whole, warned):
    begin_ledger(tmp_path, [], 0)
    append_entries(tmp_path, [RowOutcome(Outcome.ZERO_LOSS, "a:1", "", 1, 0, 0)])
    (tmp_path / "metrics.jsonl").write_text(f'{{"step":0,"epoch":0,"num_rows_whole":{n_whole}}}\n')
    warning = "warning: epoch 0 has 7 outcomes for 8 rows; was the run resumed with other batches?"
    lines = account(tmp_path, Intake(8))
    assert ([line for line in lines if "warning" in line] == [warning]) is warned
    assert ("warning" in " ".join(lines)) is warned


def test_a_warning_names_the_renderers_that_a_model_was_trained_with():
    warning = "warning   Qwen/Qwen3-8B was trained with qwen3 or qwen3_disable_thinking, not with llama3"
    assert foreign_line("Qwen/Qwen3-8B", "llama3") == [warning]
    for model, renderer in (("Qwen/Qwen3-8B", "qwen3"), ("Qwen/Qwen3-8B", TEMPLATE), ("mine", "llama3")):
        assert foreign_line(model, renderer) == []


def test_rows_that_are_split_are_counted_with_their_cost():
    (line,) = split_line(RowCounts(n_rows=10, n_split=2, n_examples=13), factor=1.52)
    assert line.startswith("splitting 2 of 10 rows become 5 examples: 1.5 times the tokens in the first batch")


def test_the_totals_of_each_source():
    rows = [
        {"source/a/num_rows": 3, "source/a/num_tokens": 10, "source/a/train_mean_nll": 4.0},
        {"source/b/test_nll": 2.0},
        {"source/b/num_rows": 1, "source/b/num_tokens": 30},
    ]
    assert share_lines(rows, ["a", "b"]) == [
        "sources   a: 3 rows (75.0%), 10 tokens (25.0%), training loss 4.0000 -> 4.0000",
        "          b: 1 rows (25.0%), 30 tokens (75.0%), held-out loss 2.0000 -> 2.0000",
    ]


def test_the_first_and_the_last_loss():
    rows = [{"train_mean_nll": 4.0, "test/nll": 4.1}, {"train_mean_nll": 3.0}, {"test/nll": 3.3}]
    assert loss_summary(rows) == "training loss 4.0000 -> 3.0000, held-out loss 4.1000 -> 3.3000 nats per token"


def test_epochs_with_equal_totals_share_a_line():
    counts = {Outcome.WHOLE: 428, Outcome.ZERO_LOSS: 2}
    lines = ["490 rows: 60 held out, 430 to train on", "epochs 0 and 1: 428 trained whole, 2 zero loss"]
    assert total_lines({None: {Outcome.HELD_OUT: 60}, 0: counts, 1: counts}, 430) == lines
    lines = ["10 rows: 10 to train on, 2 more draws of them in an epoch", "epoch 0: 12 trained whole"]
    assert total_lines({0: {Outcome.WHOLE: 12}}, 12, n_again=2) == lines
