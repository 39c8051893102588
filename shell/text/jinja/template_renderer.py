"""Conversations under a chat template as scripts to encode and assemble: the twin of `kernel.render.batch_renderer`.

As there, a conversation becomes as few examples as show every trained turn as it would be sampled, and what shows it is
decided by proof: a turn belongs to an example when `Rendering.turn` finds it there. A proof is two or three renderings,
so this is some hundred times slower than a renderer of pieces; it is for formats that have none.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

import numpy as np

from kernel.chat_format.elements import SpanKind
from kernel.conversation import Conversation, at_origin, last_user, split_inline_reasoning
from kernel.errors import InputError
from kernel.render.assemble import PromptMask, TokenProgram
from kernel.render.batch_renderer import SPLITTABLE
from kernel.render.inspect import Span
from kernel.render.loss_mask import TrainOnWhat, check_trainable, trained
from shell.text.jinja.chat_template import ChatTemplate
from shell.text.jinja.spans import spans
from shell.text.jinja.turns import Rendering, Turn, UnprovenError


class Masked(NamedTuple):
    """An example as spans, with the weight of each."""

    spans: list[Span]
    weights: list[float]


class TemplateRenderer:
    """Composes scripts for one chat template.

    Args:
        template: the chat template.
        split_turns: whether a conversation may become several examples; if not, one that must is refused.
    """

    def __init__(self, template: ChatTemplate, split_turns: bool = True) -> None:
        self.template, self.split_turns = template, split_turns
        self._numbers: dict[tuple[SpanKind, str], int] = {}

    @property
    def constant_texts(self) -> list[tuple[SpanKind, str]]:
        """The control tokens and template texts met so far. It only ever grows."""
        return list(self._numbers)

    def render(
        self, conversations: Sequence[Conversation], mode: TrainOnWhat, places: Sequence[str] | None = None
    ) -> TokenProgram:
        """The script of these conversations, at least one example each.

        Args and errors are those of `kernel.render.batch_renderer.Compositor.compose`, and `masked`'s.
        """
        where = places if places is not None else ["$"] * len(conversations)
        examples = [self._composed(talk, mode, at) for talk, at in zip(conversations, where, strict=True)]
        rows = [row for row, found in enumerate(examples) for _ in found]
        return self._script([one for found in examples for one in found], rows, where)

    def _composed(self, conversation: Conversation, mode: TrainOnWhat, at: str) -> list[Masked]:
        try:
            return self.masked(conversation, mode, at)
        except InputError as error:
            raise at_origin(error, conversation) from None

    def prompts(self, conversations: Sequence[Conversation], prefill: str = "") -> TokenProgram:
        """The script of the prompts before the turn that follows each conversation; all weights are 0."""
        examples: list[Masked] = []
        for talk in conversations:
            rendering = self._rendering(talk, "$")
            rendering.check(len(talk), prompt=True)
            said = spans(rendering, len(talk), {}, prompt=True)
            said += [Span(SpanKind.MESSAGE, prefill, True, len(talk))] if prefill else []
            examples.append(Masked(said, [0.0] * len(said)))
        return self._script(examples, list(range(len(examples))), ["$"] * len(examples))

    def masked(self, conversation: Conversation, mode: TrainOnWhat, at: str = "$") -> list[Masked]:
        """The examples of a conversation, in the order of the turns they train.

        Raises:
            InputError: the template does not show the conversation as it is, or the mask of a trained message cannot
                be proven.
        """
        check_trainable(mode, conversation, at)
        rendering, n = self._rendering(conversation, at), len(conversation)
        if mode is TrainOnWhat.ALL_TOKENS:
            return [self._everything(rendering, n)]
        on = trained(mode, conversation, last_user(conversation[:-1]) + 1)
        turns = [i for i, hit in enumerate(on) if hit]
        if not (self.split_turns and mode in SPLITTABLE):
            return [self._example(rendering, n, {i: rendering.turn(i, n) for i in turns})]
        return [self._example(rendering, n, found) for n, found in _split(rendering, n, turns)]

    def _rendering(self, conversation: Conversation, at: str) -> Rendering:
        if self.template.habits.reasoning:
            conversation = tuple(map(split_inline_reasoning, conversation))
        return Rendering(self.template, conversation, at)

    def _example(self, rendering: Rendering, n: int, turns: dict[int, Turn]) -> Masked:
        rendering.check(n)
        said = spans(rendering, n, turns)
        return Masked(said, [float(span.sampled and span.message in turns) for span in said])

    def _everything(self, rendering: Rendering, n: int) -> Masked:
        said, _ = self._example(rendering, n, {})
        opens = said[0][:2] == (SpanKind.CONTROL, self.template.bos)
        return Masked(said, [0.0] * opens + [1.0] * (len(said) - opens))

    def _script(self, examples: list[Masked], rows: list[int], places: Sequence[str]) -> TokenProgram:
        texts, ops, weights, ends = list[str](), list[int](), list[int](), [0]
        for said, on in examples:
            for (weight, *_), group in groupby(zip(said, on, strict=True), key=_pass):
                for kind, text in _runs([span for span, _ in group]):
                    ops.append(-1 if kind is SpanKind.MESSAGE else self._number(kind, text))
                    weights.append(int(weight))
                    texts += [text] if kind is SpanKind.MESSAGE else []
            ends.append(len(ops))
        none = np.zeros(0, np.int64)
        return TokenProgram(
            texts=texts,
            images=[],
            ops=np.array(ops, np.int32),
            weights=np.array(weights, np.uint8),
            offsets=np.array(ends, np.int64),
            rows=np.array(rows, np.int64),
            prompt_masks=PromptMask(none, none, none, np.zeros(0, np.int32), np.zeros(1, np.int64)),
            places=places,
            refuses="",
        )

    def _number(self, kind: SpanKind, text: str) -> int:
        return self._numbers.setdefault((kind, text), len(self._numbers))


def _split(rendering: Rendering, n: int, turns: list[int]) -> list[tuple[int, dict[int, Turn]]]:
    """As few examples as show every trained turn: how many messages each has, and its turns."""
    examples: list[tuple[int, dict[int, Turn]]] = [] if turns else [(n, {})]
    left = turns
    while left:
        found = _shown(rendering, n, left)
        examples += [(n, found)] if found else []
        left = [i for i in left if i not in found]
        if left and n == left[-1] + 1:
            rendering.turn(left[-1], n)  # says why it cannot be proven even as the last
        n = left[-1] + 1 if left else n
    return examples[::-1]


def _shown(rendering: Rendering, n: int, turns: list[int]) -> dict[int, Turn]:
    """The turns that provably stand in the first n messages."""
    found: dict[int, Turn] = {}
    for i in turns:
        with suppress(UnprovenError):
            found |= {i: rendering.turn(i, n)} if i < n else {}
    return found


def _pass(span_and_weight: tuple[Span, float]) -> tuple[float, bool, bool, int]:
    """What is the same throughout one BPE pass."""
    span, weight = span_and_weight
    return weight, span.kind is SpanKind.CONTROL, span.sampled, span.message


def _runs(said: list[Span]) -> list[tuple[SpanKind, str]]:
    """Control tokens one by one, other spans as one text."""
    if said[0].kind is SpanKind.CONTROL:
        return [(span.kind, span.text) for span in said]
    known = all(span.kind is SpanKind.TEMPLATE for span in said)
    return [(SpanKind.TEMPLATE if known else SpanKind.MESSAGE, "".join(span.text for span in said))]
