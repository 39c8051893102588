"""What is known of each message of a conversation: where it stands, what it holds, whether its reasoning is kept.

A renderer's pieces ask about nothing else, so two messages of the same role, facts and shape are written alike.
"""

from functools import lru_cache

from kernel.chat_format.pieces import Condition, Conditions, Renderer
from kernel.conversation import Conversation, Message, last_user


def conditions_of(renderer: Renderer, conversation: Conversation, target: bool) -> list[int]:
    """What is known of each message, as bit masks of `Condition`.

    >>> from kernel.formats import LLAMA3
    >>> mask, = conditions_of(LLAMA3, (Message("user", "Hi"),), target=True)
    >>> [condition.name for condition in Condition if mask & condition][:5]
    ['FIRST', 'LAST', 'LAST_IN_EXAMPLE', 'HAS_USER', 'LAST_USER']
    """
    n, query = len(conversation), last_user(conversation)
    turn = renderer.turn_start(conversation[:-1] if target else conversation)
    other = max([i for i, message in enumerate(conversation) if message.role != "assistant"], default=-1)
    everywhere = int(Condition.HAS_USER) if query >= 0 else 0
    if any(message.tools for message in conversation):
        everywhere |= Condition.TOOLS_DECLARED
    masks = []
    for i, message in enumerate(conversation):
        mask = everywhere | _after(conversation, i)
        if i == n - 1:
            mask |= _TARGET if target else Condition.LAST
        else:
            mask |= _BEFORE.get(conversation[i + 1].role, 0)
        if i >= other:
            mask |= Condition.ONLY_ASSISTANT_FOLLOWS
        if i >= query:
            mask |= Condition.LAST_USER if i == query else Condition.AFTER_LAST_USER
        if i >= turn:
            mask |= Condition.IN_TURN
        masks.append(_content_facts(renderer, message, mask))
    return masks


_TARGET = int(Condition.LAST | Condition.LAST_IN_EXAMPLE)
_SPOKEN = int(Condition.HAS_TEXT | Condition.HAS_TEXT_OR_REASONING)
_AFTER = {
    "user": int(Condition.AFTER_USER),
    "assistant": int(Condition.AFTER_ANSWER),
    "tool": int(Condition.AFTER_TOOL),
}
_BEFORE = {"user": int(Condition.BEFORE_USER), "tool": int(Condition.BEFORE_TOOL)}


def _after(conversation: Conversation, i: int) -> int:
    """What is known of message i from the one before it."""
    if i == 0:
        return int(Condition.FIRST)
    before = conversation[i - 1]
    if before.tool_calls and before.role == "assistant":
        return int(Condition.AFTER_CALLS)
    return int(Condition.AFTER_FIRST_SYSTEM) if i == 1 and before.role == "system" else _AFTER.get(before.role, 0)


def _content_facts(renderer: Renderer, message: Message, mask: int) -> int:
    content = message.content
    if isinstance(content, str):
        if content:
            mask |= _SPOKEN
    else:
        for part in content:
            mask |= Condition.HAS_REASONING if part.kind == "thinking" else _SPOKEN
    if message.tool_calls:
        mask |= Condition.HAS_CALLS
    if message.tools:
        mask |= Condition.HAS_TOOLS
    if message.name:
        mask |= Condition.HAS_NAME
    for keep in _keeps(renderer):
        if mask & keep == keep:
            return mask | (_REASONS if mask & Condition.HAS_REASONING else Condition.KEEPS_REASONING)
    return mask


_REASONS = int(Condition.KEEPS_REASONING | Condition.SHOWS_REASONING | Condition.HAS_TEXT_OR_REASONING)


@lru_cache(maxsize=256)
def _keeps(renderer: Renderer) -> list[int]:
    return [int(sum(conjunction)) for conjunction in renderer.keep]


def holds(mask: int, when: Conditions, unless: Conditions) -> bool:
    """Whether all of `when` and none of `unless` is known.

    >>> holds(Condition.FIRST | Condition.LAST, when=(Condition.FIRST,), unless=(Condition.LAST,))
    False
    """
    return all(mask & fact for fact in when) and not any(mask & fact for fact in unless)


def cue_conditions(conversation: Conversation) -> int:
    """What is known where a prompt ends: what stands before it."""
    return _after(conversation, len(conversation))
