"""Totals: every entry is counted once, where it belongs, and a row that is nowhere shows."""

from hypothesis import given
from hypothesis import strategies as st

from kernel.row_outcomes import OUTSIDE, Outcome, RowOutcome, missing, totals

INSIDE = [outcome for outcome in Outcome if outcome not in (*OUTSIDE, Outcome.WHOLE)]
ENTRIES = st.lists(
    st.one_of(
        st.builds(RowOutcome, st.sampled_from(OUTSIDE), st.just("a:1"), n_rows=st.integers(1, 4)),
        st.builds(
            RowOutcome, st.sampled_from(INSIDE), st.just("a:2"), n_rows=st.integers(1, 4), epoch=st.integers(0, 2)
        ),
    ),
    max_size=12,
)
WHOLE = st.dictionaries(st.integers(0, 2), st.integers(1, 9))


@given(ENTRIES, WHOLE)
def test_every_row_is_counted_once(entries, n_whole):
    counts = totals(entries, n_whole)
    assert sum(sum(of.values()) for of in counts.values()) == sum(e.n_rows for e in entries) + sum(n_whole.values())
    for epoch, of in counts.items():
        for outcome, n in of.items():
            listed = sum(e.n_rows for e in entries if (e.epoch, e.outcome) == (epoch, outcome))
            assert n == (n_whole[epoch] if outcome is Outcome.WHOLE else listed)


@given(ENTRIES, WHOLE, st.integers(0, 30))
def test_an_epoch_misses_what_its_outcomes_do_not_come_to(entries, n_whole, n_train):
    counts = totals(entries, n_whole)
    gaps = missing(counts, n_train)
    for epoch, of in counts.items():
        assert gaps.get(epoch, 0) == (0 if epoch is None else n_train - sum(of.values()))
