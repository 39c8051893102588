"""Samples of real runs, through the SDK and the service in the box: exactly the weights before the update of a step."""

import json

import pytest

from shell.run_dir.atomic_files import read_lines
from shell.run_dir.run_files import read_metrics
from shell.settings.cli import main
from shell.train import train

N_STEPS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "a.jsonl"
    rows = [[{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"it is {i}"}] for i in range(24)]
    path.write_text("".join(json.dumps({"messages": one}) + "\n" for one in rows))
    return path


def trained(data, folder, n_steps, *more, ahead=4, prompts="How much is it ?"):
    flags = ("--batch-size", "4", "--max-length", "32", "--lora-rank", "4", "--lr-schedule", "constant",
             "--eval-every", "2", "--save-every", "0", "--learning-rate", "2e-2", "--max-steps", str(n_steps),
             "--submit-ahead", str(ahead), "--sample-prompts", prompts, "--sample-temperature", "1",
             "--sample-max-tokens", "12", *more)  # fmt: skip
    assert main(train, ["--log-path", str(folder), "--dataset", str(data), *flags]) == 0
    return read_lines(folder / "samples.jsonl")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return trained(data, folder, N_STEPS, ahead=5), folder


def test_a_sample_in_the_flow_is_that_of_a_run_that_ends_there(data, whole, tmp_path):
    lines, _ = whole
    assert [line["step"] for line in lines] == [0, 2, 4, 6]
    assert len({line["text"] for line in lines}) == 4, "the samples do not tell the weights apart"
    for line in lines[1:3]:
        stopped = trained(data, tmp_path / f"{line['step']}", line["step"], ahead=0)
        assert stopped[-1] == line


def test_samples_leave_the_run_as_it_would_be_without_them(data, whole, tmp_path):
    _, folder = whole
    trained(data, tmp_path / "run", N_STEPS, "--sample-every", "0")
    rows, others = ([{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_metrics(one)]
                    for one in (folder, tmp_path / "run"))  # fmt: skip
    assert rows == others
    assert not (tmp_path / "run" / "samples.jsonl").exists()


def test_a_sample_says_how_it_ended_and_what_message_it_is(whole):
    for line in whole[0]:
        assert line["prompt"] == [{"role": "user", "content": "How much is it ?"}]
        assert line["termination"] in ("stop_sequence", "malformed")
        assert (line["termination"] == "stop_sequence") == line["text"].endswith("<|im_end|>")
        assert line["message"]["role"] == "assistant"
        assert line["num_tokens"] <= 12


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--eval-dataset", "x=sample", "--eval-every", "0"), "expected --eval-every of at least 1 step, got 0"),
        (("--infrequent-eval-dataset", "x=sample", "--infrequent-eval-every", "0"), "of at least 1 step, got 0"),
        (
            ("--sample-prompts", "Are you there?", "--eval-every", "0"),
            "expected --sample-every, as nothing is evaluated",
        ),
        (("--sample-every", "3"), "expected --sample-prompts to sample, got none"),
        (("--eval-dataset", "x=sample", "--infrequent-eval-dataset", "x=sample"), "got 'x' - at --infrequent-eval-dat"),
    ],
)
def test_what_would_never_be_evaluated_or_sampled_is_refused(data, tmp_path, capsys, flags, sentence):
    assert main(train, ["--log-path", str(tmp_path / "run"), "--dataset", str(data), "--batch-size", "4", *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_sets_are_evaluated_by_their_cadences_and_at_the_end(data, tmp_path, capsys):
    folder = tmp_path / "run"
    flags = ("--batch-size", "4", "--max-length", "32", "--max-steps", "5", "--eval-every", "2", "--save-every", "0",
             "--eval-dataset", "often=sample", "--infrequent-eval-dataset", f"rare=sample,also={data}",
             "--infrequent-eval-every", "3", "--test-size", "4")  # fmt: skip
    assert main(train, ["--log-path", str(folder), "--dataset", str(data), *flags]) == 0
    rows = read_metrics(folder)
    for name, steps in {"test": [0, 2, 4, 5], "often": [0, 2, 4, 5], "rare": [0, 3, 5], "also": [0, 3, 5]}.items():
        assert [row["step"] for row in rows if f"{name}/nll" in row] == steps
    assert rows[0]["often/nll"] == rows[0]["rare/nll"]
    assert rows[0]["also/nll"] == pytest.approx(rows[0]["test/nll"]), "what is left of the data is its holdout"
    assert "also: 4 rows (without 20 that training also has)" in capsys.readouterr().out
