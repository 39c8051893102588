"""Calls as XML, as Qwen3.5 and Nemotron 3 write them: a function element with a parameter element per argument.

A parameter's value is text as it is, and JSON for everything else, so the text "7" and the number 7 look alike: the
reader takes what reads as JSON for JSON. Nothing is escaped, so a value that spells the end of its element ends it.
"""

import json
import re
from collections.abc import Callable, Iterable

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolCall, ToolSpec
from kernel.formats.tool_syntax.arguments import json_or_text

Scalar = Callable[[object], str]
"""Writes an argument that is no string, list or object: `str` (True, None) or `json.dumps` (true, null)."""


def write_xml_call(_: int, call: ToolCall, scalar: Scalar) -> Markup:
    """A function element between tool_call tags.

    >>> markup = write_xml_call(0, ToolCall("add", '{"a": 1, "exact": true}'), scalar=str)
    >>> print("".join(piece if isinstance(piece, str) else piece.text for piece in markup))
    <tool_call>
    <function=add>
    <parameter=a>
    1
    </parameter>
    <parameter=exact>
    True
    </parameter>
    </function>
    </tool_call>
    """
    markup: list[str | Data] = ["<tool_call>\n<function=", Data(call.name), ">\n"]
    for name, value in json.loads(call.arguments).items():
        markup += ["<parameter=", Data(name), ">\n", Data(_value(value, scalar)), "\n</parameter>\n"]
    return *markup, "</function>\n</tool_call>"


def _value(value: object, scalar: Scalar) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, dict | list) else scalar(value)


_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*)</function>", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>(.*?)</parameter>", re.DOTALL)


def read_xml_call(text: str) -> ToolCall | str:
    r"""The call that `write_xml_call` wrote between its tags, or what is wrong with the text.

    >>> read_xml_call("<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n one\n</parameter>\n</function>")
    ToolCall(name='add', arguments='{"a": 1, "b": " one"}', id='')
    >>> read_xml_call("<function=add>\n1\n</function>")
    "expected <parameter=...>...</parameter>, got '1'"
    """
    function = _FUNCTION.fullmatch(text)
    if function is None or not function[1].strip():
        return "expected <function=NAME>...</function>, got something else"
    name, body = function[1].strip(), function[2]
    arguments: dict[str, object] = {}
    end = 0
    while parameter := _PARAMETER.match(body, end):
        if not parameter[1].strip():
            return "expected a parameter's name, got nothing"
        arguments[parameter[1].strip()] = json_or_text(parameter[2].removeprefix("\n").removesuffix("\n"))
        end = parameter.end()
    rest = body[end:].strip()
    if rest:
        return f"expected <parameter=...>...</parameter>, got {rest[:40]!r}"
    return ToolCall(name, json.dumps(arguments))


def write_xml_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A JSON object a line between tools tags, and how to call them, as Qwen3.5 writes it.

    >>> write_xml_tools((ToolSpec("add", '{"name":"add"}'),))[1].text
    '{"name": "add"}'
    """
    return declared([(Data(json.dumps(json.loads(tool.json))),) for tool in tools])


def declared(tools: Iterable[Markup]) -> Markup:
    """Declarations, each on lines of its own between tools tags, and how to call them: what the families share."""
    lines = [piece for tool in tools for piece in (*tool, "\n")]
    return (
        "# Tools\n\nYou have access to the following functions:\n\n<tools>\n",
        *lines,
        "</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
        "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
        "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n"
        "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
        "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested "
        "within <tool_call></tool_call> XML tags\n"
        "- Required parameters MUST be specified\n"
        "- You may provide optional reasoning for your function call in natural language BEFORE the function call, "
        "but NOT after\n"
        "- If there is no function call available, answer the question like normal with your current knowledge and "
        "do not tell the user about function calls\n</IMPORTANT>",
    )
