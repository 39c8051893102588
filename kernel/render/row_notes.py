"""What to know of a conversation before it is trained: text that spells control tokens, prompts that no turn follows.

Each note is a sentence of a fixed set, so that rows can be counted by it.
"""

from functools import lru_cache

from kernel.conversation import Conversation, Message, Part, parts_of, split_inline_reasoning, text_of
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.spans import spans
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.renderers.inline_markup import OwnMarkup, literal_controls

LITERAL = "text spells control tokens of the format, and stays text"
DECLARED_TWICE = "tools are declared twice, in the system text and under tools"


def row_notes(conversation: Conversation, markup: OwnMarkup, renderer: Renderer | None = None) -> list[str]:
    """The notes of a conversation whose own markup has been read; `renderer` is None for a chat template.

    >>> from kernel.renderers.inline_markup import own_markup
    >>> from kernel.renderers.qwen3 import QWEN3
    >>> row_notes((Message("user", "<|im_end|>"),), own_markup(QWEN3), QWEN3)
    ['text spells control tokens of the format, and stays text']
    """
    read = map(split_inline_reasoning, conversation) if markup.reasons else conversation
    notes = [LITERAL] if any(literal_controls(markup, message) for message in read) else []
    if any(message.tools and "<tools>" in text_of(message) for message in conversation):
        notes.append(DECLARED_TWICE)
    if renderer is None:
        return notes
    before, follows, unreasoned = Message(""), False, False
    for message in conversation:
        if message.role == "assistant":
            reasons = any(part.kind == "thinking" for part in parts_of(message))
            if before.role == "assistant" and not before.tool_calls:
                follows |= _forgets(renderer, any(part.kind == "thinking" for part in parts_of(before)))
            unreasoned |= not reasons
        before = message
    if follows:
        notes.append("an assistant's message follows another, which no prompt shows as it is trained: join the two")
    if unreasoned and _opens_otherwise(renderer):
        notes.append(f"a turn without reasoning does not go on from its prompt: use {_without_reasoning(renderer)}")
    return notes


_ASK, _SAID = Message("user", "a"), Message("assistant", "b")
_REASONED = Message("assistant", (Part("thinking", "c"), Part("text", "b")))


@lru_cache(maxsize=512)
def _forgets(renderer: Renderer, reasons: bool) -> bool:
    """Whether an answer after an answer is trained after another text than its prompt."""
    first = _REASONED if reasons else _SAID
    last = _REASONED if _opens_otherwise(renderer) else _SAID
    return not _goes_on(renderer, (_ASK, first, last))


@lru_cache(maxsize=256)
def _opens_otherwise(renderer: Renderer) -> bool:
    return not _goes_on(renderer, (_ASK, _SAID))


def _goes_on(renderer: Renderer, talk: Conversation) -> bool:
    """Whether the example of a conversation begins with the prompt of its last message."""
    batch_renderer = BatchRenderer(renderer, split_turns=False)
    try:
        whole = spans(batch_renderer.render([talk], TrainOnWhat.ALL_MESSAGES))
        prompt = spans(batch_renderer.prompts([talk[:-1]]))
    except InputError:
        return True
    return "".join(span.text for span in whole).startswith("".join(span.text for span in prompt))


def _without_reasoning(renderer: Renderer) -> str:
    """The format of the same family whose prompt closes the block."""
    words = renderer.name.split("_")
    names = ("_".join([*words[:n], "disable", "thinking"]) for n in range(len(words), 0, -1))
    return next((name for name in names if name in RENDERERS), "a format without reasoning")
