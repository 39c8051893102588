"""Shards: what is written is what is read, and no changed byte passes."""

from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernel.datum import Media
from kernel.ragged_batches import Examples
from shell.datums.render_rows import Rendered
from shell.token_cache.shard import HEADER, Found, RowCounts, Shards, count, read_rows, words_in, write_shard

KEY = "k" * 32
N_SHARD = 64
rows_of_lengths = st.lists(st.lists(st.integers(2, 9), max_size=3), min_size=1, max_size=8)


def rendered_of(lengths: list[list[int]], seed: int) -> Rendered:
    """Rows of examples of these lengths, with any tokens and weights."""
    draw = np.random.default_rng(seed)
    flat = [n for row in lengths for n in row]
    offsets = np.cumsum([0, *flat])
    tokens = draw.integers(0, 2**31, offsets[-1], dtype=np.int32)
    weights = draw.integers(0, 2, offsets[-1]).astype(np.float32)
    return Rendered(
        Examples(tokens, weights, offsets, np.repeat(np.arange(len(lengths)), [*map(len, lengths)])), {}, {}
    )


def mapped(content: bytes, n_rows: int, number: int = 0) -> tuple[Shards, NDArray[np.uint8]]:
    n_words = words_in(content[: HEADER.itemsize], len(content), KEY, number, n_rows)
    assert n_words is not None
    view = np.frombuffer(content, np.uint8)
    table = np.zeros((number + 1, 4), np.int64)
    table[number] = view.ctypes.data, 0, n_rows, n_words
    return Shards(table, N_SHARD), view


