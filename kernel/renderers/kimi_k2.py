"""Kimi K2, K2.5 and K2.6: a block of reasoning on every turn, empty where it is not kept.

The turn being produced starts after the last answer without a call. Tools are declared in a message of their own before
the system message (Moonshot's by default). K2.5 and K2.6 open the block in the prompt and declare tools in TypeScript.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from kernel.conversation import Conversation, Message, ToolCall, ToolSpec, added
from kernel.image_tokens import kimi_tokens
from kernel.parse_response.by_regex import parse_sections, read_section
from kernel.renderer_language.pieces import Calls, Header, Reasoning, Renderer, Row, Sampled, Text, Tools, by_roles
from kernel.renderers.tool_syntax import (
    C,
    Data,
    Markup,
    Schema,
    calls_section,
    fields,
    function_objects,
    read_arguments,
)

_BEGIN, _ARGUMENTS, _CLOSE = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
_SECTION_BEGIN, _SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_CALL_CONTROLS = (_SECTION_BEGIN, _SECTION_END, _BEGIN, _ARGUMENTS, _CLOSE)
_STEP = "  "  # TypeScript's indent
_LIMITS = {"string": ("maxLength", "minLength", "pattern"), "array": ("maxItems", "minItems")}
_LIMITS |= dict.fromkeys(("number", "integer"), ("maximum", "minimum"))
_SYSTEM = "You are Kimi, an AI assistant created by Moonshot AI."


def _write_call(index: int, call: ToolCall) -> Markup:
    return _BEGIN, Data(call.id or f"functions.{call.name}:{index}"), _ARGUMENTS, Data(call.arguments), _CLOSE


def _read_call(call_id: str, arguments: str) -> ToolCall | str:
    named = re.fullmatch(r"(?:functions\.)?(.+):\d+", call_id.strip(), re.DOTALL)
    if named is None:
        return f"expected functions.NAME:INDEX, got {call_id.strip()!r}"
    value = read_arguments(arguments)
    return value if isinstance(value, str) else ToolCall(named[1], arguments.strip(), call_id.strip())


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return (Data(json.dumps(function_objects(tools), separators=(",", ":"), sort_keys=True)),)


def _write_typescript_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A type per tool, in Moonshot's form; what JSON schema says beyond a type is a comment, no type is `any`."""
    types = "\n".join(_function(json.loads(tool.json)) for tool in tools)
    return "# Tools\n\n## functions\nnamespace functions {\n", Data(types), "\n}\n"


def _function(tool: Schema) -> str:
    parameters = fields(tool.get("parameters"))
    of_itself = "#" in _references(parameters)
    lines = list(_interfaces(parameters, of_itself))
    if tool.get("description"):
        lines.append(_comment(str(tool["description"]), ""))
    lines.append(f"type {tool['name']} = (_: {'parameters' if of_itself else _object(parameters, '')}) => any;")
    return "\n".join(lines)


def _interfaces(parameters: Schema, of_itself: bool) -> Iterator[str]:
    """What the types refer to by name: the parameters themselves, and the schema's definitions."""
    if of_itself:
        lines = ",\n".join(_field(parameters, name, _STEP) for name in fields(parameters.get("properties")))
        yield f"interface parameters {{\n{lines}\n}}"
    for name, schema in fields(parameters.get("$defs")).items():
        about = fields(schema).get("description")
        yield (_comment(str(about), "") + "\n" if about else "") + f"interface {name} {_type(schema, '')}"


def _type(value: object, indent: str) -> str:
    """A schema as a type; `indent` is that of the line it starts on."""
    if value is False:
        return "null"
    schema = fields(value)
    kinds, values, kind = schema.get("anyOf"), schema.get("enum"), schema.get("type", "any")
    if "$ref" in schema:
        return "parameters" if schema["$ref"] == "#" else str(schema["$ref"]).rpartition("/")[2]
    if isinstance(kinds, list):
        return " | ".join(_type(one, indent) for one in kinds)
    if isinstance(values, list):
        return " | ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in values)
    if isinstance(kind, list):
        names = {"integer": "number", "object": "{}", "array": "Array<any>"}
        return " | ".join(names.get(str(one), str(one)) for one in kind)
    if kind == "object":
        return _object(schema, indent)
    if kind != "array":
        return "number" if kind == "integer" else str(kind)
    items = schema.get("items") or True
    about = _comments(items, indent + _STEP)
    if not about:
        return f"Array<{_type(items, indent)}>"
    return f"Array<\n{about}{indent}{_STEP}{_type(items, indent + _STEP)}\n{indent}>"


def _object(schema: Schema, indent: str) -> str:
    """Required fields before optional ones, each by name."""
    names = sorted(fields(schema.get("properties")), key=lambda name: (_is_optional(schema, name), name))
    lines = [_field(schema, name, indent + _STEP) for name in names]
    others = schema.get("additionalProperties")
    if others is not None:
        kind = "any" if others is True else "never" if others is False else _type(others, indent + _STEP)
        lines.append(f"{indent}{_STEP}[k: string]: {kind}")
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}" if lines else "{}"


