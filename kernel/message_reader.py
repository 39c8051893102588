"""Messages of a row, in the forms of OpenAI, Anthropic, ShareGPT and Gemini."""

import json
from collections.abc import Mapping
from typing import NamedTuple

from kernel.conversation import Message, Origin, Part, ToolCall, beside_reasoning, content_of
from kernel.errors import Path, expected, problem, unknown
from kernel.json_values import (
    each,
    is_empty,
    kind_of,
    list_or_object,
    located,
    optional_text,
    parse,
    shown,
    text_of,
    text_under,
    the_one,
)
from kernel.message_keys import MessageKeys
from kernel.part_reader import Block, Result, read_parts
from kernel.roles import CALLERS, ROLES, role_named
from kernel.tool_reader import calls_in_text, read_call, read_calls
from kernel.weight_keys import FACTORS, FLAGS, WEIGHT_KEYS, factor, flag

_REASONING = (
    *("reasoning_content", "reasoning", "thinking", "thought", "thoughts", "think", "analysis", "cot"),
    *("chain_of_thought", "thinking_content", "reasoning_text"),
)
_DETAILS = ("reasoning_details", "thinking_blocks")
_DETAIL_TEXTS = {"reasoning.text": "text", "reasoning.summary": "summary", "thinking": "thinking"}
_CONTENTS = ("content", "value", "text", "parts", "refusal")
_CALL_IDS = ("tool_call_id", "tool_use_id", "call_id")
READ = frozenset(
    {
        *("role", "from", "name", "tool_name", "tool_calls", "function_call", "type"),
        *(*_CONTENTS, *_CALL_IDS, *_REASONING, *_DETAILS, *WEIGHT_KEYS),
    }
)
"""The keys of a message that are read."""


class Read(NamedTuple):
    """A message, and where it was in what came."""

    message: Message
    origin: Origin


def read_message(value: object, keys: MessageKeys, where: str = "messages[]") -> tuple[Read, ...]:
    """The messages that one element says: one, or several where a user's blocks hold the answers of tools."""
    raw = value
    if isinstance(value, str) and value.lstrip().startswith("{"):
        raw = parse(value, "the JSON text of a message")
    if not isinstance(raw, Mapping):
        raise expected("a message object with role and content", kind_of(raw))
    keys.check(raw, READ, where)
    if raw.get("type") not in (None, "", "message"):
        raise expected("a message of type 'message'", shown(raw["type"]), path=("type",))
    role, is_caller = _role(raw)
    first = Message(
        role,
        name=optional_text(raw, ("name", "tool_name")),
        tool_call_id=optional_text(raw, _CALL_IDS),
        trainable=flag(raw),
        weight=factor(raw),
    )
    calls, reasoning = _calls_beside(raw, keys, where), _reasoning(raw, keys, where)
    usual = "value" if "from" in raw else "content"
    key = the_one(raw, _CONTENTS) or next((key for key in _CONTENTS if raw.get(key) is not None), usual)
    fields: dict[str, Path] = {"role": (_role_key(raw),), "content": (key,)}
    for ours, names in (("trainable", FLAGS), ("weight", FACTORS)):
        fields[ours] = (next((name for name in names if raw.get(name) is not None), ours),)
    origin = Origin((), {ours: theirs for ours, theirs in fields.items() if theirs != (ours,)})
    said = raw.get(key)
    content: str | tuple[Part, ...]
    if is_caller and not (calls and is_empty(said)):
        content, found = located(lambda said: _caller(said, keys, f"{where}.{key}"), said, key)
        calls = _one_of(found, calls)
    elif isinstance(said, list):
        blocks = located(lambda said: read_parts(said, keys, f"{where}.{key}[]", role), said, key)
        if any(isinstance(block, Result) for block in blocks):
            if calls or reasoning or role not in ("user", "tool"):
                raise problem("an answer of a tool must be in a message of the user or the tool", path=(key,))
            return _answers(first, blocks, key, origin)
        content, found = located(lambda _: _parts_and_calls(blocks), said, key)
        calls = _one_of(found, calls)
    else:
        content = "" if said is None and (calls or reasoning) else text_under(raw, key)
    return (Read(first._replace(content=_with_reasoning(content, reasoning), tool_calls=calls), origin),)


def _role_key(raw: Mapping[str, object]) -> str:
    return "from" if raw.get("role") is None and "from" in raw else "role"


def _role(raw: Mapping[str, object]) -> tuple[str, bool]:
    """The role, and whether its text holds calls; a role that is in no table is left to the renderer."""
    key = _role_key(raw)
    name = text_under(raw, key)
    if not name:
        raise expected("a role", "an empty string", path=(key,))
    role = role_named(name)
    if key == "from" and role is None:
        raise unknown("speaker", name, ROLES, path=(key,))
    if key == "role" and not is_empty(other := raw.get("from")) and role_named(text_of(other, "from")) != role:
        raise problem("'role' and 'from' name different roles: keep one of them", path=("from",))
    return role or name, name.strip().lower() in CALLERS


