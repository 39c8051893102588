"""DeepSeek V4.1: with reasoning at three efforts, kept or not, and without.

Messages of the user's and of tools that stand together are one user turn, written and trained as its first message.
The marker of the assistant ends such a turn (a later system message is one too), so an assistant's message that
follows none has no marker. Reasoning stays behind the last of these turns, and everywhere once tools are declared.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from kernel.chat_format.pieces import (
    Calls,
    Condition,
    Header,
    Reasoning,
    Refuse,
    Renderer,
    Row,
    Sampled,
    Text,
    Tools,
    by_roles,
)
from kernel.conversation import Conversation, Message, Part, content_of, parts_of
from kernel.formats.tool_syntax.dsml import (
    CALLS_CLOSE,
    CALLS_OPEN,
    DSML,
    read_dsml_calls,
    write_dsml_call,
    write_dsml_tools,
)
from kernel.parsing.sections import parse_sections


def in_turns(conversation: Conversation) -> Conversation:
    """Each user turn in its first message, a blank line between what it joins, results in the order of their calls.

    The others stay, without content.

    >>> [m.content for m in in_turns((Message("tool", "4"), Message("user", "And 3+3?"), Message("assistant", "6")))]
    ['<tool_result>4</tool_result>\\n\\nAnd 3+3?', '', '6']
    """
    out: list[Message] = []
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


def with_opening(conversation: Conversation) -> Conversation:
    """`in_turns`, behind a system message: the effort stands there, whether it says anything else or not."""
    opening = () if conversation and conversation[0].role == "system" else (Message("system"),)
    return (*opening, *in_turns(conversation))


@by_roles
def is_request(i: int, message: Message) -> bool:
    """Whether a message is the user's, or a later system message: the turn being produced starts after the last one."""
    return message.role == "user" or (message.role == "system" and i > 0)


_EOS = "<｜end▁of▁sentence｜>"
_EFFORT = "Reasoning Effort: {} (range 1-100, the higher the value, the more thorough the reasoning)\n\n"
_UNMARKED = (Condition.FIRST, Condition.AFTER_FIRST_SYSTEM, Condition.AFTER_ANSWER, Condition.AFTER_CALLS)
_TOOLS_FIRST = Refuse(
    "tools declared in the first message", (Condition.HAS_TOOLS,), (Condition.FIRST,), got="tools further on"
)


def _system(effort: int | None) -> Row:
    """Blank lines are joined to those that the effort ends with, so that one BPE pass sees them all."""
    if effort is None:
        return (
            _TOOLS_FIRST,
            Header("<｜System｜>"),
            Text(),
            Sampled("\n\n", when=(Condition.HAS_TOOLS,)),
            Tools(write_dsml_tools),
        )
    return (
        _TOOLS_FIRST,
        Header("<｜System｜>"),
        Header(_EFFORT.format(effort) + "{newlines}", when=(Condition.FIRST,)),
        Header("\n\n", when=(Condition.FIRST, Condition.HAS_TOOLS), unless=(Condition.HAS_TEXT,)),
        Text(lstrip="\n", when=(Condition.FIRST,)),
        Text(unless=(Condition.FIRST,)),
        Sampled("\n\n", when=(Condition.HAS_TOOLS, Condition.HAS_TEXT)),
        Tools(write_dsml_tools),
    )


_TURN: Row = (Header("<｜User｜>", unless=(Condition.AFTER_USER, Condition.AFTER_TOOL)), Text())
_ASSISTANT: Row = (
    Header("<｜Assistant｜>", unless=_UNMARKED),
    Header("<think>", when=(Condition.KEEPS_REASONING,), unless=_UNMARKED),
    Header("</think>", unless=(Condition.KEEPS_REASONING, *_UNMARKED)),
    Reasoning("{}"),
    Sampled("</think>", when=(Condition.KEEPS_REASONING,)),
    Text(),
    Sampled(f"\n\n{CALLS_OPEN}\n", when=(Condition.HAS_CALLS,)),
    Calls(write_dsml_call, join="\n"),
    Sampled(f"\n{CALLS_CLOSE}", when=(Condition.HAS_CALLS,)),
    Sampled(_EOS),
)

DEEPSEEKV4_1 = Renderer(
    "deepseekv4_1",
    {"system": _system(75), "user": _TURN, "assistant": _ASSISTANT, "tool": _TURN},
    cue=(Header("<｜Assistant｜><think>", unless=_UNMARKED),),
    stops=(_EOS,),
    parse=partial(parse_sections, stops=(_EOS,), read_calls=read_dsml_calls, opened=True),
    controls=(
        *("<｜begin▁of▁sentence｜>", _EOS, "<｜System｜>", "<｜User｜>", "<｜Assistant｜>"),
        *("<think>", "</think>", DSML),
    ),
    bos="<｜begin▁of▁sentence｜>",
    keep=((Condition.ONLY_ASSISTANT_FOLLOWS,), (Condition.TOOLS_DECLARED,)),
    before=with_opening,
    turn_starts_after=is_request,
)


def _at_effort(name: str, effort: int) -> Renderer:
    return replace(DEEPSEEKV4_1, name=name, rows={**DEEPSEEKV4_1.rows, "system": _system(effort)})


DEEPSEEKV4_1_LOW_REASONING = _at_effort("deepseekv4_1_low_reasoning", 50)
DEEPSEEKV4_1_MAX_REASONING = _at_effort("deepseekv4_1_max_reasoning", 100)
DEEPSEEKV4_1_PRESERVE_THINKING = replace(DEEPSEEKV4_1, name="deepseekv4_1_preserve_thinking", keep=((),))

DEEPSEEKV4_1_DISABLE_THINKING = replace(
    DEEPSEEKV4_1,
    name="deepseekv4_1_disable_thinking",
    rows={**DEEPSEEKV4_1.rows, "system": _system(None)},
    cue=(Header("<｜Assistant｜></think>", unless=_UNMARKED),),
    parse=partial(parse_sections, stops=(_EOS,), read_calls=read_dsml_calls),
    keep=(),
    before=in_turns,
)
