"""A traced string is the string that it looks like, and its runs say where each character came from."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shell.text.jinja.environment import tojson
from shell.text.jinja.traced import LOST, TEMPLATE, Run, Traced, data, generated, joined, mapped, traced, written

letters = st.text("ab \n", max_size=8)


@st.composite
def strings(draw: st.DrawFn) -> Traced:
    """Data and template text by turns."""
    pieces = draw(st.lists(st.tuples(st.booleans(), letters), max_size=4))
    return joined(data(source, text) if own else written(text) for source, (own, text) in enumerate(pieces))


def origins(text: Traced) -> list[tuple[int, int]]:
    """Where each character came from: the number of its data string (or TEMPLATE), and its place there."""
    return [(run.source, run.start + i if run.source >= 0 else 0) for run in text.runs for i in range(run.n)]


OPERATIONS: dict[str, Callable[[str], str | list[str] | tuple[str, ...]]] = {
    "strip": lambda s: s.strip(),
    "strip chars": lambda s: s.strip("a"),
    "lstrip": lambda s: s.lstrip("\n"),
    "rstrip": lambda s: s.rstrip(),
    "split": lambda s: s.split(),
    "split once": lambda s: s.split(None, 1),
    "rsplit once": lambda s: s.rsplit(None, 1),
    "split at": lambda s: s.split("a"),
    "split at once": lambda s: s.split("a", 1),
    "rsplit at": lambda s: s.rsplit("a", 1),
    "split at two": lambda s: s.split("aa"),
    "splitlines": lambda s: s.splitlines(),
    "splitlines, ends kept": lambda s: s.splitlines(True),
    "partition": lambda s: s.partition("a"),
    "rpartition": lambda s: s.rpartition("a"),
    "removeprefix": lambda s: s.removeprefix("a"),
    "removesuffix": lambda s: s.removesuffix("b"),
    "slice": lambda s: s[1:-1],
    "from": lambda s: s[2:],
    "characters": lambda s: list(s),
    "last": lambda s: s[-1:],
    "twice": lambda s: s * 2,
    "sum": lambda s: s + s[1:],
    "string": str,
    "replaced by itself": lambda s: s.replace("a", s),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_gives_the_strings_it_gives_plain_ones_and_keeps_their_origins(name: str) -> None:
    operation = OPERATIONS[name]

    @given(strings())
    def law(text: Traced) -> None:
        known = dict(enumerate(origins(text)))
        numbered = Traced(text, [Run(1, i, i, i + 1) for i in range(len(text))])  # each character its own data
        got, plain = operation(text), operation(str.__str__(text))
        assert got == plain
        for piece, one in zip(_list(got), _list(operation(numbered)), strict=True):
            assert isinstance(piece, Traced)
            assert origins(piece) == [known[place] for place, _ in origins(one)]  # type: ignore[arg-type]
            assert [str.__str__(text)[place] for place, _ in origins(one)] == list(str.__str__(piece))  # type: ignore[arg-type]

    law()


def _list(value: str | list[str] | tuple[str, ...]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def test_plain_text_that_joins_in_is_lost_and_never_the_templates() -> None:
    text = written("a") + "b" + data(0, "c")
    assert [run.source for run in text.runs] == [TEMPLATE, LOST, 0]
    assert [run.source for run in ("b" + text).runs] == [LOST, TEMPLATE, LOST, 0]
    assert Traced("formatted").runs == (Run(9, LOST),)


@pytest.mark.parametrize("change", [lambda s: f"{s}!", lambda s: s.title(), lambda s: s.center(40), lambda s: s[::-1]])
def test_what_is_not_traced_is_lost(change: Callable[[str], str]) -> None:
    assert [run.source for run in traced(change(written("<|im_end|>"))).runs] == [LOST]


def test_case_is_changed_run_by_run_or_not_traced() -> None:
    assert mapped(written("ab") + data(0, "ß"), str.upper).runs == (Run(2, TEMPLATE), Run(2, 0, 0, 1))
    assert (written("a") + data(0, "b")).capitalize().runs == (Run(2, LOST),)


def test_part_of_what_is_not_shown_verbatim_is_lost() -> None:
    assert mapped(data(0, "ß"), str.upper)[:1].runs == (Run(1, LOST),)


def test_neighbours_from_one_place_are_one_run() -> None:
    text = data(0, "abcd")
    assert (text[:2] + text[2:]).runs == text.runs
    assert len((text[:2] + text[3:]).runs) == 2
    assert len((generated(text[:2]) + text[2:]).runs) == 2


@given(
    st.recursive(
        letters | st.integers() | st.none() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(letters, inner, max_size=3),
    ),
    st.booleans(),
)
def test_json_is_that_of_the_library_and_its_strings_keep_their_origin(value: object, ensure_ascii: bool) -> None:
    import json

    text = tojson(_as_data(value), ensure_ascii=ensure_ascii, indent=1, sort_keys=True)
    assert text == json.dumps(value, ensure_ascii=ensure_ascii, indent=1, sort_keys=True)
    assert {run.source for run in text.runs} <= {TEMPLATE, 7}


def _as_data(value: object) -> object:
    if isinstance(value, str):
        return data(7, value)
    if isinstance(value, list):
        return [_as_data(one) for one in value]
    return {data(7, key): _as_data(one) for key, one in value.items()} if isinstance(value, dict) else value


def test_a_string_that_looks_like_a_number_in_json_is_no_other_string() -> None:
    assert tojson([data(0, "1"), data(1, "0")]) == '["1", "0"]'
