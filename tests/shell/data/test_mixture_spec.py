import pytest

from kernel.errors import InputError
from shell.data.mixture_spec import Share, names, read_shares


def read(text, *files):
    return read_shares(text, exists=set(files).__contains__)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("a.jsonl", [Share("a.jsonl")]),
        ("a.jsonl, b.jsonl", [Share("a.jsonl"), Share("b.jsonl")]),
        ("a.jsonl=7,hf:x/y=3e-1", [Share("a.jsonl", 7.0), Share("hf:x/y", 0.3)]),
        ("a.jsonl=5000rows,b.jsonl=1row,c", [Share("a.jsonl", None, 5000), Share("b.jsonl", None, 1), Share("c")]),
        ("a.jsonl=1", [Share("a.jsonl", 1.0)]),
    ],
)
def test_a_source_has_a_weight_a_count_or_neither(text, shares):
    assert list(read(text)) == shares


def test_a_path_may_hold_commas_and_equals_signs_and_an_existing_file_wins():
    files = ("a,b=1.jsonl", "a=2", "x,y,z")
    assert read("a,b=1.jsonl", *files) == (Share("a,b=1.jsonl"),)
    assert read("a,b=1.jsonl=0.5,a=2=0.5", *files) == (Share("a,b=1.jsonl", 0.5), Share("a=2", 0.5))
    assert read("a=2", *files) == (Share("a=2"),)
    assert read("x,y,z=9rows,a", *files) == (Share("x,y,z", None, 9), Share("a"))
    assert read("a.jsonl=0.7,b.jsonl=0.3", "a.jsonl", "b.jsonl") == (Share("a.jsonl", 0.7), Share("b.jsonl", 0.3))


@pytest.mark.parametrize("text", ["a=0.7,b=0.3", "a=5rows,b", "a,b"])
def test_shares_are_written_as_they_are_read(text):
    assert ",".join(map(str, read(text))) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a=0.7,b", "b has no weight, but other sources have one - at --dataset a=0.7,b"),
        ("a=0.7,b=5rows", "b=5rows has no weight, but other sources have one - at --dataset "),
        ("a=much,b", "expected a weight such as 0.7 or a count such as 5000rows (or"),
        ("a,b,a", "a is named twice - at --dataset a,b,a"),
        ("a,,b", "there is nothing between two commas - at --dataset"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_sources_is_refused_in_one_sentence(text, sentence):
    with pytest.raises(InputError) as error:
        read(text)
    assert str(error.value).startswith(sentence)


def test_sources_of_one_name_are_called_by_their_whole_paths():
    assert names(read("x/a.jsonl.gz,hf:me/set,y/a.jsonl,data/chats.v2.jsonl")) == (
        "x/a.jsonl.gz", "set", "y/a.jsonl", "chats.v2",
    )  # fmt: skip
