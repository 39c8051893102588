"""DeepSeek V3.1's calls and declarations: control tokens around a name and JSON, and a Markdown list of tools."""

import json
from collections.abc import Sequence

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolCall, ToolSpec
from kernel.formats.tool_syntax.arguments import read_arguments
from kernel.parsing.marks import Read, read_section
from kernel.parsing.segments import Segment

CALLS_BEGIN, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_BEGIN, _SEP, _END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
CONTROLS = (CALLS_BEGIN, CALLS_END, _BEGIN, _SEP, _END)


def write_deepseek_call(_: int, call: ToolCall) -> Markup:
    """The name and the arguments, which stay as they came.

    >>> write_deepseek_call(0, ToolCall("add", '{"a":1}'))[3].text
    '{"a":1}'
    """
    return _BEGIN, Data(call.name), _SEP, Data(call.arguments), _END


def read_deepseek_calls(segments: Sequence[Segment]) -> Read:
    """The calls of the section that `write_deepseek_call` wrote into, and the text around it.

    A section without an end stays in the text. What stands in a section and is no call is reported.

    >>> from kernel.chat_format.elements import SpanKind
    >>> texts = iter(["add", '{"a": 1}'])
    >>> inside = [Segment(SpanKind.MESSAGE, next(texts)) if name == "text" else Segment(SpanKind.CONTROL, name)
    ...           for name in (CALLS_BEGIN, _BEGIN, "text", _SEP, "text", _END, CALLS_END)]
    >>> read_deepseek_calls([Segment(SpanKind.MESSAGE, "Wait."), *inside])
    Read(text='Wait.', calls=(ToolCall(name='add', arguments='{"a": 1}', id=''),), bad_calls=())
    """
    return read_section(segments, CONTROLS, _call)


def _call(name: str, arguments: str) -> ToolCall | str:
    if not name.strip():
        return "expected a name, got nothing"
    value = read_arguments(arguments)
    return value if isinstance(value, str) else ToolCall(name.strip(), arguments.strip())


def write_deepseek_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A heading, a description and a schema a tool, and how to call them.

    >>> write_deepseek_tools((ToolSpec("add", '{"name": "add", "description": "Sums.", "parameters": {}}'),))[1].text
    '### add\\nDescription: Sums.\\n\\nParameters: {}'
    """
    return (
        "\n\n## Tools\nYou have access to the following tools:\n\n",
        Data("\n".join(_listed(tool) for tool in tools)),
        "\n\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n"
        f"{CALLS_BEGIN}{_BEGIN}tool_call_name{_SEP}tool_call_arguments{_END}{CALLS_END}\n\n"
        "Where:\n- `tool_call_name` must be an exact match to one of the available tools\n"
        "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
        "- For multiple tool calls, chain them directly without separators or spaces",
    )


def _listed(tool: ToolSpec) -> str:
    spec = json.loads(tool.json)
    parameters = json.dumps(spec.get("parameters", {}))
    return f"### {tool.name}\nDescription: {spec.get('description', '')}\n\nParameters: {parameters}"
