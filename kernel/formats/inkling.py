"""Inkling (the reference calls the format tml_v0): every block of reasoning, text or calls is a message of its own.

Nothing opens the turn in the prompt: the model samples the token that opens a message as well as those that end it and
the turn. How much to think is a system message, behind those of the conversation; so are the declared tools before it.
"""

from functools import partial

from kernel.chat_format.pieces import Calls, Condition, Content, Header, Reasoning, Renderer, Row, Sampled, Text, Tools
from kernel.conversation import Conversation, Message
from kernel.errors import expected
from kernel.formats.tool_syntax.inkling import write_inkling_call, write_inkling_tools
from kernel.parsing.inkling import parse_inkling


def _prepared(conversation: Conversation, effort: Message) -> Conversation:
    """Tools in a message of their own, and the effort behind the system messages that open the conversation."""
    ready: list[Message] = []
    for message in conversation:
        if message.role == "system" and message.tools:
            ready += [message._replace(tools=())] if message.content else []
            ready.append(message._replace(role="tool_declare", content=""))
        else:
            ready.append(message)
    roles = [message.role for message in ready]
    if effort.role in roles:
        return tuple(ready)
    n = next((i for i, role in enumerate(roles) if role not in ("system", "tool_declare")), len(roles))
    return (*ready[:n], effort, *ready[n:])


_END = Sampled("<|end_message|>")


def _turn(opening: str, wrap: str = "{}") -> Row:
    return Header(f"{opening}<|content_text|>"), Text(wrap), _END


def inkling(effort: float = 0.9, name: str = "tml_v0") -> Renderer:
    """The renderer at one effort of reasoning.

    Args:
        effort: from 0 (none) to below 1; the model is told it in hundredths, a half to the even one.
        name: what to call the renderer.

    Raises:
        InputError: an effort out of range.

    >>> inkling(effort=0.2, name="tml_v0_low").name
    'tml_v0_low'
    """
    if not 0 <= effort < 1:
        raise expected("0 <= effort < 1", str(effort))
    level = Message("thinking_effort", f"{round(round(effort, 3) * 100) / 100:g}")
    return Renderer(
        name,
        {
            "system": _turn("<|message_system|>"),
            "tool_declare": (Header("<|message_system|>tool_declare<|content_xml|>"), Tools(write_inkling_tools), _END),
            "thinking_effort": _turn("<|message_system|>", "Thinking effort level: {}"),
            "user": _turn("<|message_user|>"),
            "assistant": (
                Content(
                    (
                        Reasoning("<|message_model|><|content_thinking|>{}<|end_message|>"),
                        Text("<|message_model|><|content_text|>{}<|end_message|>"),
                    ),
                    when=(Condition.HAS_TEXT_OR_REASONING,),
                ),
                Sampled(
                    "<|message_model|><|content_text|><|end_message|>",
                    unless=(Condition.HAS_TEXT_OR_REASONING, Condition.HAS_CALLS),
                ),
                Calls(write_inkling_call),
                Sampled("<|content_model_end_sampling|>"),
            ),
            "tool": _turn("<|message_tool|>{name}"),
        },
        cue=(),
        stops=("<|content_model_end_sampling|>",),
        parse=parse_inkling,
        controls=tuple(
            f"<|{token}|>"
            for token in (
                *("message_system", "message_user", "message_model", "message_tool", "end_message"),
                *("content_text", "content_thinking", "content_xml", "content_invoke_tool_json"),
                "content_model_end_sampling",
            )
        ),
        keep=((),),
        before=partial(_prepared, effort=level),
    )


TML_V0 = inkling()
