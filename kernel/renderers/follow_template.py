"""Renderers as the models' public chat templates write, where the reference writes otherwise (`--follow template`).

A family's entry has the changed pieces, and the differences as conditions on the conversation, so that rows are counted
without being rendered twice. A format without an entry has no public template that was compared.
"""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from kernel.conversation import Conversation, Message, ToolCall, parts_of, text_of
from kernel.errors import expected
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.renderers.llama3_template import LLAMA3_1_TEMPLATE
from kernel.renderers.qwen3_5_template import QWEN3_5_TEMPLATES, QWEN3_8_TEMPLATES
from kernel.renderers.qwen3_template import QWEN3_TEMPLATES


class Difference(NamedTuple):
    """Something that the public template writes otherwise, and the conversations in which it does."""

    what: str
    is_in: Callable[[Conversation], bool]


class Following(NamedTuple):
    """A renderer that follows the public template, and how it differs from the reference's."""

    renderer: Renderer
    differences: Sequence[Difference]


def _calls(conversation: Conversation) -> list[ToolCall]:
    return [call for message in conversation for call in message.tool_calls]


def _reasons(message: Message) -> bool:
    return not isinstance(message.content, str) and any(part.kind == "thinking" for part in message.content)


def _has_text(message: Message) -> bool:
    return bool(text_of(message))


def _rewritten_call(conversation: Conversation) -> bool:
    for name, arguments, _ in _calls(conversation):
        body = json.dumps({"name": name, "arguments": json.loads(arguments)})
        if body != f'{{"name": "{name}", "arguments": {arguments}}}':
            return True
    return False


def _rewritten_tool(conversation: Conversation) -> bool:
    return any(json.dumps(json.loads(tool.json)) != tool.json for m in conversation for tool in m.tools)


def _results_in_a_row(conversation: Conversation) -> bool:
    return any(one.role == other.role == "tool" for one, other in pairwise(conversation))


def _empty_system_beside_tools(conversation: Conversation) -> bool:
    return bool(conversation) and bool(conversation[0].tools) and conversation[0].content == ""


def _reasoning_in_a_turn(conversation: Conversation) -> bool:
    """Reasoning of a message after which the same turn goes on, so that the reference leaves it out."""
    has_user = reasoned = False
    for i, message in enumerate(conversation):
        is_last = i == len(conversation) - 1
        if message.role == "user":
            has_user, reasoned = True, False
        elif reasoned and (message.role == "assistant" or is_last):
            return True
        reasoned |= has_user and message.role == "assistant" and _reasons(message)
    return False


def _reasoning_without_user(conversation: Conversation) -> bool:
    n = next((i for i, message in enumerate(conversation) if message.role == "user"), len(conversation))
    return any(map(_reasons, conversation[:n]))


def _bare_call_that_reasons(conversation: Conversation) -> bool:
    n = next((i for i, message in enumerate(conversation) if message.role == "user"), len(conversation))
    return any(m.tool_calls and _reasons(m) and not _has_text(m) for m in conversation[n:])


def _bare_call(conversation: Conversation) -> bool:
    return any(message.tool_calls and not _has_text(message) for message in conversation)


def _reasoning_further_on(conversation: Conversation) -> bool:
    return any("thinking" in [part.kind for part in parts_of(message)[1:]] for message in conversation)


def _declares(conversation: Conversation) -> bool:
    return any(message.tools for message in conversation)


def _escapes_nested(conversation: Conversation) -> bool:
    nested = [v for c in _calls(conversation) for v in json.loads(c.arguments).values() if isinstance(v, dict | list)]
    return any(not json.dumps(value, ensure_ascii=False).isascii() for value in nested)


def _spaced_reasoning(conversation: Conversation) -> bool:
    return any(p.kind == "thinking" and p.text != p.text.strip() for m in conversation for p in parts_of(m))


def _spaced_system(conversation: Conversation) -> bool:
    return any(m.tools and text_of(m).strip() and text_of(m) != text_of(m).lstrip() for m in conversation)


def _no_user(conversation: Conversation) -> bool:
    return not any(message.role == "user" for message in conversation)


