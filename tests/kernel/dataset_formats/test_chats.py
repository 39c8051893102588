"""The preferred of two answers, and lists of messages as JSON text."""

import json

import pytest

from kernel.dataset_formats import to_messages
from kernel.errors import InputError
from kernel.row_to_conversation import read_conversation

Q, A, B = ({"role": role, "content": text} for role, text in (("user", "Q"), ("assistant", "A"), ("assistant", "B")))
CHAT = read_conversation({"messages": [Q, A]})
PREFERRED = [
    {"prompt": "Q", "chosen": "A", "rejected": "B"},
    {"prompt": [Q], "chosen": [A], "rejected": [B]},
    {"prompt": "Q", "chosen": [Q, A], "rejected": [Q, B], "score_chosen": 3.0, "score_rejected": 1.0},
    {"prompt": [Q], "chosen": [Q, A], "rejected": [Q, B]},
    {"chosen": [Q, A], "rejected": [Q, B]},
    {"chosen": json.dumps([Q, A]), "rejected": json.dumps([Q, B])},
    {"prompt": "Q", "chosen": A, "rejected": B},
    {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"},
    {"input": {"messages": [Q]}, "preferred_output": [A], "non_preferred_output": [B]},
    {"input": [Q], "preferred_output": [A], "non_preferred_output": [B]},
]


@pytest.mark.parametrize("row", PREFERRED)
def test_the_preferred_answer_is_read_on_request_alone(row):
    assert read_conversation(to_messages(row, dataset_format="preference")) == CHAT
    with pytest.raises(InputError, match="--dataset-format preference trains the preferred one - at f:1"):
        to_messages(row, "f:1")


def test_an_answer_that_was_preferred_may_be_beside_messages():
    row = {"prompt": "Q", "messages": [Q, A], "chosen": [Q, A], "rejected": [Q, B]}
    with pytest.raises(InputError, match="got messages and preference"):
        to_messages(row)
    for name in ("preference", "messages"):
        assert read_conversation(to_messages(row, dataset_format=name)) == CHAT


def test_openais_preferences_keep_their_tools():
    row = {"input": {"messages": [Q], "tools": [{"name": "f"}]}, "preferred_output": [A], "non_preferred_output": [B]}
    assert read_conversation(to_messages(row, dataset_format="preference"))[0].tools[0].name == "f"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": "A", "rejected": "B"}, "the answer under 'chosen' has no prompt before it - at f:1 $.chosen"),
        ({"chosen": [A], "rejected": [B]}, "the answer under 'chosen' has no prompt before it - at f:1 $.chosen"),
        ({"prompt": "Q", "rejected": "B"}, "expected the key 'chosen' or 'preferred_output', got 'prompt', 'rejected'"),
        ({"prompt": "Q", "chosen": 3, "rejected": "B"}, "expected text, got a number - at f:1 $.chosen"),
        ({"prompt": 3, "chosen": "A", "rejected": "B"}, "expected text, got a number - at f:1 $.prompt"),
        ({"prompt": "Q", "chosen": [], "rejected": []}, "expected a list of at least one message, got an empty list"),
    ],
)
def test_preferences_that_cannot_be_read_are_refused(row, message):
    with pytest.raises(InputError) as error:
        to_messages(row, "f:1", "preference")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": json.dumps([Q, A])},
        {"messages": [json.dumps(Q), json.dumps(A)]},
        {"conversations": json.dumps([{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}])},
        {"prompt": json.dumps([Q]), "completion": json.dumps([A])},
        {"query": "Q", "response": "A", "history": "[]", "tools": "null", "system": "[]"},
        {
            "contents": json.dumps(
                [{"role": "user", "parts": [{"text": "Q"}]}, {"role": "model", "parts": [{"text": "A"}]}]
            )
        },
    ],
)
def test_json_text_is_read_where_a_list_may_be(row):
    assert read_conversation(to_messages(row)) == CHAT


def test_a_prompt_that_happens_to_be_json_is_text():
    for prompt in ("[1, 2]", '["a"]', '[{"name": "x"}]', "[]", '{"role": "user"}'):
        assert read_conversation(to_messages({"prompt": prompt, "completion": "A"}))[0].content == prompt
