"""A placeholder answers as its data may: a word with its own text, another text with the white space around it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.conversation import Message
from shell.text.chat_template.template_messages import (
    PLACEHOLDER,
    Field,
    Habits,
    Placeholder,
    Placeholders,
    number_of,
    placeholder,
    read_messages,
)

letters = st.text("ab \n", min_size=1, max_size=8)
OPERATIONS: dict[str, Callable[[str], object]] = {
    "strip": lambda s: s.strip(),
    "lstrip": lambda s: s.lstrip("\n"),
    "split": lambda s: s.split(),
    "split at": lambda s: s.split("\n"),
    "split at once": lambda s: s.split("\n", 1),
    "splitlines, ends kept": lambda s: s.splitlines(True),
    "partition": lambda s: s.partition("\n"),
    "removeprefix": lambda s: s.removeprefix("\n"),
    "upper": lambda s: s.upper(),
    "from": lambda s: s[1:],
    "first": lambda s: s[0],
    "replace": lambda s: s.replace("a", "b"),
    "string": str,
    "length": len,
    "starts": lambda s: s.startswith("\n"),
    "has": lambda s: "a" in s,
    "before": lambda s: s < "ab",
    "same": lambda s: s in ["ab", "a"],
    "key": lambda s: {"ab": 1, "a": 2}.get(s),
}


def data_of(value: object, shown: Placeholders) -> object:
    """A value with the data in place of the placeholders."""
    if isinstance(value, list | tuple):
        return type(value)(data_of(one, shown) for one in value)
    if not isinstance(value, str):
        return value
    return PLACEHOLDER.sub(lambda match: shown.shown[number_of(match[0])].text, "".join(["", value]))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_word_does_what_its_text_does(name: str) -> None:
    operation = OPERATIONS[name]

    @given(letters)
    def law(text: str) -> None:
        shown = Placeholders()
        assert data_of(operation(shown.of(Field(0, "name", text, 0, word=True))), shown) == operation(text)

    law()


@pytest.mark.parametrize("name", ["strip", "lstrip", "split at once", "splitlines, ends kept", "starts", "string"])
def test_a_text_does_to_its_edges_what_is_done_to_them(name: str) -> None:
    operation = OPERATIONS[name]

    @given(st.text(" \n", max_size=3), st.text(" \n", max_size=3))
    def law(before: str, after: str) -> None:
        shown, text = Placeholders(), f"{before}</think>{after}"
        assert data_of(operation(shown.of(Field(0, "text", text, 0, word=False))), shown) == operation(text)

    law()


def test_a_text_does_not_reveal_its_content() -> None:
    one, other, same = (
        Placeholders().of(Field(0, "text", text, 0, word=False)) for text in (" stop", " go on", " stop")
    )
    assert [("stop" in text, len(text), text == " stop", text.startswith(" ")) for text in (one, other)] == [
        (False, 2, False, True)
    ] * 2
    assert (one == same, one == other, hash(one) == hash(same)) == (True, False, True)


def test_white_space_is_trimmed_of_what_is_joined_with_it() -> None:
    shown = Placeholders()
    text = "".join(["\n", shown.of(Field(0, "text", " a\n", 0, word=False)), " "]).strip()
    assert data_of(text, shown) == "a"


@given(st.integers(0, 8**6 - 1))
def test_a_number_is_read_back(number: int) -> None:
    assert number_of(placeholder(number, is_blank=True)) == number


def test_every_string_of_the_data_is_a_field() -> None:
    talk = (Message("user", "q", name="bob"), Message("assistant", "a"))
    read = read_messages(talk, Habits(), "$")
    assert [(field.message, field.name, field.text, field.word) for field in read.fields] == [
        (0, "text", "q", False),
        (0, "name", "bob", True),
        (1, "text", "a", False),
    ]
    messages = read.first(1, Placeholders().of)["messages"]
    assert [type(value) for value in messages[0].values()] == [str, Placeholder, Placeholder]
