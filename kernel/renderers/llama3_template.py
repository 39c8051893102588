"""Llama 3.1 and 3.3 as their public chat template writes them: dates first, tools, a call as bare JSON.

There is a system message at all times; tools are declared in the first message of the user; results are `ipython`'s.
"""

import json
from dataclasses import replace

from kernel.conversation import Conversation, Message, ToolCall, ToolSpec, added, parts_of, text_of
from kernel.errors import expected
from kernel.renderer_language.pieces import Calls, Header, Piece, Refuse, Row, Sampled, Text, Tools
from kernel.renderers.llama3 import LLAMA3
from kernel.renderers.tool_syntax import C, Data, Markup, function_objects

DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
"""what the template writes where no other date is given"""


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    shown = [json.dumps(tool, indent=4, ensure_ascii=False) for tool in function_objects(tools)]
    return (
        "Given the following functions, please respond with a JSON for a function call with its proper arguments that "
        'best answers the given prompt.\n\nRespond in the format {"name": function name, "parameters": dictionary of '
        "argument name and its value}.Do not use variables.\n\n",
        Data("".join(f"{text}\n\n" for text in shown)),
    )


def _write_call(_: int, call: ToolCall) -> Markup:
    arguments = json.dumps(json.loads(call.arguments), ensure_ascii=False)
    return '{"name": "', Data(call.name), '", "parameters": ', Data(arguments), "}"


def _prepared(conversation: Conversation) -> Conversation:
    """A system message in front, the tools with the first message after it, texts trimmed, results as JSON."""
    if not conversation or conversation[0].role != "system":
        conversation = (added("system", "", conversation), *conversation)
    first, *others = map(_shown, conversation)
    if first.tools:
        if not others or others[0].role != "user":
            raise expected("a user message first (it declares the tools)", "none", path=("messages", 0))
        others[0] = others[0]._replace(tools=first.tools)
        first = first._replace(tools=())
    for message in others:
        if len(message.tool_calls) > 1:
            raise expected("one call a message (Llama 3's public template)", f"{len(message.tool_calls)}")
    return (first, *others)


def _shown(message: Message) -> Message:
    if any(part.kind != "text" for part in parts_of(message)):
        return message
    text = text_of(message)
    return message._replace(content=json.dumps(text, ensure_ascii=False) if message.role == "tool" else text.strip())


def _turn(role: str, *before: Piece) -> Row:
    return Header(f"<|start_header_id|>{role}<|end_header_id|>\n\n"), *before, Text(), Sampled("<|eot_id|>")


_NO_TEXT = Refuse(
    "no text beside a call (Llama 3's public template leaves it out)", (C.HAS_CALLS, C.HAS_TEXT), got="some"
)

LLAMA3_1_TEMPLATE = replace(
    LLAMA3,
    rows={
        "system": _turn(
            "system", Header("Environment: ipython\n", when=(C.FIRST, C.TOOLS_DECLARED)), Header(DATES, when=(C.FIRST,))
        ),
        "developer": _turn("developer"),
        "user": _turn("user", Tools(_write_tools)),
        "assistant": (_NO_TEXT, *_turn("assistant", Calls(_write_call))),
        "tool": _turn("ipython"),
    },
    before=_prepared,
)
