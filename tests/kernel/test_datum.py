import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.datum import Media, build_datums, n_kept
from kernel.errors import InputError
from tests import naive


def flat(examples):
    """[(tokens, weights)] as the arrays `build_datums` takes."""
    tokens = np.array([t for tokens, _ in examples for t in tokens], np.int32)
    weights = np.array([w for _, weights in examples for w in weights], np.float32)
    return tokens, weights, np.cumsum([0, *(len(tokens) for tokens, _ in examples)])


@st.composite
def batches(draw):
    """Examples with non-text spans here and there, as ([(tokens, weights)], media). Each begins with two of text."""
    weight = st.sampled_from([0.0, 1.0]) if draw(st.booleans()) else st.floats(0, 4, width=32)
    text = st.tuples(st.integers(1, 2**31 - 1), weight)
    examples, media = [], []
    for b in range(draw(st.integers(1, 6))):
        places = draw(st.lists(text, min_size=2, max_size=8))
        for _ in range(draw(st.integers(0, 3))):
            length = draw(st.integers(1, 4))
            media.append(Media(b, len(places), length, f"image {len(media)}"))
            places += [(0, 0.0)] * length + draw(st.lists(text, max_size=5))
        examples.append(tuple(map(list, zip(*places, strict=True))))
    return examples, draw(st.permutations(media))


lengths = st.one_of(st.none(), st.integers(2, 20))
reductions = st.sampled_from(["mean", "none"])


@given(batches(), lengths, reductions, st.data())
def test_build_datums_equals_its_naive_twin(batch, max_length, reduction, data):
    examples, media = batch
    units = data.draw(st.none() | st.lists(st.integers(-3, 3), min_size=len(examples), max_size=len(examples)))
    datums = build_datums(*flat(examples), max_length=max_length, reduction=reduction, units=units, media=media)
    expected = naive.datums(examples, max_length, reduction, units, media)
    assert datums.n_examples == len(expected)
    for b, (inputs, targets, weights, spans) in enumerate(expected):
        got = datums.example(b)
        assert (got[0].tolist(), got[1].tolist()) == (inputs, targets)
        np.testing.assert_allclose(got[2], weights, rtol=1e-6, atol=1e-37)
        assert sorted(span[1:] for span in datums.media if span.example == b) == spans


