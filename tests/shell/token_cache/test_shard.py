"""Shards: whatever rows render to comes back as it was, and no changed byte passes."""

from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernel.datum import Media
from kernel.errors import InputError
from kernel.examples import Examples
from shell.datums.render_rows import Rendered
from shell.token_cache.read_shards import Found, Shards, count, gather
from shell.token_cache.shard import HEADER, check_shard, read_sizes, write_shard

KEY = "k" * 32
N_CHUNK = 64
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


def mapped(content: bytes, number: int = 0) -> tuple[Shards, NDArray[np.uint8]]:
    sizes = check_shard(content, KEY, number)
    view = np.frombuffer(content, np.uint8)
    table = np.zeros((number + 1, 4), np.int64)
    table[number] = view.ctypes.data, sizes.n_rows, sizes.n_words, 0
    return Shards(table, N_CHUNK), view


@given(rows_of_lengths, st.integers(0, 99), st.integers(0, 3))
def test_what_is_written_is_what_is_gathered(lengths: list[list[int]], seed: int, number: int) -> None:
    rendered = rendered_of(lengths, seed)
    shards, _held = mapped(write_shard(rendered, len(lengths), number * N_CHUNK, KEY, number), number)
    gathered = gather(np.arange(len(lengths)) + number * N_CHUNK, shards)
    assert not gathered.found.any()
    for ours, theirs in zip(gathered.examples[:4], rendered.examples[:4], strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


@given(rows_of_lengths, st.integers(0, 99), st.lists(st.integers(0, 7), max_size=12))
def test_rows_come_in_the_order_they_are_asked_for_and_as_often(
    lengths: list[list[int]], seed: int, wanted: list[int]
) -> None:
    wanted = [row for row in wanted if row < len(lengths)]
    rendered = rendered_of(lengths, seed)
    shards, _held = mapped(write_shard(rendered, len(lengths), 0, KEY, 0))
    examples = gather(np.array(wanted, np.int64), shards).examples
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


@given(rows_of_lengths, st.integers(0, 99), st.data())
def test_a_changed_byte_is_found_whole_and_where_it_is_read(
    lengths: list[list[int]], seed: int, data: st.DataObject
) -> None:
    content = bytearray(write_shard(rendered_of(lengths, seed), len(lengths), 0, KEY, 0))
    shards, _ = mapped(bytes(content))
    at = data.draw(st.integers(HEADER.itemsize, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InputError, match="damaged"):
        check_shard(bytes(content), KEY, 0)
    view = np.frombuffer(bytes(content), np.uint8)
    shards.table[0, 0] = view.ctypes.data
    gathered = gather(np.arange(len(lengths)), shards)
    unused = 32 * len(lengths) + 8 <= at - HEADER.itemsize < 32 * (len(lengths) + 1)
    assert unused or (gathered.found != Found.KEPT).any()


@given(st.binary(min_size=400, max_size=400), st.integers(0, 2**40))
def test_no_index_however_wrong_is_followed_out_of_the_chunk(noise: bytes, start: int) -> None:
    content = bytearray(write_shard(rendered_of([[3], [4, 2]], 0), 2, 0, KEY, 0))
    shards, _ = mapped(bytes(content))
    own = memoryview(content)[HEADER.itemsize :]
    own[:96] = noise[:96]
    own[:8] = start.to_bytes(8, "little")
    view = np.frombuffer(bytes(content), np.uint8)
    shards.table[0, 0] = view.ctypes.data
    assert (gather(np.array([0, 1]), shards).found != Found.KEPT).any()


@given(rows_of_lengths, st.integers(0, 99), st.floats(0, 1))
def test_rows_read_from_a_file_are_those_in_memory_and_those_cut_off_are_damaged(
    lengths: list[list[int]], seed: int, kept: float
) -> None:
    content = write_shard(rendered_of(lengths, seed), len(lengths), 0, KEY, 0)
    shards, _held = mapped(content)
    numbers = np.arange(len(lengths))
    whole = gather(numbers, shards)
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        shards.table[0, 0], shards.table[0, 3] = 0, file.fileno() + 1
        for ours, theirs in zip(gather(numbers, shards).examples[:4], whole.examples[:4], strict=True):
            assert np.array_equal(ours, theirs)
        assert count(numbers, shards)[0].n_rows == len(lengths)
        file.truncate(int(kept * (len(content) - 1)))
        found = gather(numbers, shards).found
        assert set(found.tolist()) <= {Found.KEPT, Found.DAMAGED}
        assert (found == Found.DAMAGED).any()


def test_what_a_file_cannot_speak_for_is_not_kept() -> None:
    rendered = rendered_of([[3], [4], [2], [5]], 0)
    examples = rendered.examples._replace(media=(Media(1, 0, 2, "cat.png"),))
    examples.weights[examples.offsets[3]] = 0.5
    rendered = Rendered(examples, {2: "a sentence"}, {0: 9})
    shards, _held = mapped(write_shard(rendered, 4, 0, KEY, 0))
    gathered = gather(np.arange(4), shards)
    assert gathered.found.tolist() == [Found.KEPT, Found.NOT_KEPT, Found.NOT_KEPT, Found.NOT_KEPT]
    assert gathered.before.tolist() == [9, 0, 0, 0]
    assert gathered.examples.rows.tolist() == [0]


def test_rows_are_counted_without_their_words() -> None:
    rendered = rendered_of([[3], [4, 2], [], [5]], 0)
    rendered.examples.weights[:] = 0
    rendered.examples.weights[4] = 1
    shards, _held = mapped(write_shard(rendered._replace(rejected={3: "no"}), 4, 0, KEY, 0))
    counts, others = count(np.array([3, 1, 0, 2]), shards)
    assert counts == (3, 3, 1, 1)
    assert others.tolist() == [0]


@pytest.mark.parametrize(("key", "number"), [("l" * 32, 0), (KEY, 1)])
def test_another_stores_or_another_chunk_is_refused(key: str, number: int) -> None:
    content = write_shard(rendered_of([[3]], 0), 1, 0, KEY, 0)
    with pytest.raises(InputError, match="another file"):
        read_sizes(content, key, number)
    with pytest.raises(InputError, match="too short"):
        read_sizes(content[:20], KEY, 0)
