"""Qwen3.5 and Qwen3.6: calls as XML, text without white space at its ends, and a prompt that opens the reasoning.

Behind the last user message a turn that did not reason shows an empty block; in the turn being produced the prompt
supplies how it opens, and the model says how it goes on. Results of several calls stand in one user turn.
"""

from dataclasses import replace
from functools import partial

from kernel.chat_format.pieces import (
    Calls,
    Condition,
    Conditions,
    Content,
    Header,
    Reasoning,
    Renderer,
    Row,
    Sampled,
    Text,
    Tools,
)
from kernel.conversation import Conversation, Message, Part
from kernel.formats.chatml import CONTROLS, END, IMAGE, LINE, VISION, header, turn
from kernel.formats.tool_syntax.xml import Scalar, read_xml_call, write_xml_call, write_xml_tools
from kernel.image_tokens import qwen_tokens
from kernel.parsing.blocks import parse_blocks

EMPTY = "<think>\n\n</think>\n\n"
RESULT: Row = (
    LINE,
    Header("<|im_start|>user\n", unless=(Condition.AFTER_TOOL,)),
    Sampled("<tool_response>\n"),
    Text(),
    Sampled("\n</tool_response>"),
    Sampled("<|im_end|>", unless=(Condition.BEFORE_TOOL,)),
)


def opened(history: Conditions) -> Row:
    """The block of a turn that did not reason, where the prompt opens it; `history` says which past turns show one."""
    return (
        Header("<think>\n", when=(Condition.LAST,), unless=(Condition.HAS_REASONING,)),
        Sampled("\n</think>\n\n", when=(Condition.LAST,), unless=(Condition.HAS_REASONING,)),
        Header(EMPTY, when=history, unless=(Condition.HAS_REASONING, Condition.LAST)),
    )


def closed(history: Conditions) -> Row:
    """The block of a turn that did not reason, where the prompt closes it."""
    return (Header(EMPTY, when=history, unless=(Condition.HAS_REASONING,)),)


def assistant(block: Row, scalar: Scalar) -> Row:
    """The assistant's row; `scalar` writes an argument that is no string, list or object."""
    return (
        *header("assistant"),
        *block,
        Content((Reasoning("<think>\n{}\n</think>\n\n"), Text())),
        Sampled("\n\n", when=(Condition.HAS_CALLS, Condition.HAS_TEXT)),
        Calls(partial(write_xml_call, scalar=scalar), join="\n"),
        END,
    )


def trimmed(conversation: Conversation) -> Conversation:
    """Text without white space at its ends; reasoning stays as it is."""
    return tuple([_trimmed(message) for message in conversation])


def _trimmed(message: Message) -> Message:
    content = message.content
    if isinstance(content, str):
        text = content.rstrip() if message.tools else content.strip()  # behind declarations only the end is an end
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


QWEN3_5 = Renderer(
    "qwen3_5",
    {
        "system": (
            *header("system"),
            Tools(write_xml_tools),
            Sampled("\n\n", when=(Condition.HAS_TOOLS, Condition.HAS_TEXT)),
            Text(),
            END,
        ),
        "developer": turn("developer"),
        "user": turn("user"),
        "assistant": assistant(opened((Condition.AFTER_LAST_USER,)), str),
        "tool": RESULT,
    },
    cue=(*header("assistant"), Header("<think>\n")),
    stops=("<|im_end|>",),
    parse=partial(
        parse_blocks, stop="<|im_end|>", read_call=read_xml_call, framed=True, trims=True, opened=True, gap="\n\n"
    ),
    controls=(*CONTROLS, *VISION),
    before=trimmed,
    image=IMAGE,
    image_tokens=qwen_tokens,
)

QWEN3_5_PRESERVE_THINKING = replace(QWEN3_5, name="qwen3_5_preserve_thinking", keep=((),))

QWEN3_5_DISABLE_THINKING = replace(
    QWEN3_5,
    name="qwen3_5_disable_thinking",
    rows={**QWEN3_5.rows, "assistant": assistant(closed((Condition.AFTER_LAST_USER,)), str)},
    cue=(*header("assistant"), Header(EMPTY)),
    refuses_reasoning=True,
)
