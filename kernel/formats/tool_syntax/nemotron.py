"""Declarations as XML, as Nemotron 3 writes them: a function element with its parameters, each field an element.

What the format has no element for stands under its own name: JSON for lists and objects, plain text for the rest.
"""

import json
from collections.abc import Collection, Iterator, Mapping

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolSpec
from kernel.formats.tool_syntax.xml import declared


def write_nemotron_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A function element a tool between tools tags, and how to call them.

    >>> spec = '{"name": "add", "parameters": {"properties": {"a": {"type": "number"}}, "required": ["a"]}}'
    >>> markup = write_nemotron_tools((ToolSpec("add", spec),))
    >>> text = "".join(piece if isinstance(piece, str) else piece.text for piece in markup)
    >>> print(text[text.index("<function>") : text.index("</tools>")].rstrip())
    <function>
    <name>add</name>
    <parameters>
    <parameter>
    <name>a</name>
    <type>number</type>
    </parameter>
    <required>["a"]</required>
    </parameters>
    </function>
    """
    return declared([_function(json.loads(tool.json)) for tool in tools])


def _function(tool: Mapping[str, object]) -> Markup:
    description = _described(tool.get("description"))
    parameters = _fields(tool.get("parameters"))
    lines: list[Markup] = [("<function>",), _element("name", tool.get("name"))]
    if description:
        lines.append(_element("description", description))
    lines.append(("<parameters>",))
    for name, schema in _fields(parameters.get("properties")).items():
        lines += _parameter(name, _fields(schema))
    lines += _others(parameters, ("type", "properties", "required"))
    if "required" in parameters:
        lines.append(_element("required", json.dumps(parameters["required"])))
    lines.append(("</parameters>",))
    lines += _others(tool, ("type", "name", "description", "parameters"))
    lines.append(("</function>",))
    return tuple(piece for i, line in enumerate(lines) for piece in (("\n", *line) if i else line))


def _parameter(name: str, schema: Mapping[str, object]) -> Iterator[Markup]:
    yield ("<parameter>",)
    yield _element("name", name)
    if "type" in schema:
        yield _element("type", str(schema["type"]))
    if "description" in schema:
        yield _element("description", _described(schema["description"]))
    if "enum" in schema:
        yield _element("enum", json.dumps(schema["enum"]))
    yield from _others(schema, ("name", "type", "description", "enum"))
    yield ("</parameter>",)


def _others(fields: Mapping[str, object], known: Collection[str]) -> Iterator[Markup]:
    for name, value in fields.items():
        if name not in known:
            text = json.dumps(value) if isinstance(value, dict | list) else str(value)
            yield "<", Data(name), ">", Data(text), "</", Data(name), ">"


def _element(name: str, value: object) -> Markup:
    return f"<{name}>", Data(str(value)), f"</{name}>"


def _described(text: object) -> str:
    return "" if text is None else str(text).strip()


def _fields(value: object) -> Mapping[str, object]:
    """The fields of a schema; one that is no object (`true` is a schema too) has none."""
    return value if isinstance(value, Mapping) else {}
