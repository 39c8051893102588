"""DeepSeek V3.1: with reasoning switched off (as its own template has it by default), and with reasoning.

`</think>` behind the assistant's marker says that the time for reasoning is over, so past turns and turns that do not
reason open with it. What follows a tool's result goes on with the turn: no marker, and nothing about reasoning. There
is one system message, the first, without a marker of its own.
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
    Row,
    Sampled,
    Text,
    Tools,
)
from kernel.formats.tool_syntax.deepseek import (
    CALLS_BEGIN,
    CALLS_END,
    CONTROLS,
    read_deepseek_calls,
    write_deepseek_call,
)
from kernel.formats.tool_syntax.deepseek import write_deepseek_tools as write_tools
from kernel.parsing.sections import parse_sections

_EOS = "<｜end▁of▁sentence｜>"
_ONE_SYSTEM = Refuse("the system message to come first", unless=(Condition.FIRST,), got="one further on")
_MARKER = Header("<｜Assistant｜>", unless=(Condition.AFTER_TOOL,))
_PAST = Header("</think>", unless=(Condition.AFTER_TOOL,))
_SPOKEN: Row = (
    Content((Reasoning("<think>{}</think>"), Text())),
    Sampled(CALLS_BEGIN, when=(Condition.HAS_CALLS,)),
    Calls(write_deepseek_call),
    Sampled(CALLS_END, when=(Condition.HAS_CALLS,)),
    Sampled(_EOS),
)

DEEPSEEKV3 = Renderer(
    "deepseekv3",
    {
        "system": (_ONE_SYSTEM, Text(), Tools(write_tools)),
        "user": (Header("<｜User｜>"), Text()),
        "assistant": (_MARKER, _PAST, *_SPOKEN),
        "tool": (Header("<｜tool▁output▁begin｜>"), Text(), Sampled("<｜tool▁output▁end｜>")),
    },
    cue=(_MARKER, _PAST),
    stops=(_EOS,),
    parse=partial(parse_sections, stops=(_EOS,), read_calls=read_deepseek_calls),
    controls=(
        *("<｜begin▁of▁sentence｜>", _EOS, "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
        *(*CONTROLS, "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
    ),
    bos="<｜begin▁of▁sentence｜>",
    keep=((Condition.LAST, Condition.AFTER_TOOL), (Condition.HAS_CALLS, Condition.AFTER_TOOL)),
)

DEEPSEEKV3_DISABLE_THINKING = replace(DEEPSEEKV3, name="deepseekv3_disable_thinking")

_UNREASONED = Sampled("<think></think>", when=(Condition.LAST,), unless=(Condition.AFTER_TOOL, Condition.HAS_REASONING))

DEEPSEEKV3_THINKING = replace(
    DEEPSEEKV3,
    name="deepseekv3_thinking",
    rows={
        **DEEPSEEKV3.rows,
        "assistant": (_MARKER, _PAST._replace(unless=(Condition.AFTER_TOOL, Condition.LAST)), _UNREASONED, *_SPOKEN),
    },
    cue=(_MARKER, Header("<think>", unless=(Condition.AFTER_TOOL,))),
    parse=partial(parse_sections, stops=(_EOS,), read_calls=read_deepseek_calls, opened=True),
    keep=((Condition.LAST,), (Condition.HAS_CALLS,)),
)
