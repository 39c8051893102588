"""Conversations to scripts: which examples a conversation becomes, what each is written with, and what it trains.

One example shows every trained turn what sampling would show it, as long as no later message changes how an earlier
one is written. Where one does (a family that drops the reasoning of earlier turns, say), the conversation becomes one
example per trained turn, each ending with the turn it trains; a turn that another's example shows rightly needs none of
its own. This is decided for each conversation, since splitting costs tokens: plain chat seldom needs it.
"""

from __future__ import annotations  # array.array is not subscriptable at run time in Python 3.11

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kernel.atoms import Kind
from kernel.conversation import Conversation, Message, parts_of
from kernel.errors import InputError, expected
from kernel.example import TrainOnWhat, check_trainable, produced_from, trained
from kernel.layouts import TEXT, Layout, LayoutBook, alike
from kernel.origin import retold
from kernel.pieces import Fact, Renderer
from kernel.renderer import prepared
from kernel.script import Heads, Script

SPLITTABLE = frozenset(
    (TrainOnWhat.LAST_ASSISTANT_MESSAGE, TrainOnWhat.LAST_ASSISTANT_TURN, TrainOnWhat.ALL_ASSISTANT_MESSAGES)
)
"""The modes that train what sampling produces; the others weigh messages that no prompt ends at."""


class _Example(NamedTuple):
    """The first messages of a prepared conversation, as they are written and trained in one example."""

    layouts: list[Layout]
    trained: list[bool]
    heads: list[int]  # the messages before which a prompt would end: what it supplies is not trained
    whole_head: bool  # whether nothing before that prompt's end is trained either


class Compositor:
    """Composes scripts for one renderer, remembering the layouts it has worked out.

    Args:
        renderer: the chat format.
        split_turns: whether a conversation may become several examples; False keeps the reference's single one.
    """

    def __init__(self, renderer: Renderer, split_turns: bool = True) -> None:
        self.renderer, self.split_turns = renderer, split_turns
        self._book = LayoutBook(renderer)

    @property
    def statics(self) -> list[tuple[Kind, str]]:
        """The static runs met so far, a control token by name or a template text each. It only ever grows."""
        return self._book.statics

    def compose(
        self, conversations: Sequence[Conversation], mode: TrainOnWhat, places: Sequence[str] | None = None
    ) -> Script:
        """The script of these conversations, at least one example each.

        Args:
            conversations: n conversations of at least one message.
            mode: which tokens are trained.
            places: where each stands, for errors.

        Raises:
            InputError: for a conversation that the format cannot write or the mode cannot train, with its place.

        >>> from kernel.renderers import ROLE_COLON
        >>> talk = (Message("user", "2+2?"), Message("assistant", "4"))
        >>> script = Compositor(ROLE_COLON).compose([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
        >>> script.texts, script.ops.tolist(), script.weights.tolist()
        ([' 2+2?\\n\\n', ' 4\\n\\nUser:'], [0, -1, 1, -1], [0, 0, 0, 1])
        """
        where = places if places is not None else ["$"] * len(conversations)
        draft = _Draft(self._book.bos)
        for row, conversation in enumerate(conversations):
            try:
                self._compose(draft, row, conversation, mode, where[row])
            except InputError as error:
                raise retold(error, getattr(conversation, "trace", None)) from None
        unchecked = self.renderer.refuses_reasoning and not self.split_turns
        return draft.script(where, self.renderer.name if unchecked else "")

    def _compose(self, draft: _Draft, row: int, conversation: Conversation, mode: TrainOnWhat, at: str) -> None:
        check_trainable(mode, conversation, at)
        ready = prepared(self.renderer, conversation)
        for example in self._examples(ready, len(ready) - len(conversation), mode, at):
            draft.begin(row)
            for message, layout, hit in zip(ready, example.layouts, example.trained, strict=False):
                draft.add(message, layout, hit, mode is TrainOnWhat.ALL_TOKENS)
            for start in example.heads:
                self._add_head(draft, ready[:start], example, at)

    def prompts(self, conversations: Sequence[Conversation], prefill: str = "") -> Script:
        """The script of the prompts before the turn that follows each conversation; all weights are 0."""
        draft = _Draft(self._book.bos)
        for row, conversation in enumerate(conversations):
            ready = prepared(self.renderer, conversation)
            draft.begin(row)
            for message, layout in zip(ready, self._book.of(ready, False, "$"), strict=True):
                draft.add(message, layout, False, False)
            draft.add(Message(""), self._book.of_cue(ready), False, False)
            if prefill:
                draft.add(Message("", prefill), _PREFILL, False, False)
        return draft.script(["$"] * len(conversations), "")

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

    def _split(self, ready: Conversation, turns: list[int], whole: list[Layout]) -> list[_Example]:
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

    def _shows(self, layouts: list[Layout], turn: int, ready: Conversation, as_last: dict[int, list[Layout]]) -> bool:
        """Whether an example shows a turn, and all before it, as they would stand when the turn is sampled."""
        if turn + 1 == len(layouts):
            return True
        sampled = as_last[turn]
        if not all(alike(a, b) for a, b in zip(layouts[:turn], sampled, strict=False)):
            return False
        ends_openly = self._book.of(ready[: turn + 1], True, "$", without=Fact.TARGET)
        return alike(layouts[turn], sampled[turn]) or alike(layouts[turn], ends_openly[turn])

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

    def _add_head(self, draft: _Draft, before: Conversation, example: _Example, at: str) -> None:
        """Notes the prompt of `before`, so that what it supplies is not trained."""
        prompt = self._book.of(before, False, at)
        n_shared = 0
        while n_shared < min(len(prompt), len(example.layouts)) and alike(prompt[n_shared], example.layouts[n_shared]):
            n_shared += 1
        n_bos = len(self._book.bos)
        lengths = [len(layout.ops) for layout in example.layouts]
        since = 0 if example.whole_head else n_bos + sum(lengths[: len(before)])
        rest = [*zip(before[n_shared:], prompt[n_shared:], strict=True), (Message(""), self._book.of_cue(before))]
        draft.add_head(since, n_bos + sum(lengths[:n_shared]), rest)


