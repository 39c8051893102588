"""Examples longer than allowed: cut, dropped or shortened before they are rendered; and those that train nothing.

`right` cuts at the right, as tinker-cookbook does, so an answer may lose its end. An example without a trained target
has no gradient: sending it changes nothing. `keep_answer` shortens the conversation before it is rendered: whole turns
go, the oldest first; if the last is still too long, its prompt loses its middle. The answer is never cut.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.conversation import Conversation, Part, content_of
from kernel.datum import n_kept
from kernel.enums import Truncation as Truncation
from kernel.ragged_batches import Examples, take
from kernel.row_outcomes import Outcome, RowOutcome

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


class LengthPolicy(NamedTuple):
    """How examples that are too long, and examples that train nothing, are treated."""

    truncation: Truncation = Truncation.RIGHT
    train_cut_answers: bool = True  # whether what is left of an answer that the cut went through is trained
    send_zero_loss: bool = False  # whether examples without any trained target are sent


class Limited(NamedTuple):
    """The examples to send, and the rows that are not trained whole."""

    examples: Examples
    outcomes: tuple[RowOutcome, ...]  # `row` as in `Examples.rows`, rising, with `n_tokens` and `n_kept`


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
    """Whether any target of each example has weight, searched from the end, where answers are."""
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


def n_older_turns(conversation: Conversation) -> int:
    """How many turns are before the last one; a turn begins with a user's message."""
    return max(len(_turn_starts(conversation)) - 1, 0)


def without_oldest_turns(conversation: Conversation, n: int) -> Conversation:
    """The conversation without its n oldest turns; the system's messages before them stay.

    Args:
        n: 0 to `n_older_turns`.

    >>> from kernel.conversation import Message
    >>> talk = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    >>> [message.content for message in without_oldest_turns(talk, 1)]
    ['s', 'c']
    """
    if n == 0:
        return conversation
    starts = _turn_starts(conversation)
    head = tuple(message for message in conversation[: starts[0]] if message.role in ("system", "developer"))
    return head + conversation[starts[n] :]


def n_prompt_characters(conversation: Conversation) -> int:
    """How many characters of text may be cut from the prompt of the last answer, at most."""
    return sum(len(text) for _, _, text in _cuttable(conversation))


def without_middle(conversation: Conversation, n_characters: int) -> Conversation:
    """The conversation with so many characters cut from the middle of its longest prompt texts, longest first.

    Args:
        n_characters: 0 to `n_prompt_characters`. An ellipsis replaces each cut.

    >>> from kernel.conversation import Message
    >>> [m.content for m in without_middle((Message("user", "abcdefgh"), Message("assistant", "b")), 4)]
    ['ab…gh', 'b']
    """
    messages = list(conversation)
    left = n_characters
    for i, p, text in sorted(_cuttable(conversation), key=lambda found: -len(found[2])):
        if left <= 0:
            break
        n = min(left, len(text))
        left -= n
        keep = len(text) - n
        cut = text[: (keep + 1) // 2] + ("…" if keep else "") + text[len(text) - keep // 2 :]
        content = messages[i].content
        if isinstance(content, str):
            content = cut
        else:
            content = content_of([Part("text", cut) if q == p else part for q, part in enumerate(content)])
        messages[i] = messages[i]._replace(content=content)
    return tuple(messages)


def shortest_cut(fits: Callable[[int], bool], most: int) -> int | None:
    """The smallest cut of 0 to `most` that fits, if a larger cut always fits where a smaller does; None if none does.

    Where lengths do not grow steadily (a token more or less at a cut), a slightly smaller one may fit too.
    """
    if not fits(most):
        return None
    low, high = 0, most  # high fits
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _turn_starts(conversation: Conversation) -> list[int]:
    return [i for i, message in enumerate(conversation) if message.role == "user"]


def _cuttable(conversation: Conversation) -> list[tuple[int, int, str]]:
    """The texts of the prompt: (message, part or -1, text). All before the last assistant's message."""
    answers = [i for i, message in enumerate(conversation) if message.role == "assistant"]
    end = answers[-1] if answers else len(conversation)
    found = []
    for i, message in enumerate(conversation[:end]):
        if message.role == "assistant":
            continue  # a call that the model made earlier in its turn
        if isinstance(message.content, str):
            found.append((i, -1, message.content))
        else:
            found += [(i, p, part.text) for p, part in enumerate(message.content) if part.kind == "text"]
    return [one for one in found if one[2]]
