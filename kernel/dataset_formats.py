"""The shapes that rows of chat data come in, each a function from a row to the same row with messages.

    messages            {"messages": [{"role": ..., "content": ...}], "system": ...}              (OpenAI, Anthropic)
    sharegpt            {"conversations": [{"from": "human", "value": ...}], "system": ...}
    alpaca              {"instruction": ..., "input": ..., "output": ..., "system": ..., "history": [[..., ...]]}
    prompt_completion   {"prompt": ..., "completion": ...}, texts or lists of messages            (TRL, OpenAI)
    text                {"text": ...}: no turns, one message of the role "text"

A row is recognised by its keys, on its own, so one file may hold several shapes. Nothing is guessed: a row that fits no
shape, or two, is an error that names the flag which decides. Keys that are no part of a shape are kept. A row's own
`system` is the system's message that opens the conversation. An instruction
and its input are joined by a newline, as LLaMA-Factory and Axolotl do. Of a prompt that is a list of messages, the
assistant's are trained like any others; `--train-on-what last_assistant_turn` trains the completion alone.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kernel.errors import InputError, expected, unknown
from kernel.origin import Origin, Shaped, Trace
from kernel.row_reader import kind_of

Row: TypeAlias = Mapping[str, Any]

COLUMN = "messages"
"""The column that is meant when none is named."""
_CHATS = ("conversations", "conversation", COLUMN)
KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "messages": ((COLUMN,),),
    "sharegpt": (("conversations",), ("conversation",)),
    "alpaca": (("instruction", "output"),),
    "prompt_completion": (("prompt", "completion"), ("prompt", "response")),
    "text": (("text",),),
}
"""The shapes, and the keys that each is recognised by."""
_OTHERS = frozenset(key for name, sets in KEYS.items() if name != "messages" for keys in sets for key in keys)
_SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant", "model", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function_response"), "tool"),
    "system": "system",
    "developer": "developer",
}
_SAID = {"role": ".from", "content": ".value"}


def shaped(row: Row, at: str = "$", shape: str = "auto", column: str = COLUMN) -> Row:
    """The row with its messages under `row[column]`; itself, if it has them.

    Args:
        row: as it came.
        at: where it stands, for errors: `train.jsonl:17`.
        shape: a name of `KEYS`, or "auto".
        column: the key of the messages (or of the text), where it is not the usual one; then no other shape is looked
            for by "auto".

    Raises:
        InputError: the row fits no shape, or two, or not the one that was named.

    >>> shaped({"instruction": "Add.", "input": "2+2", "output": "4", "id": 7})["messages"]
    [{'role': 'user', 'content': 'Add.\\n2+2'}, {'role': 'assistant', 'content': '4'}]
    >>> shaped({"id": 7}, at="train.jsonl:17")
    Traceback (most recent call last):
    kernel.errors.InputError: expected the key 'messages', or those of another shape (see --dataset-format), got 'id' \
- at train.jsonl:17
    """
    if shape == "auto":
        if column == COLUMN and COLUMN in row and _OTHERS.isdisjoint(row):
            shape = "messages"
        else:
            shape = shape_of(row, at, column)
    return _SHAPES[shape](row, at, column)


def shape_of(row: Row, at: str = "$", column: str = COLUMN) -> str:
    """The name of the one shape that a row fits.

    Raises:
        InputError: there is none, or more than one.

    >>> shape_of({"prompt": "2+2?", "completion": "4"})
    'prompt_completion'
    """
    if column != COLUMN:
        return "messages"
    given = {key for key, value in row.items() if value is not None}
    fits = fitting(given) or fitting(set(row))
    if not fits:
        raise expected("the key 'messages', or those of another shape (see --dataset-format)", keys_of(row), at)
    if len(fits) > 1:
        raise expected("a row of one shape (--dataset-format says which)", f"{' and '.join(fits)}: {keys_of(row)}", at)
    return fits[0]


def fitting(keys: set[str]) -> list[str]:
    """The shapes that a row with these keys fits.

    >>> fitting({"messages", "text"})
    ['messages', 'text']
    """
    return [name for name, sets in KEYS.items() if any(keys.issuperset(some) for some in sets)]


def keys_of(row: Row) -> str:
    """The keys of a row, as errors name them.

    >>> keys_of({"a": 1, "b": 2})
    "'a', 'b'"
    """
    return ", ".join(repr(key) for key in row) or "no keys"


def missing(column: str, row: Row, at: str) -> InputError:
    """The error for a row without the column it should have; it names what is there."""
    hint = next((f" (try --dataset-column {key})" for key in _CHATS[:2] if key in row), "")
    return expected(f"the key {column!r}", f"{keys_of(row)}{hint}", at)


def _messages(row: Row, at: str, column: str) -> Row:
    if column not in row:
        raise missing(column, row, at)
    messages = row[column]
    if type(messages) is list and messages and type(messages[0]) is dict and "from" in messages[0]:
        return _sharegpt(row, at, column)
    if row.get("system") and type(messages) is list and messages and isinstance(messages[0], Mapping):
        origins = [Origin(f"$.{column}[{i}]") for i in range(len(messages))]
        return _opened(row, messages, origins, (), at, column)
    return row


def _sharegpt(row: Row, at: str, column: str) -> Row:
    key = column if column != COLUMN else next((key for key in _CHATS if key in row), "conversations")
    told = _list(row, key, at)
    messages = [_said(message, f"{_where(at)}.{key}[{i}]") for i, message in enumerate(told)]
    return _opened(row, messages, [Origin(f"$.{key}[{i}]", _SAID) for i in range(len(told))], (key,), at, column)


def _said(message: object, at: str) -> dict[str, Any]:
    """One message of ShareGPT's, or one that has a role already."""
    if not isinstance(message, Mapping):
        raise expected("an object with from and value", kind_of(message), at)
    if "role" in message and "from" not in message:
        return {**message}
    if "from" not in message:
        raise expected("the keys 'from' and 'value'", keys_of(message), at)
    speaker = message["from"]
    if not isinstance(speaker, str):
        raise expected("text", kind_of(speaker), f"{at}.from")
    if speaker.lower() not in _SPEAKERS:
        raise unknown("speaker", speaker, _SPEAKERS, f"{at}.from")
    rest = {key: value for key, value in message.items() if key not in ("from", "value")}
    role = {"role": _SPEAKERS[speaker.lower()], **rest}
    if speaker.lower() == "function_call":
        return {**role, "content": "", "tool_calls": _calls(message.get("value"), f"{at}.value")}
    return {**role, "content": message["value"]} if "value" in message else role


