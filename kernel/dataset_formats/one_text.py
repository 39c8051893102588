"""Rows whose whole conversation is one text: raw text, and Glaive's function calling with its turns in `chat`."""

import json
import re
from typing import Any

from kernel.conversation import Origin
from kernel.dataset_formats.chats import COLUMN
from kernel.dataset_formats.row_messages import Row, Turns, text_of
from kernel.errors import expected
from kernel.json_values import kind_of

_TURN = re.compile(r"(?:\A\s*|\n{2,}[ \t]*)(USER|ASSISTANT|FUNCTION RESPONSE):[ \t]*")
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_END, _CALL = "<|endoftext|>", "<functioncall>"
_QUOTED = re.compile(r"(\{.*\"arguments\"\s*:\s*)'(.*)'(\s*(?:,[^']*)?\})", re.DOTALL)
_DECODER = json.JSONDecoder()


def read_text(row: Row, column: str) -> Turns:
    """`text`: no turns, one message of the role "text"."""
    key = column if column != COLUMN else "text"
    turns = Turns(key)
    turns.add_text("text", text_of(row, key), key)
    return turns


def read_glaive(row: Row, _column: str) -> Turns:
    """`system` ("SYSTEM: ..." and the functions as JSON objects), `chat` ("USER: ... ASSISTANT: ...")."""
    turns = Turns("system", "chat")
    system = text_of(row, "system", "").strip().removeprefix("SYSTEM:").strip()
    prompt, tools = _functions(system)
    if prompt:
        turns.add_text("system", prompt, "system")
    if tools:
        turns.gets["tools"] = tools
    before, *parts = _TURN.split(text_of(row, "chat"))
    if before.strip() or not parts:
        raise expected("turns that begin with USER: or ASSISTANT:", f"text that begins {before[:30]!r}", path=("chat",))
    for who, said in zip(parts[::2], parts[1::2], strict=True):
        turns.add(_turn(_ROLES[who], said), Origin((), dict.fromkeys(("content", "role", "tool_calls"), ("chat",))))
    return turns


def _turn(role: str, said: str) -> dict[str, Any]:
    said, _, rest = said.partition(_END)
    if rest.strip():
        raise expected(f"the next turn after {_END}", repr(rest.strip()[:30]), path=("chat",))
    if role != "assistant" or _CALL not in said:
        return {"role": role, "content": said.strip()}
    text, *calls = said.split(_CALL)
    return {"role": role, "content": text.strip(), "tool_calls": [_call(call.strip()) for call in calls]}


def _call(text: str) -> dict[str, Any]:
    """A call as Glaive writes it: a JSON object whose arguments are JSON in single quotes."""
    quoted = _QUOTED.fullmatch(text)
    try:
        if not quoted:
            call = json.loads(text)
        else:
            arguments = quoted[2].replace("\\'", "'")
            json.loads(arguments)
            call = {**json.loads(f"{quoted[1]}null{quoted[3]}"), "arguments": arguments}
    except (ValueError, RecursionError) as error:
        raise expected(
            f"the JSON text of a call after {_CALL}", f"text that is not JSON ({error})", path=("chat",)
        ) from None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise expected("the JSON text of a tool call with a name", kind_of(call), path=("chat",))
    return call


def _functions(system: str) -> tuple[str, list[Any]]:
    """The system prompt before its functions, and these; all of it where they are not JSON objects to the end."""
    start = re.search(r"^\s*\{", system, re.MULTILINE)
    if start is None:
        return system, []
    at, tools = start.end() - 1, []
    while at < len(system):
        try:
            tool, at = _DECODER.raw_decode(system, at)
        except (ValueError, RecursionError):
            return system, []
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            return system, []
        tools.append(tool)
        while at < len(system) and system[at] in " \t\r\n,":
            at += 1
    return system[: start.start()].rstrip(), tools
