"""Kimi K2, K2.5 and K2.6: a block of reasoning on every turn, empty where it is not kept.

The turn being produced starts behind the last answer that called no tool, and keeps its reasoning. Tools are declared
in a message of their own before the system message; without a system message there is Moonshot's. K2.5 and K2.6, which
are alike, open the block in their prompt (or close it, with reasoning switched off) and declare tools in TypeScript.
"""

from dataclasses import replace
from functools import partial

from kernel.chat_format.pieces import Calls, Condition, Header, Reasoning, Renderer, Row, Sampled, Text, Tools, by_roles
from kernel.conversation import Conversation, Message
from kernel.formats.tool_syntax.kimi import CONTROLS, read_kimi_calls, write_kimi_call, write_kimi_tools
from kernel.formats.tool_syntax.typescript import write_typescript_tools
from kernel.image_tokens import kimi_tokens
from kernel.parsing.sections import parse_sections

_SYSTEM = "You are Kimi, an AI assistant created by Moonshot AI."


def _prepared(conversation: Conversation) -> Conversation:
    """The declaration of tools in a message of its own, and a system message behind it or in front."""
    first = conversation[0] if conversation else Message("")
    if first.role == "system" and first.tools:
        system = first._replace(tools=(), content=first.content or _SYSTEM)
        return (first._replace(role="tool_declare", content=""), system, *conversation[1:])
    n = first.role == "tool_declare"
    if conversation[n : n + 1] and conversation[n].role == "system":
        return conversation
    return (*conversation[:n], Message("system", _SYSTEM), *conversation[n:])


@by_roles
def _is_answer(_i: int, message: Message) -> bool:
    return message.role == "assistant" and not message.tool_calls


_END = Sampled("<|im_end|>")
_PARSE = partial(parse_sections, stops=("<|im_end|>",), read_calls=read_kimi_calls)
_CUE = (Header("<|im_assistant|>assistant<|im_middle|>"),)


def _turn(opening: str) -> Row:
    return Header(f"{opening}<|im_middle|>"), Text(), _END


def _declared(tools: Tools) -> Row:
    return Header("<|im_system|>tool_declare<|im_middle|>"), tools, Text(), _END


KIMI_K2 = Renderer(
    "kimi_k2",
    {
        "tool_declare": _declared(Tools(write_kimi_tools)),
        "system": _turn("<|im_system|>system"),
        "developer": _turn("<|im_system|>developer"),
        "user": _turn("<|im_user|>user"),
        "assistant": (
            *_CUE,
            Reasoning("<think>{}</think>"),
            Sampled("<think></think>", unless=(Condition.SHOWS_REASONING,)),
            Text(),
            Sampled(CONTROLS[0], when=(Condition.HAS_CALLS,)),
            Calls(write_kimi_call),
            Sampled(CONTROLS[1], when=(Condition.HAS_CALLS,)),
            _END,
        ),
        "tool": (
            Header("<|im_system|>{name}", when=(Condition.HAS_NAME,)),
            Header("<|im_system|>tool", unless=(Condition.HAS_NAME,)),
            Header("<|im_middle|>## Return of {tool_call_id}\n"),
            Text(),
            _END,
        ),
    },
    cue=_CUE,
    stops=("<|im_end|>",),
    parse=_PARSE,
    controls=(
        *("<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>", "<think>", "</think>"),
        *CONTROLS,
    ),
    keep=((Condition.IN_TURN,),),
    before=_prepared,
    turn_starts_after=_is_answer,
)

_OPEN = (*_CUE, Header("<think>"))
_CLOSED = (*_CUE, Header("<think></think>"))

KIMI_K25 = replace(
    KIMI_K2,
    name="kimi_k25",
    rows={**KIMI_K2.rows, "tool_declare": _declared(Tools(write_typescript_tools))},
    cue=_OPEN,
    parse=partial(_PARSE, opened=True),
    controls=(*KIMI_K2.controls, "<|media_begin|>", "<|media_content|>", "<|media_end|>"),
    image="<|media_begin|>image<|media_content|>{}<|media_end|>\n",
    image_tokens=kimi_tokens,
)
KIMI_K25_DISABLE_THINKING = replace(
    KIMI_K25, name="kimi_k25_disable_thinking", cue=_CLOSED, parse=_PARSE, refuses_reasoning=True
)

KIMI_K26 = replace(KIMI_K25, name="kimi_k26")
KIMI_K26_DISABLE_THINKING = replace(KIMI_K25_DISABLE_THINKING, name="kimi_k26_disable_thinking")
KIMI_K26_PRESERVE_THINKING = replace(KIMI_K25, name="kimi_k26_preserve_thinking", keep=((),))
