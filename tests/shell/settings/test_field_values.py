"""What an annotation says, and what a value that breaks it is told."""

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, inspect

from kernel.errors import InputError
from shell.settings.flags import conform, doc, fields_of


class Options(Struct, kw_only=True):
    text: Annotated[str, doc("some words", "WORDS")]
    size: Annotated[int, Meta(ge=1)] = 1
    limit: Annotated[Annotated[int, Meta(ge=0)] | None, doc("rows")] = None
    rate: Annotated[float, Meta(gt=0, lt=1)] | Literal["auto"] = 0.5
    way: Literal["linear", "cosine"] = "linear"
    label: Annotated[str, Meta(min_length=1)] | None = None
    loud: bool = False
    token: Annotated[str | None, doc("a secret", secret=True)] = None


FIELDS = fields_of(Options)


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("size", "64", 64),
        ("size", 64, 64),
        ("rate", "2e-1", 0.2),
        ("rate", "auto", "auto"),
        ("limit", "none", None),
        ("limit", "None", None),
        ("limit", None, None),
        ("label", "null", None),
        ("text", "none", "none"),
        ("loud", "True", True),
        ("loud", 0, False),
        ("way", "cosine", "cosine"),
        ("text", "ü\n", "ü\n"),
    ],
)
def test_text_and_values_are_read_in_the_fields_own_type(name: str, raw: object, value: object) -> None:
    read = conform(FIELDS[name], raw, at="x")
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "raw", "sentence"),
    [
        ("size", "0", "expected an integer >= 1, got 0 - at x"),
        ("size", "1.5", "expected an integer >= 1, got 1.5 - at x"),
        ("size", True, "expected an integer >= 1, got true - at x"),
        ("size", None, "expected an integer >= 1, got nothing - at x"),
        ("size", [1], "expected an integer >= 1, got a list - at x"),
        ("size", {"a": 1}, "expected an integer >= 1, got a table - at x"),
        ("size", "x" * 99, f"expected an integer >= 1, got '{'x' * 57}...' - at x"),
        ("size", 2**31, "expected a number below 2**31, got 2147483648 - at x"),
        ("size", 10**100, "expected a number below 2**31, got a very large integer - at x"),
        ("limit", "few", "expected an integer >= 0 or none, got 'few' - at x"),
        ("rate", "1", "expected a number > 0 and < 1 or 'auto', got 1 - at x"),
        ("rate", "nan", "expected a number > 0 and < 1 or 'auto', got 'nan' - at x"),
        ("rate", "inf", "expected a number > 0 and < 1 or 'auto', got 'inf' - at x"),
        ("way", "cosin", "unknown way 'cosin', did you mean 'cosine'? - at x"),
        ("way", 3, "expected 'cosine' or 'linear', got 3 - at x"),
        ("label", "", "expected text that is not empty or none, got '' - at x"),
        ("loud", "perhaps", "expected true or false, got 'perhaps' - at x"),
        ("text", "a\0b", "expected text in UTF-8 without NUL, got 'a\\x00b' - at x"),
        ("text", "\udc80", "expected text in UTF-8 without NUL, got '\\udc80' - at x"),
        ("token", ["tml-secret"], "expected text or none, got a value that is not shown - at x"),
    ],
)
def test_what_breaks_a_limit_is_told_what_was_expected(name: str, raw: object, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        conform(FIELDS[name], raw, at="x")
    assert str(caught.value) == sentence


def test_an_infinite_number_is_refused_also_where_there_is_no_upper_limit() -> None:
    class Open(Struct):
        rate: Annotated[float, Meta(gt=0)] = 1.0

    with pytest.raises(InputError, match="below"):
        conform(fields_of(Open)["rate"], "inf", at="x")


def test_a_field_knows_its_flag_its_help_and_its_form() -> None:
    assert FIELDS["text"].flag == "--text"
    assert (FIELDS["text"].text, FIELDS["text"].shape, FIELDS["text"].secret) == ("some words", "WORDS", False)
    assert FIELDS["way"].choices == ("cosine", "linear")
    assert FIELDS["rate"].choices == ()
    assert FIELDS["loud"].is_switch
    assert FIELDS["loud"].negative == "--no-loud"
    assert not FIELDS["size"].is_switch
    assert [name for name, field in FIELDS.items() if field.may_be(inspect.NoneType)] == ["limit", "label", "token"]


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(name=st.sampled_from(sorted(FIELDS)), raw=junk)
def test_any_value_is_read_or_refused_and_reading_twice_changes_nothing(name: str, raw: Any) -> None:
    sentence = value = None
    try:
        value = conform(FIELDS[name], raw, at="x")
    except InputError as error:
        sentence = str(error)
    if sentence is None:
        assert conform(FIELDS[name], value, at="x") == value
    else:
        assert sentence.endswith(" - at x")
        assert "\n" not in sentence
        assert len(sentence) < 300
