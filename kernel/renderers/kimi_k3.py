"""Kimi K3.1 Pro: XTML, where every message and every part of a turn is an element between an open and a close tag.

Every turn keeps its reasoning, in an element that is written even when empty, unless reasoning is switched off. The
form is Moonshot's for K3 (`encoding_k3.py` beside that model); there is no public encoder of K3.1's own.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, added, content_of
from kernel.parse_response.by_regex import MARKS, PLAIN, left_open, marked, read_matches, unmarked
from kernel.parse_response.common import BadCall, Parsed, Segment, ended
from kernel.renderer_language.pieces import Calls, Header, Reasoning, Renderer, Row, Sampled, Text, Tools
from kernel.renderers.tool_syntax import (
    NAMED_RESULT,
    Data,
    Markup,
    argument_texts,
    calls_section,
    function_objects,
    named_results,
    ordered_results,
)

_CONTROLS = ("<|open|>", "<|close|>", "<|sep|>")


def _escaped(text: str) -> str:
    """A text as an attribute holds it: the name of a tool, the key of an argument. Text between tags is as it is."""
    return text.replace("&", "&amp;").replace('"', "&quot;")


def _unescaped(text: str) -> str:
    return text.replace("&quot;", '"').replace("&amp;", "&")


def _write_call(index: int, call: ToolCall) -> Markup:
    markup: list[str | Data] = ['<|open|>call tool="', Data(_escaped(call.name)), f'" index="{index + 1}"<|sep|>']
    for key, value, text in argument_texts(call):
        markup += ['<|open|>argument key="', Data(_escaped(key)), f'" type="{_type(value)}"<|sep|>']
        markup += [Data(text), "<|close|>argument<|sep|>"]
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


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    body = json.dumps(function_objects(tools), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return "# Tools\nHere are the available tools, described in JSONSchema.\n\n```json\n", Data(body), "\n```"


_OPEN, _CLOSE, _SEP = MARKS[: len(_CONTROLS)]
_CALL = re.compile(f'{_OPEN}call tool="([^"]*)" index="[^"]*"{_SEP}(.*?){_CLOSE}call{_SEP}', re.DOTALL)
_ARGUMENT = re.compile(f'{_OPEN}argument key="([^"]*)" type="([^"]*)"{_SEP}({PLAIN}){_CLOSE}argument{_SEP}')
_ELEMENT = re.compile(f"{_OPEN}(think|response|tools){_SEP}(.*?){_CLOSE}\\1{_SEP}", re.DOTALL)
_TOOLS_TAG, _RESPONSE_TAG = (f"{_OPEN}{name}{_SEP}" for name in ("tools", "response"))


def _parse(segments: Sequence[Segment], opened: str) -> Parsed:
    """A turn whose prompt has opened an element ("think" or "response"), up to the end of its message."""
    body, termination = ended(segments, "<|end_of_msg|>")
    own = marked(body, _CONTROLS).removesuffix(f"{_CLOSE}message{_SEP}")
    turn = own if own.startswith(_OPEN) else f"{_OPEN}{opened}{_SEP}{own}"
    parts, calls, bad = list[Part](), list[ToolCall](), list[BadCall]()
    end = 0
    for element in _ELEMENT.finditer(turn):
        parts.append(Part("text", unmarked(turn[end : element.start()], _CONTROLS)))
        text, end = element[2], element.end()
        if element[1] == "tools":
            read = read_matches(_CALL, text, _CONTROLS, _read_call)
            calls += read.calls
            bad += read.bad_calls
            text = read.text if read.text.strip() else ""
            bad += [BadCall(unmarked(text, _CONTROLS), "expected calls, got something else")] if text else ()
        parts.append(Part("thinking" if element[1] == "think" else "text", unmarked(text, _CONTROLS)))
    rest = turn[end:] if end else own
    if _TOOLS_TAG in rest:
        bad += left_open(rest[rest.index(_TOOLS_TAG) :], _CONTROLS, "<|close|>tools<|sep|>")
    parts.append(Part("text", unmarked(rest.removeprefix(_RESPONSE_TAG), _CONTROLS)))
    return Parsed(Message("assistant", content_of(parts), tuple(calls)), termination, tuple(bad))


def _read_call(name: str, inside: str) -> ToolCall | str:
    if not name:
        return "expected the name of a tool, got nothing"
    rest = _ARGUMENT.sub("", inside).strip()
    if rest:
        return f"expected arguments, got {unmarked(rest, _CONTROLS)!r}"
    arguments: dict[str, object] = {}
    for key, kind, text in _ARGUMENT.findall(inside):
        try:
            value = text if kind == "string" else json.loads(text)
        except (ValueError, RecursionError):
            value = text
        if _type(value) != kind:
            return f"expected a value of type {kind} for {_unescaped(key)!r}, got {text!r}"
        arguments[_unescaped(key)] = value
    return ToolCall(_unescaped(name), json.dumps(arguments, ensure_ascii=False))


def _prepared(conversation: Conversation, effort: str) -> Conversation:
    """Tools and effort in messages of their own, in front; results ordered, named and numbered."""
    given, first = conversation, conversation[0] if conversation else Message("")
    ready: list[Message] = []
    if first.tools:
        ready.append(first._replace(role="tool_declare", content=()))
        conversation = (first._replace(tools=()), *conversation[1:]) if first.content != () else conversation[1:]
    elif first.role == "tool_declare":
        ready, conversation = [first], conversation[1:]
    if effort and (not conversation or conversation[0].role != "thinking_effort"):
        ready.append(added("thinking_effort", effort, given))
    n_results = 0
    for message in named_results(ordered_results(conversation)):
        if message.role == "tool":
            n_results += 1
            message = message._replace(role="tool_result", name=_escaped(message.name), tool_call_id=str(n_results))
        elif message.role == "assistant":
            n_results = 0
        ready.append(message)
    return tuple(ready)


_END = Sampled("<|close|>message<|sep|><|end_of_msg|>")


def _message(attributes: str) -> Header:
    return Header(f"<|open|>message {attributes}<|sep|>")


def _assistant(cue: Row, *reasoned: Reasoning | Sampled) -> Row:
    return (
        *(*cue, *reasoned, Text(), Sampled("<|close|>response<|sep|>")),
        *calls_section("<|open|>tools<|sep|>", Calls(_write_call), "<|close|>tools<|sep|>"),
        _END,
    )


_EFFORT = (
    "`thinking_effort` guides on how much to think in your thinking channel (not including the response channel), "
    "supported values include `low`, `medium`, `high`, and `max`.\n"
    "Now the system is invoked with `thinking_effort={}`."
)
_THINKING = (_message('role="assistant"'), Header("<|open|>think<|sep|>"))
_RESPONSE = (_message('role="assistant"'), Header("<|open|>response<|sep|>"))

KIMI_K31_PRO_NO_REASONING_EFFORT = Renderer(
    "kimi_k31_pro_no_reasoning_effort",
    {
        "tool_declare": (_message('role="system" type="tool-declare"'), Tools(_write_tools), _END),
        "system": (_message('role="system"'), Text(), _END),
        "user": (_message('role="user"'), Text(), _END),
        "assistant": _assistant(
            _THINKING, Reasoning("{}"), Sampled("<|close|>think<|sep|>"), Sampled("<|open|>response<|sep|>")
        ),
        "tool_result": (
            NAMED_RESULT,
            *(_message('role="tool" tool="{name}" index="{tool_call_id}"'), Text(), _END),
        ),
    },
    cue=_THINKING,
    stops=("<|end_of_msg|>",),
    parse=partial(_parse, opened="think"),
    controls=(*_CONTROLS, "<|end_of_msg|>"),
    keep=((),),
    before=partial(_prepared, effort=""),
)


def _at(effort: str) -> Renderer:
    row = (_message('role="system" type="thinking-effort"'), Text(_EFFORT), _END)
    return replace(
        KIMI_K31_PRO_NO_REASONING_EFFORT,
        name=f"kimi_k31_pro_{effort}_reasoning",
        rows={**KIMI_K31_PRO_NO_REASONING_EFFORT.rows, "thinking_effort": row},
        before=partial(_prepared, effort=effort),
    )


KIMI_K31_PRO_DISABLE_THINKING = replace(
    KIMI_K31_PRO_NO_REASONING_EFFORT,
    name="kimi_k31_pro_disable_thinking",
    rows={**KIMI_K31_PRO_NO_REASONING_EFFORT.rows, "assistant": _assistant(_RESPONSE, Reasoning("{}"))},
    cue=_RESPONSE,
    parse=partial(_parse, opened="response"),
    keep=(),
    refuses_reasoning=True,
)

FORMATS = (
    *map(_at, ("max", "high", "low")),
    *(KIMI_K31_PRO_DISABLE_THINKING, KIMI_K31_PRO_NO_REASONING_EFFORT),
)
