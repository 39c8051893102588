"""What became of every row: one outcome each, and totals that add up to the rows of the data.

Totals are counted from two sides, the steps and the exceptions: a lost row shows as a sum that is too small.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """What became of a row."""

    WHOLE = "whole"  # trained, to its last token
    TRUNCATED = "truncated"  # trained in part: the rest is beyond the longest example allowed
    ZERO_LOSS = "zero_loss"  # nothing in it is trained, or nothing that is trained was left by the cut; not sent
    TOO_LONG = "too_long"  # longer than allowed, and dropped for it
    REJECTED = "rejected"  # cannot be read, written or trained
    LEFT_OVER = "left_over"  # at the end of an epoch, where fewer rows than a batch are left
    NOT_REACHED = "not_reached"  # the run ended before its step
    HELD_OUT = "held_out"  # evaluated, never trained
    DUPLICATE = "duplicate"  # held out, but its content is also trained: neither evaluated nor trained by itself
    NOT_DRAWN = "not_drawn"  # in a source of a mixture that was not used up, or of which fewer rows are taken


OUTSIDE = (Outcome.HELD_OUT, Outcome.DUPLICATE, Outcome.NOT_DRAWN)  # outcomes of rows that belong to no epoch


class RowOutcome(NamedTuple):
    """What became of a row that is not trained whole, or of several rows of one outcome.

    The stages of a run fill it in: the length limit knows the tokens, the dataset the location, the step its number.
    """

    outcome: Outcome
    location: str  # of the row in its source, as `train.jsonl:17`; of several, what they are
    reason: str = ""
    n_rows: int = 1
    epoch: int | None = None  # None for rows that belong to no epoch
    step: int | None = None  # the step it would have been trained in, or after which it was left over
    source: str = ""  # the name of its source, where there are several
    row: int = 0  # its number in its batch
    n_tokens: int = 0  # tokens of its examples
    n_kept: int = 0  # tokens of them that are sent


class Intake(NamedTuple):
    """The rows of an epoch."""

    n_drawn: int  # positions of an epoch: one per row, except that a mixture may draw a row again
    n_again: int = 0  # positions of rows that were drawn before in the same epoch


def totals(outcomes: Iterable[RowOutcome], n_whole: Mapping[int, int]) -> dict[int | None, dict[Outcome, int]]:
    """The number of rows of each outcome, where above 0, for each epoch and (None) outside them.

    Args:
        outcomes: of all rows that were not trained whole.
        n_whole: epoch -> rows trained whole.

    >>> outcomes = [RowOutcome(Outcome.HELD_OUT, "a:1"), RowOutcome(Outcome.ZERO_LOSS, "a:2", epoch=0)]
    >>> {epoch: dict(counts) for epoch, counts in totals(outcomes, {0: 7, 1: 8}).items()}
    {None: {<Outcome.HELD_OUT: 'held_out'>: 1}, 0: {<Outcome.WHOLE: 'whole'>: 7, <Outcome.ZERO_LOSS: 'zero_loss'>: 1}, \
1: {<Outcome.WHOLE: 'whole'>: 8}}
    """
    counts: dict[tuple[int | None, Outcome], int] = {(epoch, Outcome.WHOLE): n for epoch, n in n_whole.items()}
    for one in outcomes:
        key = one.epoch, one.outcome
        counts[key] = counts.get(key, 0) + one.n_rows
    epochs = sorted({epoch for epoch, _ in counts}, key=lambda epoch: -1 if epoch is None else epoch)
    return {epoch: {o: counts[epoch, o] for o in Outcome if counts.get((epoch, o))} for epoch in epochs}


def missing(counts: Mapping[int | None, Mapping[Outcome, int]], n_train: int) -> dict[int, int]:
    """The number of rows (of `n_train`) that the totals of each epoch lack; empty where they add up."""
    gaps = {epoch: n_train - sum(of.values()) for epoch, of in counts.items() if epoch is not None}
    return {epoch: gap for epoch, gap in gaps.items() if gap}
