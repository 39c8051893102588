"""Hermes style: calls and declarations as JSON between tags, as Qwen3 writes them."""

import json

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolCall, ToolSpec


def write_json_call(_: int, call: ToolCall) -> Markup:
    """A JSON object with name and arguments between tool_call tags.

    The JSON is written anew (spaces behind comma and colon, ASCII only), as the reference does.

    >>> write_json_call(0, ToolCall("add", '{"a":1}'))[1].text
    '{"name": "add", "arguments": {"a": 1}}'
    """
    body = json.dumps({"name": call.name, "arguments": json.loads(call.arguments)})
    return "<tool_call>\n", Data(body), "\n</tool_call>"


def read_json_call(text: str) -> ToolCall | str:
    """The call that `write_json_call` wrote between its tags, or what is wrong with the text.

    >>> read_json_call('{"name": "add", "arguments": {"a": 1}}')
    ToolCall(name='add', arguments='{"a": 1}', id='')
    >>> read_json_call('{"name": "add"}')
    'expected an object of arguments, got nothing'
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"expected JSON, got text that is not ({error})"
    if not isinstance(value, dict):
        return "expected a JSON object, got something else"
    name, arguments, call_id = value.get("name"), value.get("arguments"), value.get("id")
    if not isinstance(name, str):
        return "expected a name, got " + ("nothing" if name is None else "something else")
    if not isinstance(arguments, dict):
        return "expected an object of arguments, got " + ("nothing" if arguments is None else "something else")
    return ToolCall(name, json.dumps(arguments), call_id if isinstance(call_id, str) else "")


def write_json_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A JSON object a line between tools tags, and how to call them.

    >>> write_json_tools((ToolSpec("add", '{"name": "add"}'),))[1].text
    '{"type": "function", "function": {"name": "add"}}'
    """
    lines = "\n".join(json.dumps({"type": "function", "function": json.loads(tool.json)}) for tool in tools)
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n",
        Data(lines),
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>',
    )
