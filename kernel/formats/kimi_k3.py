"""Kimi K3.1 Pro: XTML, where every message and every part of a turn is an element between an open and a close tag.

Turns keep their reasoning for good, in an element that is written even when it is empty; with reasoning switched off it
is never written. The declared tools come first, then how much to think, then the conversation. The results of tools
stand in the order of their calls and carry their place. The form is Moonshot's for K3 (`encoding_k3.py` beside that
model), which K3.1 Pro shares a tokenizer with: there was no public encoder of its own to check against.
"""

from dataclasses import replace
from functools import partial

from kernel.chat_format.pieces import Calls, Condition, Header, Reasoning, Refuse, Renderer, Row, Sampled, Text, Tools
from kernel.conversation import Conversation, Message
from kernel.formats.tool_syntax.results import named_results, ordered_results
from kernel.formats.tool_syntax.xtml import CONTROLS, escaped, write_xtml_call, write_xtml_tools
from kernel.parsing.xtml import parse_xtml


def _prepared(conversation: Conversation, effort: str) -> Conversation:
    """Tools and effort in messages of their own, in front; results as the format has them."""
    first = conversation[0] if conversation else Message("")
    ready: list[Message] = []
    if first.tools:
        ready.append(first._replace(role="tool_declare", content=""))
        conversation = (first._replace(tools=()), *conversation[1:]) if first.content else conversation[1:]
    elif first.role == "tool_declare":
        ready, conversation = [first], conversation[1:]
    if effort and (not conversation or conversation[0].role != "thinking_effort"):
        ready.append(Message("thinking_effort", effort))
    return (*ready, *_numbered(named_results(ordered_results(conversation))))


def _numbered(conversation: Conversation) -> list[Message]:
    """Results with their place among those since the assistant spoke, as attributes are written."""
    ready: list[Message] = []
    n_results = 0
    for message in conversation:
        if message.role == "tool":
            n_results += 1
            message = message._replace(role="tool_result", name=escaped(message.name), tool_call_id=str(n_results))
        elif message.role == "assistant":
            n_results = 0
        ready.append(message)
    return ready


_END = Sampled("<|close|>message<|sep|><|end_of_msg|>")


def _message(attributes: str) -> Header:
    return Header(f"<|open|>message {attributes}<|sep|>")


def _assistant(cue: Row, *reasoned: Reasoning | Sampled) -> Row:
    return (
        *cue,
        *reasoned,
        Text(),
        Sampled("<|close|>response<|sep|>"),
        Sampled("<|open|>tools<|sep|>", when=(Condition.HAS_CALLS,)),
        Calls(write_xtml_call),
        Sampled("<|close|>tools<|sep|>", when=(Condition.HAS_CALLS,)),
        _END,
    )


_EFFORT = (
    "`thinking_effort` guides on how much to think in your thinking channel (not including the response channel), "
    "supported values include `low`, `medium`, `high`, and `max`.\n"
    "Now the system is invoked with `thinking_effort={}`."
)
_THINKING = (_message('role="assistant"'), Header("<|open|>think<|sep|>"))
_RESPONSE = (_message('role="assistant"'), Header("<|open|>response<|sep|>"))

KIMI_K31_PRO_NO_REASONING_EFFORT = Renderer(
    "kimi_k31_pro_no_reasoning_effort",
    {
        "tool_declare": (_message('role="system" type="tool-declare"'), Tools(write_xtml_tools), _END),
        "system": (_message('role="system"'), Text(), _END),
        "user": (_message('role="user"'), Text(), _END),
        "assistant": _assistant(
            _THINKING, Reasoning("{}"), Sampled("<|close|>think<|sep|>"), Sampled("<|open|>response<|sep|>")
        ),
        "tool_result": (
            Refuse("the name of the tool, or a call that this is the result of", unless=(Condition.HAS_NAME,)),
            _message('role="tool" tool="{name}" index="{tool_call_id}"'),
            Text(),
            _END,
        ),
    },
    cue=_THINKING,
    stops=("<|end_of_msg|>",),
    parse=partial(parse_xtml, opened="think"),
    controls=(*CONTROLS, "<|end_of_msg|>"),
    keep=((),),
    before=partial(_prepared, effort=""),
)


def _at(effort: str) -> Renderer:
    told = (_message('role="system" type="thinking-effort"'), Text(_EFFORT), _END)
    return replace(
        KIMI_K31_PRO_NO_REASONING_EFFORT,
        name=f"kimi_k31_pro_{effort}_reasoning",
        rows={**KIMI_K31_PRO_NO_REASONING_EFFORT.rows, "thinking_effort": told},
        before=partial(_prepared, effort=effort),
    )


KIMI_K31_PRO_MAX_REASONING, KIMI_K31_PRO_HIGH_REASONING, KIMI_K31_PRO_LOW_REASONING = map(_at, ("max", "high", "low"))

KIMI_K31_PRO_DISABLE_THINKING = replace(
    KIMI_K31_PRO_NO_REASONING_EFFORT,
    name="kimi_k31_pro_disable_thinking",
    rows={**KIMI_K31_PRO_NO_REASONING_EFFORT.rows, "assistant": _assistant(_RESPONSE, Reasoning("{}"))},
    cue=_RESPONSE,
    parse=partial(parse_xtml, opened="response"),
    keep=(),
    refuses_reasoning=True,
)
