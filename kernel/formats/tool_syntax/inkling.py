"""Calls and declarations as compact JSON, as Inkling writes them: arguments by name, declarations with sorted keys.

Numbers read as the reference's serializer (Rust's) writes them: `1e16` and `0.00001`, where Python has `1e+16` and
`1e-05`. An integer beyond 64 bits keeps its digits here; the reference rounds it.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolCall, ToolSpec
from kernel.formats.tool_syntax.arguments import read_arguments


def write_inkling_call(_: int, call: ToolCall) -> Markup:
    """A message of its own, addressed to the tool, with its name and arguments.

    >>> write_inkling_call(0, ToolCall("add", '{"b": 1.0, "a": [2, "x"]}'))[3].text
    '{"name":"add","args":{"a":[2,"x"],"b":1.0}}'
    """
    arguments = json.loads(call.arguments)
    body = _compact({"name": call.name, "args": {name: arguments[name] for name in sorted(arguments)}})
    return "<|message_model|>", Data(call.name), "<|content_invoke_tool_json|>", Data(body), "<|end_message|>"


def read_inkling_call(name: str, text: str) -> ToolCall | str:
    """The call that a message addressed to `name` ("" for none) makes, or what is wrong with it.

    >>> read_inkling_call("add", '{"name":"add","args":{"a":1}}')
    ToolCall(name='add', arguments='{"a": 1}', id='')
    >>> read_inkling_call("add", '{"name":"sub","args":{}}')
    "expected a call of 'add', as it is addressed, got one of 'sub'"
    """
    body = read_arguments(text)
    if isinstance(body, str):
        return body
    called, arguments = body.get("name"), body.get("args")
    if not isinstance(called, str) or not isinstance(arguments, dict):
        return "expected a name and an object of args, got something else"
    if name and name != called:
        return f"expected a call of {name!r}, as it is addressed, got one of {called!r}"
    return ToolCall(called, json.dumps(arguments, ensure_ascii=False))


def write_inkling_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A JSON list of the tools: what each is called, does and takes.

    >>> write_inkling_tools((ToolSpec("add", '{"name": "add", "strict": true}'),))[0].text
    '[{"description":"","name":"add","parameters":{},"type":"function"}]'
    """
    return (Data(_compact([_declared(json.loads(tool.json)) for tool in tools])),)


def _declared(tool: Mapping[str, object]) -> dict[str, object]:
    about, parameters = tool.get("description"), tool.get("parameters")
    return {
        "description": about if isinstance(about, str) else "",
        "name": tool["name"],
        "parameters": _sorted(parameters) if isinstance(parameters, dict) else {},
        "type": "function",
    }


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


def _compact(value: object) -> str:
    match value:
        case dict():
            return "{" + ",".join(f"{_compact(key)}:{_compact(one)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_compact, value)) + "]"
        case float() if math.isfinite(value):
            return _number(value)
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    digits, _, exponent = repr(value).partition("e")
    if not exponent:
        return digits
    return f"{Decimal(repr(value)):f}" if int(exponent) == -5 else f"{digits}e{int(exponent)}"
