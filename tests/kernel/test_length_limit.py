"""What becomes of examples that are too long or train nothing: every row has one outcome, and only cut ones lose."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernel.conversation import Message, Part
from kernel.datum import build_datums, n_kept
from kernel.length_limit import (
    LengthPolicy,
    Truncation,
    apply_length_limit,
    n_older_turns,
    n_prompt_characters,
    shortest_cut,
    without_middle,
    without_oldest_turns,
)
from kernel.ragged_batches import Examples
from kernel.row_outcomes import Outcome

RUNS = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=9), min_size=1, max_size=6)


@st.composite
def batches(draw):
    """Examples of rows in order, several of one row now and then."""
    weights = draw(RUNS)
    steps = draw(st.lists(st.integers(0, 1), min_size=len(weights), max_size=len(weights)))
    rows = np.cumsum(steps)
    offsets = np.cumsum([0, *map(len, weights)])
    flat = np.concatenate([np.array(one, np.float32) for one in weights])
    return Examples(np.arange(offsets[-1], dtype=np.int32), flat, offsets.astype(np.int64), rows.astype(np.int64))


def own(examples, b):
    return slice(examples.offsets[b], examples.offsets[b + 1])


def loses(examples, b, length):
    return examples.offsets[b + 1] - examples.offsets[b] > length


@given(batches(), st.integers(2, 9))
def test_only_examples_without_a_trained_target_are_left_out(examples, length):
    settled = apply_length_limit(examples, length)
    sent = [tuple(settled.examples.tokens[own(settled.examples, b)]) for b in range(len(settled.examples.rows))]
    kept = n_kept(examples.offsets, length)
    trains = [examples.weights[own(examples, b)][1 : kept[b]].any() for b in range(len(kept))]
    assert sent == [tuple(examples.tokens[own(examples, b)]) for b in range(len(kept)) if trains[b]]


@given(batches(), st.integers(2, 9))
def test_leaving_them_out_changes_no_weight_of_what_is_sent(examples, length):
    whole = build_datums(*examples[:3], max_length=length, units=examples.rows)
    kept = apply_length_limit(examples, length).examples
    sent = build_datums(*kept[:3], max_length=length, units=kept.rows)
    trains = [bool(whole.example(b)[2].any()) for b in range(whole.n_examples)]
    for b, one in enumerate(np.flatnonzero(trains)):
        for a, z in zip(whole.example(one), sent.example(b), strict=True):
            np.testing.assert_array_equal(a, z)


@given(batches(), st.integers(2, 9), st.sampled_from(Truncation), st.booleans(), st.booleans())
def test_a_row_has_a_fate_exactly_if_it_loses_something(examples, length, kind, train_cut, send):
    settled = apply_length_limit(examples, length, LengthPolicy(kind, train_cut, send))
    outcomes = {one.row: one.outcome for one in settled.outcomes}
    assert len(outcomes) == len(settled.outcomes)
    for row in np.unique(examples.rows):
        mine = [b for b in range(len(examples.rows)) if examples.rows[b] == row]
        cut = [b for b in mine if loses(examples, b, length)]
        trains = any(
            settled.examples.weights[own(settled.examples, b)][1:length].any()
            for b in range(len(settled.examples.rows))
            if settled.examples.rows[b] == row
        )
        if trains:
            assert outcomes.get(row) is (Outcome.TRUNCATED if cut else None)
        elif cut and kind is not Truncation.RIGHT:
            assert outcomes[row] is Outcome.TOO_LONG
        else:
            assert outcomes[row] is Outcome.ZERO_LOSS


@given(batches(), st.integers(2, 9))
def test_what_drops_leaves_nothing_that_is_too_long(examples, length):
    kept = apply_length_limit(examples, length, LengthPolicy(Truncation.DROP)).examples
    assert not (np.diff(kept.offsets) > length).any()


@given(batches(), st.integers(2, 9))
def test_an_answer_that_the_cut_goes_through_loses_all_its_weight_and_no_other_does(examples, length):
    before = examples.weights.copy()
    settled = apply_length_limit(examples, length, LengthPolicy(train_cut_answers=False, send_zero_loss=True))
    np.testing.assert_array_equal(examples.weights, before)  # the caller's array is left alone
    for b in range(len(examples.rows)):
        old, new = before[own(examples, b)].copy(), settled.examples.weights[own(examples, b)]
        if len(old) > length and old[length] and old[length - 1]:
            begin = length - 1
            while begin >= 0 and old[begin]:
                old[begin] = 0
                begin -= 1
        np.testing.assert_array_equal(old[:length], new[:length])


@given(batches(), st.integers(2, 9))
def test_the_references_way_sends_everything(examples, length):
    assert apply_length_limit(examples, length, LengthPolicy(send_zero_loss=True)).examples is examples


def test_tokens_are_counted_over_all_examples_of_a_row():
    examples = Examples(np.arange(9, dtype=np.int32), np.ones(9, np.float32), np.array([0, 4, 9]), np.array([7, 7]))
    (one,) = apply_length_limit(examples, 4).outcomes
    assert (one.row, one.outcome, one.n_tokens, one.n_kept) == (7, Outcome.TRUNCATED, 9, 8)
    (one,) = apply_length_limit(examples, 4, LengthPolicy(Truncation.DROP)).outcomes
    assert (one.outcome, one.n_tokens, one.n_kept) == (Outcome.TRUNCATED, 9, 4)


TALK = (
    Message("system", "be brief"),
    Message("user", "one?"),
    Message("assistant", "1"),
    Message("user", "two?"),
    Message("assistant", "", tool_calls=()),
    Message("tool", "2"),
    Message("assistant", "two"),
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
TALKS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), TEXT), max_size=8).map(
    lambda told: (*(Message(role, text) for role, text in told), Message("assistant", "the answer"))
)


def test_the_oldest_turns_go_whole_and_the_systems_message_stays():
    assert n_older_turns(TALK) == 1
    assert without_oldest_turns(TALK, 0) is TALK
    assert without_oldest_turns(TALK, 1) == (TALK[0], *TALK[3:])


@given(TALKS)
def test_the_last_answer_is_never_touched(talk):
    for n in range(n_older_turns(talk) + 1):
        shorter = without_oldest_turns(talk, n)
        assert shorter[-1] == talk[-1]
        for m in (0, 1, n_prompt_characters(shorter)):
            assert without_middle(shorter, m)[-1] == talk[-1]
            assert [message.role for message in without_middle(shorter, m)] == [message.role for message in shorter]


@given(TALKS, st.integers(0, 40))
def test_as_many_characters_go_as_are_asked_for(talk, n):
    n = min(n, n_prompt_characters(talk))
    before, after = (sum(len(str(m.content).replace("…", "")) for m in t) for t in (talk, without_middle(talk, n)))
    ellipses = sum(str(m.content).count("…") for m in talk)
    assert before - after <= n <= before - after + ellipses  # an ellipsis of the text's own may go too


def test_cutting_everything_leaves_empty_prompts_and_the_answer():
    assert without_middle(TALK, n_prompt_characters(TALK)) == tuple(
        message if message.role == "assistant" else message._replace(content="") for message in TALK
    )


def test_the_longest_text_goes_first_and_its_ends_stay():
    talk = (Message("system", "short"), Message("user", "0123456789"), Message("assistant", "a"))
    assert [m.content for m in without_middle(talk, 6)] == ["short", "01…89", "a"]


def test_of_parts_the_text_is_cut_and_the_rest_stays():
    talk = (Message("user", (Part("image", "cat.png"), Part("text", "abcdef"))), Message("assistant", "a"))
    assert without_middle(talk, 4)[0].content == (Part("image", "cat.png"), Part("text", "a…f"))


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_smallest_cut_that_fits_is_found(least, most):
    asked = []
    found = shortest_cut(lambda n: asked.append(n) or n >= least, most)
    assert found == (least if least <= most else None)
    assert len(asked) <= 8
