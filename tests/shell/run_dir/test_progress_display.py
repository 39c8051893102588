import io

import pytest
from rich.console import Console

from shell.run_dir.progress_display import Pace, Screen, duration, row_progress, set_name, step_line, training_on

ROW = {"step": 0, "num_tokens": 100, "train_mean_nll": 3.25, "time/step": 0.5}


def screen(folder, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    return Screen(folder, console)


def told(folder):
    return [line.split(" ", 2)[2] for line in (folder / "logs.log").read_text().splitlines()]


def test_in_a_notebook_a_line_is_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    notebook = Screen(tmp_path)
    with notebook.progress(0, 2):
        notebook.step(ROW, 2)
    row_progress()(1, 1)
    assert capsys.readouterr().out == "step 1/2  loss 3.2500  200 tok/s  0:00 left\npreparing 1 of 1 rows\n"


def test_scores_of_evaluators_are_shown_with_the_losses():
    line = step_line(ROW | {"test/nll": 3.5, "eval/sums/accuracy": 0.25}, 2, Pace())
    assert line == "step 1/2  loss 3.2500  held-out 3.5000  sums/accuracy 0.25"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_account_in_the_log_is_the_same_with_a_terminal_and_without(tmp_path, terminal):
    shown = screen(tmp_path, terminal)
    shown.log("service   [local]")
    with shown.progress(0, 2):
        shown.step(ROW, 2)
        shown.log("tinker: paused")
        shown.step(ROW | {"step": 1, "train_mean_nll": 3.0}, 2)
    assert told(tmp_path) == [
        "service   [local]",
        "step 1/2  loss 3.2500  200 tok/s  0:00 left",
        "tinker: paused",
        "step 2/2  loss 3.0000  200 tok/s  0:00 left",
    ]


def test_without_a_terminal_every_step_is_a_plain_line(tmp_path):
    shown = screen(tmp_path, terminal=False)
    with shown.progress(0, 2):
        shown.step(ROW, 2)
    assert shown.console.file.getvalue() == "step 1/2  loss 3.2500  200 tok/s  0:00 left\n"


def test_on_a_terminal_the_steps_move_one_bar_with_loss_speed_and_time_left(tmp_path):
    shown = screen(tmp_path, terminal=True)
    with shown.progress(0, 100):
        shown.step(ROW | {"step": 49}, 100)
    text = shown.console.file.getvalue()
    assert "━━━━━━━━━━━━ " in text
    assert "step 50/100  loss 3.2500  200 tok/s  0:25 left" in text


def test_the_pace_is_that_of_this_session_and_not_of_the_steps_before_it():
    resumed = Pace().after(ROW | {"step": 50})
    assert step_line(ROW | {"step": 50}, 101, resumed) == "step 51/101  loss 3.2500  200 tok/s  0:25 left"


def test_a_step_without_loss_says_so():
    row = {"step": 1, "num_tokens": 5, "time/step": 0.0}
    assert step_line(row, 9, Pace().after(row)) == "step 2/9  nothing to train"


def test_durations_read_as_clocks():
    assert [duration(s) for s in (0, 59.6, 3599, 36000)] == ["0:00", "1:00", "59:59", "10:00:00"]


def test_a_step_with_an_evaluation_in_one_line():
    row = {"step": 11, "num_tokens": 500, "train_mean_nll": 2.31449, "test/nll": 2.5}
    line = "step 12/40  loss 2.3145  held-out 2.5000  2,000 tok/s  0:14 left"
    assert step_line(row, 40, Pace(n_steps=6, n_tokens=6000, seconds=3.0)) == line
    assert set_name("code/nll") == "code"


def test_modes_of_training_in_words():
    assert training_on("all_assistant_messages") == "training on all assistant messages"
    assert training_on("customized") == "training on messages marked trainable"
