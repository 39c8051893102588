"""Examples taken apart and put together: some of a batch, batches one behind the other, and in another order.

All keep the numbers of rows and the spans of images; none looks at a token.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernel.render.assemble import Examples


def take(examples: Examples, mask: NDArray[np.bool_]) -> Examples:
    """Some of the examples; all of them are handed back as they are.

    Args:
        examples: B of them.
        mask: bool[B], which.

    >>> pair = Examples(np.arange(3, dtype=np.int32), np.ones(3, np.float32), np.array([0, 1, 3]), np.array([4, 5]))
    >>> take(pair, np.array([False, True])).tokens, take(pair, np.array([False, True])).rows
    (array([1, 2], dtype=int32), array([5]))
    """
    if mask.all():
        return examples
    lengths = np.diff(examples.offsets)
    places = np.repeat(mask, lengths)
    numbers = np.cumsum(mask) - 1
    media = tuple(m._replace(example=int(numbers[m.example])) for m in examples.media if mask[m.example])
    return Examples(
        examples.tokens[places], examples.weights[places], _offsets(lengths[mask]), examples.rows[mask], media
    )


def concat(parts: Sequence[Examples]) -> Examples:
    """At least one batch of examples, one behind the other.

    >>> one = Examples(np.arange(3, dtype=np.int32), np.ones(3, np.float32), np.array([0, 1, 3]), np.array([4, 5]))
    >>> concat([one, one]).offsets, concat([one, one]).rows
    (array([0, 1, 3, 4, 6]), array([4, 5, 4, 5]))
    """
    before = np.cumsum([0, *(len(part.rows) for part in parts)]).tolist()
    return Examples(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.weights for part in parts]),
        _offsets(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.rows for part in parts]),
        tuple(m._replace(example=m.example + n) for part, n in zip(parts, before, strict=False) for m in part.media),
    )


def reorder(examples: Examples, order: NDArray[np.int64]) -> Examples:
    """The examples in another order.

    Args:
        examples: B of them.
        order: int64[B], which stands at each place.

    >>> pair = Examples(np.arange(3, dtype=np.int32), np.ones(3, np.float32), np.array([0, 1, 3]), np.array([4, 5]))
    >>> reorder(pair, np.array([1, 0])).tokens, reorder(pair, np.array([1, 0])).rows
    (array([1, 2, 0], dtype=int32), array([5, 4]))
    """
    lengths = np.diff(examples.offsets)[order]
    offsets = _offsets(lengths)
    places = np.repeat(examples.offsets[order] - offsets[:-1], lengths) + np.arange(offsets[-1])
    now_at = np.empty(len(order), np.int64)
    now_at[order] = np.arange(len(order))
    media = sorted(m._replace(example=int(now_at[m.example])) for m in examples.media)
    return Examples(examples.tokens[places], examples.weights[places], offsets, examples.rows[order], tuple(media))


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
