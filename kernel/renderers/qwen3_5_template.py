"""Qwen3.5 and Qwen3.8 as their public chat templates write them: OpenAI's wrapper around tools, reasoning trimmed.

Qwen3.5 keeps reasoning in every message after the last user's.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from kernel.conversation import Conversation, ToolSpec
from kernel.errors import expected
from kernel.renderer_language.pieces import (
    Calls,
    Conditions,
    Content,
    Piece,
    Reasoning,
    Refuse,
    Renderer,
    Text,
    Tools,
)
from kernel.renderers.qwen3_5 import (
    QWEN3_5,
    QWEN3_5_DISABLE_THINKING,
    QWEN3_8_DISABLE_THINKING,
    QWEN3_8_LOW_REASONING,
    QWEN3_8_MEDIUM_REASONING,
    QWEN3_8_XHIGH_REASONING,
    declared,
    xml_calls,
)
from kernel.renderers.qwen3_template import reasoning_first, wrapped
from kernel.renderers.tool_syntax import SPACE, C, Data, Markup

_tojson = partial(json.dumps, ensure_ascii=False)


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return declared([(Data(wrapped(tool)),) for tool in tools])


def _changed(piece: Piece, scalar: Callable[[object], str]) -> Piece:
    match piece:
        case Tools():
            return piece._replace(write=_write_tools)
        case Calls():
            return xml_calls(scalar, _tojson)
        case Content(pieces):
            trimmed = [one._replace(strip=SPACE) if isinstance(one, Reasoning) else one for one in pieces]
            return piece._replace(pieces=tuple(trimmed))
    return piece


def _prepared(conversation: Conversation, before: Callable[[Conversation], Conversation]) -> Conversation:
    for i, message in enumerate(conversation[1:], 1):
        if message.role == "system":
            raise expected("one system message, the first", "another", path=("messages", i))
    first = conversation[:1]
    if first and first[0].tools and isinstance(first[0].content, str):
        conversation = (first[0]._replace(content=first[0].content.strip()), *conversation[1:])
    return before(tuple(map(reasoning_first, conversation)))


_NO_USER = Refuse("a user message (the public template asks for one)", unless=(C.HAS_USER,))
_NO_DEVELOPER = Refuse("no developer message (the public template refuses it)", got="one")


def _following(renderer: Renderer, scalar: Callable[[object], str], keep: Sequence[Conditions]) -> Renderer:
    rows = {role: tuple(_changed(piece, scalar) for piece in row) for role, row in renderer.rows.items()}
    rows |= {
        "developer": (_NO_DEVELOPER, Text()),
        "assistant": (_NO_USER, *rows["assistant"]),
    }
    return replace(renderer, rows=rows, keep=tuple(keep), before=partial(_prepared, before=renderer.before))


QWEN3_5_TEMPLATES = tuple(_following(one, str, ((C.AFTER_LAST_USER,),)) for one in (QWEN3_5, QWEN3_5_DISABLE_THINKING))
QWEN3_8_TEMPLATES = tuple(
    _following(one, json.dumps, ((),))
    for one in (*(QWEN3_8_XHIGH_REASONING, QWEN3_8_MEDIUM_REASONING, QWEN3_8_LOW_REASONING, QWEN3_8_DISABLE_THINKING),)
)
