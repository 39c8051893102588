"""Text as it stands, with nothing around it: for raw documents, and for base models that continue a prompt.

A row of raw text has no turns, and any chat format would teach the model to say the document as an answer; so a message
of the role "text" is refused by all of them and written by this one, where the default modes train it like an answer.
Messages of conversations are written one behind the other: a prompt and a completion become one text of which the
completion is trained. Nothing ends a text, and nothing tells where a message does.
"""

from kernel.chat_format.pieces import Renderer, Text
from kernel.conversation import Conversation
from kernel.parsing.plain import parse_text


def _as_answers(conversation: Conversation) -> Conversation:
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
