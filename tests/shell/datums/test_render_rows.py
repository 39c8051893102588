"""Rows to datums: what cannot be used is set aside with its reason, long rows keep their answer, nothing vanishes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.length_limit import LengthPolicy, Truncation
from kernel.renderers import RENDERERS
from kernel.row_outcomes import Outcome
from shell.data.rows import Rejected
from shell.datums.render_rows import BatchResult, RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.text.tokenizer import open_tokenizer

TOKENIZER = open_tokenizer("sample")
ANSWERS = TrainOnWhat.ALL_ASSISTANT_MESSAGES


PLAIN = LengthPolicy()


def renderer_of(
    max_length: int | None = None, policy: LengthPolicy = PLAIN, chat_format: str = "qwen3_instruct", **more: Any
):
    settings = RenderSettings(train_on_what=ANSWERS, max_length=max_length, length_policy=policy, **more)
    return RowRenderer(RENDERERS[chat_format], TOKENIZER, settings)


def row(*turns: str, system: str = "") -> dict[str, Any]:
    """Turns of user and assistant by turns."""
    roles = ("user", "assistant")
    head = [{"role": "system", "content": system}] if system else []
    return {"messages": head + [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}


def texts(result: BatchResult) -> list[str]:
    """Each example as text, its last target included."""
    out = []
    for b in range(result.datums.n_examples):
        inputs, targets, _ = result.datums.example(b)
        out.append(TOKENIZER.decode([int(inputs[0]), *targets.tolist()]))
    return out


def make(one: RowRenderer, *rows: Any) -> BatchResult:
    return one.batch(list(rows), [f"a.jsonl:{i + 1}" for i in range(len(rows))])


def n_tokens(*rows: Any) -> int:
    return len(make(renderer_of(), *rows).datums.inputs) + 1


def test_a_row_trained_whole_has_no_entry():
    result = make(renderer_of(), row("2+2?", "4"), row("3+3?", "6"))
    assert (result.n_rows, result.outcomes, result.datums.n_examples) == (2, (), 2)


def test_a_row_without_anything_to_train_is_named_and_not_sent():
    result = make(renderer_of(), row("2+2?", "4"), row("anybody?"))
    (one,) = result.outcomes
    assert result.datums.n_examples == 1
    assert (one.location, one.outcome) == ("a.jsonl:2", Outcome.ZERO_LOSS)
    assert "trains nothing in its" in one.reason


def test_a_row_whose_answer_is_cut_away_says_how_long_it_was():
    long = row("word " * 50, "4")
    result = make(renderer_of(20), long)
    assert result.datums.n_examples == 0
    assert result.outcomes[0].outcome is Outcome.ZERO_LOSS
    assert f"the first 20 of {n_tokens(long)} tokens" in result.outcomes[0].reason


def test_the_references_way_sends_what_trains_nothing():
    result = make(renderer_of(policy=LengthPolicy(send_zero_loss=True)), row("anybody?"))
    assert (result.datums.n_examples, result.outcomes[0].outcome) == (1, Outcome.ZERO_LOSS)


def test_too_long_is_an_error_that_names_the_row_where_it_is_asked_for():
    long = row("word " * 50, "4")
    with pytest.raises(InputError, match=rf"at most 20 tokens .*, got {n_tokens(long)} tokens - at a.jsonl:2"):
        make(renderer_of(20, LengthPolicy(Truncation.ERROR)), row("a", "b"), long)
    assert make(renderer_of(20, LengthPolicy(Truncation.ERROR)), row("a", "b")).outcomes == ()


def test_too_long_is_dropped_where_it_is_asked_for():
    result = make(renderer_of(20, LengthPolicy(Truncation.DROP)), row("a", "b"), row("word " * 50, "4"))
    assert result.datums.n_examples == 1
    assert result.outcomes[0].outcome is Outcome.TOO_LONG


KEEP = LengthPolicy(Truncation.KEEP_ANSWER)


def test_the_oldest_turns_go_first_and_what_is_left_is_the_conversation_without_them():
    turns = ("one? " * 8, "1 " * 8, "two? " * 8, "2 " * 8, "three?", "3")
    length = n_tokens(row(*turns[2:], system="be brief"))
    result = make(renderer_of(length, KEEP), row(*turns, system="be brief"))
    assert texts(result) == texts(make(renderer_of(), row(*turns[2:], system="be brief")))
    assert result.outcomes[0].outcome is Outcome.TRUNCATED
    assert f"{length} of {n_tokens(row(*turns, system='be brief'))} tokens" in result.outcomes[0].reason


def test_a_prompt_that_is_too_long_alone_loses_its_middle():
    long = row("begin " + "word " * 60 + "end", "the answer")
    result = make(renderer_of(40, KEEP), long)
    (text,) = texts(result)
    assert text.startswith("<|im_start|>user\nbegin ")
    assert "end<|im_end|>\n<|im_start|>assistant\nthe answer<|im_end|>" in text
    assert "…" in text
    assert 35 <= len(result.datums.inputs) + 1 <= 40


def test_an_answer_that_is_too_long_alone_is_dropped_and_named():
    result = make(renderer_of(30, KEEP), row("a?", "word " * 80), row("a?", "b"))
    assert result.datums.n_examples == 1
    assert result.outcomes[0].outcome is Outcome.TOO_LONG
    assert "without its prompt still more than 30" in result.outcomes[0].reason


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "bb " * 3, "ccc " * 9, "word " * 30]), min_size=2, max_size=6), max_size=5),
    st.integers(16, 90),
    st.sampled_from(["qwen3_instruct", "qwen3", "role_colon"]),
)
@example([["a", "a", "a", "bb " * 3]], 18, "qwen3")
def test_with_keep_answer_every_answer_that_fits_ends_its_example_whole(rows, length, renderer):
    rows = [row(*turns[: len(turns) // 2 * 2]) for turns in rows]
    result = make(renderer_of(length, KEEP, renderer), *rows)
    whole = make(renderer_of(None, chat_format=renderer), *rows)
    lost = {one.location for one in result.outcomes if one.outcome is Outcome.TOO_LONG}
    # of a split row whose last example is too long, the others are still trained
    lost |= {f"a.jsonl:{i + 1}" for i in range(len(rows)) if (result.rows == i).sum() < (whole.rows == i).sum() > 1}
    ends = [one["messages"][-1]["content"] for i, one in enumerate(rows) if f"a.jsonl:{i + 1}" not in lost]
    assert all(n < length for n in np.diff(result.datums.offsets))
    sent = texts(result)
    assert all(any(end in text for text in sent) for end in ends)
    if not result.outcomes:
        assert sent == texts(whole)


def test_rows_that_cannot_be_used_are_set_aside_and_the_others_are_as_without_them():
    bad = {"messages": [{"role": "humna", "content": "a"}]}
    null = {"messages": [{"role": "user", "content": None}]}
    broken = Rejected("a.jsonl:4: broken JSON")
    good = [row("2+2?", "4"), row("3+3?", "6")]
    lenient = renderer_of(lenient=True)
    result = lenient.batch([good[0], bad, null, broken, good[1]], [f"a.jsonl:{i}" for i in range(5)])
    assert texts(result) == texts(make(renderer_of(), *good))
    assert [(one.location, one.outcome) for one in result.outcomes] == [
        (f"a.jsonl:{i}", Outcome.REJECTED) for i in (1, 2, 3)
    ]
    assert "humna" in result.outcomes[0].reason
    assert result.outcomes[2].reason == broken.reason
    with pytest.raises(InputError, match="humna"):
        make(renderer_of(), good[0], bad)


def test_a_batch_of_nothing_but_bad_rows_is_empty():
    result = renderer_of(lenient=True).batch([Rejected("broken")], ["a.jsonl:1"])
    assert (result.datums.n_examples, result.n_rows, len(result.outcomes)) == (0, 1, 1)
    program, rejected = renderer_of(lenient=True).program([Rejected("broken")], ["a.jsonl:1"])
    assert (len(program.rows), rejected) == (0, {0: "broken"})
