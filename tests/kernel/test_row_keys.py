"""Keys of rows: a closed list in every shape; what is ignored is counted, all else is refused or counted aloud."""

import pytest

from kernel.dataset_formats import RowReader
from kernel.enums import UnknownKeys
from kernel.errors import InputError
from kernel.row_keys import IGNORABLE, holds

CHAT = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
ROWS = [
    {"messages": CHAT},
    {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
    {"instruction": "Q", "output": "A"},
    {"prompt": "Q", "completion": "A"},
    {"instruction": "Q", "response": "A"},
    {"query": "Q", "response": "A"},
    {"question": "Q", "answer": "A"},
    {"input": "Q", "output": "A"},
    {"text": "Q"},
    {"chat": "USER: Q\n\n\nASSISTANT: A <|endoftext|>"},
    {"query": "Q", "answers": [{"name": "f", "arguments": {}}]},
    {"contents": [{"role": "user", "parts": [{"text": "Q"}]}]},
]


def refusal(row, **more):
    with pytest.raises(InputError) as error:
        RowReader(**more).read(row, "f:1")
    return str(error.value)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("key", ["hint", "train_on", "Notes", "n", "title"])
def test_a_key_that_no_shape_reads_is_refused_where_it_holds_something(row, key):
    assert refusal({**row, key: "x"}).startswith(f"nothing reads the key {key!r}: ")
    assert refusal({key: False, **row}).endswith(f"--unknown-keys ignore - at f:1 $.{key}")
    for nothing in (None, "", "[]", " null", [], {}):
        reader = RowReader()
        reader.read({**row, key: nothing})
        assert reader.take_counts() == {}


@pytest.mark.parametrize("row", ROWS)
def test_keys_without_content_are_counted_once_a_row(row):
    reader = RowReader()
    for i in range(5):
        reader.read({**row, "source": "s", "Timestamp": i})
    reader.read(row)
    assert reader.take_counts() == {"source": 5, "Timestamp": 5}
    assert reader.take_counts() == {}


@pytest.mark.parametrize("row", ROWS)
def test_unknown_keys_are_left_out_and_counted_where_that_is_asked(row):
    reader = RowReader(unknown_keys=UnknownKeys.IGNORE)
    for _ in range(3):
        found = reader.read({**row, "hint": "x"})
    assert found["messages"]
    assert reader.take_counts() == {"hint": 3}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT, "prompt": "Q"},
        {"messages": CHAT, "answer": "A", "question": "Q", "conversation_id": 3},
        {"conversations": ROWS[1]["conversations"], "title": "Q"},
        {"question": "Q", "answer": "A", "response_text": "A"},
        {"instruction": "Q", "output": "A", "target": "A"},
    ],
)
def test_a_text_that_repeats_a_message_of_the_row_is_ignored(row):
    reader = RowReader("messages" if "messages" in row else "auto")
    reader.read(row)
    assert reader.take_counts()
    (repeated, *_) = (key for key in row if row[key] in ("Q", "A") and key not in ("instruction", "output"))
    if repeated not in ("question", "answer"):
        assert f"nothing reads the key {repeated!r}" in refusal({**row, repeated: "another text"})


def test_a_shape_that_was_chosen_leaves_the_other_one_out_aloud():
    row = {"messages": CHAT, "text": "Q and A"}
    assert "a row of one shape (--dataset-format says which), got messages and text" in refusal(row)
    reader = RowReader("messages")
    assert reader.read(row)["messages"] == CHAT
    assert reader.take_counts() == {"text": 1}


def test_a_weight_of_the_row_is_neither_refused_nor_ignored():
    for key in ("weight", "loss_weight", "sample_weight", "train"):
        for row in ROWS:
            reader = RowReader()
            assert reader.read({**row, key: 0})[key] == 0
            assert reader.take_counts() == {}


@pytest.mark.parametrize("key", ["mask", "completion_mask", "weights", "token_weights", "assistant_masks"])
def test_a_mask_that_is_not_read_is_refused_under_every_setting(key):
    for unknown_keys in UnknownKeys:
        message = refusal({"messages": CHAT, key: [0, 1]}, unknown_keys=unknown_keys)
        assert message == f"the key {key!r} asks for another mask and is not read (remove it) - at f:1 $.{key}"
    assert RowReader(unknown_keys=UnknownKeys.IGNORE).ignored_columns([key]) == []


def test_a_column_of_the_users_own_keeps_the_list_closed():
    assert "nothing reads the key 'messages'" in refusal({"chat": CHAT, "messages": [{}]}, column="chat")
    reader = RowReader(column="chat")
    for _ in range(2):
        assert reader.read({"chat": CHAT, "id": 1}) == {"chat": CHAT, "id": 1}
    assert reader.take_counts() == {"id": 2}


def test_columns_of_a_table_that_are_ignored_need_not_be_read():
    names = ["messages", "id", "embedding", "when", "hint", "prompt"]
    assert RowReader().ignored_columns(names) == ["id", "embedding"]
    assert RowReader().ignored_columns(names, dates=["when", "prompt"]) == ["id", "embedding", "when"]
    assert RowReader(unknown_keys=UnknownKeys.IGNORE).ignored_columns(names) == ["id", "embedding", "when", "hint"]


def test_the_list_of_what_is_ignored_is_in_lower_case_and_has_no_key_of_a_shape():
    assert all(name == name.lower() for name in IGNORABLE)
    assert IGNORABLE.isdisjoint(RowReader().read_keys)


@pytest.mark.parametrize("value", [0, False, "no", "[1]", [0], {"a": None}, "{'", b"x"])
def test_what_says_anything_is_something(value):
    assert holds(value)
