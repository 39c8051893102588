"""Weights and masks under the names that trainers use, as show prints them."""

import json

import pytest

from tests.recipes.running import line, write

USER, BAD, GOOD = (
    {"role": role, "content": text} for role, text in (("user", "Q"), ("assistant", "b"), ("assistant", "g"))
)
MASKS = [{"loss": False}, {"training": False}, {"masked": True}, {"loss_scale": 0.0}, {"weight": 0}]


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_a_masked_answer_is_shown_untrained(mask, ask, tmp_path):
    path = write(tmp_path / "chats.jsonl", line(USER, {**BAD, **mask}, USER, GOOD))
    out = ask("show", "--dataset", path, "--renderer-name", "qwen3").out
    assert "\nb<|im_end|>" in out
    assert "g<|im_end|>»" in out


def test_a_factor_is_shown_after_what_it_weighs_and_is_in_the_json(ask, tmp_path):
    path = write(tmp_path / "chats.jsonl", line(USER, {**GOOD, "weight": 0.5}))
    flags = ("--dataset", path, "--renderer-name", "qwen3", "--reduction", "none")
    assert "g<|im_end|>»×0.5" in ask("show", *flags).out
    (datum,) = map(json.loads, ask("show", *flags, "--format", "json").out.splitlines())
    assert set(datum["weights"]) == {0, 0.5}
