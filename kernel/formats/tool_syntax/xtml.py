"""XTML: calls as elements between control tokens, with an element per argument, as Kimi K3 writes them.

An argument says its type, so the text "7" and the number 7 are told apart. What stands in an attribute (the name of a
tool, the key of an argument) has its quotes escaped; what stands between tags is as it is.
"""

import json
import re

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolCall, ToolSpec
from kernel.parsing.marks import MARKS, PLAIN, Read, unmarked
from kernel.parsing.segments import BadCall

CONTROLS = ("<|open|>", "<|close|>", "<|sep|>")


def escaped(text: str) -> str:
    """A text as it stands in an attribute.

    >>> escaped('say "hi" & go')
    'say &quot;hi&quot; &amp; go'
    """
    return text.replace("&", "&amp;").replace('"', "&quot;")


def _unescaped(text: str) -> str:
    return text.replace("&quot;", '"').replace("&amp;", "&")


def write_xtml_call(index: int, call: ToolCall) -> Markup:
    """An element with the name of the tool and the place of the call, counted from 1, and its arguments inside.

    >>> markup = write_xtml_call(0, ToolCall("add", '{"a": 1}'))
    >>> print(*"".join(piece if isinstance(piece, str) else piece.text for piece in markup).split("<|sep|>"), sep="\\n")
    <|open|>call tool="add" index="1"
    <|open|>argument key="a" type="number"
    1<|close|>argument
    <|close|>call
    <BLANKLINE>
    """
    markup: list[str | Data] = ['<|open|>call tool="', Data(escaped(call.name)), f'" index="{index + 1}"<|sep|>']
    for key, value in json.loads(call.arguments).items():
        markup += ['<|open|>argument key="', Data(escaped(key)), f'" type="{_type(value)}"<|sep|>']
        markup.append(Data(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
        markup.append("<|close|>argument<|sep|>")
    return *markup, "<|close|>call<|sep|>"


def _type(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case None:
            return "null"
        case int() | float():
            return "number"
        case str():
            return "string"
    return "object" if isinstance(value, dict) else "array"


_OPEN, _CLOSE, _SEP = MARKS[: len(CONTROLS)]
_CALL = re.compile(f'{_OPEN}call tool="([^"]*)" index="[^"]*"{_SEP}(.*?){_CLOSE}call{_SEP}', re.DOTALL)
_ARGUMENT = re.compile(f'{_OPEN}argument key="([^"]*)" type="([^"]*)"{_SEP}({PLAIN}){_CLOSE}argument{_SEP}')


def read_xtml_calls(text: str) -> Read:
    """The calls of a marked text (`kernel.parsing.marks`, with CONTROLS), and what stands in it beside them.

    >>> tag = lambda said: f"{_OPEN}{said}{_SEP}"
    >>> close = lambda name: f"{_CLOSE}{name}{_SEP}"
    >>> inside = tag('argument key="a" type="number"') + "7" + close("argument")
    >>> read_xtml_calls(tag('call tool="add" index="1"') + inside + close("call")).calls
    (ToolCall(name='add', arguments='{"a": 7}', id=''),)
    """
    calls, bad = list[ToolCall](), list[BadCall]()
    for match in _CALL.finditer(text):
        call = _call(_unescaped(match[1]), match[2])
        if isinstance(call, ToolCall):
            calls.append(call)
        else:
            bad.append(BadCall(unmarked(match[0], CONTROLS), call))
    return Read(_CALL.sub("", text), tuple(calls), tuple(bad))


def _call(name: str, inside: str) -> ToolCall | str:
    if not name:
        return "expected the name of a tool, got nothing"
    rest = _ARGUMENT.sub("", inside).strip()
    if rest:
        return f"expected arguments, got {unmarked(rest, CONTROLS)!r}"
    arguments: dict[str, object] = {}
    for key, kind, text in _ARGUMENT.findall(inside):
        try:
            value = text if kind == "string" else json.loads(text)
        except (ValueError, RecursionError):
            value = text
        if _type(value) != kind:
            return f"expected a value of type {kind} for {_unescaped(key)!r}, got {text!r}"
        arguments[_unescaped(key)] = value
    return ToolCall(name, json.dumps(arguments, ensure_ascii=False))


def write_xtml_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A heading and all declarations as one line of JSON with sorted keys.

    >>> write_xtml_tools((ToolSpec("add", '{"name": "add"}'),))[1].text
    '[{"function":{"name":"add"},"type":"function"}]'
    """
    declared = [{"type": "function", "function": json.loads(tool.json)} for tool in tools]
    body = json.dumps(declared, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return "# Tools\nHere are the available tools, described in JSONSchema.\n\n```json\n", Data(body), "\n```"
