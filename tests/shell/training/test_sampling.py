"""Prompts are read from rows, lines or the flag itself, and written as the chat format writes them."""

import json

import pytest

from kernel.conversation import Message
from kernel.errors import InputError
from kernel.renderers import find_renderer
from kernel.row_to_conversation import read_conversation
from shell.text.tokenizer import open_tokenizer
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
