"""Qwen3 as its public chat template writes it: text of tools as it came, results of one turn together.

Reasoning stays in every message after the last user's, before its calls too.
"""

from dataclasses import replace

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, content_of, parts_of
from kernel.renderer_language.pieces import Calls, Content, Header, Reasoning, Refuse, Renderer, Row, Sampled, Text
from kernel.renderers.qwen3 import (
    EMPTY,
    END,
    LINE,
    QWEN3,
    QWEN3_DISABLE_THINKING,
    QWEN3_INSTRUCT,
    QWEN3_VL_INSTRUCT,
    declared,
    header,
    system,
    turn,
)
from kernel.renderers.tool_syntax import C, Data, Markup


def _write_call(_: int, call: ToolCall) -> Markup:
    return '<tool_call>\n{"name": "', Data(call.name), '", "arguments": ', Data(call.arguments), "}\n</tool_call>"


def wrapped(tool: ToolSpec) -> str:
    """A declaration in OpenAI's wrapper, its text as it is."""
    return f'{{"type": "function", "function": {tool.json}}}'


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return declared("\n".join(map(wrapped, tools)))


def _prepared(conversation: Conversation) -> Conversation:
    """Reasoning once, before the text; an empty system message beside tools keeps the blank line after it."""
    if conversation and conversation[0].tools and conversation[0].content == "":
        conversation = (conversation[0]._replace(content=(Part("text", ""),)), *conversation[1:])
    return tuple([reasoning_first(message) for message in conversation])


def reasoning_first(message: Message) -> Message:
    """The message with its reasoning joined and before its text."""
    parts = parts_of(message)
    if isinstance(message.content, str) or not any(part.kind == "thinking" for part in parts):
        return message
    reasoning = "".join(part.text for part in parts if part.kind == "thinking")
    return message._replace(
        content=content_of([Part("thinking", reasoning), *[p for p in parts if p.kind != "thinking"]])
    )


_NO_DEVELOPER = Refuse("no developer message (Qwen3's public template leaves it out)", got="one")
_CALLS: Row = (Sampled("\n", when=(C.HAS_CALLS, C.HAS_TEXT)), Calls(_write_call, join="\n"))
_ROWS = {
    "system": system(_write_tools),
    "developer": (_NO_DEVELOPER, Text()),
    "user": turn("user"),
    "assistant": (*header("assistant"), Text(), *_CALLS, END),
    "tool": (
        LINE,
        Header("<|im_start|>user\n", unless=(C.AFTER_TOOL,)),
        *(Sampled("<tool_response>\n"), Text(), Sampled("\n</tool_response>")),
        Sampled("<|im_end|>", unless=(C.BEFORE_TOOL,)),
    ),
}
_PRODUCED = (C.LAST, C.HAS_USER)
_THINKING = (
    *header("assistant"),
    Sampled(EMPTY, when=_PRODUCED, unless=(C.HAS_REASONING,)),
    Content(
        (
            Reasoning("<think>\n{}\n</think>\n\n", strip="\n"),
            Text(lstrip="\n", when=(C.SHOWS_REASONING,)),
            Text(lstrip="\n", when=_PRODUCED),
            Text(),
        )
    ),
    *_CALLS,
    END,
)


def _plain(renderer: Renderer) -> Renderer:
    return replace(renderer, rows=_ROWS, before=_prepared)


def _thinking(renderer: Renderer) -> Renderer:
    refusals = tuple(piece for piece in renderer.rows["assistant"] if isinstance(piece, Refuse))
    rows = {**_ROWS, "assistant": (*refusals, *_THINKING)}
    return replace(renderer, rows=rows, keep=((C.AFTER_LAST_USER, C.HAS_USER),), before=_prepared)


_LATER_SYSTEM = Refuse(
    "one system message, the first (Qwen3-VL's public template leaves others out)", unless=(C.FIRST,), got="another"
)


def _seeing(renderer: Renderer) -> Renderer:
    return replace(renderer, rows={**renderer.rows, "system": (_LATER_SYSTEM, *renderer.rows["system"])})


QWEN3_TEMPLATES = (
    *map(_thinking, (QWEN3, QWEN3_DISABLE_THINKING)),
    *(_plain(QWEN3_INSTRUCT), _seeing(_plain(QWEN3_VL_INSTRUCT))),
)
