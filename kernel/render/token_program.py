"""Token programs: what must be encoded, and how the ids become tokens and weights.

A program is a batch of rendered conversations without their texts: operations (the number of a constant text, -1 for
the next text, -2 for the next image) and texts in order. The caller encodes; `assemble` puts ids together in one pass.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernel.conversation import Conversation
from kernel.datum import Media
from kernel.errors import expected
from kernel.ragged_batches import Examples, Ragged, concat_ragged, take_ragged
from kernel.renderer_language.compiler import CompiledMessage
from kernel.renderer_language.interpreter import SpanKind

Ints = NDArray[np.int64]
Source = tuple[Sequence[list[CompiledMessage]], Conversation, Conversation | None]
"""What a conversation's examples were compiled to (the opening, then the messages), the prepared conversation, and the
same with its weights, if it has any."""


class PromptMask(NamedTuple):
    """Prompts whose tokens lose their weight: what each adds to the operations it shares with its example."""

    examples: Ints  # int64[H], whose prompt it is
    since: Ints  # int64[H], the operation of the example from which on weight is lost
    shared: Ints  # int64[H], how many of the example's operations the prompt begins with
    ops: NDArray[np.int32]  # what the prompt adds after them
    offsets: Ints  # int64[H + 1], into ops


class PartWeights(NamedTuple):
    """Weights of parts of an operation's text: those of its tokens that a text begins with when it is encoded alone.

    The texts are the last of the program's; of one operation, the longest comes first.
    """

    ops: Ints = np.zeros(0, np.int64)  # int64[P]
    weights: NDArray[np.float32] = np.zeros(0, np.float32)  # float32[P]


class TokenProgram(NamedTuple):
    """A batch of conversations to encode and assemble.

    `ops[offsets[b]:offsets[b + 1]]` writes example b; `weights` are per operation, without those of parts; `rows[b]` is
    the number of the conversation (in the call) that example b came from; the texts and images of `prompt_masks` come
    after its own.
    `sources`, one per conversation, are for `kernel.render.spans`.
    """

    texts: list[str]
    images: list[str]
    ops: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: Ints
    rows: Ints
    prompt_masks: PromptMask
    places: Sequence[str]
    refuses: str
    sources: Sequence[Source] = ()
    part_weights: PartWeights = PartWeights()


def encode_constants(
    constant_texts: Sequence[tuple[SpanKind, str]],
    encode: Callable[[list[str]], Ragged],
    control_ids: Mapping[str, int],
) -> Ragged:
    """Ids of constant texts: a control token's own id, template text encoded.

    Raises:
        InputError: a control token that has no id.
    """
    controls = [text for kind, text in constant_texts if kind is SpanKind.CONTROL]
    missing = [name for name in controls if name not in control_ids]
    if missing:
        raise expected("an id for every control token", f"none for {', '.join(missing)}")
    ids = np.array([control_ids[name] for name in controls], np.int32)
    texts = encode([text for kind, text in constant_texts if kind is not SpanKind.CONTROL])
    is_control = np.array([kind is SpanKind.CONTROL for kind, _ in constant_texts], np.bool_)
    order = np.where(is_control, np.cumsum(is_control) - 1, len(controls) + np.cumsum(~is_control) - 1)
    return take_ragged(concat_ragged([Ragged(ids, np.arange(len(ids) + 1)), texts]), order)


def assemble(program: TokenProgram, constants: Ragged, texts: Ragged, image_lengths: Ints | None = None) -> Examples:
    """Tokens and weights of a program's examples.

    Args:
        program: what a `BatchRenderer` rendered.
        constants: ids of its constant texts, in the order of `BatchRenderer.constant_texts`.
        texts: ids of `program.texts`, encoded literally, in order.
        image_lengths: int64[n], tokens of each of `program.images`; may be left out if there are none.

    Returns:
        One example per `program.rows`. What the prompt supplies has weight 0 where the mode asks for it and the example
        does begin with that prompt.

    Raises:
        InputError: a turn that reasons, after a prompt that has closed the block of reasoning.

    >>> from kernel.render.batch_renderer import BatchRenderer
    >>> from kernel.conversation import Message
    >>> from kernel.enums import TrainOnWhat
    >>> from kernel.renderers.plain_text import ROLE_COLON
    >>> batch_renderer = BatchRenderer(ROLE_COLON)
    >>> program = batch_renderer.render([(Message("user", "a"),)], TrainOnWhat.ALL_MESSAGES)
    >>> code = lambda lines: Ragged(np.array([ord(c) for s in lines for c in s], np.int32),
    ...                             np.cumsum([0, *map(len, lines)]))
    >>> examples = assemble(program, code([text for _, text in batch_renderer.constant_texts]), code(program.texts))
    >>> "".join(map(chr, examples.tokens)), examples.weights.tolist()
    ('User: a\\n\\n', [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    """
    lengths = np.zeros(0, np.int64) if image_lengths is None else image_lengths
    starts, n_texts, n_images = _starts(program.ops, constants.offsets, texts.offsets, lengths)
    tokens, weights = _expand(program.ops, program.weights, starts, *constants, *texts)
    offsets = starts[program.offsets]
    n_parts = len(program.part_weights.ops)
    if n_parts:
        _weigh_parts(tokens, weights, starts, *program.part_weights, texts.ids, texts.offsets[-n_parts - 1 :])
    if len(program.prompt_masks.examples):
        masks = program.prompt_masks
        rest = Ragged(texts.ids, texts.offsets[n_texts:])
        added_starts, _, _ = _starts(masks.ops, constants.offsets, rest.offsets, lengths[n_images:])
        added, _ = _expand(masks.ops, np.zeros(len(masks.ops), np.float32), added_starts, *constants, *rest)
        begins = program.offsets[masks.examples]
        since, prompt_ends = starts[begins + masks.since], starts[begins + masks.shared]
        agrees = _withhold(
            tokens, weights, offsets, since, prompt_ends, masks.examples, added, added_starts[masks.offsets]
        )
        if program.refuses and not agrees.all():
            b = int(masks.examples[np.argmin(agrees)])
            raise expected(
                f"a turn without reasoning ({program.refuses} closes the block of reasoning in its prompt)",
                "one that reasons",
                at=program.places[int(program.rows[b])],
            )
    return Examples(tokens, weights, offsets, program.rows, _media(program, starts, offsets) if n_images else ())


def _media(program: TokenProgram, starts: Ints, offsets: Ints) -> tuple[Media, ...]:
    """The position of each image in its example."""
    at = np.flatnonzero(program.ops == -2)
    examples = np.searchsorted(program.offsets, at, side="right") - 1
    spans = zip(examples.tolist(), (starts[at] - offsets[examples]).tolist(), np.diff(starts)[at].tolist(), strict=True)
    return tuple(Media(*span, key) for span, key in zip(spans, program.images, strict=False))


Ids = NDArray[np.int32]
Floats = NDArray[np.float32]


@numba.njit(cache=True, nogil=True)
def _starts(ops: Ids, constant_offsets: Ints, text_offsets: Ints, image_lengths: Ints) -> tuple[Ints, int, int]:
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
            n = constant_offsets[op + 1] - constant_offsets[op]
        starts[k + 1] = starts[k] + n
    return starts, text, image


@numba.njit(cache=True, nogil=True)
def _expand(
    ops: Ids,
    op_weights: Floats,
    starts: Ints,
    constant_ids: Ids,
    constant_offsets: Ints,
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
            at, ids = constant_offsets[op], constant_ids
        for j in range(starts[k + 1] - n):
            tokens[n + j] = ids[at + j]
    return tokens, weights


@numba.njit(cache=True, nogil=True)
def _weigh_parts(
    tokens: Ids, weights: Floats, starts: Ints, ops: Ints, op_weights: Floats, begins: Ids, begin_offsets: Ints
) -> None:
    """Gives the tokens that each operation shares with the beginning of its text that weight, in place."""
    for p in range(len(ops)):
        at, n = starts[ops[p]], starts[ops[p] + 1] - starts[ops[p]]
        own = begins[begin_offsets[p] : begin_offsets[p + 1]]
        for j in range(min(n, len(own))):
            if tokens[at + j] != own[j]:
                break
            weights[at + j] = op_weights[p]


@numba.njit(cache=True, nogil=True)
def _withhold(
    tokens: Ids,
    weights: Floats,
    offsets: Ints,
    since: Ints,
    prompt_ends: Ints,
    examples: Ints,
    added: Ids,
    added_offsets: Ints,
) -> NDArray[np.bool_]:
    """Weight 0 from `since[h]` on for each prompt that its example begins with; returns which do.

    The prompt shares the example's tokens up to `prompt_ends[h]`, then adds `added`.
    """
    agrees = np.ones(len(examples), np.bool_)
    for h in range(len(examples)):
        b, at = examples[h], prompt_ends[h]
        n = added_offsets[h + 1] - added_offsets[h]
        agrees[h] = at + n <= offsets[b + 1]
        for j in range(n):
            agrees[h] = agrees[h] and tokens[at + j] == added[added_offsets[h] + j]
        if agrees[h]:
            weights[since[h] : at + n] = 0.0
    return agrees
