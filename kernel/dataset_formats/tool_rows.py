"""Rows made for tools: xLAM's query, tools and answers, and Gemini's contents."""

from collections.abc import Mapping

from kernel.conversation import Origin
from kernel.dataset_formats.row_messages import Row, Turns, from_json, list_of, text_of
from kernel.errors import expected
from kernel.json_values import kind_of
from kernel.row_keys import holds

REQUEST = ("generationConfig", "generation_config", "safetySettings", "safety_settings", "toolConfig", "tool_config",
           "cachedContent", "labels")  # fmt: skip
"""keys of a request to Gemini that carry no content"""
_INSTRUCTION = ("systemInstruction", "system_instruction")


def read_xlam(row: Row, _column: str) -> Turns:
    """`query`, and `answers`: the calls that answer it, as JSON text or a list; `tools` stay."""
    turns = Turns("query", "answers")
    turns.add_text("user", text_of(row, "query"), "query")
    if not holds(row.get("answers")):
        raise expected("at least one call", kind_of(row.get("answers")), path=("answers",))
    calls = {"role": "assistant", "content": "", "tool_calls": row["answers"]}
    turns.add(calls, Origin((), dict.fromkeys(("role", "content", "tool_calls"), ("answers",))))
    return turns


def read_gemini(row: Row, _column: str) -> Turns:
    """`contents` of role and parts, `systemInstruction`; `tools` stay."""
    turns = Turns("contents", *_INSTRUCTION, *REQUEST)
    for key in _INSTRUCTION:
        if holds(row.get(key)):
            turns.add_text("system", _instruction(from_json(row[key]), key), key)
    contents = list_of(row, "contents", "a list of at least one content")
    turns.add_messages([{"role": "user", **one} if isinstance(one, Mapping) else one for one in contents], "contents")
    return turns


def _instruction(value: object, key: str) -> str:
    """The text of a system instruction: a text, or the parts of a content."""
    if isinstance(value, str):
        return value
    parts = value.get("parts") if isinstance(value, Mapping) else value
    parts = [parts] if isinstance(parts, Mapping | str) else parts
    if not isinstance(parts, list):
        raise expected("text, or an object with parts", kind_of(value), path=(key,))
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    for k, text in enumerate(texts):
        if not isinstance(text, str):
            raise expected("text", kind_of(text), path=(key, "parts", k))
    return "".join(map(str, texts))
