"""GLM's calls: a name and pairs of keys and values, a control token at each end of each.

A text is written as it is and everything else as JSON, so the text "7" and the number 7 look alike: the reader takes
what reads as JSON for JSON.
"""

import json
import re
from collections.abc import Sequence

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolCall, ToolSpec
from kernel.formats.tool_syntax.arguments import json_or_text
from kernel.parsing.marks import MARKS, PLAIN, Read, left_open, marked, unmarked
from kernel.parsing.segments import BadCall, Segment

CONTROLS = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")


def write_glm_call(_: int, call: ToolCall) -> Markup:
    """The name, then a key and a value per argument.

    >>> markup = write_glm_call(0, ToolCall("f", '{"a": 1}'))
    >>> "".join(piece if isinstance(piece, str) else piece.text for piece in markup)
    '<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>'
    """
    markup: list[str | Data] = ["<tool_call>", Data(call.name)]
    for name, value in json.loads(call.arguments).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        markup += ["<arg_key>", Data(name), "</arg_key><arg_value>", Data(text), "</arg_value>"]
    return *markup, "</tool_call>"


_OPENS, _CLOSES, *_INNER = MARKS[: len(CONTROLS)]
_CALL = re.compile(f"{_OPENS}([^{_OPENS}{_CLOSES}]*){_CLOSES}")
_PAIR = re.compile(rf"{_INNER[0]}({PLAIN}){_INNER[1]}\s*{_INNER[2]}({PLAIN}){_INNER[3]}\s*")
_WHOLE = re.compile(rf"\s*([^\s\ud800-\udfff]+)\s*((?:{_PAIR.pattern})*)")


def read_glm_calls(segments: Sequence[Segment]) -> Read:
    """The calls that `write_glm_call` wrote, and the text around them; a call without an end stays in the text.

    >>> from kernel.chat_format.elements import SpanKind
    >>> control = lambda name: Segment(SpanKind.CONTROL, name)
    >>> turn = [control("<tool_call>"), Segment(SpanKind.MESSAGE, "f"), control("</tool_call>")]
    >>> read_glm_calls(turn).calls
    (ToolCall(name='f', arguments='{}', id=''),)
    """
    text = marked(segments, CONTROLS)
    calls, bad = list[ToolCall](), list[BadCall]()
    for match in _CALL.finditer(text):
        call = _call(match[1])
        if isinstance(call, ToolCall):
            calls.append(call)
        else:
            bad.append(BadCall(unmarked(match[0], CONTROLS), call))
    text = _CALL.sub("", text)
    bad += left_open(text, CONTROLS, "</tool_call>")
    return Read(unmarked(text, CONTROLS), tuple(calls), tuple(bad))


def _call(text: str) -> ToolCall | str:
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return "expected NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>..., got something else"
    arguments: dict[str, object] = {}
    for key, value in _PAIR.findall(whole[2]):
        if not key.strip() or key.strip() in arguments:
            return f"expected a name of its own for every argument, got {key!r}"
        arguments[key.strip()] = json_or_text(value)
    return ToolCall(whole[1], json.dumps(arguments))


_NOT_SHOWN = ("defer_loading", "strict")


def write_glm_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A JSON object a line between tools tags, and how to call them; tools to be loaded later are left out.

    >>> write_glm_tools((ToolSpec("now", '{"name": "now", "strict": true}'),))[1].text
    '{"name": "now"}\\n'
    """
    shown = [spec for spec in (json.loads(tool.json) for tool in tools) if not spec.get("defer_loading")]
    lines = [{key: value for key, value in spec.items() if key not in _NOT_SHOWN} for spec in shown]
    return (
        "\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n",
        Data("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)),
        "</tools>\n\nFor each function call, output the function name and arguments within the following XML format:\n"
        "<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}</arg_value>"
        "<arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>...</tool_call>",
    )
