"""Skeletons: the rendered form of a conversation without its texts, and the programs built from them.

Nearly all chat data is a few sequences of roles. A skeleton is worked out once per sequence; after that a conversation
costs a look-up and the joining of its texts.
"""

from __future__ import annotations  # array.array is not subscriptable at run time in Python 3.11

from array import array
from collections.abc import Hashable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from kernel.conversation import Conversation, Message, has_part_weights
from kernel.render.message_weights import prefixes, weighted_pieces
from kernel.render.token_program import PartWeights, PromptMask, Source, TokenProgram
from kernel.renderer_language.compiler import IMAGE, TEXT, CompiledMessage
from kernel.renderer_language.interpreter import SpanKind, in_runs

NO_MESSAGE = Message("")
_CUE = -1  # the number of the message that a cue is written for: it has no text


class Prompt(NamedTuple):
    """A prompt that an example may begin with, in messages."""

    since: int  # where it may take weight from; -1: from the very first token
    n_shared: int  # how many messages it begins with as the example does
    rest: list[CompiledMessage]  # its other messages, and the cue


class Example(NamedTuple):
    """Messages as they are written and trained in one example."""

    compiled: list[CompiledMessage]
    trained: Sequence[bool]
    prompts: Sequence[Prompt] = ()


ConstantTexts = Sequence[tuple[SpanKind, str]]
Order = tuple[tuple[int, ...], tuple[int, ...]]  # numbers of the slots' texts, and of their images


class Skeleton(NamedTuple):
    """The examples of one conversation. Slots are messages with texts or images, by number, each filled once."""

    ops: array[int]
    weights: bytes
    starts: tuple[int, ...]  # per example, its first operation
    slots: tuple[tuple[int, CompiledMessage], ...]
    order: Order | None  # of the slots' texts and images in the examples; None: each once
    masks: tuple[tuple[int, int, int], ...]  # example, since, shared: see `PromptMask`
    mask_ops: array[int]
    mask_ends: tuple[int, ...]
    mask_order: Order
    plain: tuple[tuple[int, str, str], ...] | None
    """the slots, where each is the text of a message whose content is a string, and what precedes and follows it"""
    examples: tuple[list[CompiledMessage], ...]  # what opens each example, then its messages


def pattern(conversation: Conversation) -> Hashable | None:
    """What the skeleton of a prepared conversation depends on.

    None where calls, tools, names, `trainable` or weights count.
    """
    kinds: list[tuple[str, object]] = []
    append = kinds.append
    for role, content, calls, name, _, trainable, tools, weight in conversation:
        if calls or name or tools or trainable is not None or weight != 1.0:
            return None
        if isinstance(content, str):
            append((role, content != ""))
            continue
        shape = tuple([kind for kind, _, factor in content if factor == 1.0])
        if len(shape) < len(content):
            return None
        append((role, shape))
    return tuple(kinds)


def pattern_with_trainable(conversation: Conversation) -> Hashable | None:
    """The same, for an unweighted conversation in which `trainable` counts."""
    like = pattern(tuple([message._replace(trainable=None) for message in conversation]))
    return None if like is None else (like, tuple([message.trainable for message in conversation]))


def _settles(
    ops: array[int], weights: bytearray, since: int, at: int, rest: list[CompiledMessage], constants: ConstantTexts
) -> bool:
    """Whether ids need not be asked if `rest` is written from operation `at` on; if so, what it ends has weight 0."""
    for op in [op for message in rest for op in message.ops]:
        if op < 0:
            return False
        if at < len(ops) and ops[at] == op:
            at += 1
            continue
        while at < len(ops) and ops[at] == TEXT:
            at += 1  # a text never begins with a control token
        differs = at >= len(ops) or ops[at] not in (op, IMAGE)
        return differs and constants[op][0] is SpanKind.CONTROL
    weights[since:at] = bytes(max(at - since, 0))
    return True


def build_skeleton(
    bos: CompiledMessage,
    examples: Iterable[Example],
    conversation: Conversation,
    constant_texts: ConstantTexts,
    everything: bool = False,
) -> Skeleton:
    """The skeleton of a conversation's examples; `everything` trains all tokens of a trained message."""
    ops, weights, starts, written = array("i"), bytearray(), list[int](), list[list[CompiledMessage]]()
    slots: dict[tuple[int, int], tuple[range, range]] = {}
    filled, n_texts, n_images = list[tuple[int, CompiledMessage]](), 0, 0
    order, mask_order = (list[int](), list[int]()), (list[int](), list[int]())
    masks, mask_ops, mask_ends = list[tuple[int, int, int]](), array("i"), list[int]()

    def fill(i: int, compiled: CompiledMessage, order: tuple[list[int], list[int]]) -> None:
        nonlocal n_texts, n_images
        numbers = slots.get((i, id(compiled)))
        if numbers is None:
            stop, image_stop = n_texts + len(compiled.runs), n_images + len(compiled.images)
            numbers = slots[i, id(compiled)] = range(n_texts, stop), range(n_images, image_stop)
            n_texts, n_images = stop, image_stop
            filled.append((i, compiled))
        order[0].extend(numbers[0])
        order[1].extend(numbers[1])

    for compiled, trained, prompts in examples:
        starts.append(len(ops))
        ops += bos.ops
        weights += bos.weights[0]
        for i, message in enumerate(compiled):
            ops += message.ops
            weights += message.weights[(2 if everything else 1) if trained[i] else 0]
            if message.runs or message.images:
                fill(i, message, order)
        written.append([bos, *compiled])
        begins = list(accumulate((len(message.ops) for message in compiled), initial=len(bos.ops))) if prompts else []
        for since, n_shared, rest in prompts:
            start, first, shared = starts[-1], 0 if since < 0 else begins[since], begins[n_shared]
            if since >= 0 and _settles(ops, weights, start + first, start + shared, rest, constant_texts):
                continue
            masks.append((len(starts) - 1, first, shared))
            for i, message in enumerate(rest, n_shared):
                mask_ops += message.ops
                if message.runs or message.images:
                    fill(_CUE if i == n_shared + len(rest) - 1 else i, message, mask_order)
            mask_ends.append(len(mask_ops))
    once = len(order[0]) == n_texts and len(order[1]) == n_images and not any(mask_order)
    return Skeleton(
        ops,
        bytes(weights),
        tuple(starts),
        tuple(filled),
        None if once else (tuple(order[0]), tuple(order[1])),
        tuple(masks),
        mask_ops,
        tuple(mask_ends),
        (tuple(mask_order[0]), tuple(mask_order[1])),
        _plain(filled, conversation),
        tuple(written),
    )


