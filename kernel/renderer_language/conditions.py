"""Conditions of each message: its position, its content, and whether its reasoning is kept.

Pieces ask about nothing else, so messages of the same role, conditions and kinds of parts are written alike.
"""

from kernel.conversation import Conversation
from kernel.renderer_language.pieces import Condition, Conditions, Content, Reasoning, Renderer, Row

# plain integers: an IntEnum's operators are slow
_FIRST, _LAST, _LAST_IN_EXAMPLE = int(Condition.FIRST), int(Condition.LAST), int(Condition.LAST_IN_EXAMPLE)
_HAS_USER, _TOOLS_DECLARED = int(Condition.HAS_USER), int(Condition.TOOLS_DECLARED)
_LAST_USER, _AFTER_LAST_USER = int(Condition.LAST_USER), int(Condition.AFTER_LAST_USER)
_ONLY_ASSISTANT_FOLLOWS, _IN_TURN = int(Condition.ONLY_ASSISTANT_FOLLOWS), int(Condition.IN_TURN)
_HAS_TEXT = int(Condition.HAS_TEXT | Condition.HAS_TEXT_OR_REASONING)
_HAS_REASONING, _HAS_CALLS = int(Condition.HAS_REASONING), int(Condition.HAS_CALLS)
_HAS_TOOLS, _HAS_NAME = int(Condition.HAS_TOOLS), int(Condition.HAS_NAME)
_KEEPS_REASONING = int(Condition.KEEPS_REASONING)
_SHOWS_REASONING = int(Condition.KEEPS_REASONING | Condition.SHOWS_REASONING | Condition.HAS_TEXT_OR_REASONING)
_AFTER_CALLS, _AFTER_FIRST_SYSTEM = int(Condition.AFTER_CALLS), int(Condition.AFTER_FIRST_SYSTEM)
_AFTER = {
    "user": int(Condition.AFTER_USER),
    "assistant": int(Condition.AFTER_ANSWER),
    "tool": int(Condition.AFTER_TOOL),
}
_BEFORE = {"user": int(Condition.BEFORE_USER), "tool": int(Condition.BEFORE_TOOL)}
_REFUSABLE = int(Condition.HAS_TEXT) | _HAS_REASONING | _HAS_CALLS | _HAS_TOOLS
"""What decides whether a message is refused: always asked about, so that no cached one replaces a refusal."""
_BEYOND = 1 << 62
BY_LATER_MESSAGES = int(
    _LAST
    | (_HAS_USER | _TOOLS_DECLARED | _LAST_USER | _AFTER_LAST_USER | _ONLY_ASSISTANT_FOLLOWS | _IN_TURN)
    | (Condition.BEFORE_USER | Condition.BEFORE_TOOL | _KEEPS_REASONING)
)
"""What a later message can change (where there is reasoning, SHOWS_REASONING and HAS_TEXT_OR_REASONING too)."""


Prefix = tuple[int, int, int, int]
"""What a conversation up to a message decides about all of it: conditions, last user, last other than the assistant,
and turn start; constant where the renderer never asks."""


class AskedConditions:
    """What a renderer asks about: conditions by role, those that keep reasoning, and where a turn starts."""

    def __init__(self, renderer: Renderer) -> None:
        self.by_role = {role: _asked(row) for role, row in renderer.rows.items()}
        self.keep = [_mask(conjunction) for conjunction in renderer.keep]
        self.anywhere = 0
        for mask in (*self.by_role.values(), *self.keep):
            self.anywhere |= mask
        self.starts_turn = renderer.turn_starts_after if self.anywhere & _IN_TURN else None


