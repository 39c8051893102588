"""Dataset formats: each a function from a row of chat data to the same row with messages.

    messages            {"messages": [{"role": ..., "content": ...}], "system": ...}              (OpenAI, Anthropic)
    sharegpt            {"conversations": [{"from": "human", "value": ...}], "system": ...}
    alpaca              {"instruction": ..., "input": ..., "output": ..., "system": ..., "history": [[..., ...]]}
    prompt_completion   {"prompt": ..., "completion": ...}, texts or lists of messages            (TRL, OpenAI)
    text                {"text": ...}: no turns, one message of the role "text"

A row is recognised by its own keys; one that fits no format, or two, is an error that names the flag which decides.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from kernel.conversation import Origin
from kernel.enums import DatasetFormat
from kernel.errors import InputError, Path, expected, problem, unknown
from kernel.row_to_conversation import kind_of

Row: TypeAlias = Mapping[str, Any]

COLUMN = "messages"  # the usual key of the messages
_CHATS = ("conversations", "conversation", COLUMN)
KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    DatasetFormat.MESSAGES: ((COLUMN,),),
    DatasetFormat.SHAREGPT: (("conversations",), ("conversation",)),
    DatasetFormat.ALPACA: (("instruction", "output"),),
    DatasetFormat.PROMPT_COMPLETION: (("prompt", "completion"), ("prompt", "response")),
    DatasetFormat.TEXT: (("text",),),
}
"""The formats, and the keys that each is recognised by."""
READ_KEYS = frozenset(key for sets in KEYS.values() for keys in sets for key in keys) | {
    *("system", "input", "history", "tools", "functions")
}
"""All keys that some format reads."""
_OTHERS = frozenset(key for name, sets in KEYS.items() if name != "messages" for keys in sets for key in keys)
_SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant", "model", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function_response"), "tool"),
    "system": "system",
    "developer": "developer",
}
_FROM_VALUE: dict[str, Path] = {"role": ("from",), "content": ("value",)}


class TracedRow(dict[str, Any]):
    """A row brought to messages; `origins[i]` is where message i was in the row as it came."""

    __slots__ = ("origins",)
    origins: Sequence[Origin]


def to_messages(row: Row, at: str = "$", dataset_format: str = "auto", column: str = COLUMN) -> Row:
    """The row with its messages under `row[column]`; itself, if it has them. "auto": the row's keys decide.

    Raises:
        InputError: the row fits no format, or two, or not the one that was named.

    >>> to_messages({"instruction": "Add.", "input": "2+2", "output": "4", "id": 7})["messages"]
    [{'role': 'user', 'content': 'Add.\\n2+2'}, {'role': 'assistant', 'content': '4'}]
    """
    if dataset_format == "auto":
        if column == COLUMN and COLUMN in row and _OTHERS.isdisjoint(row):
            dataset_format = "messages"
        else:
            dataset_format = format_of(row, at, column)
    try:
        return _READERS[dataset_format](row, column)
    except InputError as error:
        raise error.under(at) from None


def format_of(row: Row, at: str = "$", column: str = COLUMN) -> str:
    """The name of the one format that a row fits."""
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
    """The formats that a row with these keys fits."""
    return [str(name) for name, sets in KEYS.items() if any(keys.issuperset(some) for some in sets)]


def keys_of(row: Row) -> str:
    """The keys of a row, as errors name them."""
    return ", ".join(repr(key) for key in row) or "no keys"


def missing(column: str, row: Row, at: str = "") -> InputError:
    """The error for a row without the column it should have; it names what is there."""
    hint = next((f" (try --dataset-column {key})" for key in _CHATS[:2] if key in row), "")
    return expected(f"the key {column!r}", f"{keys_of(row)}{hint}", at)


def _messages(row: Row, column: str) -> Row:
    if column not in row:
        raise missing(column, row)
    messages = row[column]
    if type(messages) is list and messages and type(messages[0]) is dict and "from" in messages[0]:
        return _sharegpt(row, column)
    if row.get("system") and type(messages) is list and messages and isinstance(messages[0], Mapping):
        return _opened(row, messages, [Origin((column, i)) for i in range(len(messages))], (), column)
    return row


def _sharegpt(row: Row, column: str) -> Row:
    key = column if column != COLUMN else next((key for key in _CHATS if key in row), "conversations")
    came = _list(row, key)
    messages = [_from_value(message, (key, i)) for i, message in enumerate(came)]
    return _opened(row, messages, [Origin((key, i), _FROM_VALUE) for i in range(len(came))], (key,), column)


def _from_value(message: object, path: Path) -> dict[str, Any]:
    """One message of ShareGPT's, or one that has a role already."""
    if not isinstance(message, Mapping):
        raise expected("an object with from and value", kind_of(message), path=path)
    if "role" in message and "from" not in message:
        return {**message}
    if "from" not in message:
        raise expected("the keys 'from' and 'value'", keys_of(message), path=path)
    speaker = message["from"]
    if not isinstance(speaker, str):
        raise expected("text", kind_of(speaker), path=(*path, "from"))
    if speaker.lower() not in _SPEAKERS:
        raise unknown("speaker", speaker, _SPEAKERS, path=(*path, "from"))
    rest = {key: value for key, value in message.items() if key not in ("from", "value")}
    role = {"role": _SPEAKERS[speaker.lower()], **rest}
    if speaker.lower() == "function_call":
        return {**role, "content": "", "tool_calls": _calls(message.get("value"), (*path, "value"))}
    return {**role, "content": message["value"]} if "value" in message else role


