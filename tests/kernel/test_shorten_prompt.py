"""Shorter conversations: the answer is never touched, and what is cut is the least."""

from hypothesis import given
from hypothesis import strategies as st

from kernel.conversation import Message, Part
from kernel.shorten_prompt import (
    n_older_turns,
    n_prompt_characters,
    shortest_cut,
    without_middle,
    without_oldest_turns,
)

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
