"""Conversations to scripts: which examples a conversation becomes, what each is written with, and what it trains.

One example shows every trained turn what sampling would show it, as long as no later message changes how an earlier
one is written. Where one does (a family that drops the reasoning of earlier turns, say), the conversation becomes one
example per trained turn, each ending with the turn it trains; a turn that another's example shows rightly needs none of
its own. This is decided for each conversation, since splitting costs tokens: plain chat seldom needs it.
"""

from __future__ import annotations  # array.array is not subscriptable at run time in Python 3.11

from array import array
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from kernel.chat_format.compile import TEXT, CompiledMessage, MessageCompiler, same_output
from kernel.chat_format.elements import Slot, SpanKind
from kernel.chat_format.pieces import Condition, Renderer
from kernel.conversation import Conversation, Message, parts_of
from kernel.errors import InputError, expected
from kernel.origin import retold
from kernel.render.assemble import TokenProgram
from kernel.render.inspect import prepared
from kernel.render.loss_mask import TrainOnWhat, check_trainable, produced_from, trained
from kernel.render.skeleton import NOBODY, ProgramBuilder, Skeleton, SkeletonBuilder, pattern

SPLITTABLE = frozenset(
    (TrainOnWhat.LAST_ASSISTANT_MESSAGE, TrainOnWhat.LAST_ASSISTANT_TURN, TrainOnWhat.ALL_ASSISTANT_MESSAGES)
)
"""The modes that train what sampling produces; the others weigh messages that no prompt ends at."""
MAX_SKELETONS = 10_000
"""how many patterns are remembered, before they are forgotten and met anew"""


class _Example(NamedTuple):
    """The first messages of a prepared conversation, as they are written and trained in one example."""

    layouts: list[CompiledMessage]
    trained: list[bool]
    heads: list[int]  # the messages before which a prompt would end: what it supplies is not trained
    whole_head: bool  # whether nothing before that prompt's end is trained either