@given(batches(), lengths)
def test_the_weights_of_each_unit_sum_to_one_or_nothing(batch, max_length):
    examples, media = batch
    units = [b // 2 for b in range(len(examples))]
    datums = build_datums(*flat(examples), max_length=max_length, units=units, media=media)
    for unit in set(units):
        mine = [datums.example(b)[2].astype(np.float64).sum() for b, u in enumerate(units) if u == unit]
        assert sum(mine) == pytest.approx(1, abs=1e-5) or sum(mine) == 0


@given(batches(), lengths)
def test_no_datum_is_longer_than_allowed_or_ends_inside_a_span(batch, max_length):
    examples, media = batch
    tokens, weights, offsets = flat(examples)
    datums = build_datums(tokens, weights, offsets, max_length=max_length, media=media)
    kept = n_kept(offsets, max_length, media)
    assert (np.diff(datums.offsets) == kept - 1).all()
    assert (kept <= (max_length or len(tokens))).all()
    assert not any(span.start < kept[span.example] <= span.start + span.length for span in media)
    assert (n_kept(offsets, None, media) >= kept).all()


@given(batches(), lengths, reductions)
def test_an_example_is_built_the_same_alone_and_in_a_batch(batch, max_length, reduction):
    examples, media = batch
    whole = build_datums(*flat(examples), max_length=max_length, reduction=reduction, media=media)
    for b, example in enumerate(examples):
        own = [span._replace(example=0) for span in media if span.example == b]
        alone = build_datums(*flat([example]), max_length=max_length, reduction=reduction, media=own)
        for got, expected in zip(whole.example(b), alone.example(0), strict=True):
            assert got.tolist() == expected.tolist()


# Outcomes of tinker-cookbook 0.6.1: spans (ids, or the length of an image), weights, max_length
# -> inputs, targets, weights before the mean, their sum, lengths of the images that stay.
CHECKED = {
    "uncut": ([[1, 2, 3, 4]], [0, 0, 1, 1], None, [1, 2, 3], [2, 3, 4], [0, 1, 1], 2, []),
    "just fits": ([[1, 2, 3, 4]], [0, 0, 1, 1], 4, [1, 2, 3], [2, 3, 4], [0, 1, 1], 2, []),
    "cut in the answer": ([[1, 2, 3, 4]], [0, 0, 1, 1], 3, [1, 2], [2, 3], [0, 1], 1, []),
    "answer cut away": ([[1, 2, 3, 4]], [0, 0, 1, 1], 2, [1], [2], [0], 1, []),
    "shortest": ([[1, 2]], [1, 1], 2, [1], [2], [1], 1, []),
    "no weight": ([[1, 2, 3]], [0, 0, 0], None, [1, 2], [2, 3], [0, 0], 1, []),
    "negative weights": ([[1, 2, 3]], [0, -1, -2], None, [1, 2], [2, 3], [-1, -2], 1, []),
    "weight on the first alone": ([[1, 2, 3]], [1, 0, 0], None, [1, 2], [2, 3], [0, 0], 1, []),
    "fractions": ([[1, 2, 3, 4]], [0, 0.5, 0.5, 2], None, [1, 2, 3], [2, 3, 4], [0.5, 0.5, 2], 3, []),
    "image": ([[1], 3, [4]], [1, 0, 0, 0, 1], None, [1, 0, 0, 0], [0, 0, 0, 4], [0, 0, 0, 1], 1, [3]),
    "cut behind an image": ([[1], 2, [4, 5]], [1, 0, 0, 1, 1], 4, [1, 0, 0], [0, 0, 4], [0, 0, 1], 1, [2]),
    "cut right behind an image": ([[1, 2], 3, [4]], [0, 1, 0, 0, 0, 1], 5, [1], [2], [1], 1, []),
    "cut in an image": ([[1, 2], 3, [4, 5]], [0, 1, 0, 0, 0, 1, 1], 4, [1], [2], [1], 1, []),
    "cut before an image": ([[1, 2], 3, [4, 5]], [0, 1, 0, 0, 0, 1, 1], 2, [1], [2], [1], 1, []),
    "image at the end": ([[1, 2], 3], [0, 1, 0, 0, 0], None, [1], [2], [1], 1, []),
    "two images, cut in the second": ([[1, 2], 1, 2], [0, 1, 0, 0, 0], 4, [1], [2], [1], 1, []),
    "text between images": ([[1, 2], 1, [3], 2], [0, 1, 0, 1, 0, 0], 5, [1, 2, 0], [2, 0, 3], [1, 0, 1], 2, [1]),
    "image first": ([2, [7]], [0, 0, 1], None, [0, 0], [0, 7], [0, 1], 1, [2]),
}


def example_of(spans, weights):
    tokens, media = [], []
    for span in spans:
        if isinstance(span, int):
            media.append(Media(0, len(tokens), span, "image"))
        tokens += [0] * span if isinstance(span, int) else span
    return flat([(tokens, weights)]), media


@pytest.mark.parametrize("case", CHECKED.values(), ids=CHECKED)
def test_every_edge_case_comes_out_as_the_reference_has_it(case):
    spans, weights, max_length, inputs, targets, kept_weights, weight, images = case
    arrays, media = example_of(spans, weights)
    datums = build_datums(*arrays, max_length=max_length, reduction="mean", media=media)
    assert (datums.inputs.tolist(), datums.targets.tolist()) == (inputs, targets)
    assert datums.weights.tolist() == (np.array(kept_weights, np.float32) / np.float32(weight)).tolist()
    assert [span.length for span in datums.media] == images
    plain = build_datums(*arrays, max_length=max_length, reduction="none", media=media)
    assert plain.weights.tolist() == kept_weights


@pytest.mark.parametrize(
    ("spans", "weights", "max_length", "came"),
    [
        ([[1]], [1], None, "1"),
        ([2], [0, 0], None, "0 of 2 after the cut"),
        ([2, [7]], [0, 0, 1], 2, "0 of 3 after the cut"),
        ([[1], 3, [2]], [0, 0, 0, 0, 1], 3, "1 of 5 after the cut"),
        ([], [], None, "0"),
    ],
)
def test_an_example_too_short_to_predict_from_is_refused_by_number(spans, weights, max_length, came):
    (tokens, weights, offsets), media = example_of(spans, weights)
    tokens, weights, offsets = np.append([5, 6], tokens), np.append([0, 1], weights), np.append([0], offsets + 2)
    media = [span._replace(example=1) for span in media]
    with pytest.raises(InputError) as error:
        build_datums(tokens, weights, offsets, max_length=max_length, media=media)
    assert str(error.value) == f"expected at least 2 tokens that end in text, got {came} - at example 1"


def test_examples_split_from_one_row_share_its_sum():
    examples = [([1, 2, 3], [0, 1, 1]), ([1, 2], [0, 1]), ([1, 2, 3], [0, 0, 1])]
    datums = build_datums(*flat(examples), max_length=None, units=np.array([7, 9, 7]))
    third = np.float32(1) / np.float32(3)
    assert datums.weights.tolist() == [third, third, 1, 0, third]


def test_a_batch_is_one_allocation_and_an_example_a_view_of_it():
    datums = build_datums(*flat([([1, 2, 3], [1, 1, 1]), ([4, 5], [1, 1])]), max_length=None)
    inputs, targets, weights = (array.ctypes.data for array in datums[:3])
    assert inputs == targets + datums.targets.nbytes
    assert weights == inputs + datums.inputs.nbytes
    for view, whole in zip(datums.example(1), datums[:3], strict=True):
        assert np.shares_memory(view, whole)
    assert [array.dtype for array in datums[:4]] == [np.int32, np.int64, np.float32, np.int64]


def test_what_comes_in_is_left_as_it_was():
    tokens, weights, offsets = flat([([1, 2, 3], [0, 1, 1])])
    for array in (tokens, weights, offsets):
        array.flags.writeable = False
    assert build_datums(tokens, weights, offsets, max_length=2).weights.tolist() == [1]


def test_a_batch_of_nothing_is_nothing():
    datums = build_datums(*flat([]), max_length=None, units=np.array([], np.int64))
    assert (datums.n_examples, len(datums.inputs)) == (0, 0)


@pytest.mark.parametrize("max_length", [1, 0, -5])
def test_a_length_that_leaves_nothing_to_predict_is_refused(max_length):
    with pytest.raises(InputError) as error:
        build_datums(*flat([([1, 2], [0, 1])]), max_length=max_length)
    assert str(error.value) == f"expected max_length >= 2, got {max_length} - at $.max_length"


def test_an_unknown_reduction_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown reduction 'maen', did you mean 'mean'\? - at \$.reduction"):
        build_datums(*flat([([1, 2], [0, 1])]), max_length=None, reduction="maen")


@pytest.mark.parametrize("offsets", [[], [0, 2], [0, 4], [1, 3], [0, 3, 2, 3]])
def test_offsets_that_do_not_cover_the_tokens_are_refused(offsets):
    with pytest.raises(ValueError, match="expected offsets that rise from 0 to 3"):
        build_datums(np.arange(3), np.ones(3), offsets, max_length=None)


@pytest.mark.parametrize("span", [Media(0, 1, 3, "x"), Media(0, -1, 2, "x"), Media(0, 1, 0, "x"), Media(0, 0, 1, "x")])
def test_a_span_outside_its_example_or_over_text_is_refused(span):
    with pytest.raises(ValueError, match="expected a span of token 0 and weight 0 inside its example"):
        build_datums(*flat([([7, 0, 8], [0, 0, 1]), ([1, 2], [0, 1])]), max_length=None, media=[span])