def _calls(value: object, path: Path) -> list[Any]:
    """The calls that a function_call holds: JSON text of one, or of a list of them."""
    try:
        calls = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise expected("the JSON text of a tool call", f"text that is not JSON ({error})", path=path) from None
    calls = calls if isinstance(calls, list) else [calls]
    for call in calls:
        if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
            raise expected("the JSON text of a tool call with a name", kind_of(call), path=path)
    return calls


def _alpaca(row: Row, column: str) -> Row:
    _check_fixed_keys(column, "alpaca")
    instruction, given = _text(row, "instruction"), _text(row, "input", "")
    messages: list[dict[str, Any]] = []
    origins = []
    for i, pair in enumerate(row.get("history") or []):
        if not isinstance(pair, list) or len(pair) != 2:
            raise expected("a pair of instruction and answer", kind_of(pair), path=("history", i))
        for k, role in enumerate(("user", "assistant")):
            messages.append({"role": role, "content": pair[k]})
            origins.append(Origin(("history", i), {"content": (k,)}))
    prompt = f"{instruction}\n{given}" if given and instruction else instruction or given
    messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": _text(row, "output")}]
    origins += [Origin((), {"content": ("instruction",)}), Origin((), {"content": ("output",)})]
    return _opened(row, messages, origins, ("instruction", "input", "output", "history"), column)


def _prompt_completion(row: Row, column: str) -> Row:
    _check_fixed_keys(column, "prompt_completion")
    answers = [key for key in ("completion", "response") if row.get(key) is not None] or ["completion"]
    if len(answers) > 1:
        raise expected("a completion or a response", "both")
    messages: list[Any] = []
    origins: list[Origin] = []
    for key, role in (("prompt", "user"), (answers[0], "assistant")):
        value = row.get(key)
        if isinstance(value, list):
            for i, message in enumerate(_list(row, key)):
                if not isinstance(message, Mapping):
                    raise expected("a message object with role and content", kind_of(message), path=(key, i))
                messages.append(message)
                origins.append(Origin((key, i)))
        else:
            messages.append({"role": role, "content": _text(row, key)})
            origins.append(Origin((), {"content": (key,)}))
    return _opened(row, messages, origins, ("prompt", answers[0]), column)


def _text_alone(row: Row, column: str) -> Row:
    key = column if column != COLUMN else "text"
    message = {"role": "text", "content": _text(row, key)}
    return _traced(row, [message], [Origin((), {"content": (key,), "role": (key,)})], (key,), column)


_READERS: dict[str, Callable[[Row, str], Row]] = {
    DatasetFormat.MESSAGES: _messages,
    DatasetFormat.SHAREGPT: _sharegpt,
    DatasetFormat.ALPACA: _alpaca,
    DatasetFormat.PROMPT_COMPLETION: _prompt_completion,
    DatasetFormat.TEXT: _text_alone,
}


def _opened(row: Row, messages: list[Any], origins: list[Origin], used: tuple[str, ...], column: str) -> Row:
    """The row with its messages after its system prompt, if it has one."""
    system = row.get("system")
    if system is None or system == "":
        return _traced(row, messages, origins, used, column)
    message = {"role": "system", "content": _text(row, "system")}
    if messages[0].get("role") == "system":
        if messages[0].get("content") != system:
            raise expected("one system prompt", "two that differ", path=("system",))
        return _traced(row, messages, origins, (*used, "system"), column)
    opening = Origin((), {"content": ("system",)})
    return _traced(row, [message, *messages], [opening, *origins], (*used, "system"), column)


def _traced(row: Row, messages: list[Any], origins: list[Origin], used: tuple[str, ...], column: str) -> Row:
    traced = TracedRow({key: value for key, value in row.items() if key not in used and key != column})
    traced[column] = messages
    traced.origins = origins
    return traced


def _list(row: Row, key: str) -> list[Any]:
    if key not in row:
        raise missing(key, row)
    if not isinstance(row[key], list) or not row[key]:
        raise expected("a list of at least one message", kind_of(row[key]), path=(key,))
    return list(row[key])


def _text(row: Row, key: str, default: str | None = None) -> str:
    value = row.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        got = kind_of(value) if key in row else f"nothing (the keys are {keys_of(row)})"
        raise expected("text", got, path=(key,))
    return value


def _check_fixed_keys(column: str, name: str) -> None:
    if column != COLUMN:
        raise problem(f"--dataset-column {column} cannot be used with {name}, whose keys are fixed")
