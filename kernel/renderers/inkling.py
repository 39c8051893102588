"""Inkling (the reference calls the format tml_v0): every block of reasoning, text or calls is a message of its own.

Nothing opens the turn in the prompt: the model samples the token that opens a message. The effort is a system message
after those that open the conversation; declared tools are one before it.
"""

import json
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, added, content_of
from kernel.errors import expected
from kernel.parse_response.common import BadCall, Parsed, Segment, control, ended, spelled
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderer_language.pieces import Calls, Content, Header, Reasoning, Renderer, Row, Sampled, Text, Tools
from kernel.renderers.tool_syntax import C, Data, Markup, Schema, read_arguments


def _write_call(_: int, call: ToolCall) -> Markup:
    arguments = json.loads(call.arguments)
    body = _compact({"name": call.name, "args": {name: arguments[name] for name in sorted(arguments)}})
    return "<|message_model|>", Data(call.name), "<|content_invoke_tool_json|>", Data(body), "<|end_message|>"


def _read_call(name: str, text: str) -> ToolCall | str:
    """The call that a message addressed to `name` ("" for none) makes, or what is wrong with it."""
    body = read_arguments(text)
    if isinstance(body, str):
        return body
    called, arguments = body.get("name"), body.get("args")
    if not isinstance(called, str) or not isinstance(arguments, dict):
        return "expected a name and an object of args, got something else"
    if name and name != called:
        return f"expected a call of {name!r}, as it is addressed, got one of {called!r}"
    return ToolCall(called, json.dumps(arguments, ensure_ascii=False))


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return (Data(_compact([_declared(json.loads(tool.json)) for tool in tools])),)


def _declared(tool: Schema) -> dict[str, object]:
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
    """JSON as the reference's serializer (Rust's) writes it: `1e16`, `0.00001` for Python's `1e+16`, `1e-05`."""
    match value:
        case dict():
            return "{" + ",".join(f"{_compact(key)}:{_compact(one)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_compact, value)) + "]"
        case float() if math.isfinite(value):
            digits, _, exponent = repr(value).partition("e")
            if not exponent:
                return digits
            return f"{Decimal(repr(value)):f}" if int(exponent) == -5 else f"{digits}e{int(exponent)}"
    return json.dumps(value, ensure_ascii=False)


def _parse(segments: Sequence[Segment]) -> Parsed:
    """A turn of messages, each opened by the model's token and its kind, up to the token that ends sampling."""
    body, termination = ended(segments, "<|content_model_end_sampling|>")
    parts, calls, bad = list[Part](), list[ToolCall](), list[BadCall]()
    for message, is_ended in _messages(body):
        at = next((i for i, one in enumerate(message) if one.kind is SpanKind.CONTROL), len(message))
        kind = message[at].text if at < len(message) else ""
        name, text, raw = spelled(message[:at]), spelled(message[at + 1 :]), spelled(message)
        if kind in ("<|content_thinking|>", "<|content_text|>"):
            parts.append(Part("thinking" if kind == "<|content_thinking|>" else "text", text))
        elif kind == "<|content_invoke_tool_json|>" and is_ended:
            call = _read_call(name, text)
            calls += [call] if isinstance(call, ToolCall) else ()
            bad += [BadCall(raw, call)] if isinstance(call, str) else ()
        else:
            if kind in ("<|content_invoke_tool_json|>", "<|content_invoke_tool_text|>"):
                problem = "JSON, got text" if is_ended else "<|end_message|>, got the end of the turn"
                bad.append(BadCall(raw, f"expected {problem}"))
            parts.append(Part("text", raw))
    return Parsed(Message("assistant", content_of(parts), tuple(calls)), termination, tuple(bad))


def _messages(turn: Sequence[Segment]) -> Iterator[tuple[Sequence[Segment], bool]]:
    """The messages of a turn without the token that opens them, and whether each was ended."""
    start = 0
    for i in range(len(turn) + 1):
        if i < len(turn) and turn[i] != control("<|end_message|>"):
            continue
        message = turn[start:i]
        start = i + 1
        if message:
            yield message[message[0] == control("<|message_model|>") :], i < len(turn)


def _prepared(conversation: Conversation, effort: str) -> Conversation:
    """Tools in a message of their own, and the effort after the system messages that open the conversation."""
    ready: list[Message] = []
    for message in conversation:
        if message.role == "system" and message.tools:
            ready += [message._replace(tools=())] if message.content else []
            message = message._replace(role="tool_declare", content="")
        ready.append(message)
    roles = [message.role for message in ready]
    if "thinking_effort" in roles:
        return tuple(ready)
    n = next((i for i, role in enumerate(roles) if role not in ("system", "tool_declare")), len(roles))
    return (*ready[:n], added("thinking_effort", effort, conversation), *ready[n:])


_END = Sampled("<|end_message|>")
_CONTROLS = (
    *("message_system", "message_user", "message_model", "message_tool", "end_message"),
    *("content_text", "content_thinking", "content_xml", "content_invoke_tool_json", "content_model_end_sampling"),
)
_REASONING = Reasoning("<|message_model|><|content_thinking|>{}<|end_message|>")
_TEXT = Text("<|message_model|><|content_text|>{}<|end_message|>")


def _turn(opening: str, wrap: str = "{}") -> Row:
    return Header(f"{opening}<|content_text|>"), Text(wrap), _END


def inkling(effort: float = 0.9, name: str = "tml_v0") -> Renderer:
    """The renderer at one effort of reasoning, from 0 (none) to below 1, which the prompt states in hundredths."""
    if not 0 <= effort < 1:
        raise expected("0 <= effort < 1", str(effort))
    level = f"{round(round(effort, 3) * 100) / 100:g}"
    return Renderer(
        name,
        {
            "system": _turn("<|message_system|>"),
            "tool_declare": (Header("<|message_system|>tool_declare<|content_xml|>"), Tools(_write_tools), _END),
            "thinking_effort": _turn("<|message_system|>", "Thinking effort level: {}"),
            "user": _turn("<|message_user|>"),
            "assistant": (
                Content((_REASONING, _TEXT), when=(C.HAS_TEXT_OR_REASONING,)),
                Sampled(
                    "<|message_model|><|content_text|><|end_message|>", unless=(C.HAS_TEXT_OR_REASONING, C.HAS_CALLS)
                ),
                Calls(_write_call),
                Sampled("<|content_model_end_sampling|>"),
            ),
            "tool": _turn("<|message_tool|>{name}"),
        },
        cue=(),
        stops=("<|content_model_end_sampling|>",),
        parse=_parse,
        controls=tuple(f"<|{token}|>" for token in _CONTROLS),
        keep=((),),
        before=partial(_prepared, effort=level),
    )


TML_V0 = inkling()

FORMATS = (TML_V0,)