class MessageConditions:
    """The conditions of a conversation's messages, in examples and prompts that end at any of them."""

    def __init__(self, asked: AskedConditions, conversation: Conversation) -> None:
        self._keep, starts_turn = asked.keep, asked.starts_turn
        asks_user = asked.anywhere & (_LAST_USER | _AFTER_LAST_USER)
        asks_other = asked.anywhere & _ONLY_ASSISTANT_FOLLOWS
        everywhere, user, other, turn, after = 0, -1, -1, 0, _FIRST
        self._own, self._before, self.after = list[int](), list[int](), [after]
        self._prefixes: list[Prefix] = [(everywhere, user, other, turn)]
        for i, message in enumerate(conversation):
            role, content, calls, name, _, _, tools, _ = message
            mask = after
            if isinstance(content, str):
                if content:
                    mask |= _HAS_TEXT
            else:
                for part in content:
                    mask |= _HAS_REASONING if part.kind == "thinking" else _HAS_TEXT
            if calls:
                mask |= _HAS_CALLS
            if name:
                mask |= _HAS_NAME
            if tools:
                mask |= _HAS_TOOLS
                everywhere |= asked.anywhere & _TOOLS_DECLARED
            after = _AFTER.get(role, 0)
            if role == "assistant":
                after = _AFTER_CALLS if calls else after
            elif role == "user":
                everywhere |= asked.anywhere & _HAS_USER
                user = i if asks_user else user
            elif i == 0 and role == "system":
                after = _AFTER_FIRST_SYSTEM
            if asks_other and role != "assistant":
                other = i
            if starts_turn is not None and starts_turn(i, message):
                turn = i + 1
            self._own.append(mask)
            self._before.append(_BEFORE.get(role, 0))
            self.after.append(after)
            self._prefixes.append((everywhere, user, other, turn))

    def prefix(self, n: int, is_example: bool) -> Prefix:
        """What the first n messages decide; the turn that an example produces starts before its last message."""
        prefix = self._prefixes[n]
        return (*prefix[:3], self._prefixes[n - 1][3]) if is_example and n else prefix

    def inside(self, i: int, prefix: Prefix) -> int:
        """The conditions of message i, before the last one of a prefix."""
        return self._mask(i, prefix, self._before[i + 1])

    def last(self, i: int, prefix: Prefix, is_example: bool) -> int:
        """The conditions of message i as the last one of a prefix."""
        return self._mask(i, prefix, _LAST | _LAST_IN_EXAMPLE if is_example else _LAST)

    def _mask(self, i: int, prefix: Prefix, mask: int) -> int:
        everywhere, user, other, turn = prefix
        mask |= self._own[i] | everywhere
        if i >= user:
            mask |= _LAST_USER if i == user else _AFTER_LAST_USER
        if i >= other:
            mask |= _ONLY_ASSISTANT_FOLLOWS
        if i >= turn:
            mask |= _IN_TURN
        for keep in self._keep:
            if mask & keep == keep:
                return mask | (_SHOWS_REASONING if mask & _HAS_REASONING else _KEEPS_REASONING)
        return mask


def first_difference(a: Prefix, b: Prefix) -> int:
    """Index of the first message about which two prefixes may decide differently; beyond any where none does."""
    if a[0] != b[0]:
        return 0
    return max(0, min((min(x, y) for x, y in zip(a[1:], b[1:], strict=True) if x != y), default=_BEYOND))


def holds(mask: int, when: Conditions, unless: Conditions) -> bool:
    """Whether all of `when` and none of `unless` is true."""
    return all(mask & condition for condition in when) and not any(mask & condition for condition in unless)


def _mask(conditions: Conditions) -> int:
    return sum(set(map(int, conditions)))


def _asked(row: Row) -> int:
    """The conditions that a row's pieces ask about."""
    mask = _REFUSABLE
    pieces = [inner for piece in row for inner in (piece, *(piece.pieces if isinstance(piece, Content) else ()))]
    for piece in pieces:
        mask |= _mask((*piece.when, *piece.unless))
    if mask & Condition.HAS_TEXT_OR_REASONING or any(isinstance(piece, Reasoning) for piece in pieces):
        mask |= Condition.SHOWS_REASONING
    return mask
