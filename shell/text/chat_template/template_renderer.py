"""Conversations under a chat template as token programs: the counterpart of `kernel.render.batch_renderer`.

A conversation becomes as few examples as show every trained turn as it would be sampled. As in `kernel.render.spans`, a
BPE pass never crosses a control token or the edge of a turn. Proofs take several renderings, so this is slower.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, pairwise

import numpy as np

from kernel.conversation import Conversation, at_origin, has_part_weights, last_user, split_inline_reasoning
from kernel.enums import TrainOnWhat
from kernel.errors import InputError, problem
from kernel.render.batch_renderer import SPLITTABLE, check_trainable, trained
from kernel.render.message_weights import unweighted
from kernel.render.spans import Span
from kernel.render.token_program import PromptMask, TokenProgram
from kernel.renderer_language.interpreter import SpanKind
from shell.text.chat_template.find_turns import Control, Piece, Rendering, Turn, UnprovenError
from shell.text.chat_template.open_template import ChatTemplate
from shell.text.chat_template.placeholders import Rendered

Masked = list[tuple[Span, float]]  # an example as spans, each with its weight


class TemplateRenderer:
    """Renders batches with one chat template; without `split_turns`, each conversation is one example or refused."""

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
        """The program of these conversations, at least one example each; as `BatchRenderer.render`."""
        where = places if places is not None else ["$"] * len(conversations)
        examples, rows = list[Masked](), list[int]()
        for row, (conversation, at) in enumerate(zip(conversations, where, strict=True)):
            try:
                found = self.masked(conversation, mode, at)
            except InputError as error:
                raise at_origin(error, conversation) from None
            examples += found
            rows += [row] * len(found)
        return self._program(examples, rows, where)

    def prompts(self, conversations: Sequence[Conversation], prefill: str = "") -> TokenProgram:
        """The program of the prompts before the turn that follows each conversation; all weights are 0."""
        examples: list[Masked] = []
        for talk in conversations:
            rendering = self._rendering(talk, "$")
            rendering.check(len(talk), prompt=True)
            spans = _spans(rendering, len(talk), {}, prompt=True)
            spans += [Span(SpanKind.MESSAGE, prefill, True, len(talk))] if prefill else []
            examples.append([(span, 0.0) for span in spans])
        return self._program(examples, list(range(len(examples))), ["$"] * len(examples))

    def masked(self, conversation: Conversation, mode: TrainOnWhat, at: str = "$") -> list[Masked]:
        """The examples of a conversation, in the order of the turns they train; InputError where there is no proof."""
        if mode is TrainOnWhat.CUSTOMIZED:
            check_trainable(conversation, at)
        factors = [message.weight for message in conversation]
        for i, message in enumerate(conversation):
            if has_part_weights(message):
                reason = "a chat template shows no edge between parts, so a part cannot have a weight of its own"
                raise problem(reason, at, ("messages", i, "content"))
        conversation = unweighted(conversation)
        return [_weighed(one, factors) for one in self._unweighted(conversation, mode, at)]

    def _unweighted(self, conversation: Conversation, mode: TrainOnWhat, at: str) -> list[Masked]:
        rendering, n = self._rendering(conversation, at), len(conversation)
        if mode is TrainOnWhat.ALL_TOKENS:
            spans = [span for span, _ in self._example(rendering, n, {})]
            opens, on = spans[0][:2] == (SpanKind.CONTROL, self.template.bos), trained(mode, conversation, 0)
            return [[(span, float(i >= opens and on[min(span.message, n - 1)])) for i, span in enumerate(spans)]]
        on = trained(mode, conversation, last_user(conversation[:-1]) + 1)
        turns = [i for i, hit in enumerate(on) if hit]
        if not (self.split_turns and mode in SPLITTABLE):
            return [self._example(rendering, n, {i: rendering.turn(i, n) for i in turns})]
        return [self._example(rendering, n, found) for n, found in _examples(rendering, n, turns)]

    def _rendering(self, conversation: Conversation, at: str) -> Rendering:
        if self.template.habits.reasoning:
            conversation = tuple(map(split_inline_reasoning, conversation))
        return Rendering(self.template, conversation, at)

    def _example(self, rendering: Rendering, n: int, turns: dict[int, Turn]) -> Masked:
        rendering.check(n)
        return [(span, float(span.sampled and span.message in turns)) for span in _spans(rendering, n, turns)]

    def _program(self, examples: list[Masked], rows: list[int], places: Sequence[str]) -> TokenProgram:
        texts, ops, weights, ends = list[str](), list[int](), list[float](), [0]
        for example in examples:
            for (weight, *_), group in groupby(example, key=_pass):
                for kind, text in _joined([span for span, _ in group]):
                    is_text = kind is SpanKind.MESSAGE
                    ops.append(-1 if is_text else self._numbers.setdefault((kind, text), len(self._numbers)))
                    weights.append(weight)
                    texts += [text] if is_text else []
            ends.append(len(ops))
        none = np.zeros(0, np.int64)
        return TokenProgram(
            texts=texts,
            images=[],
            ops=np.array(ops, np.int32),
            weights=np.array(weights, np.float32),
            offsets=np.array(ends, np.int64),
            rows=np.array(rows, np.int64),
            prompt_masks=PromptMask(none, none, none, np.zeros(0, np.int32), np.zeros(1, np.int64)),
            places=places,
            refuses="",
        )


def _weighed(example: Masked, factors: Sequence[float]) -> Masked:
    last = len(factors) - 1
    return [(span, weight * factors[min(span.message, last)]) for span, weight in example]


def _examples(rendering: Rendering, n: int, turns: list[int]) -> list[tuple[int, dict[int, Turn]]]:
    """As few examples as show every trained turn: how many messages each has, and its turns."""
    examples: list[tuple[int, dict[int, Turn]]] = [] if turns else [(n, {})]
    left = turns
    while left:
        found: dict[int, Turn] = {}
        for i in left:
            with suppress(UnprovenError):
                found |= {i: rendering.turn(i, n)} if i < n else {}
        examples += [(n, found)] if found else []
        left = [i for i in left if i not in found]
        if left and n == left[-1] + 1:
            rendering.turn(left[-1], n)  # raises: it cannot be proven even as the last
        n = left[-1] + 1 if left else n
    return examples[::-1]


def _pass(span_and_weight: tuple[Span, float]) -> tuple[float, bool, bool, int]:
    """What is the same throughout one BPE pass."""
    span, weight = span_and_weight
    return weight, span.kind is SpanKind.CONTROL, span.sampled, span.message


def _joined(spans: list[Span]) -> list[tuple[SpanKind, str]]:
    """Control tokens one by one, other spans as one text."""
    if spans[0].kind is SpanKind.CONTROL:
        return [(span.kind, span.text) for span in spans]
    known = all(span.kind is SpanKind.TEMPLATE for span in spans)
    return [(SpanKind.TEMPLATE if known else SpanKind.MESSAGE, "".join(span.text for span in spans))]


def _spans(rendering: Rendering, n: int, turns: Mapping[int, Turn], prompt: bool = False) -> list[Span]:
    """The first n messages, and the prompt for one more, as spans, without the white space that no message follows."""
    text = rendering.render(n, prompt)
    pieces = rendering.pieces(text)
    found = _all_turns(rendering, n, turns, text, pieces)
    edges = sorted({edge for turn in found.values() for edge in turn})
    out: list[Span] = []
    for kind, start, stop in pieces if prompt else _without_last_space(text, pieces):
        for a, b in pairwise([start, *(edge for edge in edges if start < edge < stop), stop]):
            inside = next((i for i, turn in found.items() if turn.start <= a < turn.stop), None)
            header = next((i for i, turn in found.items() if a < turn.start), n if prompt else n - 1)
            out.append(Span(kind, text.text[a:b], inside is not None, header if inside is None else inside))
    return list(_trimmed(out, rendering.template.tokens))


def _trimmed(spans: list[Span], tokens: Mapping[str, Control]) -> Iterator[Span]:
    """Without the template's white space that control tokens remove: the model has no token for it."""
    controls = [tokens.get(span.text) if span.kind is SpanKind.CONTROL else None for span in spans]
    for span, before, after in zip(spans, [None, *controls], [*controls[1:], None], strict=False):
        text = span.text
        if span.kind is SpanKind.TEMPLATE:
            text = text.lstrip() if before and before.rstrip else text
            text = text.rstrip() if after and after.lstrip else text
        if text:
            yield span._replace(text=text)


