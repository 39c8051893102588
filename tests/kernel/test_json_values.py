"""JSON text is decoded strictly, and nothing in any spelling is nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from kernel.json_values import is_empty, list_or_object, parse, write


@pytest.mark.parametrize(
    "nothing", [None, "", " ", "[]", "{}", "[ ]", "null", "None", " NULL\n", [], {}, "NaN", {"a": None, "b": None}]
)
def test_nothing_in_any_spelling_is_none(nothing: object) -> None:
    assert list_or_object(nothing, "a list") is None


@pytest.mark.parametrize("value", [[1], {"a": 0}, [None], [[]], {"a": [{"b": "é"}]}])
def test_a_value_and_its_json_text_are_the_same(value: object) -> None:
    assert list_or_object(value, "a list") == list_or_object(json.dumps(value), "a list") == value


DEEP = "[" * 1_000 + "]" * 1_000
DEEPER = '{"a": ' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "expected a thing, got text that is not JSON (Expecting property name"),
        ("{'a': 1}", "expected a thing, got text that is not JSON (Expecting property name"),
        ("[1] and more", "expected a thing, got text that is not JSON (Extra data"),
        ("[NaN]", "expected a JSON value, got NaN"),
        ('{"a": [Infinity]}', "expected a JSON value, got Infinity"),
        ("[-Infinity]", "expected a JSON value, got -Infinity"),
        ("[1e400]", "expected a number that a 64-bit float can hold, got 1e400"),
        ("[-2.5e999]", "expected a number that a 64-bit float can hold, got -2.5e999"),
        ('["\\ud83d"]', "expected Unicode text, got a lone surrogate"),
        ('{"\\uDE00": 1}', "expected Unicode text, got a lone surrogate"),
        ('["\ud83d"]', "expected Unicode text, got a lone surrogate"),
        (DEEP, "expected at most 100 levels of lists and objects, got more"),
        (DEEPER, "expected at most 100 levels of lists and objects, got more"),
        ("[" * 101 + "]" * 101, "expected at most 100 levels of lists and objects, got more"),
        (f"[{'9' * 5_000}]", "expected a thing, got text that is not JSON (Exceeds the limit"),
    ],
)
def test_text_that_cannot_be_written_as_json_again_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text, "a thing")
    assert str(error.value).startswith(sentence)
    assert len(str(error.value)) < 200


def test_pairs_of_surrogates_and_a_hundred_levels_are_read() -> None:
    assert parse('"\\ud83d\\ude00"', "") == "😀"
    assert parse("[" * 100 + "]" * 100, "")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"a": [1, float("nan")]}, "expected a JSON value, got nan - at $.a[1]"),
        ([float("inf")], "expected a JSON value, got inf - at $[0]"),
        ({"a": {"b": object()}}, "expected a JSON value, got object - at $.a.b"),
        ({"a": b"x"}, "expected a JSON value, got bytes - at $.a"),
        ("\ud800", "expected Unicode text, got a lone surrogate"),
        (json.loads("[" * 200 + "]" * 200), "expected at most 100 levels"),
    ],
)
def test_an_object_that_json_cannot_hold_is_refused_with_its_path(value: object, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        write(value)
    assert str(error.value).startswith(sentence)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=8))
def test_what_is_written_is_read_back(value: object) -> None:
    try:
        text = write(value)
    except InputError:
        return
    assert parse(text, "") == value


def test_false_and_0_are_no_empty_values() -> None:
    assert [is_empty(value) for value in (None, "", [], {}, (), False, 0, " ", [None])] == [True] * 5 + [False] * 4
