"""What becomes of examples that are longer than allowed, and of those in which nothing is trained.

- `right` cuts at the right, as tinker-cookbook does; a trained answer may lose its end, and with it the token that
  ends a turn, unless cut answers are left untrained.
- `drop` leaves out what is too long, `error` refuses it.
- `keep_answer` is right's twin for prompts: the conversation is shortened before it is rendered
  (`kernel.shorten_prompt`),
  so that what reaches this module fits, or is dropped.

An example without any trained target has a gradient of zero. Sending it costs its tokens and changes nothing, so it is
left out; with `send_zero_loss` it goes, as the reference's do.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.datum import n_kept
from kernel.examples import Examples, take
from kernel.options import Truncation as Truncation
from kernel.row_outcomes import Outcome, RowOutcome

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


class LengthPolicy(NamedTuple):
    """How examples that are too long, and examples that train nothing, are treated."""

    truncation: Truncation = Truncation.RIGHT
    train_cut_answers: bool = True
    """whether what is left of an answer that the cut went through is trained"""
    send_zero_loss: bool = False
    """whether examples without any trained target are sent"""


class Limited(NamedTuple):
    """The examples to send, and the rows that are not trained whole."""

    examples: Examples
    outcomes: tuple[RowOutcome, ...]
    """`row` as in `Examples.rows`, rising, with `n_tokens` and `n_kept`"""


def apply_length_limit(
    examples: Examples,
    max_length: int | None,
    treatment: LengthPolicy = LengthPolicy(),  # noqa: B008 - immutable
) -> Limited:
    """Chooses the examples to send. They are not cut yet: `build_datums` does that, at the same length.

    Args:
        examples: as `assemble` gives them.
        max_length: >= 2, the most tokens an example may have; None: any number.
        treatment: what to do with longer ones, and with those that train nothing. ERROR and KEEP_ANSWER drop what is
            too long here too: the caller refuses it (`Outcome.TOO_LONG`), or has shortened what could be.

    Returns:
        The examples to send, in order, and an outcome for each row that loses something, rising. A row of several
        examples of which some are sent counts as truncated where the others were cut or dropped.

    Raises:
        InputError: max_length < 2.

    >>> examples = Examples(np.arange(7, dtype=np.int32), np.array([0, 0, 1, 1, 0, 0, 1], np.float32),
    ...                     np.array([0, 4, 7]), np.array([0, 1]))
    >>> [(one.row, one.outcome.value, one.n_tokens, one.n_kept) for one in apply_length_limit(examples, 3).outcomes]
    [(0, 'truncated', 4, 3)]
    >>> apply_length_limit(examples, 3, LengthPolicy(train_cut_answers=False)).outcomes[0].outcome
    <Outcome.ZERO_LOSS: 'zero_loss'>
    >>> apply_length_limit(examples, 3, LengthPolicy(Truncation.DROP)).examples.tokens
    array([4, 5, 6], dtype=int32)
    """
    truncation, train_cut_answers, send_zero_loss = treatment
    kept, full = n_kept(examples.offsets, max_length, examples.media), examples.offsets[1:] - examples.offsets[:-1]
    cut = kept < full
    weights = examples.weights
    if cut.any() and not train_cut_answers and truncation is Truncation.RIGHT:
        weights = weights.copy()
        _clear_cut_runs(weights, examples.offsets, kept)
    has_loss = _has_loss(weights, examples.offsets, kept)
    dropped = cut if truncation is not Truncation.RIGHT else np.zeros(len(cut), np.bool_)
    sent = ~dropped & (has_loss | send_zero_loss)
    changed = examples if weights is examples.weights else examples._replace(weights=weights)
    return Limited(take(changed, sent), tuple(_outcomes(examples.rows, full, kept, cut, has_loss, dropped, sent)))


def _outcomes(
    rows: Int64, full: Int64, kept: Int64, cut: Bools, has_loss: Bools, dropped: Bools, sent: Bools
) -> list[RowOutcome]:
    """An outcome for each row that is not trained whole."""
    outcomes: list[RowOutcome] = []
    touched = cut | ~has_loss
    if not touched.any():
        return outcomes
    for row in np.unique(rows[touched]).tolist():
        own = rows == row
        if not (own & sent & has_loss).any():
            outcome = Outcome.TOO_LONG if (own & dropped).any() else Outcome.ZERO_LOSS
        elif (own & cut).any():
            outcome = Outcome.TRUNCATED
        else:
            continue  # all that it has to train is trained
        n_tokens, n_sent = int(full[own].sum()), int(kept[own & sent].sum())
        outcomes.append(RowOutcome(outcome, "", row=row, n_tokens=n_tokens, n_kept=n_sent))
    return outcomes


@numba.njit(cache=True, nogil=True)
def _has_loss(weights: Float32, offsets: Int64, kept: Int64) -> Bools:
    """Whether any target of each example has weight; looked for from the end, where answers stand."""
    found = np.zeros(len(kept), np.bool_)
    for b in range(len(kept)):
        for i in range(offsets[b] + kept[b] - 1, offsets[b], -1):
            if weights[i] != 0:
                found[b] = True
                break
    return found


@numba.njit(cache=True, nogil=True)
def _clear_cut_runs(weights: Float32, offsets: Int64, kept: Int64) -> None:
    """Weight 0 for the trained run of each example that goes on beyond the cut, in place."""
    for b in range(len(kept)):
        end = offsets[b] + kept[b]
        if end >= offsets[b + 1] or weights[end] == 0:
            continue
        i = end - 1
        while i >= offsets[b] and weights[i] != 0:
            weights[i] = 0.0
            i -= 1