def _caller(said: object, keys: MessageKeys, where: str) -> tuple[str, tuple[ToolCall, ...]]:
    """Text and calls of a speaker who makes calls: both in one text, or the calls as they are."""
    if isinstance(said, list | Mapping):
        return "", read_calls(said, keys, where)
    return calls_in_text(text_of(said), keys, where)


def _calls_beside(raw: Mapping[str, object], keys: MessageKeys, where: str) -> tuple[ToolCall, ...]:
    """The calls under `tool_calls`, or the one under `function_call`."""
    if "tool_calls" not in raw and "function_call" not in raw:
        return ()

    def older(given: object) -> tuple[ToolCall, ...]:
        call = list_or_object(given, "the JSON text of a call")
        return () if call is None else _one_of((read_call(call, keys, f"{where}.function_call"),), calls)

    calls = located(lambda given: read_calls(given, keys, f"{where}.tool_calls"), raw.get("tool_calls"), "tool_calls")
    return located(older, raw.get("function_call"), "function_call") or calls


def _one_of(found: tuple[ToolCall, ...], beside: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """The calls given in one of two places; in both, they must be the same."""
    if found and beside and [_asked(call) for call in found] != [_asked(call) for call in beside]:
        raise problem("the calls here and those under 'tool_calls' differ: keep one of them")
    return beside or found


def _asked(call: ToolCall) -> tuple[str, object]:
    return call.name, json.loads(call.arguments)


def _parts_and_calls(blocks: list[Block | None]) -> tuple[str | tuple[Part, ...], tuple[ToolCall, ...]]:
    """Blocks as content and the calls after it."""
    parts, calls = list[Part](), list[ToolCall]()
    for i, block in enumerate(blocks):
        if isinstance(block, ToolCall):
            calls.append(block)
        elif isinstance(block, Part):
            if calls and block.text.strip():
                raise problem("text after a call in one message is not read: put it in the next message", path=(i,))
            parts.append(block)
    return content_of(parts), tuple(calls)


def _answers(first: Message, blocks: list[Block | None], key: str, origin: Origin) -> tuple[Read, ...]:
    """The messages of tools that a user's message holds, and what the user says between and after them."""
    read, said = list[Read](), list[Part]()

    def user_speaks() -> None:
        if said:
            read.append(Read(first._replace(content=content_of(said)), origin))
            said.clear()

    for i, block in enumerate(blocks):
        if isinstance(block, Result):
            user_speaks()
            name, call_id = block.name or first.name, block.id or first.tool_call_id
            answer = first._replace(role="tool", content=content_of(block.parts), name=name, tool_call_id=call_id)
            read.append(Read(answer, Origin((key, i), {"role": ("type",)})))
        elif isinstance(block, ToolCall):
            raise problem("a call must be in a message of the assistant", path=(key, i))
        elif block is not None:
            said.append(block)
    user_speaks()
    return tuple(read)


def _reasoning(raw: Mapping[str, object], keys: MessageKeys, where: str) -> str:
    """The reasoning beside the content, under the name that it has."""
    key = the_one(raw, _REASONING)
    text = "" if key is None else text_of(raw[key], key)
    for name in _DETAILS:
        if name in raw:
            details = located(lambda given: _details(given, keys, f"{where}.{name}[]"), raw[name], name)  # noqa: B023
            if text and details and details.strip() != text.strip():
                raise problem(f"{key or _DETAILS[0]!r} and {name!r} hold different reasoning: keep one", path=(name,))
            text = text or details
    return text


def _details(value: object, keys: MessageKeys, where: str) -> str:
    """The text of OpenRouter's details or of thinking blocks; what is encrypted is counted as ignored."""
    came = list_or_object(value, "the JSON text of a list of reasoning details")
    if came is None:
        return ""
    if not isinstance(came, list):
        raise expected("a list of reasoning details", kind_of(came))
    return "".join(each(came, lambda detail: _detail(detail, keys, where)))


def _detail(value: object, keys: MessageKeys, where: str) -> str:
    if not isinstance(value, Mapping):
        raise expected("an object with type and text", kind_of(value))
    kind = value.get("type")
    if kind in ("reasoning.encrypted", "redacted_thinking"):
        keys.note(f"{where} of type {kind}")
        return ""
    if kind not in _DETAIL_TEXTS:
        raise expected(f"a detail of type {', '.join(_DETAIL_TEXTS)}", shown(kind), path=("type",))
    keys.check(value, frozenset(("type", "format", _DETAIL_TEXTS[kind])), where)
    return text_under(value, _DETAIL_TEXTS[kind])


def _with_reasoning(content: str | tuple[Part, ...], reasoning: str) -> str | tuple[Part, ...]:
    """The content after its reasoning; reasoning that is in both places must be the same."""
    if not reasoning:
        return content
    within = "" if isinstance(content, str) else "".join(part.text for part in content if part.kind == "thinking")
    if within and within.strip() != reasoning.strip():
        raise problem("the reasoning in the content and that beside it differ: keep one of them", path=("content",))
    return content if within else beside_reasoning(reasoning, content)
