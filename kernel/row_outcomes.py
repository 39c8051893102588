"""What became of every row: one outcome each, and totals that add up to what came in.

Nothing is dropped without being named. A row of an epoch is trained whole, trained in part, or not trained for a reason
that is one of a few; what stands outside every epoch (rows held out) is named once. The totals are counted from two
sides, the steps and the list of exceptions, so that a row lost on the way shows as a sum that does not fit.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """What became of a row."""

    WHOLE = "whole"
    """trained, to its last token"""
    TRUNCATED = "truncated"
    """trained in part: the rest is beyond the longest example allowed"""
    ZERO_LOSS = "zero_loss"
    """nothing in it is trained, or nothing that is trained was left by the cut; not sent"""
    TOO_LONG = "too_long"
    """longer than allowed, and dropped for it"""
    REJECTED = "rejected"
    """cannot be read, written or trained"""
    LEFT_OVER = "left_over"
    """in the tail of an epoch, less than a batch"""
    NOT_REACHED = "not_reached"
    """the run ended before its step"""
    HELD_OUT = "held_out"
    """evaluated, never trained"""
    DUPLICATE = "duplicate"
    """held out, but its content also stands in training: neither evaluated nor trained"""
    NOT_DRAWN = "not_drawn"
    """in a source of a mixture that was not used up, or of which fewer rows are taken"""


OUTSIDE = (Outcome.HELD_OUT, Outcome.DUPLICATE, Outcome.NOT_DRAWN)
"""outcomes of rows that belong to no epoch"""


class Entry(NamedTuple):
    """A row that was not trained whole, or several of one outcome."""

    outcome: Outcome
    place: str
    """where the row stands in its source; of several, what they are"""
    reason: str = ""
    n_rows: int = 1
    epoch: int | None = None
    """None for what stands outside every epoch"""
    step: int | None = None
    """the step it would have been trained in, or behind which it was left"""
    source: str = ""
    """the name of its source, where there are several"""


class Intake(NamedTuple):
    """What an epoch is made of."""

    n_drawn: int
    """places of an epoch: one a row, but that a mixture may draw a row again"""
    n_again: int = 0
    """those that hold a row drawn before in the same epoch"""


def totals(entries: Iterable[Entry], n_whole: Mapping[int, int]) -> dict[int | None, dict[Outcome, int]]:
    """How many rows came to each outcome, for each epoch and (None) outside them.

    Args:
        entries: all that were not trained whole.
        n_whole: epoch -> rows trained whole.

    Returns:
        Counts above 0, by epoch; the order of `Outcome`.

    >>> entries = [Entry(Outcome.HELD_OUT, "a:1"), Entry(Outcome.ZERO_LOSS, "a:2", epoch=0)]
    >>> {epoch: dict(counts) for epoch, counts in totals(entries, {0: 7, 1: 8}).items()}
    {None: {<Outcome.HELD_OUT: 'held_out'>: 1}, 0: {<Outcome.WHOLE: 'whole'>: 7, <Outcome.ZERO_LOSS: 'zero_loss'>: 1}, \
1: {<Outcome.WHOLE: 'whole'>: 8}}
    """
    counts: dict[tuple[int | None, Outcome], int] = {(epoch, Outcome.WHOLE): n for epoch, n in n_whole.items()}
    for entry in entries:
        key = entry.epoch, entry.outcome
        counts[key] = counts.get(key, 0) + entry.n_rows
    epochs = sorted({epoch for epoch, _ in counts}, key=lambda epoch: -1 if epoch is None else epoch)
    return {epoch: {o: counts[epoch, o] for o in Outcome if counts.get((epoch, o))} for epoch in epochs}


def missing(counts: Mapping[int | None, Mapping[Outcome, int]], n_train: int) -> dict[int, int]:
    """By how many rows the totals of each epoch miss the number of rows that an epoch has; empty when they add up.

    Args:
        counts: what `totals` gave.
        n_train: rows of an epoch.

    >>> missing({None: {Outcome.HELD_OUT: 2}, 0: {Outcome.WHOLE: 7, Outcome.LEFT_OVER: 1}}, 8)
    {}
    >>> missing({0: {Outcome.WHOLE: 7}}, 8)
    {0: 1}
    """
    gaps = {epoch: n_train - sum(of.values()) for epoch, of in counts.items() if epoch is not None}
    return {epoch: gap for epoch, gap in gaps.items() if gap}
