"""Tools of a row and calls of a message, in the spellings of the formats in use."""

import json
import re
from collections.abc import Mapping

from kernel.conversation import ToolCall, ToolSpec
from kernel.errors import expected, problem
from kernel.json_values import (
    each,
    kind_of,
    list_or_object,
    located,
    optional_text,
    parse,
    shown,
    text_of,
    text_under,
    the_one,
    write,
)
from kernel.message_keys import MessageKeys

_NAMES = ("name", "tool_name", "function_name", "tool", "toolName")
_ARGUMENTS = ("arguments", "parameters", "input", "args", "kwargs", "params", "tool_input", "toolInput")
_IDS = ("id", "call_id", "tool_call_id", "tool_use_id", "toolCallId")
_CALL_TYPES = (None, "", "function", "function_call", "tool_call", "tool_use", "tool-call")
_BODY_KEYS = frozenset((*_NAMES, *_ARGUMENTS))
_CALL_KEYS = frozenset((*_IDS, "type"))
_WRAPPER_KEYS = frozenset(("type", "function", *_IDS))
_SCHEMAS = ("parameters", "input_schema", "inputSchema", "parametersJsonSchema")
_MARKS = re.compile(r"(?:\s|,|;|</?tool_calls?>|</?function_?calls?>|```(?:json)?)*")
_DECODER = json.JSONDecoder()


def read_calls(value: object, keys: MessageKeys, where: str) -> tuple[ToolCall, ...]:
    """The calls in a list, in one object, or in the JSON text of either; `where` names them in counts."""
    came = list_or_object(value, "the JSON text of a list of tool calls")
    if came is None:
        return ()
    if isinstance(came, Mapping):
        return (read_call(came, keys, where),)
    if not isinstance(came, list):
        raise expected("a list of tool calls", kind_of(came))
    return each(came, lambda call: read_call(call, keys, f"{where}[]"))


def read_call(value: object, keys: MessageKeys, where: str) -> ToolCall:
    """One call: name, arguments and id beside one another, or the first two under `function`."""
    call = parse(value, "the JSON text of a tool call") if isinstance(value, str) else value
    if not isinstance(call, Mapping):
        raise expected("a tool call object", kind_of(call))
    if call.get("type") not in _CALL_TYPES:
        raise expected("a call of type 'function'", shown(call["type"]), path=("type",))
    function = call.get("function")
    if isinstance(function, str) and not function.lstrip().startswith("{"):
        keys.check(call, _CALL_KEYS | _BODY_KEYS | {"function"}, where)
        name, arguments = function, _arguments_of(call)
    elif function is not None:
        keys.check(call, _WRAPPER_KEYS, where)
        name, arguments = located(lambda body: _body(body, keys, f"{where}.function"), function, "function")
    else:
        keys.check(call, _CALL_KEYS | _BODY_KEYS, where)
        name, arguments = _name_of(call), _arguments_of(call)
    return ToolCall(text_of(name), arguments, _id_of(call))


def _body(value: object, keys: MessageKeys, where: str) -> tuple[str, str]:
    body = parse(value, "the JSON text of a function") if isinstance(value, str) else value
    if not isinstance(body, Mapping):
        raise expected("an object with name and arguments", kind_of(body))
    keys.check(body, _BODY_KEYS, where)
    return _name_of(body), _arguments_of(body)


def _id_of(call: Mapping[str, object]) -> str:
    key = the_one(call, _IDS)
    return "" if key is None else text_of(call[key], key)


def _name_of(body: Mapping[str, object]) -> str:
    name = optional_text(body, _NAMES)
    if not name:
        text_under(body, "name")
        raise expected("a tool name", "an empty string", path=("name",))
    return name


def _arguments_of(body: Mapping[str, object]) -> str:
    key = the_one(body, _ARGUMENTS)
    return "{}" if key is None else located(arguments_text, body[key], key)


