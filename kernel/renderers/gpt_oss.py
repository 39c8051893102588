"""gpt-oss: Harmony, where a turn is messages in channels, with OpenAI's system message or without.

The role `system` of a conversation is Harmony's developer; Harmony's own system message has the role `harmony` here.
Reasoning stays in every turn, as in the reference. A sampled turn ends with its first call.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, added, content_of
from kernel.parse_response.common import BadCall, Parsed, Segment, control, ended, spelled
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderer_language.pieces import Calls, Header, Reasoning, Renderer, Row, Sampled, Text, Tools
from kernel.renderers.tool_syntax import NAMED_RESULT, C, Data, Markup, Schema, fields, named_results, read_arguments


def _write_call(_: int, call: ToolCall) -> Markup:
    opening = "<|channel|>commentary <|constrain|>json<|message|>"
    return " to=functions.", Data(call.name), opening, Data(call.arguments), "<|call|>"


def _read_call(recipient: str, text: str) -> ToolCall | str:
    name = recipient.removeprefix("functions.")
    if not name:
        return "expected a name after functions., got nothing"
    arguments = read_arguments(text)
    return arguments if isinstance(arguments, str) else ToolCall(name, text)


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A namespace of functions, its lines broken as the reference does, not as OpenAI's template does."""
    types = "\n\n".join(_declaration(json.loads(tool.json)) for tool in tools)
    return "# Tools\n\n## functions\n\nnamespace functions {\n\n", Data(types), "\n\n} // namespace functions"


def _declaration(tool: Schema) -> str:
    schema, parameters = fields(tool.get("parameters")), "()"
    if schema.get("type") == "object" and fields(schema.get("properties")):
        about = f" // {schema['description']}" if schema.get("description") else ""
        lines = [line for name in fields(schema["properties"]) for line in _parameter(schema, name)]
        parameters = "\n".join((f"(_:{about}", "{", *lines, "})"))
    about = f"// {tool['description']}\n" if tool.get("description") else ""
    return f"{about}type {tool['name']} = {parameters} => any;"


def _parameter(schema: Schema, name: str) -> Iterator[str]:
    inner = fields(fields(schema["properties"])[name])
    if inner.get("title"):
        yield f"// {inner['title']}"
        yield "// "
    if inner.get("description"):
        yield f"// {inner['description']}"
    examples = inner.get("examples")
    if isinstance(examples, list) and examples:
        yield "// Examples:"
        yield from (f"// - {json.dumps(example)}" for example in examples)
    default = f" // default: {json.dumps(inner['default'])}" if "default" in inner else ""
    yield f"{_field(schema, name)},{default}"


def _field(schema: Schema, name: str) -> str:
    required = schema.get("required")
    optional = "" if isinstance(required, list) and name in required else "?"
    return f"{name}{optional}: {_type(fields(fields(schema['properties'])[name]))}"


def _type(schema: Schema) -> str:
    """A JSON schema as a TypeScript type; what it has no name for is `any`."""
    for union in ("oneOf", "anyOf"):
        kinds = schema.get(union)
        if isinstance(kinds, list):
            return " | ".join(_type(fields(kind)) for kind in kinds)
    kind, values = schema.get("type"), schema.get("enum")
    if isinstance(kind, list):
        return " | ".join(_type({"type": one}) for one in kind)
    if kind == "string" and isinstance(values, list):
        return " | ".join(map(json.dumps, values))
    if kind == "array":
        plain = f"{_type(fields(schema.get('items')))}[]"
    elif kind == "object":
        plain = "{ " + ", ".join(_field(schema, name) for name in fields(schema.get("properties"))) + " }"
    else:
        plain = {"integer": "number"}.get(str(kind), str(kind) if kind in ("string", "number", "boolean") else "any")
    return plain + (" | null" if schema.get("nullable") else "")


def _parse(segments: Sequence[Segment]) -> Parsed:
    """A turn after `<|start|>assistant`: messages of a header, `<|message|>` and a body, each ended by a token."""
    body, termination = ended(segments, "<|return|>", "<|call|>")
    parts, calls, bad = list[Part](), list[ToolCall](), list[BadCall]()
    for header, text, is_ended in _messages(body, is_stopped=len(body) < len(segments)):
        recipient, raw = _recipient(header), spelled(header) if text is None else f"{spelled(header)}<|message|>{text}"
        is_call = recipient.startswith("functions.")
        call = _read_call(recipient, text) if is_call and text is not None and is_ended else None
        if isinstance(call, ToolCall):
            calls.append(call)
        elif is_call:
            bad.append(BadCall(raw, call or "expected <|call|>, got the end of the turn"))
        if text is None or (is_call and not is_ended):
            parts.append(Part("text", raw))
        elif not is_call:
            parts.append(Part("thinking" if _channel(header) == "analysis" else "text", text))
    return Parsed(Message("assistant", content_of(parts), tuple(calls)), termination, tuple(bad))