class BatchRenderer:
    """Composes scripts for one renderer, remembering the layouts and outlines it has worked out.

    Args:
        renderer: the chat format.
        split_turns: whether a conversation may become several examples; False keeps the reference's single one.
    """

    def __init__(self, renderer: Renderer, split_turns: bool = True) -> None:
        self.renderer, self.split_turns = renderer, split_turns
        self._book = MessageCompiler(renderer)
        self._outlines: dict[tuple[TrainOnWhat, Hashable], Skeleton] = {}
        self._remembers = getattr(renderer.turn_start, "by_roles", False)

    @property
    def constant_texts(self) -> list[tuple[SpanKind, str]]:
        """The static runs met so far, a control token by name or a template text each. It only ever grows."""
        return self._book.constant_texts

    def render(
        self, conversations: Sequence[Conversation], mode: TrainOnWhat, places: Sequence[str] | None = None
    ) -> TokenProgram:
        """The script of these conversations, at least one example each.

        Args:
            conversations: n conversations of at least one message.
            mode: which tokens are trained.
            places: where each stands, for errors.

        Raises:
            InputError: for a conversation that the format cannot write or the mode cannot train, with its place.

        >>> from kernel.formats import ROLE_COLON
        >>> talk = (Message("user", "2+2?"), Message("assistant", "4"))
        >>> script = BatchRenderer(ROLE_COLON).render([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
        >>> script.texts, script.ops.tolist(), script.weights.tolist()
        ([' 2+2?\\n\\n', ' 4\\n\\nUser:'], [0, -1, 1, -1], [0, 0, 0, 1])
        """
        where = places if places is not None else ["$"] * len(conversations)
        draft = ProgramBuilder()
        for row, conversation in enumerate(conversations):
            try:
                draft.put(row, *self._outlined(conversation, mode, where[row]))
            except InputError as error:
                raise retold(error, getattr(conversation, "trace", None)) from None
        unchecked = self.renderer.refuses_reasoning and not self.split_turns
        return draft.script(where, self.renderer.name if unchecked else "")

    def _outlined(self, conversation: Conversation, mode: TrainOnWhat, at: str) -> tuple[Skeleton, Conversation]:
        """The outline of a conversation, and the conversation as the renderer wants it."""
        check_trainable(mode, conversation, at)
        ready = prepared(self.renderer, conversation)
        like = pattern(ready) if self._remembers else None
        outline = None if like is None else self._outlines.get((mode, like))
        if outline is None:
            outline = self._outline(ready, len(ready) - len(conversation), mode, at)
            if like is not None:
                self._remember((mode, like), outline)
        return outline, ready

    def prompts(self, conversations: Sequence[Conversation], prefill: str = "") -> TokenProgram:
        """The script of the prompts before the turn that follows each conversation; all weights are 0."""
        draft = ProgramBuilder()
        for row, conversation in enumerate(conversations):
            ready = prepared(self.renderer, conversation)
            sketch = SkeletonBuilder(self._book.bos)
            sketch.begin()
            for i, layout in enumerate(self._book.of(ready, False, "$")):
                sketch.add(i, layout)
            sketch.add(NOBODY, self._book.of_cue(ready))
            if prefill:
                sketch.add(len(ready), _PREFILL)
            with_prefill = (*ready, Message("", prefill))
            draft.put(row, sketch.outline(with_prefill), with_prefill)
        return draft.script(["$"] * len(conversations), "")

    def _remember(self, key: tuple[TrainOnWhat, Hashable], outline: Skeleton) -> None:
        if len(self._outlines) >= MAX_SKELETONS:
            self._outlines.clear()
        self._outlines[key] = outline

    def _outline(self, ready: Conversation, n_added: int, mode: TrainOnWhat, at: str) -> Skeleton:
        """What a prepared conversation is written with, example by example."""
        sketch = SkeletonBuilder(self._book.bos)
        for example in self._examples(ready, n_added, mode, at):
            sketch.begin()
            for i, (layout, hit) in enumerate(zip(example.layouts, example.trained, strict=False)):
                sketch.add(i, layout, hit, mode is TrainOnWhat.ALL_TOKENS)
            for start in example.heads:
                self._add_head(sketch, ready[:start], example, at)
        return sketch.outline(ready)

    def _examples(self, ready: Conversation, n_added: int, mode: TrainOnWhat, at: str) -> list[_Example]:
        """The examples that a prepared conversation becomes, in the order of the turns they train."""
        on = trained(mode, ready, self.renderer.turn_start(ready[:-1]))
        whole = self._book.of(ready, True, at, n_added)
        start = produced_from(mode, ready)
        single = [_Example(whole, on, [] if start is None else [start], True)]
        if not self.split_turns or mode not in SPLITTABLE:
            return single
        self._refuse_reasoning(ready, on, n_added, at)
        turns = [i for i, hit in enumerate(on) if hit]
        if turns in ([], [len(ready) - 1]) or not self._book.looks_ahead(ready):
            return single
        examples = self._split(ready, turns, whole)
        return single if len(examples) == 1 and examples[0].layouts is whole else examples

    def _split(self, ready: Conversation, turns: list[int], whole: list[CompiledMessage]) -> list[_Example]:
        """As few examples as show every trained turn as it would be sampled, found from the last turn backward."""
        as_last = {i: self._book.of(ready[: i + 1], True, "$") for i in turns if i + 1 < len(ready)}
        examples: list[_Example] = []
        layouts, left = whole, turns
        while left:
            shown = [i for i in left if i < len(layouts) and self._shows(layouts, i, ready, as_last)]
            if shown:
                examples.append(_Example(layouts, [i in shown for i in range(len(layouts))], shown, False))
                left = [i for i in left if i not in shown]
            if left:
                layouts = as_last[left[-1]]
        return examples[::-1]

    def _shows(
        self, layouts: list[CompiledMessage], turn: int, ready: Conversation, as_last: dict[int, list[CompiledMessage]]
    ) -> bool:
        """Whether an example shows a turn, and all before it, as they would stand when the turn is sampled."""
        if turn + 1 == len(layouts):
            return True
        sampled = as_last[turn]
        if not all(same_output(a, b) for a, b in zip(layouts[:turn], sampled, strict=False)):
            return False
        ends_openly = self._book.of(ready[: turn + 1], True, "$", without=Condition.LAST_IN_EXAMPLE)
        return same_output(layouts[turn], sampled[turn]) or same_output(layouts[turn], ends_openly[turn])

    def _refuse_reasoning(self, ready: Conversation, on: list[bool], n_added: int, at: str) -> None:
        if not self.renderer.refuses_reasoning:
            return
        for i, (message, hit) in enumerate(zip(ready, on, strict=True)):
            if hit and any(part.kind == "thinking" for part in parts_of(message)):
                raise expected(
                    f"a turn without reasoning ({self.renderer.name} closes the block of reasoning in its prompt)",
                    "one that reasons",
                    at=f"{at if at == '$' else f'{at} $'}.messages[{i - n_added}]",
                )

    def _add_head(self, sketch: SkeletonBuilder, before: Conversation, example: _Example, at: str) -> None:
        """Notes the prompt of `before`, so that what it supplies is not trained."""
        prompt = self._book.of(before, False, at)
        n_shared = 0
        while n_shared < min(len(prompt), len(example.layouts)) and same_output(
            prompt[n_shared], example.layouts[n_shared]
        ):
            n_shared += 1
        n_bos = len(self._book.bos)
        lengths = [len(layout.ops) for layout in example.layouts]
        since = 0 if example.whole_head else n_bos + sum(lengths[: len(before)])
        rest = [*enumerate(prompt[n_shared:], n_shared), (NOBODY, self._book.of_cue(before))]
        sketch.add_head(since, n_bos + sum(lengths[:n_shared]), rest)


_PREFILL = CompiledMessage(array("i", [TEXT]), b"\0", b"\0", b"\1", ((Slot("text"),),), (), ("", ""))
