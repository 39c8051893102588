"""`User: ...` and `Assistant: ...` in plain text, for base models.

There is no control token in it, so it suits any tokenizer, and so a message can imitate a turn: text that holds a blank
line and "User:" reads like the user's. The words that the stop sequence shares with the next header are trained on the
last turn only.
"""

from kernel.chat_format.pieces import Condition, Header, Renderer, Row, Sampled, Text
from kernel.parsing.plain import parse_role_colon


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
