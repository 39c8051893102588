"""Outlines: what a conversation is written with, all but its text, kept for every conversation of the same pattern.

Chat data repeats itself: nearly all conversations are a few sequences of roles. What decides how one is written (the
facts of its messages, where it is split, what it trains) is worked out once for each pattern; after that a conversation
costs a look-up and the joining of its texts.
"""

from __future__ import annotations  # array.array is not subscriptable at run time in Python 3.11

from array import array
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from kernel.chat_format.compile import CompiledMessage
from kernel.conversation import Conversation, Message
from kernel.render.assemble import PromptMask, TokenProgram

NOBODY = -1
"""The number of the message that a cue is written for: it has no text"""
_EMPTY = Message("")


class Skeleton(NamedTuple):
    """The examples of one conversation. Layouts go with the number of the message whose text fills them."""

    ops: array[int]
    weights: bytes
    starts: tuple[int, ...]  # per example, its first operation
    fills: tuple[tuple[int, CompiledMessage], ...]
    heads: tuple[tuple[int, int, int], ...]  # example, since, shared: see `kernel.render.assemble.Heads`
    head_ops: array[int]
    head_ends: tuple[int, ...]
    head_fills: tuple[tuple[int, CompiledMessage], ...]
    plain: tuple[tuple[int, str, str], ...] | None
    """the fills, where each is the text of a message whose content is a string, and what stands around it"""


def pattern(conversation: Conversation) -> Hashable | None:
    """What the outline of a prepared conversation depends on, beside the renderer and the mode.

    Returns:
        Roles, and whether there is text or of which kinds its parts are. None where it may depend on more: tool calls
        and declarations, names, `trainable`.

    >>> pattern((Message("user", "2+2?"), Message("assistant", "")))
    (('user', True), ('assistant', False))
    >>> pattern((Message("user", "2+2?", name="Ann"),))
    """
    kinds = []
    for role, content, calls, name, _, trainable, tools in conversation:
        if calls or name or tools or trainable is not None:
            return None
        kinds.append((role, content != "" if isinstance(content, str) else tuple([part.kind for part in content])))
    return tuple(kinds)


class SkeletonBuilder:
    """The outline of one conversation as it grows.

    Args:
        bos: the operations that open every example.
    """

    def __init__(self, bos: Sequence[int]) -> None:
        self._bos = array("i", bos)
        self._ops, self._weights, self._starts = array("i"), bytearray(), list[int]()
        self._fills, self._head_fills = list[tuple[int, CompiledMessage]](), list[tuple[int, CompiledMessage]]()
        self._heads, self._head_ops, self._head_ends = list[tuple[int, int, int]](), array("i"), list[int]()

    def begin(self) -> None:
        """One more example."""
        self._starts.append(len(self._ops))
        self._ops += self._bos
        self._weights += bytes(len(self._bos))

    def add(self, message: int, layout: CompiledMessage, hit: bool = False, everything: bool = False) -> None:
        """One more message of the example, by its number."""
        self._ops += layout.ops
        self._weights += layout.zeros if not hit else layout.ones if everything else layout.said
        if layout.runs or layout.images:
            self._fills.append((message, layout))

    def add_head(self, since: int, n_shared: int, rest: Sequence[tuple[int, CompiledMessage]]) -> None:
        """A prompt of the example's: where it may take weight from, and what it adds to the operations it shares."""
        self._heads.append((len(self._starts) - 1, since, n_shared))
        for message, layout in rest:
            self._head_ops += layout.ops
            if layout.runs or layout.images:
                self._head_fills.append((message, layout))
        self._head_ends.append(len(self._head_ops))

    def outline(self, conversation: Conversation) -> Skeleton:
        """What was sketched of a conversation."""
        plain = [
            (i, *layout.simple)
            for i, layout in self._fills
            if layout.simple is not None and i != NOBODY and isinstance(conversation[i].content, str)
        ]
        return Skeleton(
            self._ops,
            bytes(self._weights),
            tuple(self._starts),
            tuple(self._fills),
            tuple(self._heads),
            self._head_ops,
            tuple(self._head_ends),
            tuple(self._head_fills),
            tuple(plain) if len(plain) == len(self._fills) else None,
        )


class ProgramBuilder:
    """A script as it grows, a conversation at a time."""

    def __init__(self) -> None:
        self._texts, self._head_texts = list[str](), list[str]()
        self._images, self._head_images = list[str](), list[str]()
        self._ops, self._weights = array("i"), bytearray()
        self._starts, self._rows = list[int](), list[int]()
        self._heads, self._head_ops, self._head_ends = list[tuple[int, int, int]](), array("i"), [0]

    def put(self, row: int, outline: Skeleton, conversation: Conversation) -> None:
        """One more conversation, prepared, by the outline of its pattern; `row` is its number."""
        ops, weights, starts, fills, heads, head_ops, head_ends, head_fills, plain = outline
        n_ops = len(self._ops)
        if len(starts) == 1:
            self._starts.append(n_ops)
            self._rows.append(row)
        else:
            self._starts += [n_ops + start for start in starts]
            self._rows += [row] * len(starts)
        self._ops += ops
        self._weights += weights
        if plain is not None:
            texts = [before + conversation[i].content + behind for i, before, behind in plain]  # type: ignore[operator]
            self._texts += texts
        else:
            _fill(fills, conversation, self._texts, self._images)
        if heads:
            n_examples, n_head_ops = len(self._starts) - len(starts), len(self._head_ops)
            self._heads += [(n_examples + example, since, shared) for example, since, shared in heads]
            self._head_ends += [n_head_ops + end for end in head_ends]
            self._head_ops += head_ops
            _fill(head_fills, conversation, self._head_texts, self._head_images)

    def script(self, places: Sequence[str], refuses: str) -> TokenProgram:
        """What was drafted."""
        examples, since, shared = np.ascontiguousarray(np.array(self._heads, np.int64).reshape(-1, 3).T)
        heads = PromptMask(examples, since, shared, _ints(self._head_ops), np.array(self._head_ends, np.int64))
        return TokenProgram(
            self._texts + self._head_texts,
            self._images + self._head_images,
            _ints(self._ops),
            np.frombuffer(bytes(self._weights), np.uint8),
            np.array([*self._starts, len(self._ops)], np.int64),
            np.array(self._rows, np.int64),
            heads,
            places,
            refuses,
        )


def _fill(
    fills: tuple[tuple[int, CompiledMessage], ...], talk: Conversation, texts: list[str], images: list[str]
) -> None:
    for i, layout in fills:
        layout.fill(_EMPTY if i == NOBODY else talk[i], texts, images)


def _ints(values: array[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(values, np.int32)
