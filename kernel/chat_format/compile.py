"""Layouts: what a message is written with, worked out once for each role, set of facts and shape of content, and kept.

A layout is a row of pieces after everything has been decided that does not depend on the message's own text: flat
operations (static run number s, or "the next text", "the next image") and, for each text, what stands around it. So a
message of a known layout costs a look-up and the joining of its text. Layouts that call or declare tools depend on the
data and are worked out each time.
"""

from __future__ import annotations  # array.array is not subscriptable at run time in Python 3.11

from array import array
from typing import NamedTuple

from kernel.chat_format.conditions import conditions_of, cue_conditions
from kernel.chat_format.elements import (
    Element,
    Shape,
    Slot,
    SpanKind,
    check,
    cue_elements,
    expanded,
    row_elements,
    slot_text,
    spelled,
)
from kernel.chat_format.pieces import Calls, Condition, Content, Piece, Reasoning, Renderer, Tools
from kernel.conversation import Conversation, Message, text_of

TEXT, IMAGE = -1, -2
"""The operations that are no static run."""

Run = tuple[str | Slot, ...]


class CompiledMessage(NamedTuple):
    """What a message is written with."""

    ops: array[int]
    said: bytes  # per operation: would the model sample it?
    zeros: bytes
    ones: bytes
    runs: tuple[Run, ...]  # the texts, in order
    images: tuple[Slot, ...]
    simple: tuple[str, str] | None  # when the only text is the message's own, as it is: what stands around it

    def fill(self, message: Message, texts: list[str], images: list[str]) -> None:
        """The texts of a message, with what surrounds them, to the end of `texts`; its images to that of `images`."""
        if self.simple is not None:
            before, behind = self.simple
            content = message.content
            texts.append(before + (content if isinstance(content, str) else text_of(message)) + behind)
            return
        images.extend([slot_text(slot, message) for slot in self.images])
        texts.extend("".join([p if isinstance(p, str) else slot_text(p, message) for p in run]) for run in self.runs)


def same_output(a: CompiledMessage, b: CompiledMessage) -> bool:
    """Whether two layouts write the same, for the same message."""
    return a is b or (a.ops == b.ops and a.runs == b.runs and a.images == b.images)


_BEHIND = (
    *(Condition.FIRST, Condition.LAST_IN_EXAMPLE, Condition.AFTER_TOOL, Condition.AFTER_USER, Condition.AFTER_ANSWER),
    *(Condition.AFTER_CALLS, Condition.AFTER_FIRST_SYSTEM),
    *(
        Condition.HAS_TEXT,
        Condition.HAS_REASONING,
        Condition.HAS_CALLS,
        Condition.HAS_TOOLS,
        Condition.HAS_NAME,
        Condition.SHOWS_REASONING,
        Condition.HAS_TEXT_OR_REASONING,
    ),
)
AHEAD = sum(fact for fact in Condition if fact not in _BEHIND)
"""What a later message can change (SHOWS_REASONING and HAS_TEXT_OR_REASONING too, where there is reasoning)."""