_START, _MESSAGE, _END, _CHANNEL = (control(f"<|{name}|>") for name in ("start", "message", "end", "channel"))


def _messages(turn: Sequence[Segment], is_stopped: bool) -> Iterator[tuple[Sequence[Segment], str | None, bool]]:
    """The messages of a turn: header, body (None for what has none), and whether it was ended."""
    start = 0
    for i in range(len(turn) + 1):
        is_end = i == len(turn)
        if not is_end and turn[i] not in (_START, _END):
            continue
        message = turn[start:i]
        if start and turn[start - 1] == _START and message and message[0].text == "assistant":
            message = message[1:]
        start = i + 1
        if _MESSAGE in message:
            at = message.index(_MESSAGE)
            yield message[:at], spelled(message[at + 1 :]), not is_end or is_stopped
        elif message:
            yield message, None, False


def _recipient(header: Sequence[Segment]) -> str:
    texts = (segment.text for segment in header if segment.kind is SpanKind.MESSAGE)
    found = (re.search(r"(?:^|\s)to=(\S+)", text) for text in texts)
    return next((match[1] for match in found if match), "")


def _channel(header: Sequence[Segment]) -> str:
    """The first word after the channel token."""
    words = header[header.index(_CHANNEL) + 1 :] if _CHANNEL in header else ()
    return (words[0].text.split() or [""])[0] if words else ""


_ROUTING = "Calls to these tools must go to the commentary channel: 'functions'."


def _prepared(conversation: Conversation, opening: str = "") -> Conversation:
    """The system message in front, the one about tools before their declaration, and the bare name on every result."""
    ready: list[Message] = []
    if opening and (not conversation or conversation[0].role != "harmony"):
        ready.append(added("harmony", opening, conversation))
    for message in named_results(conversation):
        if message.tools and (not ready or ready[-1].content != _ROUTING):
            ready.append(added("harmony", _ROUTING, conversation))
        if message.name.startswith("functions."):
            message = message._replace(name=message.name.removeprefix("functions."))
        ready.append(message)
    return tuple(ready)


def _turn(role: str) -> Row:
    return Header(f"<|start|>{role}"), Sampled("<|message|>"), Text(), Sampled("<|end|>")


_ANOTHER = "<|end|><|start|>assistant"

GPT_OSS_NO_SYSPROMPT = Renderer(
    "gpt_oss_no_sysprompt",
    {
        "harmony": _turn("system"),
        "system": (
            *(Header("<|start|>developer"), Sampled("<|message|>")),
            Sampled("# Instructions\n\n", unless=(C.HAS_TOOLS,)),
            Sampled("# Instructions\n\n", when=(C.HAS_TOOLS, C.HAS_TEXT)),
            Text(),
            Sampled("\n\n", unless=(C.HAS_TOOLS,)),
            Sampled("\n\n", when=(C.HAS_TOOLS, C.HAS_TEXT)),
            *(Tools(_write_tools), Sampled("<|end|>")),
        ),
        "developer": _turn("developer"),
        "user": _turn("user"),
        "assistant": (
            Header("<|start|>assistant"),
            Reasoning(f"<|channel|>analysis<|message|>{{}}{_ANOTHER}"),
            Text(f"<|channel|>commentary<|message|>{{}}{_ANOTHER}", when=(C.HAS_CALLS, C.HAS_TEXT)),
            Calls(_write_call, join="<|start|>assistant"),
            Text("<|channel|>final<|message|>{}", unless=(C.HAS_CALLS,)),
            Sampled("<|return|>", when=(C.LAST,), unless=(C.HAS_CALLS,)),
            Sampled("<|end|>", unless=(C.LAST, C.HAS_CALLS)),
        ),
        "tool": (
            NAMED_RESULT,
            Header("<|start|>functions.{name} to=assistant"),
            Sampled("<|channel|>commentary<|message|>"),
            *(Text(), Sampled("<|end|>")),
        ),
    },
    cue=(Header("<|start|>assistant"),),
    stops=("<|return|>", "<|call|>"),
    parse=_parse,
    controls=tuple(f"<|{name}|>" for name in ("start", "message", "channel", "constrain", "end", "return", "call")),
    keep=((),),
    before=_prepared,
)


def gpt_oss(effort: str, date: str = "2025-01-01") -> Renderer:
    """The renderer with OpenAI's system message, which has a fixed date so that a run can be repeated."""
    opening = (
        "You are ChatGPT, a large language model trained by OpenAI.\n"
        f"Knowledge cutoff: 2024-06\nCurrent date: {date}\n\nReasoning: {effort}\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every message."
    )
    before = partial(_prepared, opening=opening)
    return replace(GPT_OSS_NO_SYSPROMPT, name=f"gpt_oss_{effort}_reasoning", before=before)


FORMATS = (GPT_OSS_NO_SYSPROMPT, *map(gpt_oss, ("low", "medium", "high")))
