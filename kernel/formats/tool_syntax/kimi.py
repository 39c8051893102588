"""Calls by an id that names the function, as Kimi K2 writes them; declarations as JSON, as only the first K2 does."""

import json
import re
from collections.abc import Sequence

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolCall, ToolSpec
from kernel.formats.tool_syntax.arguments import read_arguments
from kernel.parsing.marks import Read, read_section
from kernel.parsing.segments import Segment

_BEGIN, _ARGUMENTS, _END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
CONTROLS = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", _BEGIN, _ARGUMENTS, _END)


def write_kimi_call(index: int, call: ToolCall) -> Markup:
    """The id, which is made of the name where there is none, and the arguments as they came.

    >>> write_kimi_call(0, ToolCall("add", "{}"))[1].text
    'functions.add:0'
    """
    call_id = call.id or f"functions.{call.name}:{index}"
    return _BEGIN, Data(call_id), _ARGUMENTS, Data(call.arguments), _END


def read_kimi_calls(segments: Sequence[Segment]) -> Read:
    """The calls of the section that `write_kimi_call` wrote into, and the text around it.

    >>> from kernel.chat_format.elements import SpanKind
    >>> texts = Segment(SpanKind.MESSAGE, "functions.add:0"), Segment(SpanKind.MESSAGE, "{}")
    >>> opens, closes, begin, middle, end = (Segment(SpanKind.CONTROL, name) for name in CONTROLS)
    >>> read_kimi_calls([opens, begin, texts[0], middle, texts[1], end, closes]).calls
    (ToolCall(name='add', arguments='{}', id='functions.add:0'),)
    """
    return read_section(segments, CONTROLS, _call)


_ID = re.compile(r"(?:functions\.)?(.+):\d+", re.DOTALL)


def _call(call_id: str, arguments: str) -> ToolCall | str:
    named = _ID.fullmatch(call_id.strip())
    if named is None:
        return f"expected functions.NAME:INDEX, got {call_id.strip()!r}"
    value = read_arguments(arguments)
    return value if isinstance(value, str) else ToolCall(named[1], arguments.strip(), call_id.strip())


def write_kimi_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """All declarations as one line of JSON with sorted keys.

    >>> write_kimi_tools((ToolSpec("add", '{"name": "add"}'),))[0].text
    '[{"function":{"name":"add"},"type":"function"}]'
    """
    declared = [{"type": "function", "function": json.loads(tool.json)} for tool in tools]
    return (Data(json.dumps(declared, separators=(",", ":"), sort_keys=True)),)
