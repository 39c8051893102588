"""Qwen3.5, Qwen3.6 and Qwen3.8: calls as XML, trimmed text, and a prompt that opens the reasoning.

A turn after the last user message that did not reason shows an empty block. Results of several calls share one user
turn. Qwen3.8 adds an effort (a sentence in the system message), keeps all reasoning, and has a block on every turn.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, added
from kernel.image_tokens import qwen_tokens
from kernel.parse_response.by_token import parse_blocks
from kernel.renderer_language.pieces import Calls, Content, Header, Reasoning, Renderer, Sampled, Text, Tools
from kernel.renderers.qwen3 import CONTROLS, EMPTY, END, IMAGE, LINE, VISION, header, turn
from kernel.renderers.tool_syntax import C, Data, Markup, Row, json_or_text


def xml_calls(scalar: Callable[[object], str], nested: Callable[[object], str] = json.dumps) -> Calls:
    """The calls of a message as XML; `scalar` writes an argument that is no text, list or object, `nested` the last."""
    return Calls(partial(_write_xml_call, scalar=scalar, nested=nested), join="\n")


def _write_xml_call(_: int, call: ToolCall, scalar: Callable[[object], str], nested: Callable[[object], str]) -> Markup:
    markup: list[str | Data] = ["<tool_call>\n<function=", Data(call.name), ">\n"]
    for name, value in json.loads(call.arguments).items():
        write = nested if isinstance(value, dict | list) else scalar
        text = value if isinstance(value, str) else write(value)
        markup += ["<parameter=", Data(name), ">\n", Data(text), "\n</parameter>\n"]
    return *markup, "</function>\n</tool_call>"


def read_xml_call(text: str) -> ToolCall | str:
    """The call between tool_call tags, or what is wrong with it. A value that reads as JSON is taken for JSON."""
    function = re.fullmatch(r"<function=([^>\n]+)>(.*)</function>", text, re.DOTALL)
    if function is None or not function[1].strip():
        return "expected <function=NAME>...</function>, got something else"
    name, body = function[1].strip(), function[2]
    arguments: dict[str, object] = {}
    end = 0
    parameters = re.compile(r"\s*<parameter=([^>\n]+)>(.*?)</parameter>", re.DOTALL)
    while parameter := parameters.match(body, end):
        if not parameter[1].strip():
            return "expected a parameter's name, got nothing"
        arguments[parameter[1].strip()] = json_or_text(parameter[2].removeprefix("\n").removesuffix("\n"))
        end = parameter.end()
    rest = body[end:].strip()
    if rest:
        return f"expected <parameter=...>...</parameter>, got {rest[:40]!r}"
    return ToolCall(name, json.dumps(arguments))


def declared(tools: Iterable[Markup]) -> Markup:
    """Declarations, each on lines of its own between tools tags, and how to call them."""
    lines = [piece for tool in tools for piece in (*tool, "\n")]
    return (
        "# Tools\n\nYou have access to the following functions:\n\n<tools>\n",
        *lines,
        "</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
        "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
        "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n"
        "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
        "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested "
        "within <tool_call></tool_call> XML tags\n"
        "- Required parameters MUST be specified\n"
        "- You may provide optional reasoning for your function call in natural language BEFORE the function call, "
        "but NOT after\n"
        "- If there is no function call available, answer the question like normal with your current knowledge and "
        "do not tell the user about function calls\n</IMPORTANT>",
    )


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return declared([(Data(json.dumps(json.loads(tool.json))),) for tool in tools])


def _opened(history: tuple[C, ...]) -> Row:
    """The block of a turn that did not reason, where the prompt opens it; `history`: which past turns show one."""
    return (
        Header("<think>\n", when=(C.LAST,), unless=(C.HAS_REASONING,)),
        Sampled("\n</think>\n\n", when=(C.LAST,), unless=(C.HAS_REASONING,)),
        Header(EMPTY, when=history, unless=(C.HAS_REASONING, C.LAST)),
    )


def _closed(history: tuple[C, ...]) -> Row:
    """The block of a turn that did not reason, where the prompt closes it."""
    return (Header(EMPTY, when=history, unless=(C.HAS_REASONING,)),)


def _assistant(block: Row, scalar: Callable[[object], str]) -> Row:
    return (
        *header("assistant"),
        *block,
        Content((Reasoning("<think>\n{}\n</think>\n\n"), Text())),
        Sampled("\n\n", when=(C.HAS_CALLS, C.HAS_TEXT)),
        xml_calls(scalar),
        END,
    )


def _trimmed(conversation: Conversation) -> Conversation:
    return tuple(map(_trimmed_message, conversation))


def _trimmed_message(message: Message) -> Message:
    """Text without white space at its ends; reasoning stays as it is."""
    content = message.content
    if isinstance(content, str):
        text = content.rstrip() if message.tools else content.strip()  # text that follows declarations is not a start
        return message if text == content else message._replace(content=text)
    shown = [i for i, part in enumerate(content) if part.kind != "thinking" and part.text.strip()]
    first, last = (shown[0], shown[-1]) if shown else (len(content), -1)
    parts = list[Part]()
    for i, part in enumerate(content):
        if part.kind == "text":
            text = part.text.lstrip() if i <= first else part.text
            part = part._replace(text=text.rstrip() if i >= last else text)
        if part.text or part.kind != "text":
            parts.append(part)
    return message._replace(content=tuple(parts))


_CLOSED = (*header("assistant"), Header(EMPTY))
_TOOLS = (Tools(_write_tools), Sampled("\n\n", when=(C.HAS_TOOLS, C.HAS_TEXT)))

QWEN3_5 = Renderer(
    "qwen3_5",
    {
        "system": (*header("system"), *_TOOLS, Text(), END),
        "developer": turn("developer"),
        "user": turn("user"),
        "assistant": _assistant(_opened((C.AFTER_LAST_USER,)), str),
        "tool": (
            LINE,
            Header("<|im_start|>user\n", unless=(C.AFTER_TOOL,)),
            *(Sampled("<tool_response>\n"), Text(), Sampled("\n</tool_response>")),
            Sampled("<|im_end|>", unless=(C.BEFORE_TOOL,)),
        ),
    },
    cue=(*header("assistant"), Header("<think>\n")),
    stops=("<|im_end|>",),
    parse=partial(
        parse_blocks, stop="<|im_end|>", read_call=read_xml_call, framed=True, trims=True, opened=True, gap="\n\n"
    ),
    controls=(*CONTROLS, *VISION),
    before=_trimmed,
    image=IMAGE,
    image_tokens=qwen_tokens,
)

QWEN3_5_PRESERVE_THINKING = replace(QWEN3_5, name="qwen3_5_preserve_thinking", keep=((),))

QWEN3_5_DISABLE_THINKING = replace(
    QWEN3_5,
    name="qwen3_5_disable_thinking",
    rows={**QWEN3_5.rows, "assistant": _assistant(_closed((C.AFTER_LAST_USER,)), str)},
    cue=_CLOSED,
    refuses_reasoning=True,
)

_EFFORTS = {
    "xhigh": "Reasoning effort is set to xhigh. Please think carefully through the task, validate key assumptions, "
    "consider plausible alternatives, and prioritize correctness, consistency, and clarity in the final answer.",
    "medium": "",
    "low": "Reasoning effort is set to low. Keep your thinking brief and focused, moving directly to the conclusion "
    "without unnecessary elaboration.",
}


def _with_effort(conversation: Conversation, sentence: str) -> Conversation:
    """The conversation, trimmed, with a system message only where something is written in it."""
    conversation = _trimmed(conversation)
    if not conversation or conversation[0].role != "system":
        return (added("system", "", conversation), *conversation) if sentence else conversation
    system, content = conversation[0], conversation[0].content
    if not (sentence or content or system.tools):
        return conversation[1:]
    if sentence and isinstance(content, str) and (content == sentence or content.startswith(f"{sentence}\n\n")):
        system = system._replace(content=content.removeprefix(sentence).strip())
    return (system, *conversation[1:])


def _qwen3_8(effort: str) -> Renderer:
    sentence = _EFFORTS[effort]
    opening: Row = ()
    if sentence:  # then the tools, then the text: a blank line between any two of them
        opening = (
            Sampled(sentence, when=(C.FIRST,)),
            Sampled("\n\n", when=(C.FIRST, C.HAS_TOOLS)),
            Sampled("\n\n", when=(C.FIRST, C.HAS_TEXT), unless=(C.HAS_TOOLS,)),
        )
    system = (*header("system"), *opening, *_TOOLS, Text(), END)
    return replace(
        QWEN3_5,
        name=f"qwen3_8_{effort}_reasoning",
        rows={**QWEN3_5.rows, "system": system, "assistant": _assistant(_opened(()), json.dumps)},
        keep=((),),
        before=partial(_with_effort, sentence=sentence),
    )


QWEN3_8_XHIGH_REASONING, QWEN3_8_MEDIUM_REASONING, QWEN3_8_LOW_REASONING = map(_qwen3_8, ("xhigh", "medium", "low"))
QWEN3_8_DISABLE_THINKING = replace(
    QWEN3_8_MEDIUM_REASONING,
    name="qwen3_8_disable_thinking",
    rows={**QWEN3_8_MEDIUM_REASONING.rows, "assistant": _assistant(_closed(()), json.dumps)},
    cue=_CLOSED,
    refuses_reasoning=True,
)

FORMATS = (
    *(QWEN3_5, QWEN3_5_DISABLE_THINKING, QWEN3_5_PRESERVE_THINKING),
    *(QWEN3_8_XHIGH_REASONING, QWEN3_8_MEDIUM_REASONING, QWEN3_8_LOW_REASONING, QWEN3_8_DISABLE_THINKING),
)
