"""Shorter conversations that keep their last answer: what `keep_answer` trains where the whole would be too long.

First the oldest turns go, whole, the system's messages aside: what is left is a conversation that could have been had.
Where the last turn alone is still too long, its prompt loses its middle, since a task stands at the beginning or at the
end of what is given. The answer is never touched. Each step gives a conversation of its own, to be rendered like any
other, so a format's rules (what comes first, which reasoning is kept) hold for it.

How long a conversation is, only a tokenizer knows; whoever has one searches along these steps (`shortest_cut`).
"""

from collections.abc import Callable

from kernel.conversation import Conversation, Message, Part, content_of

ELLIPSIS = "…"
"""what replaces the text that was cut"""


def n_older_turns(conversation: Conversation) -> int:
    """How many turns stand before the last one; a turn begins with a user's message.

    >>> n_older_turns((Message("user", "a"), Message("assistant", "b"), Message("user", "c")))
    1
    """
    return max(len(_turn_starts(conversation)) - 1, 0)


def without_oldest_turns(conversation: Conversation, n: int) -> Conversation:
    """The conversation without its n oldest turns; the system's messages before them stay.

    Args:
        n: 0 to `n_older_turns`.

    >>> talk = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    >>> [message.content for message in without_oldest_turns(talk, 1)]
    ['s', 'c']
    """
    if n == 0:
        return conversation
    starts = _turn_starts(conversation)
    head = tuple(message for message in conversation[: starts[0]] if message.role in _STAY)
    return head + conversation[starts[n] :]


def n_prompt_characters(conversation: Conversation) -> int:
    """How many characters of text may be cut from the prompt of the last answer, at most."""
    return sum(len(text) for _, _, text in _cuttable(conversation))


def without_middle(conversation: Conversation, n_characters: int) -> Conversation:
    """The conversation with so many characters cut from the middle of its longest prompt texts, longest first.

    Args:
        n_characters: 0 to `n_prompt_characters`. An ellipsis replaces each cut.

    >>> [m.content for m in without_middle((Message("user", "abcdefgh"), Message("assistant", "b")), 4)]
    ['ab…gh', 'b']
    """
    messages = list(conversation)
    left = n_characters
    for i, p, text in sorted(_cuttable(conversation), key=lambda found: -len(found[2])):
        if left <= 0:
            break
        n = min(left, len(text))
        left -= n
        keep = len(text) - n
        cut = text[: (keep + 1) // 2] + (ELLIPSIS if keep else "") + text[len(text) - keep // 2 :]
        messages[i] = _with_text(messages[i], p, cut)
    return tuple(messages)


def shortest_cut(fits: Callable[[int], bool], most: int) -> int | None:
    """The smallest cut of 0 to `most` that fits, if a larger cut always fits where a smaller does; None if none does.

    It asks about log2(most) times. Where the lengths do not fall steadily (a token more or less at the seam of a cut),
    what it finds fits, but a slightly smaller one may too.

    >>> shortest_cut(lambda n: n >= 37, 1000), shortest_cut(lambda n: False, 1000)
    (37, None)
    """
    if not fits(most):
        return None
    low, high = 0, most  # high fits
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return high


_STAY = ("system", "developer")


def _turn_starts(conversation: Conversation) -> list[int]:
    return [i for i, message in enumerate(conversation) if message.role == "user"]


def _cuttable(conversation: Conversation) -> list[tuple[int, int, str]]:
    """The texts of the prompt: (message, part or -1, text). All before the last assistant's message."""
    answers = [i for i, message in enumerate(conversation) if message.role == "assistant"]
    end = answers[-1] if answers else len(conversation)
    found = []
    for i, message in enumerate(conversation[:end]):
        if message.role == "assistant":
            continue  # a call that the model made earlier in its turn
        if isinstance(message.content, str):
            found.append((i, -1, message.content))
        else:
            found += [(i, p, part.text) for p, part in enumerate(message.content) if part.kind == "text"]
    return [place for place in found if place[2]]


def _with_text(message: Message, p: int, text: str) -> Message:
    if p < 0 or isinstance(message.content, str):
        return message._replace(content=text)
    parts = [Part("text", text) if q == p else part for q, part in enumerate(message.content)]
    return message._replace(content=content_of(parts))
