"""Formats without control tokens, for any tokenizer and base models: role_colon, and raw text.

The framing of role_colon is text, so a message can imitate a turn. The words that the stop sequence shares with the
next header are trained on the last turn only.
"""

from kernel.conversation import Conversation
from kernel.parse_response.common import parse_role_colon, parse_text
from kernel.renderer_language.pieces import Condition, Header, Renderer, Row, Sampled, Text


def _turn(header: str) -> Row:
    return Header(header), Text(" {}"), Sampled("\n\n")


ROLE_COLON = Renderer(
    "role_colon",
    {
        "system": _turn("System:"),
        "developer": _turn("Developer:"),
        "user": _turn("User:"),
        "assistant": (*_turn("Assistant:"), Sampled("User:", when=(Condition.LAST_IN_EXAMPLE,))),
        "tool": _turn("Tool:"),
    },
    cue=(Header("Assistant:"),),
    stops=("\n\nUser:",),
    parse=parse_role_colon,
    spoofable=True,
)


def _as_answers(conversation: Conversation) -> Conversation:
    """Raw text as an answer, which the default modes train; all other formats refuse the role "text"."""
    return tuple([m._replace(role="assistant") if m.role == "text" else m for m in conversation])


TEXT = Renderer(
    "text",
    {role: (Text(),) for role in ("system", "developer", "user", "assistant", "tool", "text")},
    cue=(),
    stops=(),
    parse=parse_text,
    before=_as_answers,
    spoofable=True,
)

FORMATS = (ROLE_COLON, TEXT)
