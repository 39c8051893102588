"""DeepSeek V4.1: with reasoning at three efforts, kept or not, and without; calls as DSML.

Neighbouring user and tool messages are one user turn, written and trained as its first message. The assistant's marker
ends such a turn (or a later system message). Reasoning stays after the last one, everywhere once tools are declared.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, added, content_of, parts_of
from kernel.parse_response.by_regex import MARKS, PLAIN, Read, left_open, marked, parse_sections, read_matches, unmarked
from kernel.parse_response.common import BadCall, Segment
from kernel.renderer_language.pieces import (
    Calls,
    Header,
    Reasoning,
    Refuse,
    Renderer,
    Sampled,
    Text,
    Tools,
    by_roles,
)
from kernel.renderers.tool_syntax import C, Data, Markup, Row, argument_texts, calls_section, json_value

_DSML = "｜DSML｜"
_CALLS_OPEN, _CALLS_CLOSE = f"<{_DSML} calls>", f"</{_DSML} calls>"


def _write_call(_: int, call: ToolCall) -> Markup:
    """An invoke element with an element per argument: a text as it is and marked as one, everything else as JSON."""
    markup: list[str | Data] = [f'<{_DSML} invoke name="', Data(call.name), '">\n']
    for i, (name, value, text) in enumerate(argument_texts(call)):
        kind = "true" if isinstance(value, str) else "false"
        markup += ["\n" if i else "", f'<{_DSML} parameter name="', Data(name), f'" string="{kind}">', Data(text)]
        markup.append(f"</{_DSML} parameter>")
    return *markup, f"\n</{_DSML} invoke>"


_M = MARKS[0]
_BLOCK = re.compile(f"(?:\n\n)?<{_M} calls>(.*?)</{_M} calls>", re.DOTALL)
_INVOKE = re.compile(f'<{_M} invoke name="({PLAIN}?)">(.*?)</{_M} invoke>', re.DOTALL)
_PARAMETER = re.compile(f'<{_M} parameter name="({PLAIN}?)" string="(true|false)">({PLAIN})</{_M} parameter>')


def _read_calls(segments: Sequence[Segment]) -> Read:
    """The calls of the block that ends a turn, and the text before it."""
    text = marked(segments, [_DSML])
    block = _BLOCK.search(text)
    if block is None:
        return Read(unmarked(text, [_DSML]), bad_calls=left_open(text, [_DSML], _CALLS_CLOSE))
    before, after = text[: block.start()], text[block.end() :]
    rest, calls, bad = read_matches(_INVOKE, block[1], [_DSML], _read_call)
    if rest.strip() or rest == block[1]:
        bad += (BadCall(unmarked(block[0], [_DSML]), f"expected <{_DSML} invoke ...> elements, got something else"),)
    if after.strip():
        bad += (BadCall(unmarked(after, [_DSML]), f"expected the end of the turn after {_CALLS_CLOSE}, got more"),)
    return Read(unmarked(before, [_DSML]), calls, (*left_open(before, [_DSML], _CALLS_CLOSE), *bad))


def _read_call(name: str, body: str) -> ToolCall | str:
    if not name.strip():
        return "expected a name, got nothing"
    beside = unmarked(_PARAMETER.sub("", body).strip(), [_DSML])
    if beside:
        return f"expected <{_DSML} parameter ...> elements, got {beside!r}"
    arguments: dict[str, object] = {}
    for key, is_text, value in _PARAMETER.findall(body):
        if not key.strip() or key in arguments:
            return f"expected a name of its own for every parameter, got {key!r}"
        try:
            arguments[key] = value if is_text == "true" else json_value(value)
        except ValueError as error:
            return f"expected JSON in {key!r}, got text that is not ({error})"
    return ToolCall(name, json.dumps(arguments))


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    return (
        "## Tools\n\nYou have access to a set of tools to help answer the user's question. "
        f'You can invoke tools by writing a "{_CALLS_OPEN}" block like the following:\n\n{_CALLS_OPEN}\n'
        f'<{_DSML} invoke name="$TOOL_NAME">\n'
        f'<{_DSML} parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</{_DSML} parameter>\n...\n'
        f'</{_DSML} invoke>\n<{_DSML} invoke name="$TOOL_NAME2">\n...\n</{_DSML} invoke>\n{_CALLS_CLOSE}\n\n'
        'String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, '
        'arrays, objects), pass the value in JSON format and set `string="false"`.\n\n'
        "If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside "
        "<think>...</think> BEFORE any tool calls or final response.\n\n"
        "Otherwise, output directly after </think> with tool calls or final response.\n\n"
        "### Available Tool Schemas\n\n",
        Data("\n".join(json.dumps(json.loads(tool.json), ensure_ascii=False) for tool in tools)),
        "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n",
    )


def _in_turns(conversation: Conversation, has_effort: bool = False) -> Conversation:
    """Each user turn in its first message, results in the order of their calls; a system message for the effort."""
    out = (
        [added("system", "", conversation)]
        if has_effort and not (conversation and conversation[0].role == "system")
        else []
    )
    order: dict[str, int] = {}
    for is_turn, group in groupby(conversation, lambda message: message.role in ("user", "tool")):
        messages = list(group)
        for message in messages:
            if message.tool_calls:
                order = {call.id: i for i, call in enumerate(message.tool_calls) if call.id}
        out += _joined(messages, order) if is_turn else messages
    return tuple(out)


def _joined(turn: Sequence[Message], order: dict[str, int]) -> list[Message]:
    results = iter(sorted((m for m in turn if m.role == "tool"), key=lambda m: order.get(m.tool_call_id, 0)))
    parts: list[Part] = []
    for i, message in enumerate(turn):
        parts += [Part("text", "\n\n")] if i else []
        if message.role == "tool":
            parts += [Part("text", "<tool_result>"), *parts_of(next(results)), Part("text", "</tool_result>")]
        else:
            parts += parts_of(message)
    return [turn[0]._replace(content=content_of(parts)), *(m._replace(content="") for m in turn[1:])]


@by_roles
def _is_request(i: int, message: Message) -> bool:
    """Whether a message is the user's, or a later system message: the turn being produced starts after the last one."""
    return message.role == "user" or (message.role == "system" and i > 0)


