"""Faults of rows are counted by reason, and end in one error that fits a terminal."""

import pickle

import pytest

from kernel.errors import InputError
from shell.data.row_faults import N_KEPT, FaultCounts, Rejections, RowFaultsError


def text_of(*errors: InputError) -> str:
    counts = FaultCounts()
    for error in errors:
        counts.add(error)
    with pytest.raises(RowFaultsError) as caught:
        counts.check(1000, 0)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return str(caught.value)


def test_the_most_frequent_reason_is_first_with_its_first_three_places():
    many = [InputError("expected text, got null", f"a.jsonl:{i}", ("messages", 0, "content")) for i in range(5)]
    assert text_of(InputError("unknown role 'x'", "a.jsonl:9"), *many).splitlines() == [
        "6 of 1,000 rows cannot be used, and --max-bad-rows allows 0:",
        "  5  expected text, got null",
        "     at a.jsonl:0 $.messages[0].content, :1, :2, ...",
        "  1  unknown role 'x'",
        "     at a.jsonl:9",
    ]


def test_sentences_that_differ_in_values_are_one_reason_once_they_are_many():
    few = [InputError(f"unknown role 'r{i}', did you mean 'user'?", f"a:{i}") for i in range(3)]
    assert "  1  unknown role 'r2', did you mean 'user'?" in text_of(*few)
    many = [InputError(f"unknown role 'r{i}', did you mean 'user'?", f"a:{i}") for i in range(500)]
    assert text_of(*many).splitlines()[1:] == ["  500  unknown role …", "       at a:0, :1, :2, ..."]


def test_a_table_has_fifteen_reasons_and_counts_the_others_in_lines_that_fit_a_terminal():
    letters = [InputError(f"{'word ' * 30}{chr(97 + i)}", f"folder/a.jsonl:{i}") for i in range(20)]
    lines = text_of(*letters).splitlines()
    assert lines[-1] == "  and 5 more reasons"
    assert max(map(len, lines)) <= 80


def test_a_row_that_is_rejected_twice_counts_once_and_sentences_are_kept_up_to_a_bound():
    rejections = Rejections(0)
    for i in [*range(N_KEPT + 5), 0, N_KEPT + 1]:
        rejections.part(2).put(i, InputError("no", f"a:{i}"))
    assert rejections.faults.n == len(rejections) == N_KEPT + 5
    assert (rejections.get(1), rejections.get(2).reason) == (None, "no - at a:0")
    assert rejections.get(N_KEPT + 3) is rejections.get(N_KEPT + 4)
