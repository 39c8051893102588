"""ChatML, the framing that Qwen and Nemotron share, and the XML calls of Qwen3.5 and Nemotron 3.

The newline between turns belongs to the header of the next. An XML value is text as it is and JSON for everything else,
so the text "7" and the number 7 look alike: the reader takes what reads as JSON for JSON. Nothing is escaped.
"""

import json
import re
from collections.abc import Callable, Iterable
from functools import partial

from kernel.chat_format.pieces import Calls, Header, Row, Sampled, Text, Tools
from kernel.conversation import Conversation, Message, ToolCall, ToolSpec
from kernel.formats.tool_syntax import C, Data, Markup, json_or_text

LINE = Header("\n", unless=(C.FIRST,))
END = Sampled("<|im_end|>")
CONTROLS = (
    *("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
)
IMAGE = "<|vision_start|>{}<|vision_end|>"
VISION = ("<|vision_start|>", "<|vision_end|>")


def header(role: str) -> Row:
    """What opens a message of this role."""
    return LINE, Header(f"<|im_start|>{role}\n")


def turn(role: str) -> Row:
    """A message of text alone."""
    return *header(role), Text(), END


def system(write_tools: Callable[[tuple[ToolSpec, ...]], Markup]) -> Row:
    """A system message: its text, then the declared tools."""
    return *header("system"), Text(), Sampled("\n\n", when=(C.HAS_TOOLS, C.HAS_TEXT)), Tools(write_tools), END


def added_system(conversation: Conversation) -> Message:
    """The system message that a format adds; it is not trained where messages have a `trainable` field."""
    return Message("system", trainable=False if any(m.trainable is not None for m in conversation) else None)


def xml_calls(scalar: Callable[[object], str]) -> Calls:
    """The calls of a message as XML; `scalar` writes an argument that is a number, a boolean or null."""
    return Calls(partial(_write_xml_call, scalar=scalar), join="\n")


def _write_xml_call(_: int, call: ToolCall, scalar: Callable[[object], str]) -> Markup:
    markup: list[str | Data] = ["<tool_call>\n<function=", Data(call.name), ">\n"]
    for name, value in json.loads(call.arguments).items():
        write = json.dumps if isinstance(value, dict | list) else scalar
        text = value if isinstance(value, str) else write(value)
        markup += ["<parameter=", Data(name), ">\n", Data(text), "\n</parameter>\n"]
    return *markup, "</function>\n</tool_call>"


_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*)</function>", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>(.*?)</parameter>", re.DOTALL)


def read_xml_call(text: str) -> ToolCall | str:
    """The call between tool_call tags, or what is wrong with it. One newline at each end of a value is framing."""
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


def declared(tools: Iterable[Markup]) -> Markup:
    """Declarations, each on lines of its own between tools tags, and how to call them."""
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
