"""--dataset-map: columns and keys under names of the user's own, and errors in the user's own words."""

import pytest

from kernel.dataset_formats import RowReader
from kernel.dataset_formats.dataset_map import read_map
from kernel.enums import UnknownKeys
from kernel.errors import InputError
from kernel.row_to_conversation import read_conversation


def read(row, names, **more):
    return read_conversation(RowReader(dataset_map=read_map(names), **more).read(row, "f:1"), "f:1")


def refusal(row, names, **more):
    with pytest.raises(InputError) as error:
        read(row, names, **more)
    return str(error.value)


S, Q, A = (
    {"role": "system", "content": "S"},
    {"role": "user", "content": "Q"},
    {"role": "assistant", "content": "A"},
)


@pytest.mark.parametrize(
    ("row", "names", "messages"),
    [
        ({"question": "Q", "reply": "A"}, "user=question,assistant=reply", [Q, A]),
        ({"q": "Q", "a": "A", "ctx": "S"}, "user=q, assistant=a, system=ctx", [S, Q, A]),
        ({"x": {"q": "Q", "a": "A"}}, "user=x.q,assistant=x.a", [Q, A]),
        ({"x": '{"q": "Q", "a": "A"}'}, "user=x.q,assistant=x.a", [Q, A]),
        ({"x.q": "Q", "a": "A"}, "user=x.q,assistant=a", [Q, A]),
        ({"q": [S, Q], "a": "A"}, "prompt=q,completion=a", [S, Q, A]),
        ({"question": "Q", "completion": "A"}, "user=question", [Q, A]),
        ({"turns": [Q, A]}, "messages=turns", [Q, A]),
        ({"turns": '[{"role": "user", "content": "Q"}]'}, "messages=turns", [Q]),
        ({"turns": [{"who": "human", "said": "Q"}]}, "messages=turns,role=who,content=said", [Q]),
        ({"messages": [{"who": "Bot", "said": {"text": "A"}}]}, "role=who,content=said.text", [A]),
        ({"conversations": [{"from": "gpt", "said": "A"}]}, "content=said", [A]),
        ({"prompt": "Q", "completion": "A", "persona": "S"}, "system=persona", [S, Q, A]),
        ({"q": "Q", "a": "A", "h": [["Q", "A"]]}, "user=q,assistant=a,history=h", [Q, A, Q, A]),
        ({"q": "Q", "more": "x", "a": "A"}, "user=q,input=more,assistant=a", [{**Q, "content": "Q\nx"}, A]),
    ],
)
def test_mapped_columns_and_keys_are_read(row, names, messages):
    assert read(row, names) == read_conversation({"messages": messages})


def test_mapped_tools_images_and_weights_are_those_of_the_row():
    found = read({"q": "Q", "a": "A", "fns": '[{"name": "f"}]'}, "user=q,assistant=a,tools=fns")
    assert [tool.name for tool in found[0].tools] == ["f"]
    found = read({"q": "<image>Q", "a": "A", "pics": ["a.png"]}, "user=q,assistant=a,images=pics")
    assert [(part.kind, part.text) for part in found[0].content] == [("image", "a.png"), ("text", "Q")]
    assert read({"q": "Q", "a": "A", "w": 0.5}, "user=q,assistant=a,weight=w")[1].weight == 0.5


@pytest.mark.parametrize(
    ("row", "names", "message"),
    [
        (
            {"q": "Q", "b": "A"},
            "user=q,assistant=a",
            "expected the key 'a' (--dataset-map assistant=a), got 'q', ",
        ),
        ({"q": "Q", "a": "A"}, "user=q,assistant=a,system=s", "expected the key 's' (--dataset-map system=s), got 'q'"),
        ({"q": "Q", "a": "A"}, "user=q", "expected a key of the assistant's (--dataset-map assistant=KEY), got"),
        ({"q": 3, "a": "A"}, "user=q,assistant=a", "expected text, got a number - at f:1 $.q"),
        ({"x": {"q": 3}, "a": "A"}, "user=x.q,assistant=a", "expected text, got a number - at f:1 $.x.q"),
        ({"x": {"q": "Q", "n": 1}, "a": "A"}, "user=x.q,assistant=a", "nothing reads the key 'n': "),
        ({"q": "Q", "a": "A", "prompt": "P"}, "user=q,assistant=a", "nothing reads the key 'prompt': "),
        ({"turns": [{"who": 3}]}, "messages=turns,role=who", "expected text, got a number - at f:1 $.turns[0].who"),
        (
            {"turns": [{"x": "user"}]},
            "messages=turns,role=who",
            "expected the key 'who' (--dataset-map role=who), got",
        ),
        ({"turns": [{"who": "user", "s": None}]}, "messages=turns,role=who,content=s", "expected text, got nothing"),
        ({"turns": [{"who": "user", "role": "x"}]}, "messages=turns,role=who", "'role' and 'who', which --dataset-map"),
    ],
)
def test_what_a_map_does_not_find_is_named_in_the_words_of_the_row(row, names, message):
    assert refusal(row, names).startswith(message)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("user", "expected pairs such as user=question, got 'user' - at --dataset-map"),
        ("user=", "expected pairs such as user=question, got 'user=' - at --dataset-map"),
        (",", "expected pairs such as user=question, got ',' - at --dataset-map"),
        ("usr=q", "unknown part of a row 'usr', did you mean 'user'? - at --dataset-map"),
        ("user=q,prompt=p", "prompt is given twice - at --dataset-map"),
        ("messages=m,user=q", "messages and user or assistant cannot both be mapped - at --dataset-map"),
    ],
)
def test_a_map_that_cannot_be_used_is_refused(names, message):
    with pytest.raises(InputError) as error:
        read_map(names)
    assert str(error.value) == message


def test_what_is_beside_mapped_columns_is_counted_where_that_is_asked():
    reader = RowReader(dataset_map=read_map("user=x.q,assistant=a"), unknown_keys=UnknownKeys.IGNORE)
    reader.read({"x": {"q": "Q", "n": 1}, "a": "A", "prompt": "P", "hint": "h", "id": 3})
    assert reader.take_counts() == {"x.n": 1, "prompt": 1, "hint": 1, "id": 1}


def test_keys_of_messages_are_mapped_under_a_column_of_the_users_own():
    reader = RowReader(column="chat", dataset_map=read_map("role=who,content=said"))
    row = reader.read({"chat": [{"who": "user", "said": "Q"}]})
    assert read_conversation(row, column="chat") == read_conversation({"messages": [Q]})
    with pytest.raises(InputError, match=r"--dataset-column chat and messages in --dataset-map name one thing"):
        RowReader(column="chat", dataset_map=read_map("messages=talk"))


def test_a_column_that_a_table_has_may_be_null_in_a_row():
    reader = RowReader(dataset_map=read_map("user=q,assistant=a,system=s"))
    reader.columns = frozenset(("q", "a", "s"))
    assert len(read_conversation(reader.read({"q": "Q", "a": "A"}))) == 2
    with pytest.raises(InputError, match="expected the key 'a'"):
        reader.read({"q": "Q"})
