"""Qwen3 with reasoning, without, and its 2507 Instruct models, which have none; Qwen3-VL.

Only the turn being produced, which needs a user message, keeps its reasoning, in a padded block (empty if there is
none). Qwen3-VL has the block, unpadded, on the last message alone. Calls are JSON (Hermes); the framing is ChatML.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from kernel.conversation import ToolCall, ToolSpec
from kernel.image_tokens import qwen_tokens
from kernel.parse_response.by_token import parse_blocks
from kernel.renderer_language.pieces import Calls, Content, Header, Reasoning, Refuse, Renderer, Sampled, Text, Tools
from kernel.renderers.tool_syntax import C, Data, Markup, Row, function_objects

LINE = Header("\n", unless=(C.FIRST,))
END = Sampled("<|im_end|>")
CONTROLS = (
    *("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
)
IMAGE = "<|vision_start|>{}<|vision_end|>"
VISION = ("<|vision_start|>", "<|vision_end|>")


def header(role: str) -> Row:
    """What opens a message of this role."""
    return LINE, Header(f"<|im_start|>{role}\n")


def turn(role: str) -> Row:
    """A message of text alone."""
    return *header(role), Text(), END


def system(write_tools: Callable[[tuple[ToolSpec, ...]], Markup]) -> Row:
    """A system message: its text, then the declared tools."""
    return *header("system"), Text(), Sampled("\n\n", when=(C.HAS_TOOLS, C.HAS_TEXT)), Tools(write_tools), END


def _write_call(_: int, call: ToolCall) -> Markup:
    """The JSON is written anew (spaces after comma and colon, ASCII only), as the reference does."""
    body = json.dumps({"name": call.name, "arguments": json.loads(call.arguments)})
    return "<tool_call>\n", Data(body), "\n</tool_call>"


def _read_call(text: str) -> ToolCall | str:
    """The call between tool_call tags, or what is wrong with it."""
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"expected JSON, got text that is not ({error})"
    if not isinstance(value, dict):
        return "expected a JSON object, got something else"
    name, arguments, call_id = value.get("name"), value.get("arguments"), value.get("id")
    if not isinstance(name, str):
        return "expected a name, got " + ("nothing" if name is None else "something else")
    if not isinstance(arguments, dict):
        return "expected an object of arguments, got " + ("nothing" if arguments is None else "something else")
    return ToolCall(name, json.dumps(arguments), call_id if isinstance(call_id, str) else "")


def declared(lines: str) -> Markup:
    """Declarations, one per line, and how to call them."""
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n",
        Data(lines),
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>',
    )


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return declared("\n".join(map(json.dumps, function_objects(tools))))


_PARSE = partial(parse_blocks, stop="<|im_end|>", read_call=_read_call)
_BARE = Content((Reasoning("<think>{}</think>"), Text()))
_CALLS = Calls(_write_call, join="\n")
_CALLS_LINE = Sampled("\n", when=(C.HAS_CALLS, C.HAS_TEXT_OR_REASONING))

QWEN3_INSTRUCT = Renderer(
    "qwen3_instruct",
    {
        "system": system(_write_tools),
        "developer": turn("developer"),
        "user": turn("user"),
        "assistant": (*header("assistant"), _BARE, _CALLS_LINE, _CALLS, END),
        "tool": (*header("user"), Sampled("<tool_response>\n"), Text(), Sampled("\n</tool_response>"), END),
    },
    cue=header("assistant"),
    stops=("<|im_end|>",),
    parse=partial(_PARSE, framed=False),
    controls=CONTROLS,
)

EMPTY = "<think>\n\n</think>\n\n"
_NEEDS_USER = "a user message (the empty block of reasoning is written only after one)"
_PRODUCED = (C.LAST, C.HAS_USER)
_PADDED = Content(
    (
        Reasoning("<think>\n{}\n</think>\n\n", strip="\n", when=(C.SHOWS_REASONING, C.HAS_USER)),
        Reasoning("<think>{}</think>"),
        Text(lstrip="\n", when=_PRODUCED),
        Text(),
    )
)
_NO_REASONING = Sampled(EMPTY, when=_PRODUCED, unless=(C.HAS_REASONING,))
_ASSISTANT = (*header("assistant"), _NO_REASONING, _PADDED, _CALLS_LINE, _CALLS, END)

QWEN3 = replace(
    QWEN3_INSTRUCT,
    name="qwen3",
    rows={**QWEN3_INSTRUCT.rows, "assistant": _ASSISTANT},
    parse=partial(_PARSE, framed=True),
)

QWEN3_DISABLE_THINKING = replace(
    QWEN3,
    name="qwen3_disable_thinking",
    rows={**QWEN3.rows, "assistant": (Refuse(_NEEDS_USER, (C.LAST, C.HAS_TEXT), (C.HAS_USER,)), *_ASSISTANT)},
    cue=(*header("assistant"), Header(EMPTY)),
    refuses_reasoning=True,
)

QWEN3_VL_INSTRUCT = replace(
    QWEN3_INSTRUCT,
    name="qwen3_vl_instruct",
    rows={
        **QWEN3_INSTRUCT.rows,
        "assistant": (*header("assistant"), _BARE, Sampled("\n", when=(C.HAS_CALLS,)), _CALLS, END),
    },
    controls=(*CONTROLS, *VISION),
    image=IMAGE,
    image_tokens=qwen_tokens,
)

QWEN3_VL = replace(QWEN3_VL_INSTRUCT, name="qwen3_vl", parse=partial(_PARSE, framed=True))

FORMATS = (QWEN3, QWEN3_DISABLE_THINKING, QWEN3_INSTRUCT, QWEN3_VL, QWEN3_VL_INSTRUCT)