class MessageCompiler:
    """The layouts of one renderer, and the static runs that they share.

    `statics` lists the static runs met so far, a control token by name or a template text each; it only ever grows, so
    ids kept for its first n entries stay right.
    """

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self.constant_texts: list[tuple[SpanKind, str]] = []
        self._numbers: dict[tuple[SpanKind, str], int] = {}
        self._layouts: dict[tuple[str, int, Shape], CompiledMessage | list[Element]] = {}
        self._asked = {role: _asked(row) for role, row in renderer.rows.items()}
        self.bos = [self._static(kind, text) for kind, text in spelled(renderer, renderer.bos)]

    def looks_ahead(self, conversation: Conversation) -> bool:
        """Whether a later message of this conversation might change how an earlier one is written."""
        asked = 0
        for message in conversation:
            asked |= self._asked.get(message.role, 0)
        if asked & AHEAD:
            return True
        return bool(asked & Condition.SHOWS_REASONING) and any(
            not isinstance(message.content, str) for message in conversation
        )

    def of(
        self, conversation: Conversation, target: bool, at: str, n_added: int = 0, without: int = 0
    ) -> list[CompiledMessage]:
        """The layouts of a prepared conversation, in an example (`target`) or in a prompt.

        Args:
            conversation: prepared.
            target: as in `kernel.render.inspect.conditions_of`.
            at: where it stands, for errors.
            n_added: how many messages `before` put in front of it.
            without: a fact that is taken to be unknown.

        Raises:
            InputError: for a message that the format cannot write, with its place.
        """
        masks = conditions_of(self.renderer, conversation, target)
        asked = self._asked
        found = []
        for i, (message, mask) in enumerate(zip(conversation, masks, strict=True)):
            shape = None if isinstance(message.content, str) else tuple([part.kind for part in message.content])
            key = message.role, mask & asked.get(message.role, mask) & ~without, shape
            known = self._layouts.get(key)
            if known is None:
                place = f"{at if at == '$' else f'{at} $'}.messages[{i - n_added}]"
                check(self.renderer, message, place)
                atoms = row_elements(self.renderer, message.role, mask & ~without, shape, place)
                dynamic = any(isinstance(atom.text, Calls | Tools) for atom in atoms)
                known = self._layouts[key] = atoms if dynamic else self._compiled(atoms)
            if isinstance(known, list):
                known = self._compiled(expanded(self.renderer, known, message))
            found.append(known)
        return found

    def of_cue(self, conversation: Conversation) -> CompiledMessage:
        """What a prompt that holds this prepared conversation ends on."""
        key = "", cue_conditions(conversation), None
        known = self._layouts.get(key)
        if not isinstance(known, CompiledMessage):
            known = self._layouts[key] = self._compiled(cue_elements(self.renderer, conversation))
        return known

    def _static(self, kind: SpanKind, text: str) -> int:
        number = self._numbers.setdefault((kind, text), len(self.constant_texts))
        if number == len(self.constant_texts):
            self.constant_texts.append((kind, text))
        return number

    def _compiled(self, atoms: list[Element]) -> CompiledMessage:
        """Atoms to operations: neighbours that are alike in being sampled, and no control tokens, are one run."""
        ops, said, runs, images = array("i"), bytearray(), list[Run](), list[Slot]()
        pending: list[Element] = []

        def close() -> None:
            if not pending:
                return
            pieces = tuple(atom.text for atom in pending)
            if all(atom.kind is SpanKind.TEMPLATE for atom in pending):
                ops.append(self._static(SpanKind.TEMPLATE, "".join(map(str, pieces))))
            else:
                ops.append(TEXT)
                runs.append(_joined(pieces))  # type: ignore[arg-type]  # calls and tools are expanded by now
            said.append(pending[0].sampled)
            pending.clear()

        for atom in atoms:
            if atom.kind in (SpanKind.CONTROL, SpanKind.IMAGE) or (pending and pending[0].sampled != atom.sampled):
                close()
            if atom.kind is SpanKind.CONTROL:
                ops.append(self._static(SpanKind.CONTROL, str(atom.text)))
                said.append(atom.sampled)
            elif isinstance(atom.text, Slot) and atom.kind is SpanKind.IMAGE:
                ops.append(IMAGE)
                images.append(atom.text)
                said.append(False)
            else:
                pending.append(atom)
        close()
        ones = bytes(op != IMAGE for op in ops)
        simple = None if images else _simple(runs)
        return CompiledMessage(ops, bytes(said), bytes(len(ops)), ones, tuple(runs), tuple(images), simple)


_OWN = Slot("text")


def _joined(pieces: tuple[str | Slot, ...]) -> Run:
    """The pieces, neighbouring strings joined."""
    out: list[str | Slot] = []
    for piece in pieces:
        if out and isinstance(piece, str) and isinstance(out[-1], str):
            out[-1] += piece
        else:
            out.append(piece)
    return tuple(out)


def _simple(runs: list[Run]) -> tuple[str, str] | None:
    if len(runs) != 1 or _OWN not in runs[0]:
        return None
    at = runs[0].index(_OWN)
    around = (*runs[0][:at], *runs[0][at + 1 :])
    if any(isinstance(piece, Slot) for piece in around):
        return None
    return "".join(map(str, runs[0][:at])), "".join(map(str, runs[0][at + 1 :]))


_CONTENT = Condition.HAS_TEXT | Condition.HAS_REASONING | Condition.HAS_CALLS | Condition.HAS_TOOLS
"""What decides whether a message is refused, so that a kept layout never stands for a message that would be."""


def _asked(row: tuple[Piece, ...]) -> int:
    """The facts that a row's pieces ask about, as a mask."""
    pieces: list[Piece] = [
        inner for piece in row for inner in (piece, *(piece.pieces if isinstance(piece, Content) else ()))
    ]
    mask = int(_CONTENT)
    for piece in pieces:
        for fact in (*piece.when, *piece.unless):
            mask |= fact
    if mask & Condition.HAS_TEXT_OR_REASONING or any(isinstance(piece, Reasoning) for piece in pieces):
        mask |= Condition.SHOWS_REASONING
    return mask
