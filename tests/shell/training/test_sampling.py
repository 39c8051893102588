"""Prompts are written as the renderer writes them; samples are of exactly the weights before the update of a step."""

import json
from functools import partial

import pytest

from kernel.conversation import Message
from kernel.errors import InputError
from kernel.renderers import find_renderer
from kernel.row_to_conversation import read_conversation
from shell.run_dir.atomic_files import read_lines
from shell.run_dir.run_files import read_metrics
from shell.settings.cli import main
from shell.text.tokenizer import open_tokenizer
from shell.train import train
from shell.training.sampling import open_prompts, plain, shown, stops_of
from tests.spans import write_prompt

TOKENIZER = open_tokenizer("sample")
ASK, ANSWER = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}


@pytest.mark.parametrize("name", ["qwen3", "role_colon", "llama3"])
def test_a_prompt_is_what_the_format_writes_before_the_next_turn(tmp_path, name):
    renderer = find_renderer(name)
    talks = [
        [ASK],
        [{"role": "system", "content": "Be brief."}, ASK, ANSWER, {"role": "user", "content": "<|im_end|>"}],
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    try:
        TOKENIZER.check_controls(name, renderer.controls)
    except InputError:
        pytest.skip("the tokenizer in the box lacks its control tokens")
    prompts = open_prompts(str(path), renderer, TOKENIZER)
    for prompt, talk in zip(prompts, talks, strict=True):
        spans = write_prompt(renderer, read_conversation({"messages": talk}, "x"))
        assert TOKENIZER.decode(prompt.tokens) == "".join(span.text for span in spans)
        assert list(prompt.messages) == talk


def test_lines_of_text_and_a_prompt_on_the_command_line_are_what_the_user_says(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("2+2?\n\nAnd now?\n")
    renderer = find_renderer("qwen3")
    assert [one.messages[0]["content"] for one in open_prompts(str(path), renderer, TOKENIZER)] == ["2+2?", "And now?"]
    (typed,) = open_prompts("What is 2+2?", renderer, TOKENIZER)
    assert typed.messages == ({"role": "user", "content": "What is 2+2?"},)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (
            "a.jsonl",
            json.dumps({"messages": [ASK, ANSWER]}),
            "last message is from the user or a tool, got the assistant",
        ),
        ("a.jsonl", json.dumps({"messages": [{"role": "humna", "content": "x"}]}), "unknown role 'humna'"),
        ("a.txt", "\n\n", "expected at least one prompt, got an empty file"),
        ("a.txt", b"\xff\xfe\x00", "expected a file of text"),
        (None, None, "expected a file of prompts, or a prompt of several words, got no file"),
    ],
)
def test_what_is_no_prompt_is_refused_in_one_sentence(tmp_path, name, text, sentence):
    path = tmp_path / (name or "missing")
    if name:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        open_prompts(str(path), find_renderer("qwen3"), TOKENIZER)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_what_ends_an_answer_is_an_id_or_a_text_as_the_format_has_it():
    assert stops_of(find_renderer("qwen3"), TOKENIZER) == [TOKENIZER.controls["<|im_end|>"]]
    assert stops_of(find_renderer("role_colon"), TOKENIZER) == list(find_renderer("role_colon").stops)


def test_a_sample_on_the_screen_is_one_short_line_without_control_characters():
    line = shown({"prompt": [{"role": "user", "content": "a\x1b[31m" * 40}], "text": "b\n\r" * 40})
    assert len(line) < 130
    assert line.isprintable()


def test_a_sample_and_a_message_for_people():
    line = {"prompt": [{"role": "user", "content": "2+2?"}], "text": "4\n<|im_end|>"}
    assert shown(line) == "2+2? -> 4␊<|im_end|>"
    assert plain(Message("assistant", "4")) == {"role": "assistant", "content": "4"}


N_STEPS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "a.jsonl"
    rows = [[{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"it is {i}"}] for i in range(24)]
    path.write_text("".join(json.dumps({"messages": one}) + "\n" for one in rows))
    return path


@pytest.fixture(scope="module")
def trained(data, service):
    """Trains with samples of prompts; the lines of samples."""
    return partial(run_on, ("--service", service.url, "--model-name", "tinsmith/tiny"), data)


def run_on(where, data, folder, n_steps, *more, ahead=4, prompts="How much is it ?"):
    flags = (*where, "--batch-size", "4", "--max-length", "32", "--lora-rank", "4", "--lr-schedule", "constant",
             "--eval-every", "2", "--save-every", "0", "--learning-rate", "2e-2", "--max-steps", str(n_steps),
             "--submit-ahead", str(ahead), "--sample-prompts", prompts, "--sample-temperature", "1",
             "--sample-max-tokens", "12", *more)  # fmt: skip
    assert main(train, ["--log-path", str(folder), "--dataset", str(data), *flags]) == 0
    return read_lines(folder / "samples.jsonl")


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return trained(folder, N_STEPS, ahead=5), folder


def test_a_sample_in_the_flow_is_that_of_a_run_that_ends_there(trained, whole, tmp_path):
    lines, _ = whole
    assert [line["step"] for line in lines] == [0, 2, 4, 6]
    assert len({line["text"] for line in lines}) == 4, "the samples do not tell the weights apart"
    assert trained(tmp_path / "run", 4, ahead=0)[-1] == lines[2]


def test_samples_leave_the_run_as_it_would_be_without_them(trained, whole, tmp_path):
    _, folder = whole
    trained(tmp_path / "run", N_STEPS, "--sample-every", "0")
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


def test_sets_are_evaluated_by_their_cadences_and_at_the_end(data, service, tmp_path, capsys):
    folder = tmp_path / "run"
    flags = ("--batch-size", "4", "--max-length", "32", "--max-steps", "5", "--eval-every", "2", "--save-every", "0",
             "--eval-dataset", "often=sample", "--infrequent-eval-dataset", f"rare=sample,also={data}",
             "--infrequent-eval-every", "3", "--test-size", "4", "--service", service.url, "--model-name",
             "tinsmith/tiny")  # fmt: skip
    assert main(train, ["--log-path", str(folder), "--dataset", str(data), *flags]) == 0
    rows = read_metrics(folder)
    for name, steps in {"test": [0, 2, 4, 5], "often": [0, 2, 4, 5], "rare": [0, 3, 5], "also": [0, 3, 5]}.items():
        assert [row["step"] for row in rows if f"{name}/nll" in row] == steps
    assert rows[0]["often/nll"] == rows[0]["rare/nll"]
    assert rows[0]["also/nll"] == pytest.approx(rows[0]["test/nll"]), "what is left of the data is its holdout"
    assert "also: 4 rows (without 20 that training also has)" in capsys.readouterr().out