def _plain(
    filled: list[tuple[int, CompiledMessage]], conversation: Conversation
) -> tuple[tuple[int, str, str], ...] | None:
    """The slots and what precedes and follows each, where all are the text of a message."""
    n = len(conversation)
    plain = tuple(
        (i, *message.simple)
        for i, message in filled
        if message.simple is not None and 0 <= i < n and isinstance(conversation[i].content, str)
    )
    return plain if len(plain) == len(filled) else None


class ProgramBuilder:
    """Builds a program, a conversation at a time."""

    def __init__(self) -> None:
        self._texts, self._mask_texts = list[str](), list[str]()
        self._images, self._mask_images = list[str](), list[str]()
        self._ops, self._weights = array("i"), bytearray()
        self._starts, self._rows = list[int](), list[int]()
        self._masks, self._mask_ops, self._mask_ends = list[tuple[int, int, int]](), array("i"), [0]
        self._sources: list[Source] = []
        self._factors, self._parts = list[tuple[int, int, float]](), list[tuple[int, str, float]]()

    def add(self, skeleton: Skeleton, conversation: Conversation, weighted: Conversation | None = None) -> None:
        """One more conversation, prepared, with the skeleton of its pattern; `weighted` is it with its weights."""
        ops, weights, starts, slots, order, masks, mask_ops, mask_ends, mask_order, plain, examples = skeleton
        n_ops, row = len(self._ops), len(self._sources)
        self._sources.append((examples, conversation, weighted))
        if weighted is not None:
            self._weigh(examples, conversation, weighted, n_ops)
        if len(starts) == 1:
            self._starts.append(n_ops)
            self._rows.append(row)
        else:
            self._starts += [n_ops + start for start in starts]
            self._rows += [row] * len(starts)
        self._ops += ops
        self._weights += weights
        texts, images = self._texts, self._images
        if order is not None:  # some texts come several times: they are written once, then put in order
            texts, images = [], []
        if plain is not None:
            texts += [before + conversation[i].content + after for i, before, after in plain]  # type: ignore[operator]
        else:
            for i, compiled in slots:
                compiled.add_texts(conversation[i] if 0 <= i < len(conversation) else NO_MESSAGE, texts, images)
        if order is not None:
            self._texts += [texts[number] for number in order[0]]
            self._mask_texts += [texts[number] for number in mask_order[0]]
            if images:
                self._images += [images[number] for number in order[1]]
                self._mask_images += [images[number] for number in mask_order[1]]
        if masks:
            n_examples, n_mask_ops = len(self._starts) - len(starts), len(self._mask_ops)
            self._masks += [(n_examples + example, since, shared) for example, since, shared in masks]
            self._mask_ends += [n_mask_ops + end for end in mask_ends]
            self._mask_ops += mask_ops

    def _weigh(
        self,
        examples: Iterable[Sequence[CompiledMessage]],
        conversation: Conversation,
        weighted: Conversation,
        op: int,
    ) -> None:
        """Notes the factors of the operations from number `op` on."""
        for compiled in examples:
            for i, message in enumerate(compiled, start=-1):
                if 0 <= i < len(weighted):
                    self._factors.append((op, op + len(message.ops), weighted[i].weight))
                    if has_part_weights(weighted[i]):
                        for k, run in enumerate(in_runs(message.elements), start=op):
                            pieces = weighted_pieces(run, weighted[i], conversation[i])
                            self._parts += [(k, text, factor) for text, factor in prefixes(pieces)]
                op += len(message.ops)

    def program(self, places: Sequence[str], refuses: str) -> TokenProgram:
        """The program of what was added."""
        examples, since, shared = np.ascontiguousarray(np.array(self._masks, np.int64).reshape(-1, 3).T)
        masks = PromptMask(
            examples, since, shared, np.array(self._mask_ops, np.int32), np.array(self._mask_ends, np.int64)
        )
        weights = np.frombuffer(bytes(self._weights), np.uint8).astype(np.float32)
        for start, stop, factor in self._factors:
            weights[start:stop] *= np.float32(factor)
        part_ops = np.array([op for op, _, _ in self._parts], np.int64)
        part_weights = weights[part_ops] * np.array([factor for _, _, factor in self._parts], np.float32)
        return TokenProgram(
            self._texts + self._mask_texts + [text for _, text, _ in self._parts],
            self._images + self._mask_images,
            np.array(self._ops, np.int32),
            weights,
            np.array([*self._starts, len(self._ops)], np.int64),
            np.array(self._rows, np.int64),
            masks,
            places,
            refuses,
            self._sources,
            PartWeights(part_ops, part_weights),
        )
