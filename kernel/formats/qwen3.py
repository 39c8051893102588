"""Qwen3: with reasoning, with reasoning switched off, and the 2507 Instruct models that have none.

Only the turn being produced keeps its reasoning, in a padded block that is written even when it is empty; without any
user message there is no such turn. Switching reasoning off moves the empty block into the prompt.
"""

from dataclasses import replace
from functools import partial

from kernel.chat_format.pieces import (
    Calls,
    Condition,
    Content,
    Header,
    Reasoning,
    Refuse,
    Renderer,
    Sampled,
    Text,
    Tools,
)
from kernel.formats.chatml import CONTROLS, END, header, turn
from kernel.formats.tool_syntax.hermes import read_json_call, write_json_call, write_json_tools
from kernel.parsing.blocks import parse_blocks

_EMPTY = "<think>\n\n</think>\n\n"


_SYSTEM = (
    *header("system"),
    Text(),
    Sampled("\n\n", when=(Condition.HAS_TOOLS, Condition.HAS_TEXT)),
    Tools(write_json_tools),
    END,
)
_RESULT = (*header("user"), Sampled("<tool_response>\n"), Text(), Sampled("\n</tool_response>"), END)
_CALLS = (Sampled("\n", when=(Condition.HAS_CALLS, Condition.HAS_TEXT_OR_REASONING)), Calls(write_json_call, join="\n"))

QWEN3_INSTRUCT = Renderer(
    "qwen3_instruct",
    {
        "system": _SYSTEM,
        "developer": turn("developer"),
        "user": turn("user"),
        "assistant": (*header("assistant"), Content((Reasoning("<think>{}</think>"), Text())), *_CALLS, END),
        "tool": _RESULT,
    },
    cue=header("assistant"),
    stops=("<|im_end|>",),
    parse=partial(parse_blocks, stop="<|im_end|>", read_call=read_json_call, framed=False),
    controls=CONTROLS,
)

_PRODUCED = (Condition.LAST, Condition.HAS_USER)
_FRAMED = Content(
    (
        Reasoning("<think>\n{}\n</think>\n\n", strip="\n", when=(Condition.SHOWS_REASONING, Condition.HAS_USER)),
        Reasoning("<think>{}</think>"),
        Text(lstrip="\n", when=_PRODUCED),
        Text(),
    )
)
_ASSISTANT = (
    *header("assistant"),
    Sampled(_EMPTY, when=_PRODUCED, unless=(Condition.HAS_REASONING,)),
    _FRAMED,
    *_CALLS,
    END,
)

QWEN3 = replace(
    QWEN3_INSTRUCT,
    name="qwen3",
    rows={**QWEN3_INSTRUCT.rows, "assistant": _ASSISTANT},
    parse=partial(parse_blocks, stop="<|im_end|>", read_call=read_json_call, framed=True),
)

QWEN3_DISABLE_THINKING = replace(
    QWEN3,
    name="qwen3_disable_thinking",
    rows={
        **QWEN3.rows,
        "assistant": (
            Refuse(
                "a user message (the empty block of reasoning has its place behind one)",
                (Condition.LAST, Condition.HAS_TEXT),
                (Condition.HAS_USER,),
            ),
            *_ASSISTANT,
        ),
    },
    cue=(*header("assistant"), Header(_EMPTY)),
    refuses_reasoning=True,
)
