"""Examples taken apart and put together again are the examples."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernel.datum import Media
from kernel.ragged_batches import Examples, concat, take


def batch(lengths):
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    media = tuple(Media(b, n - 1, 1, f"{b}.png") for b, n in enumerate(lengths) if n % 2)
    return Examples(
        np.arange(offsets[-1], dtype=np.int32),
        np.arange(offsets[-1], dtype=np.float32),
        offsets,
        np.arange(len(lengths)) * 3,
        media,
    )


def same(a, b):
    for one, other in zip(a[:4], b[:4], strict=True):
        np.testing.assert_array_equal(one, other)
    assert a.media == b.media


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.data())
def test_a_batch_cut_in_two_and_joined_is_the_batch(lengths, data):
    at = data.draw(st.integers(0, len(lengths)))
    examples, numbers = batch(lengths), np.arange(len(lengths))
    same(concat([take(examples, numbers < at), take(examples, numbers >= at)]), examples)


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=8))
def test_what_is_chosen_is_what_was_there(told):
    mask = np.array([wanted for _, wanted in told])
    examples = batch([n for n, _ in told])
    some = take(examples, mask)
    assert some.rows.tolist() == examples.rows[mask].tolist()
    for b, old in enumerate(np.flatnonzero(mask)):
        want = examples.tokens[examples.offsets[old] : examples.offsets[old + 1]]
        np.testing.assert_array_equal(some.tokens[some.offsets[b] : some.offsets[b + 1]], want)
    assert {m.key for m in some.media} == {f"{b}.png" for b in np.flatnonzero(mask) if told[b][0] % 2}
    assert all(some.offsets[m.example] + m.start < some.offsets[m.example + 1] for m in some.media)
