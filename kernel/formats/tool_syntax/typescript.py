"""Declarations as TypeScript types, as Kimi K2.5 and K2.6 write them: what JSON schema says beyond a type is a comment.

The form is Moonshot's own (`tool_declaration_ts.py` beside the model). A schema that it has no type for is `any`.
"""

import json
from collections.abc import Iterator, Mapping

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolSpec

Schema = Mapping[str, object]
_STEP = "  "


def write_typescript_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """The namespace of functions, a type a tool.

    >>> spec = '{"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}'
    >>> print(write_typescript_tools((ToolSpec("add", spec),))[1].text)
    type add = (_: {
      a?: number
    }) => any;
    """
    types = "\n".join(_function(json.loads(tool.json)) for tool in tools)
    return "# Tools\n\n## functions\nnamespace functions {\n", Data(types), "\n}\n"


def _function(tool: Schema) -> str:
    parameters = _schema(tool.get("parameters"))
    of_itself = "#" in _references(parameters)
    lines = list(_interfaces(parameters, of_itself))
    if tool.get("description"):
        lines.append(_comment(str(tool["description"]), ""))
    lines.append(f"type {tool['name']} = (_: {'parameters' if of_itself else _object(parameters, '')}) => any;")
    return "\n".join(lines)


def _interfaces(parameters: Schema, of_itself: bool) -> Iterator[str]:
    """What the types refer to by name: the parameters themselves, and the schema's definitions."""
    if of_itself:
        fields = ",\n".join(_field(parameters, name, _STEP) for name in _properties(parameters))
        yield f"interface parameters {{\n{fields}\n}}"
    for name, schema in _schema(parameters.get("$defs")).items():
        about = _schema(schema).get("description")
        yield (_comment(str(about), "") + "\n" if about else "") + f"interface {name} {_type(schema, '')}"


def _type(value: object, indent: str) -> str:
    """A schema as a type; `indent` is that of the line it starts on."""
    if value is False:
        return "null"
    schema = _schema(value)
    kinds, values, kind = schema.get("anyOf"), schema.get("enum"), schema.get("type", "any")
    if "$ref" in schema:
        return "parameters" if schema["$ref"] == "#" else str(schema["$ref"]).rpartition("/")[2]
    if isinstance(kinds, list):
        return " | ".join(_type(one, indent) for one in kinds)
    if isinstance(values, list):
        return " | ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in values)
    if isinstance(kind, list):
        return " | ".join(_UNION.get(str(one), str(one)) for one in kind)
    if kind == "object":
        return _object(schema, indent)
    return _array(schema, indent) if kind == "array" else "number" if kind == "integer" else str(kind)


_UNION = {"integer": "number", "object": "{}", "array": "Array<any>"}


def _object(schema: Schema, indent: str) -> str:
    """Required fields before optional ones, each by name."""
    fields = sorted(_properties(schema), key=lambda name: (_is_optional(schema, name), name))
    lines = [_field(schema, name, indent + _STEP) for name in fields]
    others = schema.get("additionalProperties")
    if others is not None:
        kind = "any" if others is True else "never" if others is False else _type(others, indent + _STEP)
        lines.append(f"{indent}{_STEP}[k: string]: {kind}")
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}" if lines else "{}"


def _array(schema: Schema, indent: str) -> str:
    items = schema.get("items") or True
    about = _comments(items, indent + _STEP)
    if not about:
        return f"Array<{_type(items, indent)}>"
    return f"Array<\n{about}{indent}{_STEP}{_type(items, indent + _STEP)}\n{indent}>"


def _field(schema: Schema, name: str, indent: str) -> str:
    inner = _properties(schema)[name]
    default = _schema(inner).get("default")
    about = _comments(inner, indent)
    if default is not None:
        shown = repr(default) if isinstance(default, int | float) else json.dumps(default, ensure_ascii=False)
        about += f"{indent}// Default: {shown}\n"
    return f"{about}{indent}{name}{'?' if _is_optional(schema, name) else ''}: {_type(inner, indent)}"


_LIMITS = {
    "string": ("maxLength", "minLength", "pattern"),
    "number": ("maximum", "minimum"),
    "integer": ("maximum", "minimum"),
    "array": ("maxItems", "minItems"),
}


def _comments(value: object, indent: str) -> str:
    """The description and the limits of a schema, a line each, or nothing."""
    schema = _schema(value)
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


def _properties(schema: Schema) -> Schema:
    return _schema(schema.get("properties"))


def _references(value: object) -> set[str]:
    """What a schema refers to, its definitions left out."""
    if isinstance(value, list):
        return {found for one in value for found in _references(one)}
    own = {str(_schema(value)["$ref"])} if "$ref" in _schema(value) else set()
    return own | {found for key, one in _schema(value).items() if key != "$defs" for found in _references(one)}


def _schema(value: object) -> Schema:
    """A schema that is no object (`true` is one too) says nothing."""
    return value if isinstance(value, Mapping) else {}
