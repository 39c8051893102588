"""Nemotron 3: ChatML with a system message at all times, calls and declarations as XML, a block on every turn.

A turn that shows no reasoning shows `<think></think>`, unlike the prompt of the reasoning variants, as in NVIDIA's
own template. Nano and Super write newlines around reasoning; Ultra and the 3.5 models write none.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial

from kernel.conversation import Conversation, Message, ToolSpec, added
from kernel.parse_response.by_token import parse_blocks
from kernel.renderer_language.pieces import Content, Header, Reasoning, Renderer, Row, Sampled, Text
from kernel.renderers.qwen3 import CONTROLS, END, header, system, turn
from kernel.renderers.qwen3_5 import declared, read_xml_call, xml_calls
from kernel.renderers.tool_syntax import SPACE, C, Data, Markup, Schema, fields


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return declared([_function(json.loads(tool.json)) for tool in tools])


def _function(tool: Schema) -> Markup:
    """An element per field; one that the format does not know goes by its own name, lists and objects as JSON."""
    description = _stripped(tool.get("description"))
    parameters = fields(tool.get("parameters"))
    lines: list[Markup] = [("<function>",), _element("name", tool.get("name"))]
    if description:
        lines.append(_element("description", description))
    lines.append(("<parameters>",))
    for name, schema in fields(parameters.get("properties")).items():
        lines += _parameter(name, fields(schema))
    lines += _others(parameters, ("type", "properties", "required"))
    if "required" in parameters:
        lines.append(_element("required", json.dumps(parameters["required"])))
    lines.append(("</parameters>",))
    lines += _others(tool, ("type", "name", "description", "parameters"))
    lines.append(("</function>",))
    return tuple(piece for i, line in enumerate(lines) for piece in (("\n", *line) if i else line))


def _parameter(name: str, schema: Schema) -> Iterator[Markup]:
    yield ("<parameter>",)
    yield _element("name", name)
    for key, write in (("type", str), ("description", _stripped), ("enum", json.dumps)):
        if key in schema:
            yield _element(key, write(schema[key]))
    yield from _others(schema, ("name", "type", "description", "enum"))
    yield ("</parameter>",)


def _others(schema: Schema, known: Collection[str]) -> Iterator[Markup]:
    for name, value in schema.items():
        if name not in known:
            text = json.dumps(value) if isinstance(value, dict | list) else str(value)
            yield "<", Data(name), ">", Data(text), "</", Data(name), ">"


def _element(name: str, value: object) -> Markup:
    return f"<{name}>", Data(str(value)), f"</{name}>"


def _stripped(text: object) -> str:
    return "" if text is None else str(text).strip()


def _prepared(conversation: Conversation, asking: bool = False) -> Conversation:
    """A system message in front, and plain text without white space at its ends; text beside reasoning stays."""
    if not conversation or conversation[0].role != "system":
        conversation = (added("system", "", conversation), *conversation)
    ready: list[Message] = []
    for message in conversation:
        if isinstance(message.content, str):
            goes_on = message.tools or (asking and message.role == "user")
            message = message._replace(content=message.content.lstrip() if goes_on else message.content.strip())
        ready.append(message)
    return tuple(ready)


_EMPTY = Header("<think></think>", unless=(C.SHOWS_REASONING,))
_CALLS: Row = (xml_calls(str), Sampled("\n", when=(C.HAS_CALLS,)))

NEMOTRON3 = Renderer(
    "nemotron3",
    {
        "system": system(_write_tools),
        "developer": turn("developer"),
        "user": turn("user"),
        "assistant": (
            *header("assistant"),
            _EMPTY,
            Header("\n", when=(C.HAS_REASONING, C.HAS_TEXT), unless=(C.SHOWS_REASONING, C.HAS_CALLS)),
            Content((Reasoning("<think>\n{}\n</think>\n"), Text())),
            Sampled("\n", when=(C.HAS_CALLS,), unless=(C.HAS_REASONING,)),
            Sampled("\n", when=(C.HAS_CALLS, C.HAS_REASONING, C.HAS_TEXT)),
            *_CALLS,
            END,
        ),
        "tool": (
            Header("\n<|im_start|>user\n", unless=(C.AFTER_TOOL,)),
            *(Sampled("<tool_response>\n"), Text(), Sampled("\n</tool_response>\n")),
            Sampled("<|im_end|>", unless=(C.BEFORE_TOOL,)),
        ),
    },
    cue=(*header("assistant"), Header("<think>\n")),
    stops=("<|im_end|>",),
    parse=partial(parse_blocks, stop="<|im_end|>", read_call=read_xml_call, framed=True, trims=True, opened=True),
    controls=CONTROLS,
    keep=((C.AFTER_LAST_USER,),),
    before=_prepared,
)

_ULTRA_ASSISTANT = (
    *(*header("assistant"), _EMPTY, Content((Reasoning("<think>\n{}</think>"), Text()))),
    *(Sampled("\n", when=(C.HAS_CALLS,)), *_CALLS, END),
)
NEMOTRON3_ULTRA = replace(NEMOTRON3, name="nemotron3_ultra", rows={**NEMOTRON3.rows, "assistant": _ULTRA_ASSISTANT})


def _preserving(renderer: Renderer) -> Renderer:
    return replace(renderer, name=f"{renderer.name}_preserve_thinking", keep=((),))


def _disabled(renderer: Renderer) -> Renderer:
    cue = (*header("assistant"), Header("<think></think>"))
    return replace(renderer, name=f"{renderer.name}_disable_thinking", cue=cue, refuses_reasoning=True)


def _asking(renderer: Renderer, name: str, effort: str) -> Renderer:
    user = (
        *header("user"),
        Text(rstrip=SPACE, unless=(C.LAST_USER,)),
        Text(when=(C.LAST_USER,)),
        Sampled("\n\n", when=(C.LAST_USER, C.HAS_TEXT)),
        Sampled(f"{{reasoning effort: {effort}}}", when=(C.LAST_USER,)),
        END,
    )
    return replace(renderer, name=name, rows={**renderer.rows, "user": user}, before=partial(_prepared, asking=True))


FORMATS = (
    NEMOTRON3,
    _asking(NEMOTRON3, "nemotron3_low_thinking", "low"),
    _disabled(NEMOTRON3),
    _preserving(NEMOTRON3),
    NEMOTRON3_ULTRA,
    _disabled(NEMOTRON3_ULTRA),
    _asking(NEMOTRON3_ULTRA, "nemotron3_ultra_medium_thinking", "efficient"),
    _preserving(NEMOTRON3_ULTRA),
)
