"""Qwen3.8: Qwen3.5's format with a reasoning effort, and with the reasoning of every turn kept.

The effort is a sentence that opens the system message, which is made where there is none; the medium effort has no
sentence, and then an empty system message is left out. Every past turn shows its block of reasoning, empty or not.
"""

import json
from dataclasses import replace
from functools import partial
from typing import Literal

from kernel.chat_format.pieces import Condition, Header, Renderer, Row, Sampled, Text, Tools
from kernel.conversation import Conversation, Message
from kernel.formats.chatml import END, header
from kernel.formats.qwen3_5 import EMPTY, QWEN3_5, assistant, closed, opened, trimmed
from kernel.formats.tool_syntax.xml import write_xml_tools

Effort = Literal["xhigh", "medium", "low"]

_SENTENCES: dict[Effort, str] = {
    "xhigh": "Reasoning effort is set to xhigh. Please think carefully through the task, validate key assumptions, "
    "consider plausible alternatives, and prioritize correctness, consistency, and clarity in the final answer.",
    "medium": "",
    "low": "Reasoning effort is set to low. Keep your thinking brief and focused, moving directly to the conclusion "
    "without unnecessary elaboration.",
}


def _prepared(conversation: Conversation, sentence: str) -> Conversation:
    """The conversation, trimmed, with a system message exactly where something is written in it.

    A system message that opens with the sentence already does not get it twice.
    """
    conversation = trimmed(conversation)
    if not conversation or conversation[0].role != "system":
        flagged = any(message.trainable is not None for message in conversation)
        system = Message("system", trainable=False if flagged else None)
        return (system, *conversation) if sentence else conversation
    system, content = conversation[0], conversation[0].content
    if not (sentence or content or system.tools):
        return conversation[1:]
    if sentence and isinstance(content, str) and (content == sentence or content.startswith(f"{sentence}\n\n")):
        system = system._replace(content=content.removeprefix(sentence).strip())
    return (system, *conversation[1:])


def _system(sentence: str) -> Row:
    """The effort, the tools, the text: a blank line between any two of them."""
    effort: Row = ()
    if sentence:
        effort = (
            Sampled(sentence, when=(Condition.FIRST,)),
            Sampled("\n\n", when=(Condition.FIRST, Condition.HAS_TOOLS)),
            Sampled("\n\n", when=(Condition.FIRST, Condition.HAS_TEXT), unless=(Condition.HAS_TOOLS,)),
        )
    tools = (Tools(write_xml_tools), Sampled("\n\n", when=(Condition.HAS_TOOLS, Condition.HAS_TEXT)))
    return *header("system"), *effort, *tools, Text(), END


def qwen3_8(effort: Effort = "xhigh") -> Renderer:
    """Qwen3.8 that reasons, with this effort.

    >>> qwen3_8("low").name
    'qwen3_8_low_reasoning'
    """
    return replace(
        QWEN3_5,
        name=f"qwen3_8_{effort}_reasoning",
        rows={**QWEN3_5.rows, "system": _system(_SENTENCES[effort]), "assistant": assistant(opened(()), json.dumps)},
        keep=((),),
        before=partial(_prepared, sentence=_SENTENCES[effort]),
    )


QWEN3_8_XHIGH_REASONING = qwen3_8("xhigh")
QWEN3_8_MEDIUM_REASONING = qwen3_8("medium")
QWEN3_8_LOW_REASONING = qwen3_8("low")
QWEN3_8_DISABLE_THINKING = replace(
    QWEN3_8_MEDIUM_REASONING,
    name="qwen3_8_disable_thinking",
    rows={**QWEN3_8_MEDIUM_REASONING.rows, "assistant": assistant(closed(()), json.dumps)},
    cue=(*header("assistant"), Header(EMPTY)),
    refuses_reasoning=True,
)