_PREFILL = Layout(array("i", [TEXT]), b"\0", b"\0", b"\1", (), (), ("", ""))


class _Draft:
    """A script as it grows."""

    def __init__(self, bos: list[int]) -> None:
        self._bos = bos
        self._texts: list[str] = []
        self._images: list[str] = []
        self._ops, self._weights = array("i"), bytearray()
        self._starts: list[int] = []
        self._rows: list[int] = []
        self._heads: list[tuple[int, int, int]] = []
        self._head_ops, self._head_ends, self._head_texts = array("i"), [0], list[str]()
        self._head_images: list[str] = []

    def begin(self, row: int) -> None:
        """One more example."""
        self._rows.append(row)
        self._starts.append(len(self._ops))
        self._ops.extend(self._bos)
        self._weights.extend(bytes(len(self._bos)))

    def add(self, message: Message, layout: Layout, hit: bool, everything: bool) -> None:
        """One more message of the example."""
        self._ops += layout.ops
        self._weights += layout.zeros if not hit else layout.ones if everything else layout.said
        layout.fill(message, self._texts, self._images)

    def add_head(self, since: int, n_shared: int, rest: list[tuple[Message, Layout]]) -> None:
        """A prompt of the example's: where it may take weight from, and what it adds to the operations it shares."""
        self._heads.append((len(self._rows) - 1, since, n_shared))
        for message, layout in rest:
            self._head_ops += layout.ops
            layout.fill(message, self._head_texts, self._head_images)
        self._head_ends.append(len(self._head_ops))

    def script(self, places: Sequence[str], refuses: str) -> Script:
        """What was drafted."""
        examples, since, shared = np.array(self._heads, np.int64).reshape(-1, 3).T
        heads = Heads(examples, since, shared, _ints(self._head_ops), np.array(self._head_ends, np.int64))
        return Script(
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


def _ints(values: array[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(values, np.int32)
