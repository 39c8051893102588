"""gpt-oss: Harmony, where a turn is messages in channels, with OpenAI's system message in front or without.

The role `system` of a conversation is Harmony's developer, whose words are instructions; Harmony's own system message
has the role `harmony` here. Reasoning stays in every turn, as the reference has it (OpenAI's template drops it from
turns that have ended in an answer). A sampled turn ends with its first call.
"""

from dataclasses import replace
from functools import partial

from kernel.chat_format.pieces import Calls, Condition, Header, Reasoning, Refuse, Renderer, Row, Sampled, Text, Tools
from kernel.conversation import Conversation, Message
from kernel.formats.tool_syntax.harmony import write_harmony_call, write_harmony_tools
from kernel.formats.tool_syntax.results import named_results
from kernel.parsing.harmony import parse_harmony

_ROUTING = Message("harmony", "Calls to these tools must go to the commentary channel: 'functions'.")


def _prepared(conversation: Conversation, opening: str = "") -> Conversation:
    """The system message in front, the one about tools before their declaration, and the bare name on every result."""
    ready: list[Message] = []
    if opening and (not conversation or conversation[0].role != "harmony"):
        ready.append(Message("harmony", opening))
    for message in named_results(conversation):
        if message.tools and _ROUTING not in ready[-1:]:
            ready.append(_ROUTING)
        if message.name.startswith("functions."):
            message = message._replace(name=message.name.removeprefix("functions."))
        ready.append(message)
    return tuple(ready)


def _turn(role: str) -> Row:
    return Header(f"<|start|>{role}"), Sampled("<|message|>"), Text(), Sampled("<|end|>")


_ANOTHER = "<|end|><|start|>assistant"

GPT_OSS_NO_SYSPROMPT = Renderer(
    "gpt_oss_no_sysprompt",
    {
        "harmony": _turn("system"),
        "system": (
            Header("<|start|>developer"),
            Sampled("<|message|>"),
            Sampled("# Instructions\n\n", unless=(Condition.HAS_TOOLS,)),
            Sampled("# Instructions\n\n", when=(Condition.HAS_TOOLS, Condition.HAS_TEXT)),
            Text(),
            Sampled("\n\n", unless=(Condition.HAS_TOOLS,)),
            Sampled("\n\n", when=(Condition.HAS_TOOLS, Condition.HAS_TEXT)),
            Tools(write_harmony_tools),
            Sampled("<|end|>"),
        ),
        "developer": _turn("developer"),
        "user": _turn("user"),
        "assistant": (
            Header("<|start|>assistant"),
            Reasoning(f"<|channel|>analysis<|message|>{{}}{_ANOTHER}"),
            Text(f"<|channel|>commentary<|message|>{{}}{_ANOTHER}", when=(Condition.HAS_CALLS, Condition.HAS_TEXT)),
            Calls(write_harmony_call, join="<|start|>assistant"),
            Text("<|channel|>final<|message|>{}", unless=(Condition.HAS_CALLS,)),
            Sampled("<|return|>", when=(Condition.LAST,), unless=(Condition.HAS_CALLS,)),
            Sampled("<|end|>", unless=(Condition.LAST, Condition.HAS_CALLS)),
        ),
        "tool": (
            Refuse("the name of the tool, or a call that this is the result of", unless=(Condition.HAS_NAME,)),
            Header("<|start|>functions.{name} to=assistant"),
            Sampled("<|channel|>commentary<|message|>"),
            Text(),
            Sampled("<|end|>"),
        ),
    },
    cue=(Header("<|start|>assistant"),),
    stops=("<|return|>", "<|call|>"),
    parse=parse_harmony,
    controls=tuple(f"<|{name}|>" for name in ("start", "message", "channel", "constrain", "end", "return", "call")),
    keep=((),),
    before=_prepared,
)


def gpt_oss(effort: str, date: str = "2025-01-01") -> Renderer:
    """The renderer with OpenAI's system message.

    Args:
        effort: "low", "medium" or "high".
        date: what the model is told of today, YYYY-MM-DD. Fixed, so that a run can be repeated.

    >>> gpt_oss("high", date="2025-06-28").name
    'gpt_oss_high_reasoning'
    """
    opening = (
        "You are ChatGPT, a large language model trained by OpenAI.\n"
        f"Knowledge cutoff: 2024-06\nCurrent date: {date}\n\nReasoning: {effort}\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every message."
    )
    before = partial(_prepared, opening=opening)
    return replace(GPT_OSS_NO_SYSPROMPT, name=f"gpt_oss_{effort}_reasoning", before=before)


GPT_OSS_LOW_REASONING, GPT_OSS_MEDIUM_REASONING, GPT_OSS_HIGH_REASONING = map(gpt_oss, ("low", "medium", "high"))
