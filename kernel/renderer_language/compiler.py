"""Compiled messages: operations and text slots, cached per role, conditions and kinds of parts.

Messages that call or declare tools are compiled each for itself, since their syntax depends on their data.
"""

from __future__ import annotations  # array.array is not subscriptable at run time in Python 3.11

from array import array
from functools import lru_cache
from typing import NamedTuple

from kernel.conversation import Conversation, Message, has_part_weights, split_inline_reasoning, text_of
from kernel.errors import InputError
from kernel.renderer_language.conditions import (
    BY_LATER_MESSAGES,
    AskedConditions,
    MessageConditions,
    Prefix,
    first_difference,
)
from kernel.renderer_language.interpreter import (
    Element,
    Shape,
    Slot,
    SpanKind,
    check,
    cue_elements,
    expanded,
    flat,
    in_runs,
    row_elements,
    slot_text,
    spelled,
)
from kernel.renderer_language.pieces import Calls, Condition, Reasoning, Renderer, Tools

TEXT, IMAGE = -1, -2
"""The operations that write no constant text."""

Run = tuple[str | Slot, ...]


class CompiledMessage(NamedTuple):
    """What a message is written with."""

    ops: array[int]
    weights: tuple[bytes, bytes, bytes]  # per operation: untrained, trained, with all tokens trained
    runs: tuple[Run, ...]  # the texts, in order
    images: tuple[Slot, ...]
    simple: tuple[str, str] | None  # what precedes and follows the message's own text, where that is all
    elements: tuple[Element, ...]

    def add_texts(self, message: Message, texts: list[str], images: list[str]) -> None:
        """Appends the texts of a message, with what surrounds them, and its images."""
        if self.simple is not None:
            before, after = self.simple
            content = message.content
            texts.append(before + (content if isinstance(content, str) else text_of(message)) + after)
            return
        images += [slot_text(slot, message) for slot in self.images]
        texts += ["".join([p if isinstance(p, str) else slot_text(p, message) for p in run]) for run in self.runs]

    def followed_by(self, other: CompiledMessage) -> CompiledMessage:
        """Both as one, their texts apart."""
        weights = zip(self.weights, other.weights, strict=True)
        return CompiledMessage(
            self.ops + other.ops,
            tuple(a + b for a, b in weights),  # type: ignore[arg-type]
            self.runs + other.runs,
            self.images + other.images,
            None,
            self.elements + other.elements,
        )


def same_output(a: CompiledMessage, b: CompiledMessage) -> bool:
    """Whether two compiled forms of one message write the same."""
    return a is b or (a.ops == b.ops and a.runs == b.runs and a.images == b.images)