def _all_turns(
    rendering: Rendering, n: int, turns: Mapping[int, Turn], text: Rendered, pieces: list[Piece]
) -> dict[int, Turn]:
    """Every message's turn, those that are not proven as far as their own data shows; never one inside another."""
    found, at = dict[int, Turn](), 0
    for i in range(n):
        turn = turns.get(i) or _unproven_turn(rendering, i, text, pieces)
        if turn is not None and at <= turn.start < turn.stop:
            found[i], at = turn, turn.stop
    return found


def _unproven_turn(rendering: Rendering, i: int, text: Rendered, pieces: list[Piece]) -> Turn | None:
    """From the end of its prompt, or its first character, to the control token after its last."""
    own = [stop for field, _, stop in rendering.shown(text) if field.message == i]
    start = rendering.first(i, text)
    if rendering.role(i) == "assistant":
        with suppress(InputError):  # a prompt that the template refuses to write
            n = text.n_shared(rendering.render(i, prompt=True))
            start = next((p.start for p in pieces if p.kind is SpanKind.CONTROL and p.start < n < p.stop), n)
    if start is None or not own:
        return None
    controls = (piece.start for piece in pieces if piece.kind is SpanKind.CONTROL and piece.start >= own[-1])
    return Turn(start, next(controls, len(text.text)))


def _without_last_space(text: Rendered, pieces: list[Piece]) -> list[Piece]:
    n = len(pieces)
    while n and pieces[n - 1].kind is SpanKind.TEMPLATE and text.text[slice(*pieces[n - 1][1:])].isspace():
        n -= 1
    return pieces[:n] if n and pieces[n - 1].kind is SpanKind.CONTROL else pieces
