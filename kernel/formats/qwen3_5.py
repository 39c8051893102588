"""Qwen3.5, Qwen3.6 and Qwen3.8: calls as XML, trimmed text, and a prompt that opens the reasoning.

In the turn being produced the prompt opens the block of reasoning and the model goes on; after the last user message a
turn that did not reason shows an empty block. Results of several calls share one user turn. Qwen3.8 adds an effort (a
sentence at the start of the system message, none for medium), keeps all reasoning, and has a block on every turn.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from kernel.chat_format.pieces import Conditions, Content, Header, Reasoning, Renderer, Row, Sampled, Text, Tools
from kernel.conversation import Conversation, Message, Part, ToolSpec
from kernel.formats.chatml import (
    CONTROLS,
    END,
    IMAGE,
    LINE,
    VISION,
    added_system,
    declared,
    header,
    read_xml_call,
    turn,
    xml_calls,
)
from kernel.formats.tool_syntax import C, Data, Markup
from kernel.image_tokens import qwen_tokens
from kernel.parsing.blocks import parse_blocks

_EMPTY = "<think>\n\n</think>\n\n"
_CLOSED = (*header("assistant"), Header(_EMPTY))


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return declared([(Data(json.dumps(json.loads(tool.json))),) for tool in tools])


def _opened(history: Conditions) -> Row:
    """The block of a turn that did not reason, where the prompt opens it; `history`: which past turns show one."""
    return (
        Header("<think>\n", when=(C.LAST,), unless=(C.HAS_REASONING,)),
        Sampled("\n</think>\n\n", when=(C.LAST,), unless=(C.HAS_REASONING,)),
        Header(_EMPTY, when=history, unless=(C.HAS_REASONING, C.LAST)),
    )


def _closed(history: Conditions) -> Row:
    """The block of a turn that did not reason, where the prompt closes it."""
    return (Header(_EMPTY, when=history, unless=(C.HAS_REASONING,)),)


def _assistant(block: Row, scalar: Callable[[object], str]) -> Row:
    return (
        *header("assistant"),
        *block,
        Content((Reasoning("<think>\n{}\n</think>\n\n"), Text())),
        Sampled("\n\n", when=(C.HAS_CALLS, C.HAS_TEXT)),
        xml_calls(scalar),
        END,
    )


def _trimmed(conversation: Conversation) -> Conversation:
    """Text without white space at its ends; reasoning stays as it is."""
    return tuple([_trimmed_message(message) for message in conversation])


def _trimmed_message(message: Message) -> Message:
    content = message.content
    if isinstance(content, str):
        text = content.rstrip() if message.tools else content.strip()  # text that follows declarations is not a start
        return message if text == content else message._replace(content=text)
    shown = [i for i, part in enumerate(content) if part.kind != "thinking" and part.text.strip()]
    first, last = (shown[0], shown[-1]) if shown else (len(content), -1)
    parts = list[Part]()
    for i, part in enumerate(content):
        if part.kind == "text":
            text = part.text.lstrip() if i <= first else part.text
            part = Part("text", text.rstrip() if i >= last else text)
        if part.text or part.kind != "text":
            parts.append(part)
    return message._replace(content=tuple(parts))


_TOOLS = (Tools(_write_tools), Sampled("\n\n", when=(C.HAS_TOOLS, C.HAS_TEXT)))

QWEN3_5 = Renderer(
    "qwen3_5",
    {
        "system": (*header("system"), *_TOOLS, Text(), END),
        "developer": turn("developer"),
        "user": turn("user"),
        "assistant": _assistant(_opened((C.AFTER_LAST_USER,)), str),
        "tool": (
            LINE,
            Header("<|im_start|>user\n", unless=(C.AFTER_TOOL,)),
            *(Sampled("<tool_response>\n"), Text(), Sampled("\n</tool_response>")),
            Sampled("<|im_end|>", unless=(C.BEFORE_TOOL,)),
        ),
    },
    cue=(*header("assistant"), Header("<think>\n")),
    stops=("<|im_end|>",),
    parse=partial(
        parse_blocks, stop="<|im_end|>", read_call=read_xml_call, framed=True, trims=True, opened=True, gap="\n\n"
    ),
    controls=(*CONTROLS, *VISION),
    before=_trimmed,
    image=IMAGE,
    image_tokens=qwen_tokens,
)

QWEN3_5_PRESERVE_THINKING = replace(QWEN3_5, name="qwen3_5_preserve_thinking", keep=((),))

QWEN3_5_DISABLE_THINKING = replace(
    QWEN3_5,
    name="qwen3_5_disable_thinking",
    rows={**QWEN3_5.rows, "assistant": _assistant(_closed((C.AFTER_LAST_USER,)), str)},
    cue=_CLOSED,
    refuses_reasoning=True,
)

_EFFORTS = {
    "xhigh": "Reasoning effort is set to xhigh. Please think carefully through the task, validate key assumptions, "
    "consider plausible alternatives, and prioritize correctness, consistency, and clarity in the final answer.",
    "medium": "",
    "low": "Reasoning effort is set to low. Keep your thinking brief and focused, moving directly to the conclusion "
    "without unnecessary elaboration.",
}


def _with_effort(conversation: Conversation, sentence: str) -> Conversation:
    """The conversation, trimmed, with a system message only where something is written in it.

    A system message that opens with the sentence already does not get it twice.
    """
    conversation = _trimmed(conversation)
    if not conversation or conversation[0].role != "system":
        return (added_system(conversation), *conversation) if sentence else conversation
    system, content = conversation[0], conversation[0].content
    if not (sentence or content or system.tools):
        return conversation[1:]
    if sentence and isinstance(content, str) and (content == sentence or content.startswith(f"{sentence}\n\n")):
        system = system._replace(content=content.removeprefix(sentence).strip())
    return (system, *conversation[1:])


def _qwen3_8(effort: str) -> Renderer:
    sentence = _EFFORTS[effort]
    opening: Row = ()
    if sentence:  # then the tools, then the text: a blank line between any two of them
        opening = (
            Sampled(sentence, when=(C.FIRST,)),
            Sampled("\n\n", when=(C.FIRST, C.HAS_TOOLS)),
            Sampled("\n\n", when=(C.FIRST, C.HAS_TEXT), unless=(C.HAS_TOOLS,)),
        )
    system = (*header("system"), *opening, *_TOOLS, Text(), END)
    return replace(
        QWEN3_5,
        name=f"qwen3_8_{effort}_reasoning",
        rows={**QWEN3_5.rows, "system": system, "assistant": _assistant(_opened(()), json.dumps)},
        keep=((),),
        before=partial(_with_effort, sentence=sentence),
    )


QWEN3_8_XHIGH_REASONING, QWEN3_8_MEDIUM_REASONING, QWEN3_8_LOW_REASONING = map(_qwen3_8, ("xhigh", "medium", "low"))
QWEN3_8_DISABLE_THINKING = replace(
    QWEN3_8_MEDIUM_REASONING,
    name="qwen3_8_disable_thinking",
    rows={**QWEN3_8_MEDIUM_REASONING.rows, "assistant": _assistant(_closed(()), json.dumps)},
    cue=_CLOSED,
    refuses_reasoning=True,
)

FORMATS = (
    *(QWEN3_5, QWEN3_5_DISABLE_THINKING, QWEN3_5_PRESERVE_THINKING),
    *(QWEN3_8_XHIGH_REASONING, QWEN3_8_MEDIUM_REASONING, QWEN3_8_LOW_REASONING, QWEN3_8_DISABLE_THINKING),
)
