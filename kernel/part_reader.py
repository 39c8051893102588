"""Parts of a message's content: OpenAI's, Anthropic's blocks, and Gemini's parts."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from kernel.conversation import Part, PartKind, ToolCall
from kernel.errors import expected, problem
from kernel.json_values import (
    each,
    is_empty,
    kind_of,
    located,
    optional_text,
    shown,
    text_of,
    text_under,
    the_one,
    write,
)
from kernel.message_keys import MessageKeys
from kernel.tool_reader import arguments_text, read_call
from kernel.weight_keys import WEIGHT_KEYS, part_weight


class Result(NamedTuple):
    """What a tool answered, as a block of a user's message."""

    parts: tuple[Part, ...]
    name: str
    id: str


Block: TypeAlias = Part | ToolCall | Result

_TEXTS: dict[str, tuple[PartKind, str]] = {
    "text": ("text", "text"),
    "input_text": ("text", "text"),
    "output_text": ("text", "text"),
    "summary_text": ("text", "text"),
    "refusal": ("text", "refusal"),
    "thinking": ("thinking", "thinking"),
    "reasoning": ("thinking", "text"),
    "image": ("image", "image"),
    "image_url": ("image", "image_url"),
    "input_image": ("image", "image_url"),
}
_CALLS = ("tool_use", "tool_call", "tool-call", "function_call")
_RESULTS = ("tool_result", "tool-result", "function_call_output")
TYPES = (*_TEXTS, "redacted_thinking", "tool_use", "tool_result")
_GEMINI = {
    **dict.fromkeys(("functionCall", "function_call"), "call"),
    **dict.fromkeys(("functionResponse", "function_response"), "result"),
    **dict.fromkeys(("inlineData", "inline_data", "fileData", "file_data"), "image"),
}
_IDS = ("tool_use_id", "tool_call_id", "toolCallId", "call_id", "id")
_OUTPUTS = ("content", "output", "result")
_RESULT_KEYS = frozenset((*_IDS, *_OUTPUTS, "type", "name", "toolName"))
_SOURCE_KEYS = frozenset(("type", "url", "path", "data", "media_type", "mimeType", "mime_type", "fileUri", "file_uri"))


def read_parts(values: object, keys: MessageKeys, where: str, role: str) -> list[Block | None]:
    """What each element of a list of parts says; None for a redacted one, which is counted as ignored."""
    if not isinstance(values, list):
        raise expected("a list of content parts", kind_of(values))
    return list(each(values, lambda value: _read_part(value, keys, where, role)))


def _read_part(value: object, keys: MessageKeys, where: str, role: str) -> Block | None:
    if isinstance(value, str):
        return Part("text", text_of(value))
    if not isinstance(value, Mapping):
        raise expected("a content part object", kind_of(value))
    kind = value.get("type")
    if kind is None and ("text" in value or not _GEMINI.keys().isdisjoint(value)):
        return _gemini(value, keys, where, role)
    if kind in _CALLS:
        return read_call(value, keys, where)
    if kind in _RESULTS:
        return _result(value, keys, where)
    if kind == "redacted_thinking":
        keys.note(f"{where} of type redacted_thinking")
        return None
    if not isinstance(kind, str) or kind not in _TEXTS:
        raise expected(f"a part of type {', '.join(sorted(TYPES))}", shown(kind), path=("type",))
    return _typed(kind, value, keys, where, role)


