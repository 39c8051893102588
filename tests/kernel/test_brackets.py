"""The outline of a JSON array: its elements are found wherever the blocks are cut."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernel.brackets import COLUMN, END, LINE, PLACE, POSITION, cut, opening

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{},é\n', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def outline(data, size):
    state, starts, stops = opening(), [], []
    for k in range(0, len(data), size):
        found = cut(np.frombuffer(data[k : k + size], np.uint8), state)
        starts += found.starts.tolist()
        stops += found.stops.tolist()
        if found.fault >= 0:
            return starts, stops, k + found.fault, state
    return starts, stops, -1, state


@given(st.lists(values, max_size=5), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_elements_are_found_wherever_blocks_are_cut(elements, size, indent, ascii_only):
    data = json.dumps(elements, indent=indent, ensure_ascii=ascii_only).encode()
    starts, stops, fault, state = outline(data, size)
    assert (fault, state[PLACE], state[POSITION]) == (-1, END, len(data))
    found = [data[start:stop] for (start, _, _), stop in zip(starts, stops, strict=True)]
    assert [json.loads(text) for text in found] == elements
    for start, line, column in starts:
        before = data[:start].decode()
        assert (line, column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))


@given(
    st.lists(st.sampled_from([b"[", b"]", b",", b"{", b"}", b'"', b"1", b" ", b"\n", b"\\", b"x"])), st.integers(1, 9)
)
def test_what_is_found_does_not_depend_on_the_blocks(pieces, size):
    data = b"".join(pieces)
    whole, parts = outline(data, len(data) + 1), outline(data, size)
    assert whole[:3] == parts[:3]
    assert whole[3].tolist() == parts[3].tolist()


@given(st.binary(max_size=30), st.integers(1, 9))
def test_every_element_ends_behind_its_beginning_and_before_the_next(data, size):
    starts, stops, _, state = outline(b"[" + data, size)
    ends = [start for start, _, _ in starts][1:]
    assert len(starts) - len(stops) in (0, 1)
    assert all(start < stop for (start, _, _), stop in zip(starts, stops, strict=False))
    assert all(stop < start for stop, start in zip(stops, ends, strict=False))
    assert state[LINE] >= 1 and state[COLUMN] >= 1  # noqa: PT018


def test_what_cannot_stand_outside_of_the_elements_is_a_fault():
    for data, fault in [(b"{}", 0), (b"[,", 1), (b"[1,]", 3), (b"[1 2]", 3), (b"[{}{}]", 3), (b"[] x", 3), (b"[}", 1)]:
        assert outline(data, 2)[2] == fault, data