_EOS = "<｜end▁of▁sentence｜>"
_EFFORT = "Reasoning Effort: {} (range 1-100, the higher the value, the more thorough the reasoning)\n\n"
_UNMARKED = (C.FIRST, C.AFTER_FIRST_SYSTEM, C.AFTER_ANSWER, C.AFTER_CALLS)
_TOOLS_FIRST = Refuse("tools declared in the first message", (C.HAS_TOOLS,), (C.FIRST,), got="tools further on")


def _system(effort: int) -> Row:
    """Blank lines are joined to those that the effort ends with, so that one BPE pass sees them all."""
    return (
        *(_TOOLS_FIRST, Header("<｜System｜>")),
        Header(_EFFORT.format(effort) + "{newlines}", when=(C.FIRST,)),
        Header("\n\n", when=(C.FIRST, C.HAS_TOOLS), unless=(C.HAS_TEXT,)),
        Text(lstrip="\n", when=(C.FIRST,)),
        Text(unless=(C.FIRST,)),
        Sampled("\n\n", when=(C.HAS_TOOLS, C.HAS_TEXT)),
        Tools(_write_tools),
    )


_SYSTEM = (_TOOLS_FIRST, Header("<｜System｜>"), Text(), Sampled("\n\n", when=(C.HAS_TOOLS,)), Tools(_write_tools))
_TURN: Row = (Header("<｜User｜>", unless=(C.AFTER_USER, C.AFTER_TOOL)), Text())
_ASSISTANT: Row = (
    Header("<｜Assistant｜>", unless=_UNMARKED),
    Header("<think>", when=(C.KEEPS_REASONING,), unless=_UNMARKED),
    Header("</think>", unless=(C.KEEPS_REASONING, *_UNMARKED)),
    Reasoning("{}"),
    Sampled("</think>", when=(C.KEEPS_REASONING,)),
    Text(),
    *calls_section(f"\n\n{_CALLS_OPEN}\n", Calls(_write_call, join="\n"), f"\n{_CALLS_CLOSE}"),
    Sampled(_EOS),
)
_PARSE = partial(parse_sections, stops=(_EOS,), read_calls=_read_calls)

DEEPSEEKV4_1 = Renderer(
    "deepseekv4_1",
    {"system": _system(75), "user": _TURN, "assistant": _ASSISTANT, "tool": _TURN},
    cue=(Header("<｜Assistant｜><think>", unless=_UNMARKED),),
    stops=(_EOS,),
    parse=partial(_PARSE, opened=True),
    controls=(
        *("<｜begin▁of▁sentence｜>", _EOS, "<｜System｜>", "<｜User｜>", "<｜Assistant｜>"),
        *("<think>", "</think>", _DSML),
    ),
    bos="<｜begin▁of▁sentence｜>",
    keep=((C.ONLY_ASSISTANT_FOLLOWS,), (C.TOOLS_DECLARED,)),
    before=partial(_in_turns, has_effort=True),
    turn_starts_after=_is_request,
)
DEEPSEEKV4_1_LOW_REASONING, DEEPSEEKV4_1_MAX_REASONING = (
    replace(DEEPSEEKV4_1, name=f"deepseekv4_1_{name}_reasoning", rows={**DEEPSEEKV4_1.rows, "system": _system(effort)})
    for name, effort in (("low", 50), ("max", 100))
)
DEEPSEEKV4_1_PRESERVE_THINKING = replace(DEEPSEEKV4_1, name="deepseekv4_1_preserve_thinking", keep=((),))
DEEPSEEKV4_1_DISABLE_THINKING = replace(
    DEEPSEEKV4_1,
    name="deepseekv4_1_disable_thinking",
    rows={**DEEPSEEKV4_1.rows, "system": _SYSTEM},
    cue=(Header("<｜Assistant｜></think>", unless=_UNMARKED),),
    parse=_PARSE,
    keep=(),
    before=_in_turns,
)

FORMATS = (
    *(DEEPSEEKV4_1, DEEPSEEKV4_1_LOW_REASONING, DEEPSEEKV4_1_MAX_REASONING),
    *(DEEPSEEKV4_1_DISABLE_THINKING, DEEPSEEKV4_1_PRESERVE_THINKING),
)