@given(rows_of_lengths, st.integers(0, 99), st.integers(0, 3))
def test_what_is_written_is_what_is_cached(lengths: list[list[int]], seed: int, number: int) -> None:
    rendered = rendered_of(lengths, seed)
    shards, _held = mapped(write_shard(rendered, len(lengths), number * N_SHARD, KEY, number), len(lengths), number)
    cached = read_rows(np.arange(len(lengths)) + number * N_SHARD, shards)
    assert not cached.found.any()
    for ours, theirs in zip(cached.examples[:4], rendered.examples[:4], strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


@given(rows_of_lengths, st.integers(0, 99), st.lists(st.integers(0, 7), max_size=12))
def test_rows_come_in_the_order_they_are_asked_for_and_as_often(
    lengths: list[list[int]], seed: int, wanted: list[int]
) -> None:
    wanted = [row for row in wanted if row < len(lengths)]
    rendered = rendered_of(lengths, seed)
    shards, _held = mapped(write_shard(rendered, len(lengths), 0, KEY, 0), len(lengths))
    examples = read_rows(np.array(wanted, np.int64), shards).examples
    whole = rendered.examples
    expected = [
        (place, whole.tokens[a:b].tolist(), whole.weights[a:b].tolist())
        for place, row in enumerate(wanted)
        for a, b, own in zip(whole.offsets, whole.offsets[1:], whole.rows, strict=False)
        if own == row
    ]
    got = [
        (row, examples.tokens[a:b].tolist(), examples.weights[a:b].tolist())
        for row, a, b in zip(examples.rows.tolist(), examples.offsets, examples.offsets[1:], strict=False)
    ]
    assert got == expected


@given(rows_of_lengths, st.integers(0, 99), st.sets(st.integers(0, 7)), st.data())
def test_a_changed_byte_is_found_where_it_is_read(
    lengths: list[list[int]], seed: int, rejected: set[int], data: st.DataObject
) -> None:
    rendered = rendered_of(lengths, seed)._replace(rejected={i: "no" for i in rejected if i < len(lengths)})
    content = bytearray(write_shard(rendered, len(lengths), 0, KEY, 0))
    shards, _held = mapped(bytes(content), len(lengths))
    assert (read_rows(np.arange(len(lengths)), shards).found <= Found.NOT_CACHED).all()
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    if at < HEADER.itemsize:
        assert words_in(bytes(content[: HEADER.itemsize]), len(content), KEY, 0, len(lengths)) is None
        return
    view = np.frombuffer(bytes(content), np.uint8)
    shards.table[0, 0] = view.ctypes.data
    unused = 32 * len(lengths) + 8 <= at - HEADER.itemsize < 32 * (len(lengths) + 1)
    assert unused or (read_rows(np.arange(len(lengths)), shards).found == Found.DAMAGED).any()


@given(rows_of_lengths, st.integers(0, 99), st.integers(0, 2**16), st.integers(1, 2**16))
def test_a_page_of_zeros_is_found(lengths: list[list[int]], seed: int, start: int, n: int) -> None:
    content = bytearray(write_shard(rendered_of(lengths, seed), len(lengths), 0, KEY, 0))
    shards, _held = mapped(bytes(content), len(lengths))
    before, body = bytes(content), len(content) - HEADER.itemsize
    first = HEADER.itemsize + start % body
    content[first : first + n] = bytes(len(content[first : first + n]))
    view = np.frombuffer(bytes(content), np.uint8)
    shards.table[0, 0] = view.ctypes.data
    assert bytes(content) == before or (read_rows(np.arange(len(lengths)), shards).found == Found.DAMAGED).any()


@given(st.binary(min_size=400, max_size=400), st.integers(0, 2**40))
def test_no_index_however_wrong_is_followed_out_of_the_shard(noise: bytes, start: int) -> None:
    content = bytearray(write_shard(rendered_of([[3], [4, 2]], 0), 2, 0, KEY, 0))
    shards, _ = mapped(bytes(content), 2)
    own = memoryview(content)[HEADER.itemsize :]
    own[:96] = noise[:96]
    own[:8] = start.to_bytes(8, "little")
    view = np.frombuffer(bytes(content), np.uint8)
    shards.table[0, 0] = view.ctypes.data
    assert (read_rows(np.array([0, 1]), shards).found != Found.CACHED).any()


@given(rows_of_lengths, st.integers(0, 99), st.floats(0, 1))
def test_rows_read_from_a_file_are_those_in_memory_and_those_cut_off_are_damaged(
    lengths: list[list[int]], seed: int, kept: float
) -> None:
    content = write_shard(rendered_of(lengths, seed), len(lengths), 0, KEY, 0)
    shards, _held = mapped(content, len(lengths))
    numbers = np.arange(len(lengths))
    whole = read_rows(numbers, shards)
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        shards.table[0, :2] = 0, file.fileno() + 1
        for ours, theirs in zip(read_rows(numbers, shards).examples[:4], whole.examples[:4], strict=True):
            assert np.array_equal(ours, theirs)
        assert count(numbers, shards)[0].n_rows == len(lengths)
        file.truncate(int(kept * (len(content) - 1)))
        found = read_rows(numbers, shards).found
        assert set(found.tolist()) <= {Found.CACHED, Found.DAMAGED}
        assert (found == Found.DAMAGED).any()


def test_rows_with_images_errors_or_weights_that_are_no_numbers_are_not_cached() -> None:
    rendered = rendered_of([[3], [4], [2], [5]], 0)
    examples = rendered.examples._replace(media=(Media(1, 0, 2, "cat.png"),))
    examples.weights[examples.offsets[3]] = np.nan
    rendered = Rendered(examples, {2: "a sentence"}, {0: 9})
    shards, _held = mapped(write_shard(rendered, 4, 0, KEY, 0), 4)
    cached = read_rows(np.arange(4), shards)
    assert cached.found.tolist() == [Found.CACHED, Found.NOT_CACHED, Found.NOT_CACHED, Found.NOT_CACHED]
    assert cached.n_before.tolist() == [9, 0, 0, 0]
    assert cached.examples.rows.tolist() == [0]


@given(rows_of_lengths, st.integers(0, 99), st.data())
def test_fractions_are_cached_exactly_and_leave_other_rows_as_they_were(
    lengths: list[list[int]], seed: int, data: st.DataObject
) -> None:
    rendered = rendered_of(lengths, seed)._replace(shortened=dict.fromkeys(range(0, len(lengths), 2), 9))
    examples = rendered.examples
    plain = write_shard(rendered, len(lengths), 0, KEY, 0)
    weights = st.floats(0, 2.0**99, width=32)
    on = data.draw(st.lists(st.integers(0, max(len(examples.tokens) - 1, 0)), max_size=3))
    for position in on if len(examples.tokens) else ():
        examples.weights[position] = data.draw(weights)
    content = write_shard(rendered, len(lengths), 0, KEY, 0)
    shards, _held = mapped(content, len(lengths))
    cached = read_rows(np.arange(len(lengths)), shards)
    assert not cached.found.any()
    assert cached.n_before.tolist() == [9 * (row % 2 == 0) for row in range(len(lengths))]
    for ours, theirs in zip(cached.examples[:4], examples[:4], strict=True):
        assert np.array_equal(ours, theirs)
    trained = {
        row
        for b, row in enumerate(examples.rows.tolist())
        if examples.weights[slice(*examples.offsets[b : b + 2])].any()
    }
    assert count(np.arange(len(lengths)), shards)[0].n_trained == len(trained)
    if np.isin(examples.weights, (0, 1)).all() and not on:
        assert content == plain


def test_rows_are_counted_without_their_words() -> None:
    rendered = rendered_of([[3], [4, 2], [], [5]], 0)
    rendered.examples.weights[:] = 0
    rendered.examples.weights[4] = 1
    shards, _held = mapped(write_shard(rendered._replace(rejected={3: "no"}), 4, 0, KEY, 0), 4)
    counts, others = count(np.array([3, 1, 0, 2]), shards)
    assert counts == RowCounts(n_rows=3, n_split=1, n_examples=3, n_trained=1)
    assert others.tolist() == [0]


@pytest.mark.parametrize(("key", "number", "n_rows"), [("l" * 32, 0, 1), (KEY, 1, 1), (KEY, 0, 2)])
def test_another_caches_or_another_shard_is_refused(key: str, number: int, n_rows: int) -> None:
    content = write_shard(rendered_of([[3]], 0), 1, 0, KEY, 0)
    header = content[: HEADER.itemsize]
    assert words_in(header, len(content), KEY, 0, 1) == 4
    assert words_in(header, len(content), key, number, n_rows) is None
    assert words_in(header[:20], len(content), KEY, 0, 1) is None
    assert words_in(header, len(content) - 4, KEY, 0, 1) is None
    assert words_in(header, len(content) + 4, KEY, 0, 1) is None
