"""Nemotron 3: ChatML with a system message at all times, calls as XML, and a block of reasoning on every turn.

A turn that shows no reasoning shows `<think></think>`, which is not how the prompt of the reasoning variants opens
(`<think>` and a newline): this is NVIDIA's own template, kept as it is. Nano and Super write newlines around reasoning
where Ultra and the 3.5 models write none; efforts below the full one are asked for behind the last user message.
"""

from dataclasses import replace
from functools import partial

from kernel.chat_format.pieces import Calls, Condition, Content, Header, Reasoning, Renderer, Row, Sampled, Text, Tools
from kernel.conversation import Conversation, Message
from kernel.formats.chatml import CONTROLS, END, header, turn
from kernel.formats.tool_syntax.nemotron import write_nemotron_tools
from kernel.formats.tool_syntax.xml import read_xml_call, write_xml_call
from kernel.parsing.blocks import parse_blocks


def _prepared(conversation: Conversation, asking: bool = False) -> Conversation:
    """A system message in front, and plain text without white space at its ends; text beside reasoning stays.

    The end of a text is no end where something is written behind it: the tools, or an effort that is asked for.
    """
    if not conversation or conversation[0].role != "system":
        flagged = any(message.trainable is not None for message in conversation)
        conversation = (Message("system", trainable=False if flagged else None), *conversation)
    return tuple([_trimmed(message, asking) for message in conversation])


def _trimmed(message: Message, asking: bool) -> Message:
    if not isinstance(message.content, str):
        return message
    goes_on = message.tools or (asking and message.role == "user")
    text = message.content.lstrip() if goes_on else message.content.strip()
    return message if text == message.content else message._replace(content=text)


_EMPTY = Header("<think></think>", unless=(Condition.SHOWS_REASONING,))
_CALLS: Row = (Calls(partial(write_xml_call, scalar=str), join="\n"), Sampled("\n", when=(Condition.HAS_CALLS,)))
_RESULT: Row = (
    Header("\n<|im_start|>user\n", unless=(Condition.AFTER_TOOL,)),
    Sampled("<tool_response>\n"),
    Text(),
    Sampled("\n</tool_response>\n"),
    Sampled("<|im_end|>", unless=(Condition.BEFORE_TOOL,)),
)

NEMOTRON3 = Renderer(
    "nemotron3",
    {
        "system": (
            *header("system"),
            Text(),
            Sampled("\n\n", when=(Condition.HAS_TOOLS, Condition.HAS_TEXT)),
            Tools(write_nemotron_tools),
            END,
        ),
        "developer": turn("developer"),
        "user": turn("user"),
        "assistant": (
            *header("assistant"),
            _EMPTY,
            Header(
                "\n",
                when=(Condition.HAS_REASONING, Condition.HAS_TEXT),
                unless=(Condition.SHOWS_REASONING, Condition.HAS_CALLS),
            ),
            Content((Reasoning("<think>\n{}\n</think>\n"), Text())),
            Sampled("\n", when=(Condition.HAS_CALLS,), unless=(Condition.HAS_REASONING,)),
            Sampled("\n", when=(Condition.HAS_CALLS, Condition.HAS_REASONING, Condition.HAS_TEXT)),
            *_CALLS,
            END,
        ),
        "tool": _RESULT,
    },
    cue=(*header("assistant"), Header("<think>\n")),
    stops=("<|im_end|>",),
    parse=partial(parse_blocks, stop="<|im_end|>", read_call=read_xml_call, framed=True, trims=True, opened=True),
    controls=CONTROLS,
    keep=((Condition.AFTER_LAST_USER,),),
    before=_prepared,
)

NEMOTRON3_ULTRA = replace(
    NEMOTRON3,
    name="nemotron3_ultra",
    rows={
        **NEMOTRON3.rows,
        "assistant": (
            *header("assistant"),
            _EMPTY,
            Content((Reasoning("<think>\n{}</think>"), Text())),
            Sampled("\n", when=(Condition.HAS_CALLS,)),
            *_CALLS,
            END,
        ),
    },
)


def _preserving(renderer: Renderer) -> Renderer:
    return replace(renderer, name=f"{renderer.name}_preserve_thinking", keep=((),))


def _disabled(renderer: Renderer) -> Renderer:
    cue = (*header("assistant"), Header("<think></think>"))
    return replace(renderer, name=f"{renderer.name}_disable_thinking", cue=cue, refuses_reasoning=True)


_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))  # all that `str.strip` takes off


def _asking(renderer: Renderer, name: str, effort: str) -> Renderer:
    user = (
        *header("user"),
        Text(rstrip=_SPACE, unless=(Condition.LAST_USER,)),
        Text(when=(Condition.LAST_USER,)),
        Sampled("\n\n", when=(Condition.LAST_USER, Condition.HAS_TEXT)),
        Sampled(f"{{reasoning effort: {effort}}}", when=(Condition.LAST_USER,)),
        END,
    )
    return replace(renderer, name=name, rows={**renderer.rows, "user": user}, before=partial(_prepared, asking=True))


NEMOTRON3_PRESERVE_THINKING = _preserving(NEMOTRON3)
NEMOTRON3_DISABLE_THINKING = _disabled(NEMOTRON3)
NEMOTRON3_LOW_THINKING = _asking(NEMOTRON3, "nemotron3_low_thinking", "low")
NEMOTRON3_ULTRA_PRESERVE_THINKING = _preserving(NEMOTRON3_ULTRA)
NEMOTRON3_ULTRA_DISABLE_THINKING = _disabled(NEMOTRON3_ULTRA)
NEMOTRON3_ULTRA_MEDIUM_THINKING = _asking(NEMOTRON3_ULTRA, "nemotron3_ultra_medium_thinking", "efficient")