class MessageCompiler:
    """Compiles the messages of one renderer; `constant_texts` only grows, so ids of its first n entries stay right."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer, self.asked = renderer, AskedConditions(renderer)
        self.constant_texts: list[tuple[SpanKind, str]] = []
        self.cache: dict[tuple[str, int, Shape], CompiledMessage | list[Element]] = {}
        self._numbers: dict[tuple[SpanKind, str], int] = {}
        self.bos = self.compiled([Element(kind, text, False) for kind, text in spelled(renderer, renderer.bos)])

    def looks_ahead(self, conversation: Conversation) -> bool:
        """Whether a later message of this conversation might change how an earlier one is written."""
        asked = 0
        for message in conversation:
            asked |= self.asked.by_role.get(message.role, 0)
        if asked & BY_LATER_MESSAGES:
            return True
        return bool(asked & Condition.SHOWS_REASONING) and any(not isinstance(m.content, str) for m in conversation)

    def compiled(self, elements: list[Element]) -> CompiledMessage:
        """Elements to operations, one per run."""
        ops, trained, runs, images = array("i"), bytearray(), list[Run](), list[Slot]()
        for run in in_runs(elements):
            kind, text, sampled, _ = run[0]
            if isinstance(text, Slot) and kind is SpanKind.IMAGE:
                ops.append(IMAGE)
                images.append(text)
                sampled = False
            elif kind is SpanKind.CONTROL:
                ops.append(self._constant(kind, str(text)))
            elif all(element.kind is SpanKind.TEMPLATE for element in run):
                ops.append(self._constant(kind, "".join([str(element.text) for element in run])))
            else:
                ops.append(TEXT)
                runs.append(_joined(run))
            trained.append(sampled)
        everything = bytes([op != IMAGE for op in ops])
        weights = bytes(len(ops)), bytes(trained), everything
        simple = None if images else _simple(runs)
        return CompiledMessage(ops, weights, tuple(runs), tuple(images), simple, tuple(elements))

    def _constant(self, kind: SpanKind, text: str) -> int:
        number = self._numbers.setdefault((kind, text), len(self.constant_texts))
        if number == len(self.constant_texts):
            self.constant_texts.append((kind, text))
        return number


class CompiledConversation:
    """A prepared conversation, compiled as an example or a prompt of any number of its messages.

    `at` is its location, for errors; `n_added` is how many messages `before` put in front of it.
    """

    def __init__(self, compiler: MessageCompiler, conversation: Conversation, at: str = "$", n_added: int = 0) -> None:
        self.conversation = conversation
        self._compiler, self._at, self._n_added = compiler, at, n_added
        self._conditions = MessageConditions(compiler.asked, conversation)
        self._asked, self._cache = compiler.asked.by_role, compiler.cache
        self._own: dict[tuple[int, int], CompiledMessage] = {}
        self._ends_alike: dict[tuple[int, int], bool] = {}
        self._compared: dict[tuple[Prefix, Prefix], tuple[int, bool]] = {}

    def example(self, n: int, longer: list[CompiledMessage] | None = None) -> list[CompiledMessage]:
        """The first n messages as an example; `longer`, an example of more of them, saves work. Raises: InputError."""
        return self._written(n, True, 0, longer)

    def prompt(self, n: int, since: int = 0) -> list[CompiledMessage]:
        """The first n messages as a prompt, from message `since` on, and the cue. Raises as `example`."""
        return [*self._written(n, False, since), self.cue(n)]

    def cue(self, n: int) -> CompiledMessage:
        """What a prompt of the first n messages ends on."""
        key = "", self._conditions.after[n], None
        known = self._cache.get(key)
        if not isinstance(known, CompiledMessage):
            known = self._cache[key] = self._compiler.compiled(cue_elements(self._compiler.renderer, key[1]))
        return known

    def shows(self, turn: int, n: int) -> bool:
        """Whether an example of the first n messages writes a turn, and all before it, as when it is sampled."""
        if turn + 1 == n:
            return True
        whole = self._conditions.prefix(n, True)
        mask = self._conditions.inside(turn, whole)
        ends_alike = self._ends_alike.get((turn, mask))
        if ends_alike is None:
            last = self._conditions.last(turn, self._conditions.prefix(turn + 1, True), True)
            ends = self._message(turn, last), self._message(turn, last & ~int(Condition.LAST_IN_EXAMPLE))
            ends_alike = any(same_output(self._message(turn, mask), end) for end in ends)
            self._ends_alike[turn, mask] = ends_alike
        return ends_alike and self._same_before(turn, self._conditions.prefix(turn + 1, True), whole)

    def same_prefix(self, a: int, b: int, is_example: bool = True) -> bool:
        """Whether the first a messages (as an example, or a prompt) decide about a message what the first b do."""
        return self._conditions.prefix(a, is_example) == self._conditions.prefix(b, True)

    def located(self, error: InputError, i: int) -> InputError:
        """An error about message i, with its location."""
        return error.under(self._at, "messages", i - self._n_added)

    def _same_before(self, end: int, a: Prefix, b: Prefix) -> bool:
        """Whether two prefixes write alike what precedes message `end`; what was compared is not compared again."""
        if a == b:
            return True
        i, differs = self._compared.get((a, b)) or (first_difference(a, b), False)
        while i < end and not differs:
            one, other = self._conditions.inside(i, a), self._conditions.inside(i, b)
            differs = not same_output(self._message(i, one), self._message(i, other))
            i += 1
        self._compared[a, b] = i, differs
        return i - differs >= end

    def _written(
        self, n: int, is_example: bool, since: int, longer: list[CompiledMessage] | None = None
    ) -> list[CompiledMessage]:
        if n == 0:
            return []
        conditions, message = self._conditions, self._message
        prefix = conditions.prefix(n, is_example)
        before: list[CompiledMessage] = []
        if longer is not None:
            since = min(n - 1, first_difference(prefix, conditions.prefix(len(longer), True)))
            before = longer[:since]
        inside = [message(i, conditions.inside(i, prefix)) for i in range(since, n - 1)]
        return [*before, *inside, message(n - 1, conditions.last(n - 1, prefix, is_example))]

    def _message(self, i: int, mask: int) -> CompiledMessage:
        message = self.conversation[i]
        content = message.content
        shape = None if isinstance(content, str) else tuple([part.kind for part in content])
        mask &= self._asked.get(message.role, -1)
        known = self._cache.get((message.role, mask, shape))
        if known is None:
            known = self._compile(i, mask, shape)
        if isinstance(known, list):
            elements, known = known, self._own.get((i, mask))
            if known is None:
                elements = expanded(self._compiler.renderer, elements, message)
                known = self._own[i, mask] = self._compiler.compiled(elements)
        return known

    def _compile(self, i: int, mask: int, shape: Shape) -> CompiledMessage | list[Element]:
        """Compiles a message of a new kind, or gives its elements where they depend on its data."""
        renderer, message = self._compiler.renderer, self.conversation[i]
        try:
            check(renderer, message)
            elements = row_elements(renderer, message.role, mask, shape)
        except InputError as error:
            raise self.located(error, i) from None
        dynamic = any(isinstance(element.text, Calls | Tools) for element in elements)
        known = self._cache[message.role, mask, shape] = elements if dynamic else self._compiler.compiled(elements)
        return known


def prepared(renderer: Renderer, conversation: Conversation) -> Conversation:
    """The conversation as the renderer wants it."""
    return renderer.before(with_reasoning(renderer, conversation))


def with_reasoning(renderer: Renderer, conversation: Conversation) -> Conversation:
    """The conversation with inline reasoning split off, where the renderer has reasoning."""
    if "assistant" in _reasoning_roles(renderer):
        for message in conversation:
            content = message.content
            if message.role == "assistant" and (
                "</think>" in content if isinstance(content, str) else has_part_weights(message)
            ):
                return tuple([split_inline_reasoning(m) for m in conversation])
    return conversation


@lru_cache(maxsize=256)
def _reasoning_roles(renderer: Renderer) -> frozenset[str]:
    return frozenset(r for r, row in renderer.rows.items() if any(isinstance(p, Reasoning) for p in flat(row)))


_OWN = Slot("text")


def _joined(run: list[Element]) -> Run:
    """The texts and slots of a run, neighbouring texts joined."""
    out: list[str | Slot] = []
    for _, text, _, _ in run:
        if out and isinstance(text, str) and isinstance(out[-1], str):
            out[-1] += text
        else:
            out.append(text)  # type: ignore[arg-type]  # calls and tools are expanded by now
    return tuple(out)


def _simple(runs: list[Run]) -> tuple[str, str] | None:
    if len(runs) != 1 or _OWN not in runs[0]:
        return None
    at = runs[0].index(_OWN)
    before, after = runs[0][:at], runs[0][at + 1 :]
    if any(isinstance(piece, Slot) for piece in (*before, *after)):
        return None
    return "".join(map(str, before)), "".join(map(str, after))
