"""DeepSeek V3.1: with reasoning switched off (as its own template has it by default), and with reasoning.

`</think>` after the assistant's marker ends the reasoning, so past turns and turns that do not reason open with it.
What follows a tool's result continues the turn: no marker, and nothing about reasoning.
"""

import json
from dataclasses import replace
from functools import partial

from kernel.conversation import ToolCall, ToolSpec
from kernel.parse_response.by_regex import parse_sections, read_section
from kernel.renderer_language.pieces import Calls, Content, Header, Reasoning, Refuse, Renderer, Sampled, Text, Tools
from kernel.renderers.tool_syntax import C, Data, Markup, Row, calls_section, read_arguments

_EOS = "<｜end▁of▁sentence｜>"
_CALLS_BEGIN, _CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_BEGIN, _SEP, _END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_CALL_CONTROLS = (_CALLS_BEGIN, _CALLS_END, _BEGIN, _SEP, _END)


def _write_call(_: int, call: ToolCall) -> Markup:
    return _BEGIN, Data(call.name), _SEP, Data(call.arguments), _END


def _read_call(name: str, arguments: str) -> ToolCall | str:
    if not name.strip():
        return "expected a name, got nothing"
    value = read_arguments(arguments)
    return value if isinstance(value, str) else ToolCall(name.strip(), arguments.strip())


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return (
        "\n\n## Tools\nYou have access to the following tools:\n\n",
        Data("\n".join(_listed(tool) for tool in tools)),
        "\n\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n"
        f"{_CALLS_BEGIN}{_BEGIN}tool_call_name{_SEP}tool_call_arguments{_END}{_CALLS_END}\n\n"
        "Where:\n- `tool_call_name` must be an exact match to one of the available tools\n"
        "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
        "- For multiple tool calls, chain them directly without separators or spaces",
    )


def _listed(tool: ToolSpec) -> str:
    spec = json.loads(tool.json)
    parameters = json.dumps(spec.get("parameters", {}))
    return f"### {tool.name}\nDescription: {spec.get('description', '')}\n\nParameters: {parameters}"


_PARSE = partial(
    parse_sections, stops=(_EOS,), read_calls=partial(read_section, names=_CALL_CONTROLS, read_call=_read_call)
)
_ONE_SYSTEM = Refuse("the system message to come first", unless=(C.FIRST,), got="one further on")
_MARKER = Header("<｜Assistant｜>", unless=(C.AFTER_TOOL,))
_PAST = Header("</think>", unless=(C.AFTER_TOOL,))
_SPOKEN: Row = (
    Content((Reasoning("<think>{}</think>"), Text())),
    *calls_section(_CALLS_BEGIN, Calls(_write_call), _CALLS_END),
    Sampled(_EOS),
)

DEEPSEEKV3 = Renderer(
    "deepseekv3",
    {
        "system": (_ONE_SYSTEM, Text(), Tools(_write_tools)),
        "user": (Header("<｜User｜>"), Text()),
        "assistant": (_MARKER, _PAST, *_SPOKEN),
        "tool": (Header("<｜tool▁output▁begin｜>"), Text(), Sampled("<｜tool▁output▁end｜>")),
    },
    cue=(_MARKER, _PAST),
    stops=(_EOS,),
    parse=_PARSE,
    controls=(
        *("<｜begin▁of▁sentence｜>", _EOS, "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
        *(*_CALL_CONTROLS, "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
    ),
    bos="<｜begin▁of▁sentence｜>",
    keep=((C.LAST, C.AFTER_TOOL), (C.HAS_CALLS, C.AFTER_TOOL)),
)

DEEPSEEKV3_DISABLE_THINKING = replace(DEEPSEEKV3, name="deepseekv3_disable_thinking")

_NOT_LAST = Header("</think>", unless=(C.AFTER_TOOL, C.LAST))
_UNREASONED = Sampled("<think></think>", when=(C.LAST,), unless=(C.AFTER_TOOL, C.HAS_REASONING))

DEEPSEEKV3_THINKING = replace(
    DEEPSEEKV3,
    name="deepseekv3_thinking",
    rows={**DEEPSEEKV3.rows, "assistant": (_MARKER, _NOT_LAST, _UNREASONED, *_SPOKEN)},
    cue=(_MARKER, Header("<think>", unless=(C.AFTER_TOOL,))),
    parse=partial(_PARSE, opened=True),
    keep=((C.LAST,), (C.HAS_CALLS,)),
)

FORMATS = (DEEPSEEKV3, DEEPSEEKV3_DISABLE_THINKING, DEEPSEEKV3_THINKING)
