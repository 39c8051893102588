"""Conversations to spans: what an example reads like, and what a prompt does.

This is the readable form of rendering, for looking and for testing; `kernel.render.batch_renderer` does the same for
many
conversations at once, from the same atoms. Two rules hold for every family. Control tokens are named by the renderer
alone: text that comes from data is `message` text and is encoded literally. And one BPE pass never crosses from what is
given to what is sampled, from one message to the next, or over a control token (tinker-cookbook's rule, so its tokens
come out).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from kernel.chat_format.conditions import conditions_of
from kernel.chat_format.elements import SpanKind, check, cue_elements, expanded, filled, flat, row_elements, spelled
from kernel.chat_format.pieces import Reasoning, Renderer
from kernel.conversation import Conversation, Message, split_inline_reasoning


class Span(NamedTuple):
    """A stretch of a rendered conversation. `message` is the index of its message as `prepared`, -1 for none."""

    kind: SpanKind
    text: str
    sampled: bool
    message: int


def write(renderer: Renderer, conversation: Conversation, at: str = "$") -> list[Span]:
    """What a supervised example of the conversation reads like.

    Args:
        renderer: the chat format.
        conversation: at least one message.
        at: where the conversation stands, for errors.

    Returns:
        Spans in order; `sampled` says that the model would produce the span, whoever's turn it is.

    Raises:
        InputError: for a message that the format cannot write.

    >>> from kernel.formats import LLAMA3
    >>> for span in write(LLAMA3, (Message("user", "Hi<|eot_id|>"),)):
    ...     print(span.kind, repr(span.text), span.sampled)
    control '<|begin_of_text|>' False
    control '<|start_header_id|>' False
    template 'user' False
    control '<|end_header_id|>' False
    template '\\n\\n' False
    message 'Hi<|eot_id|>' True
    control '<|eot_id|>' True
    """
    return [*_opening(renderer), *_body(renderer, conversation, True, at)]


def write_prompt(renderer: Renderer, conversation: Conversation, prefill: str = "", at: str = "$") -> list[Span]:
    """What the model is shown before it samples its turn: the conversation, the cue, and a prefill if there is one.

    Args and errors are those of `write`; `prefill` is text that the turn is made to start with.

    >>> from kernel.formats import ROLE_COLON
    >>> "".join(span.text for span in write_prompt(ROLE_COLON, (Message("user", "Hi"),)))
    'User: Hi\\n\\nAssistant:'
    """
    spans = [*_opening(renderer), *_body(renderer, conversation, False, at)]
    conversation = prepared(renderer, conversation)
    n = len(conversation)
    spans += [Span(kind, text, False, n) for kind, text, _ in filled(cue_elements(renderer, conversation), Message(""))]
    return [*spans, Span(SpanKind.MESSAGE, prefill, False, n)] if prefill else spans


def prepared(renderer: Renderer, conversation: Conversation) -> Conversation:
    """The conversation as the renderer wants it: inline reasoning read where the format has reasoning, then `before`.

    >>> from kernel.formats import LLAMA3, QWEN3
    >>> from kernel.conversation import parts_of
    >>> message = Message("assistant", "<think>hm</think>ok")
    >>> [len(parts_of(prepared(renderer, (message,))[0])) for renderer in (LLAMA3, QWEN3)]
    [1, 2]
    """
    if "assistant" in _reasoning_roles(renderer):
        for message in conversation:
            if message.role == "assistant" and isinstance(message.content, str) and "</think>" in message.content:
                conversation = tuple([split_inline_reasoning(m) for m in conversation])
                break
    return renderer.before(conversation)


@lru_cache(maxsize=256)
def _reasoning_roles(renderer: Renderer) -> frozenset[str]:
    return frozenset(r for r, row in renderer.rows.items() if any(isinstance(p, Reasoning) for p in flat(row)))


def _opening(renderer: Renderer) -> list[Span]:
    return [Span(kind, text, False, -1) for kind, text in spelled(renderer, renderer.bos)]


def _body(renderer: Renderer, conversation: Conversation, target: bool, at: str) -> Iterator[Span]:
    ready = prepared(renderer, conversation)
    n_added = len(ready) - len(conversation)  # by `before`, in front: errors count the messages that were given
    for i, (message, mask) in enumerate(zip(ready, conditions_of(renderer, ready, target), strict=True)):
        place = f"{at}.messages[{i - n_added}]"
        check(renderer, message, place)
        shape = None if isinstance(message.content, str) else tuple(part.kind for part in message.content)
        atoms = expanded(renderer, row_elements(renderer, message.role, mask, shape, place), message)
        for kind, text, sampled in filled(atoms, message):
            yield Span(kind, text, sampled, i)
