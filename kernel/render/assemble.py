"""Many conversations at once: what must be encoded, and how the ids become tokens and weights.

A `TokenProgram` is a batch of rendered conversations with the text taken out: a flat array of operations (static run
number
s, -1 for "the next text", -2 for "the next image") and the texts in order. The shell encodes the texts in one call, and
the static runs once per tokenizer; `assemble` puts the ids together in one pass of numba.
`kernel.render.batch_renderer` writes
scripts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.datum import Media
from kernel.errors import expected

Ints = NDArray[np.int64]


class Ragged(NamedTuple):
    """Lists of ids, one behind the other: list i is `ids[offsets[i]:offsets[i + 1]]`. int32[N], int64[n + 1]."""

    ids: NDArray[np.int32]
    offsets: Ints


class PromptMask(NamedTuple):
    """Prompts whose tokens lose their weight: what each adds to the operations it shares with its example."""

    examples: Ints  # int64[H], whose prompt it is
    since: Ints  # int64[H], the operation of the example from which on weight is lost
    shared: Ints  # int64[H], how many of the example's operations the prompt begins with
    ops: NDArray[np.int32]  # what the prompt adds behind them
    offsets: Ints  # int64[H + 1], into ops


class TokenProgram(NamedTuple):
    """A batch of conversations to encode and assemble.

    `ops[offsets[b]:offsets[b + 1]]` writes example b; `weights` are 0 or 1 per operation; `rows[b]` is the number of
    the conversation (in the call) that example b came from; the texts and images of `heads` come last.
    """

    texts: list[str]
    images: list[str]
    ops: NDArray[np.int32]
    weights: NDArray[np.uint8]
    offsets: Ints
    rows: Ints
    heads: PromptMask
    places: Sequence[str]
    refuses: str


class Examples(NamedTuple):
    """Tokens with their weights, ragged: int32[T], float32[T], int64[B + 1]; `rows` int64[B] as in the script.

    The places of an image hold token 0 and weight 0.
    """

    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: Ints
    rows: Ints
    media: tuple[Media, ...] = ()


def assemble(script: TokenProgram, statics: Ragged, texts: Ragged, image_lengths: Ints | None = None) -> Examples:
    """Tokens and weights of a script's examples.

    Args:
        script: what a `BatchRenderer` composed.
        statics: ids of its static runs, in the order of `BatchRenderer.constant_texts`.
        texts: ids of `script.texts`, encoded literally, in order.
        image_lengths: int64[n], how many tokens each of `script.images` stands for; may be left out if there are none.

    Returns:
        One example per `script.rows`. What the prompt supplies has weight 0 where the mode asks for it and the example
        does begin with that prompt.

    Raises:
        InputError: a turn that reasons, behind a prompt that has closed the block of reasoning.

    >>> from kernel.render.batch_renderer import BatchRenderer
    >>> from kernel.conversation import Message
    >>> from kernel.render.loss_mask import TrainOnWhat
    >>> from kernel.formats import ROLE_COLON
    >>> batch_renderer = BatchRenderer(ROLE_COLON)
    >>> script = batch_renderer.render([(Message("user", "a"),)], TrainOnWhat.ALL_MESSAGES)
    >>> code = lambda lines: Ragged(np.array([ord(c) for s in lines for c in s], np.int32),
    ...                             np.cumsum([0, *map(len, lines)]))
    >>> examples = assemble(script, code([text for _, text in batch_renderer.constant_texts]), code(script.texts))
    >>> "".join(map(chr, examples.tokens)), examples.weights.tolist()
    ('User: a\\n\\n', [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    """
    lengths = np.zeros(0, np.int64) if image_lengths is None else image_lengths
    starts, n_texts, n_images = _starts(script.ops, statics.offsets, texts.offsets, lengths)
    tokens, weights = _expand(script.ops, script.weights, starts, *statics, *texts)
    offsets = starts[script.offsets]
    if len(script.heads.examples):
        heads = script.heads
        rest = Ragged(texts.ids, texts.offsets[n_texts:])
        added_starts, _, _ = _starts(heads.ops, statics.offsets, rest.offsets, lengths[n_images:])
        added, _ = _expand(heads.ops, np.zeros(len(heads.ops), np.uint8), added_starts, *statics, *rest)
        begins = script.offsets[heads.examples]
        since, heads_at = starts[begins + heads.since], starts[begins + heads.shared]
        agrees = _withhold(
            tokens, weights, offsets, since, heads_at, heads.examples, added, added_starts[heads.offsets]
        )
        if script.refuses and not agrees.all():
            b = int(heads.examples[np.argmin(agrees)])
            raise expected(
                f"a turn without reasoning ({script.refuses} closes the block of reasoning in its prompt)",
                "one that reasons",
                at=script.places[int(script.rows[b])],
            )
    return Examples(tokens, weights, offsets, script.rows, _media(script, starts, offsets) if n_images else ())


def concat_ragged(some: Sequence[Ragged]) -> Ragged:
    """The lists of all, in order.

    >>> one, other = (Ragged(np.array(ids, np.int32), np.array([0, len(ids)])) for ids in ([5, 6], [7]))
    >>> ids, offsets = concat_ragged([one, other])
    >>> ids.tolist(), offsets.tolist()
    ([5, 6, 7], [0, 2, 3])
    """
    if len(some) == 1:
        return some[0]
    lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(one.offsets) for one in some)])
    return Ragged(np.concatenate([np.zeros(0, np.int32), *(one.ids for one in some)]), np.cumsum(lengths))


def take_ragged(lists: Ragged, which: Ints) -> Ragged:
    """The lists of the given numbers, in that order: what was encoded once, as often as it stands.

    Args:
        lists: n lists.
        which: int64[m], each in [0, n).

    >>> ids, offsets = take_ragged(Ragged(np.array([5, 6, 7], np.int32), np.array([0, 2, 3])), np.array([1, 0, 1]))
    >>> ids.tolist(), offsets.tolist()
    ([7, 5, 6, 7], [0, 1, 3, 4])
    """
    offsets = np.zeros(len(which) + 1, np.int64)
    np.cumsum(np.diff(lists.offsets)[which], out=offsets[1:])
    return Ragged(_gather(lists.ids, lists.offsets, which, offsets), offsets)


def _media(script: TokenProgram, starts: Ints, offsets: Ints) -> tuple[Media, ...]:
    """Where each image stands in its example."""
    at = np.flatnonzero(script.ops == -2)
    examples = np.searchsorted(script.offsets, at, side="right") - 1
    spans = zip(examples.tolist(), (starts[at] - offsets[examples]).tolist(), np.diff(starts)[at].tolist(), strict=True)
    return tuple(Media(*span, key) for span, key in zip(spans, script.images, strict=False))


Ids = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@numba.njit(cache=True, nogil=True)
def _gather(ids: Ids, starts: Ints, which: Ints, offsets: Ints) -> Ids:
    out = np.empty(offsets[len(which)], np.int32)
    for i in range(len(which)):
        own, room = ids[starts[which[i]] :], out[offsets[i] : offsets[i + 1]]
        for j in range(len(room)):
            room[j] = own[j]
    return out


@numba.njit(cache=True, nogil=True)
def _starts(ops: Ids, static_offsets: Ints, text_offsets: Ints, image_lengths: Ints) -> tuple[Ints, int, int]:
    """Where each operation's tokens start, int64[M + 1], and how many texts and images there are."""
    starts = np.zeros(len(ops) + 1, np.int64)
    text = image = 0
    for k in range(len(ops)):
        op = ops[k]
        if op == -1:
            n = text_offsets[text + 1] - text_offsets[text]
            text += 1
        elif op == -2:
            n = image_lengths[image]
            image += 1
        else:
            n = static_offsets[op + 1] - static_offsets[op]
        starts[k + 1] = starts[k] + n
    return starts, text, image


@numba.njit(cache=True, nogil=True)
def _expand(
    ops: Ids,
    op_weights: Bytes,
    starts: Ints,
    static_ids: Ids,
    static_offsets: Ints,
    text_ids: Ids,
    text_offsets: Ints,
) -> tuple[Ids, Floats]:
    """Tokens and weights of what the operations write."""
    tokens = np.zeros(starts[len(ops)], np.int32)
    weights = np.empty(starts[len(ops)], np.float32)
    text = 0
    for k in range(len(ops)):
        op, n = ops[k], starts[k]
        weights[n : starts[k + 1]] = op_weights[k]
        if op == -2:
            continue
        if op == -1:
            at, ids = text_offsets[text], text_ids
            text += 1
        else:
            at, ids = static_offsets[op], static_ids
        for j in range(starts[k + 1] - n):
            tokens[n + j] = ids[at + j]
    return tokens, weights


@numba.njit(cache=True, nogil=True)
def _withhold(
    tokens: Ids,
    weights: Floats,
    offsets: Ints,
    since: Ints,
    heads_at: Ints,
    examples: Ints,
    added: Ids,
    added_offsets: Ints,
) -> NDArray[np.bool_]:
    """Weight 0 for the tokens of each prompt that its example begins with; says which do.

    The prompt shares the example's tokens up to `heads_at[h]` and adds `added` there; weight goes from `since[h]` on.
    """
    agrees = np.ones(len(examples), np.bool_)
    for h in range(len(examples)):
        b, at = examples[h], heads_at[h]
        n = added_offsets[h + 1] - added_offsets[h]
        agrees[h] = at + n <= offsets[b + 1]
        for j in range(n):
            agrees[h] = agrees[h] and tokens[at + j] == added[added_offsets[h] + j]
        if agrees[h]:
            weights[since[h] : at + n] = 0.0
    return agrees