def _typed(kind: str, value: Mapping[str, object], keys: MessageKeys, where: str, role: str) -> Part:
    """A part of text, reasoning or image."""
    ours, key = _TEXTS[kind]
    read = WEIGHT_KEYS | {"type", key}
    if ours == "image":
        read |= {"image", "image_url", "url", "path", "source"}
    elif kind == "reasoning":
        read |= {"summary"}
    elif kind == "thinking":
        read |= {"text"}
    keys.check(value, read, where)
    weight = part_weight(value, role)
    if ours == "image":
        return Part("image", _image(value, key, keys, where), weight)
    if kind == "reasoning" and is_empty(value.get("text")) and not is_empty(value.get("summary")):
        summary = value["summary"]
        blocks = located(lambda given: read_parts(given, keys, f"{where}.summary[]", role), summary, "summary")
        return Part("thinking", "\n\n".join(block.text for block in blocks if isinstance(block, Part)), weight)
    if kind == "thinking" and "thinking" not in value and "text" in value:
        key = "text"
    return Part(ours, text_under(value, key), weight)


def _image(value: Mapping[str, object], usual: str, keys: MessageKeys, where: str) -> str:
    """URL, data URI or path of an image."""
    key = the_one(value, ("image", "image_url", "url", "path", "source"))
    if key is None:
        return text_under(value, usual)
    inner = value[key]
    if not isinstance(inner, Mapping):
        return text_of(inner, key)
    return located(lambda _: _source(inner, keys, f"{where}.{key}"), inner, key)


def _source(value: Mapping[str, object], keys: MessageKeys, where: str) -> str:
    """An image's address in an object: {"url": ...}, or Anthropic's or Gemini's data with its media type."""
    keys.check(value, _SOURCE_KEYS, where)
    data = the_one(value, ("data",))
    if data is None:
        return text_under(value, the_one(value, ("url", "path", "fileUri", "file_uri")) or "url")
    media = optional_text(value, ("media_type", "mimeType", "mime_type"))
    if not media:
        raise expected("the type of an image", "nothing (the key is missing)", path=("media_type",))
    return f"data:{media};base64,{text_of(value[data], data)}"


def _result(value: Mapping[str, object], keys: MessageKeys, where: str) -> Result:
    keys.check(value, _RESULT_KEYS, where)
    key = the_one(value, _OUTPUTS)
    parts = () if key is None else located(lambda output: _output(output, keys, f"{where}.{key}[]"), value[key], key)
    return Result(parts, optional_text(value, ("name", "toolName")), optional_text(value, _IDS[:4]))


def _output(value: object, keys: MessageKeys, where: str) -> tuple[Part, ...]:
    """A tool's answer: text, blocks, or an object that is written as JSON."""
    if isinstance(value, str):
        return (Part("text", text_of(value)),)
    if not isinstance(value, list):
        return (Part("text", write(value)),)
    found = []
    for i, block in enumerate(read_parts(value, keys, where, "tool")):
        if not isinstance(block, Part):
            raise problem("a tool's answer holds text and images alone", path=(i,))
        found.append(block)
    return tuple(found)


def _gemini(value: Mapping[str, object], keys: MessageKeys, where: str, role: str) -> Block:
    """A part without a type: {"text": ..., "thought": true}, a call, an answer, or an image."""
    key = the_one(value, tuple(_GEMINI))
    if key is None:
        keys.check(value, WEIGHT_KEYS | {"text", "type", "thought"}, where)
        thought = value.get("thought")
        if not isinstance(thought, bool | None):
            raise expected("true or false", kind_of(thought), path=("thought",))
        return Part("thinking" if thought else "text", text_under(value, "text"), part_weight(value, role))
    keys.check(value, frozenset((key, "type")), where)
    return located(lambda body: _gemini_body(body, _GEMINI[key], keys, f"{where}.{key}"), value[key], key)


def _gemini_body(body: object, meaning: str, keys: MessageKeys, where: str) -> Block:
    if not isinstance(body, Mapping):
        raise expected("an object", kind_of(body))
    if meaning == "call":
        return read_call(body, keys, where)
    if meaning == "image":
        return Part("image", _source(body, keys, where))
    keys.check(body, frozenset(("name", "id", "response")), where)
    answer = located(arguments_text, body.get("response"), "response")
    return Result((Part("text", answer),), optional_text(body, ("name",)), optional_text(body, ("id",)))