def _field(schema: Schema, name: str, indent: str) -> str:
    inner = fields(schema.get("properties"))[name]
    default = fields(inner).get("default")
    about = _comments(inner, indent)
    if default is not None:
        shown = repr(default) if isinstance(default, int | float) else json.dumps(default, ensure_ascii=False)
        about += f"{indent}// Default: {shown}\n"
    return f"{about}{indent}{name}{'?' if _is_optional(schema, name) else ''}: {_type(inner, indent)}"


def _comments(value: object, indent: str) -> str:
    """The description and the limits of a schema, a line each, or nothing."""
    schema = fields(value)
    about = f"{_comment(str(schema['description']), indent)}\n" if schema.get("description") else ""
    if {"$ref", "anyOf", "enum"} & schema.keys() or not isinstance(schema.get("type"), str):
        return about
    limits = ", ".join(f"{key}: {schema[key]}" for key in _LIMITS.get(str(schema["type"]), ()) if key in schema)
    return f"{about}{indent}// {limits}\n" if limits else about


def _comment(text: str, indent: str) -> str:
    return "\n".join(f"{indent}// {line}" if line else "" for line in text.split("\n"))


def _is_optional(schema: Schema, name: str) -> bool:
    required = schema.get("required")
    return not isinstance(required, list) or name not in required


def _references(value: object) -> set[str]:
    """What a schema refers to, its definitions left out."""
    if isinstance(value, list):
        return {found for one in value for found in _references(one)}
    own = {str(fields(value)["$ref"])} if "$ref" in fields(value) else set()
    return own | {found for key, one in fields(value).items() if key != "$defs" for found in _references(one)}


def _prepared(conversation: Conversation) -> Conversation:
    """The declaration of tools in a message of its own, then a system message."""
    first = conversation[0] if conversation else Message("")
    if first.role == "system" and first.tools:
        system = first._replace(tools=(), content=first.content or _SYSTEM)
        return (first._replace(role="tool_declare", content=""), system, *conversation[1:])
    n = first.role == "tool_declare"
    if conversation[n : n + 1] and conversation[n].role == "system":
        return conversation
    return (*conversation[:n], added("system", _SYSTEM, conversation), *conversation[n:])


@by_roles
def _is_answer(_i: int, message: Message) -> bool:
    return message.role == "assistant" and not message.tool_calls


_END = Sampled("<|im_end|>")
_CUE = (Header("<|im_assistant|>assistant<|im_middle|>"),)
_PARSE = partial(
    parse_sections, stops=("<|im_end|>",), read_calls=partial(read_section, names=_CALL_CONTROLS, read_call=_read_call)
)


def _turn(opening: str) -> Row:
    return Header(f"{opening}<|im_middle|>"), Text(), _END


def _declared(tools: Tools) -> Row:
    return Header("<|im_system|>tool_declare<|im_middle|>"), tools, Text(), _END


KIMI_K2 = Renderer(
    "kimi_k2",
    {
        "tool_declare": _declared(Tools(_write_tools)),
        "system": _turn("<|im_system|>system"),
        "developer": _turn("<|im_system|>developer"),
        "user": _turn("<|im_user|>user"),
        "assistant": (
            *_CUE,
            Reasoning("<think>{}</think>"),
            Sampled("<think></think>", unless=(C.SHOWS_REASONING,)),
            Text(),
            *calls_section(_SECTION_BEGIN, Calls(_write_call), _SECTION_END),
            _END,
        ),
        "tool": (
            Header("<|im_system|>{name}", when=(C.HAS_NAME,)),
            Header("<|im_system|>tool", unless=(C.HAS_NAME,)),
            Header("<|im_middle|>## Return of {tool_call_id}\n"),
            *(Text(), _END),
        ),
    },
    cue=_CUE,
    stops=("<|im_end|>",),
    parse=_PARSE,
    controls=(
        *("<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>", "<think>", "</think>"),
        *_CALL_CONTROLS,
    ),
    keep=((C.IN_TURN,),),
    before=_prepared,
    turn_starts_after=_is_answer,
)

KIMI_K25 = replace(
    KIMI_K2,
    name="kimi_k25",
    rows={**KIMI_K2.rows, "tool_declare": _declared(Tools(_write_typescript_tools))},
    cue=(*_CUE, Header("<think>")),
    parse=partial(_PARSE, opened=True),
    controls=(*KIMI_K2.controls, "<|media_begin|>", "<|media_content|>", "<|media_end|>"),
    image="<|media_begin|>image<|media_content|>{}<|media_end|>\n",
    image_tokens=kimi_tokens,
)
KIMI_K25_DISABLE_THINKING = replace(
    KIMI_K25,
    name="kimi_k25_disable_thinking",
    cue=(*_CUE, Header("<think></think>")),
    parse=_PARSE,
    refuses_reasoning=True,
)
KIMI_K26_PRESERVE_THINKING = replace(KIMI_K25, name="kimi_k26_preserve_thinking", keep=((),))

FORMATS = (
    *(KIMI_K2, KIMI_K25, KIMI_K25_DISABLE_THINKING),
    replace(KIMI_K25, name="kimi_k26"),
    replace(KIMI_K25_DISABLE_THINKING, name="kimi_k26_disable_thinking"),
    KIMI_K26_PRESERVE_THINKING,
)
