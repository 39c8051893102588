"""Rows to datums: what cannot be used is set aside with its reason, long rows keep their answer, nothing vanishes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.errors import InputError
from kernel.formats import RENDERERS
from kernel.length_limit import LengthPolicy, Truncation
from kernel.render.loss_mask import TrainOnWhat
from kernel.row_outcomes import Outcome
from shell.data.rows import Rejected
from shell.datums.render_rows import BatchResult, RenderSettings, RowRenderer
from shell.text.tokenizer import open_tokenizer

TOKENIZER = open_tokenizer("sample")
ANSWERS = TrainOnWhat.ALL_ASSISTANT_MESSAGES


PLAIN = LengthPolicy()


def maker(max_length: int | None = None, policy: LengthPolicy = PLAIN, renderer: str = "qwen3_instruct", **more: Any):
    settings = RenderSettings(train_on_what=ANSWERS, max_length=max_length, length_policy=policy, **more)
    return RowRenderer(RENDERERS[renderer], TOKENIZER, settings)


def row(*turns: str, system: str = "") -> dict[str, Any]:
    """Turns of user and assistant by turns."""
    roles = ("user", "assistant")
    head = [{"role": "system", "content": system}] if system else []
    return {"messages": head + [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}


def texts(made: BatchResult) -> list[str]:
    """Each example as text, its last target included."""
    out = []
    for b in range(made.datums.n_examples):
        inputs, targets, _ = made.datums.example(b)
        out.append(TOKENIZER.decode([int(inputs[0]), *targets.tolist()]))
    return out


def make(one: RowRenderer, *rows: Any) -> BatchResult:
    return one.make(list(rows), [f"a.jsonl:{i + 1}" for i in range(len(rows))])


def n_tokens(*rows: Any) -> int:
    return len(make(maker(), *rows).datums.inputs) + 1


def test_a_row_trained_whole_has_no_entry():
    made = make(maker(), row("2+2?", "4"), row("3+3?", "6"))
    assert (made.n_rows, made.fell, made.datums.n_examples) == (2, (), 2)


def test_a_row_without_anything_to_train_is_named_and_not_sent():
    made = make(maker(), row("2+2?", "4"), row("anybody?"))
    (fell,) = made.fell
    assert made.datums.n_examples == 1
    assert (fell.place, fell.outcome) == ("a.jsonl:2", Outcome.ZERO_LOSS)
    assert "trains nothing in its" in fell.reason


def test_a_row_whose_answer_is_cut_away_says_how_long_it_was():
    long = row("word " * 50, "4")
    made = make(maker(20), long)
    assert made.datums.n_examples == 0
    assert made.fell[0].outcome is Outcome.ZERO_LOSS
    assert f"the first 20 of {n_tokens(long)} tokens" in made.fell[0].reason


def test_the_references_way_sends_what_trains_nothing():
    made = make(maker(policy=LengthPolicy(send_zero_loss=True)), row("anybody?"))
    assert (made.datums.n_examples, made.fell[0].outcome) == (1, Outcome.ZERO_LOSS)


def test_too_long_is_an_error_that_names_the_row_where_it_is_asked_for():
    long = row("word " * 50, "4")
    with pytest.raises(InputError, match=rf"at most 20 tokens .*, got {n_tokens(long)} tokens - at a.jsonl:2"):
        make(maker(20, LengthPolicy(Truncation.ERROR)), row("a", "b"), long)
    assert make(maker(20, LengthPolicy(Truncation.ERROR)), row("a", "b")).fell == ()


def test_too_long_is_dropped_where_it_is_asked_for():
    made = make(maker(20, LengthPolicy(Truncation.DROP)), row("a", "b"), row("word " * 50, "4"))
    assert made.datums.n_examples == 1
    assert made.fell[0].outcome is Outcome.TOO_LONG


KEEP = LengthPolicy(Truncation.KEEP_ANSWER)


def test_the_oldest_turns_go_first_and_what_is_left_is_the_conversation_without_them():
    turns = ("one? " * 8, "1 " * 8, "two? " * 8, "2 " * 8, "three?", "3")
    length = n_tokens(row(*turns[2:], system="be brief"))
    made = make(maker(length, KEEP), row(*turns, system="be brief"))
    assert texts(made) == texts(make(maker(), row(*turns[2:], system="be brief")))
    assert made.fell[0].outcome is Outcome.TRUNCATED
    assert f"{length} of {n_tokens(row(*turns, system='be brief'))} tokens" in made.fell[0].reason


def test_a_prompt_that_is_too_long_alone_loses_its_middle():
    long = row("begin " + "word " * 60 + "end", "the answer")
    made = make(maker(40, KEEP), long)
    (text,) = texts(made)
    assert text.startswith("<|im_start|>user\nbegin ")
    assert "end<|im_end|>\n<|im_start|>assistant\nthe answer<|im_end|>" in text
    assert "…" in text
    assert 35 <= len(made.datums.inputs) + 1 <= 40


def test_an_answer_that_is_too_long_alone_is_dropped_and_named():
    made = make(maker(30, KEEP), row("a?", "word " * 80), row("a?", "b"))
    assert made.datums.n_examples == 1
    assert made.fell[0].outcome is Outcome.TOO_LONG
    assert "without its prompt still more than 30" in made.fell[0].reason


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "bb " * 3, "ccc " * 9, "word " * 30]), min_size=2, max_size=6), max_size=5),
    st.integers(16, 90),
    st.sampled_from(["qwen3_instruct", "qwen3", "role_colon"]),
)
def test_with_keep_answer_every_answer_that_fits_ends_its_example_whole(rows, length, renderer):
    rows = [row(*turns[: len(turns) // 2 * 2]) for turns in rows]
    made = make(maker(length, KEEP, renderer), *rows)
    whole = make(maker(None, renderer=renderer), *rows)
    lost = {fell.place for fell in made.fell if fell.outcome is Outcome.TOO_LONG}
    ends = [one["messages"][-1]["content"] for i, one in enumerate(rows) if f"a.jsonl:{i + 1}" not in lost]
    assert all(n < length for n in np.diff(made.datums.offsets))
    told = texts(made)
    assert all(any(end in text for text in told) for end in ends)
    if not made.fell:
        assert told == texts(whole)


def test_rows_that_cannot_be_used_are_set_aside_and_the_others_are_as_without_them():
    bad = {"messages": [{"role": "humna", "content": "a"}]}
    null = {"messages": [{"role": "user", "content": None}]}
    broken = Rejected("a.jsonl:4: broken JSON")
    good = [row("2+2?", "4"), row("3+3?", "6")]
    lenient = maker(lenient=True)
    made = lenient.make([good[0], bad, null, broken, good[1]], [f"a.jsonl:{i}" for i in range(5)])
    assert texts(made) == texts(make(maker(), *good))
    assert [(fell.place, fell.outcome) for fell in made.fell] == [(f"a.jsonl:{i}", Outcome.REJECTED) for i in (1, 2, 3)]
    assert "humna" in made.fell[0].reason
    assert made.fell[2].reason == broken.reason
    with pytest.raises(InputError, match="humna"):
        make(maker(), good[0], bad)


def test_a_batch_of_nothing_but_bad_rows_is_empty():
    made = maker(lenient=True).make([Rejected("broken")], ["a.jsonl:1"])
    assert (made.datums.n_examples, made.n_rows, len(made.fell)) == (0, 1, 1)
    script, rejected = maker(lenient=True).script([Rejected("broken")], ["a.jsonl:1"])
    assert (len(script.rows), rejected) == (0, {0: "broken"})