def _calls(value: object, at: str) -> list[Any]:
    """The calls that a function_call holds: JSON text of one, or of a list of them."""
    try:
        calls = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise expected("the JSON text of a tool call", f"text that is not JSON ({error})", at) from None
    calls = calls if isinstance(calls, list) else [calls]
    for call in calls:
        if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
            raise expected("the JSON text of a tool call with a name", kind_of(call), at)
    return calls


def _alpaca(row: Row, at: str, column: str) -> Row:
    _unnamed(column, "alpaca", at)
    asked, given = _text(row, "instruction", at), _text(row, "input", at, "")
    messages: list[dict[str, Any]] = []
    origins = []
    for i, pair in enumerate(row.get("history") or []):
        if not isinstance(pair, list) or len(pair) != 2:
            raise expected("a pair of instruction and answer", kind_of(pair), f"{_where(at)}.history[{i}]")
        for k, role in enumerate(("user", "assistant")):
            messages.append({"role": role, "content": pair[k]})
            origins.append(Origin(f"$.history[{i}]", {"content": f"[{k}]"}))
    messages += [_message("user", f"{asked}\n{given}" if given and asked else asked or given)]
    messages += [_message("assistant", _text(row, "output", at))]
    origins += [Origin("$", {"content": ".instruction"}), Origin("$", {"content": ".output"})]
    return _opened(row, messages, origins, ("instruction", "input", "output", "history"), at, column)


def _prompt_completion(row: Row, at: str, column: str) -> Row:
    _unnamed(column, "prompt_completion", at)
    answers = [key for key in ("completion", "response") if row.get(key) is not None] or ["completion"]
    if len(answers) > 1:
        raise expected("a completion or a response", "both", at)
    messages: list[Any] = []
    origins: list[Origin] = []
    for key, role in (("prompt", "user"), (answers[0], "assistant")):
        value = row.get(key)
        if isinstance(value, list):
            messages += [_part(m, f"{_where(at)}.{key}[{i}]") for i, m in enumerate(_list(row, key, at))]
            origins += [Origin(f"$.{key}[{i}]") for i in range(len(value))]
        else:
            messages.append(_message(role, _text(row, key, at)))
            origins.append(Origin("$", {"content": f".{key}"}))
    return _opened(row, messages, origins, ("prompt", answers[0]), at, column)


def _text_alone(row: Row, at: str, column: str) -> Row:
    key = column if column != COLUMN else "text"
    messages = [_message("text", _text(row, key, at))]
    return _with(row, messages, [Origin("$", {"content": f".{key}", "role": f".{key}"})], (key,), column)


_SHAPES: dict[str, Callable[[Row, str, str], Row]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "text": _text_alone,
}


def _opened(
    row: Row, messages: list[Any], origins: list[Origin], used: tuple[str, ...], at: str, column: str
) -> Shaped:
    """The row with its messages, opened by what the row has under `system`, if anything."""
    system = row.get("system")
    if system is None or system == "":
        return _with(row, messages, origins, used, column)
    message = _message("system", _text(row, "system", at))
    if messages[0].get("role") == "system":
        if messages[0].get("content") != system:
            raise expected("one system prompt", "two that differ", f"{_where(at)}.system")
        return _with(row, messages, origins, (*used, "system"), column)
    opening = Origin("$", {"content": ".system"})
    return _with(row, [message, *messages], [opening, *origins], (*used, "system"), column)


def _with(row: Row, messages: list[Any], origins: list[Origin], used: tuple[str, ...], column: str) -> Shaped:
    kept = {key: value for key, value in row.items() if key not in used and key != column}
    trace: Trace = origins.__getitem__
    return Shaped({**kept, column: messages}, trace)


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _part(message: object, at: str) -> Mapping[str, Any]:
    if not isinstance(message, Mapping):
        raise expected("a message object with role and content", kind_of(message), at)
    return message


def _list(row: Row, key: str, at: str) -> list[Any]:
    if key not in row:
        raise missing(key, row, at)
    if not isinstance(row[key], list) or not row[key]:
        raise expected("a list of at least one message", kind_of(row[key]), f"{_where(at)}.{key}")
    return list(row[key])


def _text(row: Row, key: str, at: str, default: str | None = None) -> str:
    value = row.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        got = kind_of(value) if key in row else f"nothing (the keys are {keys_of(row)})"
        raise expected("text", got, f"{_where(at)}.{key}")
    return value


def _unnamed(column: str, shape: str, at: str) -> None:
    if column != COLUMN:
        raise expected(f"no --dataset-column with {shape}, whose keys are fixed", repr(column), at)


def _where(at: str) -> str:
    return at if at == "$" else f"{at} $"