def arguments_text(value: object) -> str:
    """JSON text of an object, given as an object or as text; text stays as it came.

    >>> arguments_text({"city": "上海"}), arguments_text('{"x": 2.50}'), arguments_text(None)
    ('{"city": "上海"}', '{"x": 2.50}', '{}')
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "null", "none")):
        return "{}"
    if isinstance(value, Mapping):
        return write(value)
    text = text_of(value)
    parsed = parse(text, "a JSON object")
    if not isinstance(parsed, dict):
        raise expected("a JSON object", kind_of(parsed))
    return text


def calls_in_text(text: str, keys: MessageKeys, where: str) -> tuple[str, tuple[ToolCall, ...]]:
    """What a caller's text says, and the calls after it: JSON of a call, of a list of them, or several in a row.

    >>> calls_in_text('I look it up. {"name": "f", "arguments": {}}', MessageKeys(), "")
    ('I look it up.', (ToolCall(name='f', arguments='{}', id=''),))
    """
    for begin in re.finditer(r"[{\[]", text):
        try:
            spans = _calls_from(text, begin.start())
        except RecursionError:  # as every start within it would be
            break
        if spans:
            said = re.sub(_MARKS.pattern + r"\Z", "", text[: begin.start()])
            calls = [call for span in spans for call in read_calls(parse(span, "a tool call"), keys, where)]
            return said, tuple(calls)
    value = parse(text, "the JSON text of a tool call")
    first = value[0] if isinstance(value, list) and value else value
    raise expected("the JSON text of a tool call with a name", kind_of(first))


def _calls_from(text: str, at: int) -> list[str]:
    """The JSON texts of calls that follow one another from here to the end; none, if anything else is there."""
    found = []
    while at < len(text):
        try:
            value, stop = _DECODER.raw_decode(text, at)
        except ValueError:
            return []
        calls = value if isinstance(value, list) else [value]
        if not calls or not all(isinstance(call, dict) and ("function" in call or _named(call)) for call in calls):
            return []
        found.append(text[at:stop])
        after = _MARKS.match(text, stop)
        at = after.end() if after else stop
    return found


def _named(call: Mapping[str, object]) -> bool:
    return any(isinstance(call.get(key), str) for key in _NAMES)


def read_tools(value: object, keys: MessageKeys, where: str = "tools") -> tuple[ToolSpec, ...]:
    """The tools in a list or its JSON text; none for nothing in any spelling."""
    came = list_or_object(value, "the JSON text of a list of tools")
    if came is None:
        return ()
    if isinstance(came, Mapping):
        return _read_tool(came, keys, where)
    if not isinstance(came, list):
        raise expected("a list of tools", kind_of(came))
    return tuple(tool for tools in each(came, lambda tool: _read_tool(tool, keys, f"{where}[]")) for tool in tools)


def _read_tool(value: object, keys: MessageKeys, where: str) -> tuple[ToolSpec, ...]:
    """One tool: OpenAI's under `function`, the bare object, Anthropic's, or a list of Gemini's declarations."""
    tool = parse(value, "the JSON text of a tool") if isinstance(value, str) else value
    if not isinstance(tool, Mapping):
        raise expected("a tool object with a name", kind_of(tool))
    declarations = the_one(tool, ("functionDeclarations", "function_declarations"))
    if declarations is not None:
        keys.check(tool, frozenset((declarations,)), where)
        inner = f"{where}.{declarations}"
        return located(lambda tools: read_tools(tools, keys, inner), tool[declarations], declarations)
    body = tool.get("function")
    if body is not None:
        keys.check(tool, frozenset(("type", "function")), where)
        return (located(lambda body: _spec(body, keys, f"{where}.function"), body, "function"),)
    return (_spec(tool, keys, where),)


def _spec(value: object, keys: MessageKeys, where: str) -> ToolSpec:
    came = parse(value, "the JSON text of a tool") if isinstance(value, str) else value
    if not isinstance(came, Mapping):
        raise expected("a tool object with a name", kind_of(came))
    body = dict(came)
    name = text_under(body, "name")
    if not name:
        raise expected("a tool name", "an empty string", path=("name",))
    if (kind := body.get("type")) in ("function", "custom"):
        del body["type"]
    elif kind is not None and the_one(body, _SCHEMAS) is None:
        raise problem(f"a tool of type {kind!r} has no schema here: declare its name and parameters", path=("type",))
    if body.pop("cache_control", None):
        keys.note(f"{where}.cache_control")
    schema = the_one(body, _SCHEMAS)
    if schema is not None and (schema != "parameters" or isinstance(body[schema], str)):
        given = located(lambda value: list_or_object(value, "the JSON text of a schema"), body[schema], schema)
        kept = {key: value for key, value in body.items() if key == schema or key not in _SCHEMAS}
        body = dict(("parameters", given or {}) if key == schema else (key, value) for key, value in kept.items())
    return ToolSpec(name, write(body))