def _later_system(conversation: Conversation) -> bool:
    return any(message.role == "system" for message in conversation[1:])


def _developer(conversation: Conversation) -> bool:
    return any(message.role == "developer" for message in conversation)


_QWEN = (
    Difference("calls are written anew (characters beyond ASCII, digits, spaces)", _rewritten_call),
    Difference("declared tools are written anew (characters beyond ASCII, digits)", _rewritten_tool),
    Difference("results of one turn have a user turn each", _results_in_a_row),
    Difference("no blank line after an empty system message beside tools", _empty_system_beside_tools),
    Difference("developer messages are written, where the template has none", _developer),
)
_QWEN3 = (
    *_QWEN,
    Difference("reasoning is left out where its turn goes on", _reasoning_in_a_turn),
    Difference("reasoning is written before any user has spoken", _reasoning_without_user),
    Difference("a line between reasoning and a call without text", _bare_call_that_reasons),
    Difference("reasoning after text stays there", _reasoning_further_on),
)
_NO_REASONING = Difference("reasoning is written, where the template has none", lambda talk: any(map(_reasons, talk)))
_LLAMA3 = (
    Difference("no system message with dates", bool),
    Difference(
        "results are under `tool`, not `ipython`, and not in JSON", lambda talk: any(m.role == "tool" for m in talk)
    ),
    Difference("white space around texts is kept", lambda talk: any(text_of(m) != text_of(m).strip() for m in talk)),
)
_QWEN3_8 = (
    Difference("declared tools are without OpenAI's wrapper, characters beyond ASCII escaped", _declares),
    Difference("characters beyond ASCII in lists and objects of arguments are escaped", _escapes_nested),
    Difference("white space around reasoning is kept", _spaced_reasoning),
    Difference("white space before a system text that follows tools is kept", _spaced_system),
    Difference("reasoning after text stays there", _reasoning_further_on),
    Difference("developer messages are written, which the template refuses", _developer),
    Difference("later system messages are written, which the template refuses", _later_system),
    Difference("conversations without a user are written, which the template refuses", _no_user),
)
_QWEN3_5 = (*_QWEN3_8, Difference("reasoning is left out where its turn goes on", _reasoning_in_a_turn))
_OF = {
    **{one.name: _QWEN3_5 for one in QWEN3_5_TEMPLATES},
    **{one.name: _QWEN3_8 for one in QWEN3_8_TEMPLATES},
    "llama3": _LLAMA3,
    "qwen3": _QWEN3,
    "qwen3_disable_thinking": _QWEN3,
    "qwen3_instruct": (*_QWEN, _NO_REASONING),
    "qwen3_vl_instruct": (
        *_QWEN,
        _NO_REASONING,
        Difference("a line before a call without text", _bare_call),
        Difference("later system messages are written, where the template has none", _later_system),
    ),
}
_ALL = (LLAMA3_1_TEMPLATE, *QWEN3_TEMPLATES, *QWEN3_5_TEMPLATES, *QWEN3_8_TEMPLATES)
FOLLOWING = {one.name: Following(one, _OF[one.name]) for one in _ALL}
"""By the name of the renderer whose public template is followed."""


def following_template(renderer: Renderer, at: str = "--follow") -> Renderer:
    """The renderer as the model's public template writes.

    Raises:
        InputError: naming the formats that can, for one that cannot.
    """
    if renderer.name not in FOLLOWING or RENDERERS.get(renderer.name) is not renderer:
        names = ", ".join(FOLLOWING)
        raise expected(f"a format whose public template is known ({names}), or hf_template", renderer.name, at)
    return FOLLOWING[renderer.name].renderer


def follows_template(renderer: Renderer) -> bool:
    """Whether a renderer is one of those that follow a public template."""
    known = FOLLOWING.get(renderer.name)
    return known is not None and known.renderer is renderer


def differences(renderer: Renderer, conversation: Conversation) -> list[str]:
    """What the model's public template writes otherwise in a conversation than the renderer of that name."""
    is_known = follows_template(renderer) or RENDERERS.get(renderer.name) is renderer
    known = FOLLOWING.get(renderer.name) if is_known else None
    return [one.what for one in known.differences if one.is_in(conversation)] if known else []
