r"""Harmony: calls addressed to `functions.<name>`, declarations as a TypeScript namespace, as gpt-oss writes them.

The types are the reference's (tinker-cookbook's): an object is written on one line, where OpenAI's own template breaks
it, and `(_:` and `{` stand on lines of their own.
"""

import json
from collections.abc import Iterator, Mapping

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolCall, ToolSpec
from kernel.formats.tool_syntax.arguments import read_arguments


def write_harmony_call(_: int, call: ToolCall) -> Markup:
    """A message to the function, with the arguments as they came.

    >>> "".join(piece if isinstance(piece, str) else piece.text for piece in write_harmony_call(0, ToolCall("f", "{}")))
    ' to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>'
    """
    opening = "<|channel|>commentary <|constrain|>json<|message|>"
    return " to=functions.", Data(call.name), opening, Data(call.arguments), "<|call|>"


def read_harmony_call(recipient: str, text: str) -> ToolCall | str:
    """The call that a message to a function makes, or what is wrong with it.

    >>> read_harmony_call("functions.add", '{"a": 1}')
    ToolCall(name='add', arguments='{"a": 1}', id='')
    >>> read_harmony_call("functions.", "{}")
    'expected a name behind functions., got nothing'
    """
    name = recipient.removeprefix("functions.")
    if not name:
        return "expected a name behind functions., got nothing"
    arguments = read_arguments(text)
    return arguments if isinstance(arguments, str) else ToolCall(name, text)


def write_harmony_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """The namespace of functions, a type a tool.

    >>> spec = '{"name": "now", "description": "The time.", "parameters": {}}'
    >>> print(write_harmony_tools((ToolSpec("now", spec),))[1].text)
    // The time.
    type now = () => any;
    """
    types = "\n\n".join(_declaration(json.loads(tool.json)) for tool in tools)
    return "# Tools\n\n## functions\n\nnamespace functions {\n\n", Data(types), "\n\n} // namespace functions"


Schema = Mapping[str, object]


def _declaration(tool: Schema) -> str:
    about = f"// {tool['description']}\n" if tool.get("description") else ""
    return f"{about}type {tool['name']} = {_parameters(_schema(tool.get('parameters')))} => any;"


def _parameters(schema: Schema) -> str:
    properties = _schema(schema.get("properties"))
    if schema.get("type") != "object" or not properties:
        return "()"
    about = f" // {schema['description']}" if schema.get("description") else ""
    lines = [line for name in properties for line in _parameter(schema, name)]
    return "\n".join((f"(_:{about}", "{", *lines, "})"))


def _parameter(schema: Schema, name: str) -> Iterator[str]:
    inner = _schema(_schema(schema["properties"])[name])
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
    return f"{name}{optional}: {_type(_schema(_schema(schema['properties'])[name]))}"


_NAMES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}


def _type(schema: Schema) -> str:
    """A JSON schema as a TypeScript type; what it has no name for is `any`."""
    for union in ("oneOf", "anyOf"):
        kinds = schema.get(union)
        if isinstance(kinds, list):
            return " | ".join(_type(_schema(kind)) for kind in kinds)
    kind, values = schema.get("type"), schema.get("enum")
    if isinstance(kind, list):
        return " | ".join(_type({"type": one}) for one in kind)
    if kind == "string" and isinstance(values, list):
        return " | ".join(map(json.dumps, values))
    return _plain(schema, kind) + (" | null" if schema.get("nullable") else "")


def _plain(schema: Schema, kind: object) -> str:
    if kind == "array":
        return f"{_type(_schema(schema.get('items')))}[]"
    if kind == "object":
        return "{ " + ", ".join(_field(schema, name) for name in _schema(schema.get("properties"))) + " }"
    return _NAMES.get(str(kind), "any")


def _schema(value: object) -> Schema:
    """A schema that is no object (`true` is one too) says nothing."""
    return value if isinstance(value, Mapping) else {}
