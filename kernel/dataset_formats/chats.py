"""Rows that hold a list of messages: OpenAI's and Anthropic's, ShareGPT's, and answers of which one is preferred."""

import re
from collections.abc import Mapping
from typing import Any

from kernel.dataset_formats.row_messages import (
    Row,
    Turns,
    from_json,
    keys_of,
    list_of,
    messages_in,
    missing,
    said,
    text_of,
)
from kernel.errors import expected, problem
from kernel.json_values import kind_of

COLUMN = "messages"  # the usual key of the messages
CONVERSATIONS = ("conversations", "conversation")
PREFERRED = {"chosen": "rejected", "preferred_output": "non_preferred_output"}
"""the key of the preferred answer, and that of the other"""
_HUMAN = re.compile(r"\n\n(Human|Assistant): ?")


def read_messages(row: Row, column: str) -> Turns:
    """`messages`, or another column."""
    if column not in row:
        raise missing(column, row)
    turns = Turns(column)
    if isinstance(from_json(row[column]), list) and row[column]:
        turns.add_messages(list_of(row, column), column)
    else:  # what is no list of messages is refused when messages are read
        turns.gets[column] = row[column]
    return turns


def read_conversations(row: Row, column: str) -> Turns:
    """`conversations` or `conversation`, from/value or role/content."""
    keys = (column,) if column != COLUMN else (*CONVERSATIONS, COLUMN)
    key = next((key for key in keys if key in row), keys[0])
    turns = Turns(key)
    turns.add_messages(list_of(row, key), key)
    return turns


def read_preferred(row: Row, _column: str) -> Turns:
    """The prompt and the preferred of two answers; OpenAI's `input` holds messages and tools."""
    key = next((key for key in PREFERRED if row.get(key) is not None), "chosen")
    if key not in row:
        raise expected("the key 'chosen' or 'preferred_output'", keys_of(row))
    turns = Turns(key, PREFERRED[key], "prompt", "input")
    answer, came = _answer(row, key), from_json(row.get("input" if key == "preferred_output" else "prompt"))
    if isinstance(came, Mapping):
        turns.add_messages(list_of(came, COLUMN), "input", COLUMN)
        turns.gets = {name: came[name] for name in ("tools", "functions") if name in came}
    elif (prompt := messages_in(came)) is not None:
        if answer[: len(prompt)] != prompt:
            turns.add_messages(prompt, "input" if key == "preferred_output" else "prompt")
    elif came is not None and came != "" and (len(answer) == 1 or came not in map(said, answer)):
        turns.add_text("user", text_of(row, "prompt"), "prompt")
    if not turns.messages and len(answer) == 1:
        raise problem(f"the answer under {key!r} has no prompt before it", path=(key,))
    if isinstance(row[key], str):
        for message in answer:
            turns.add_text(message["role"], message["content"], key)
    else:
        turns.add_messages(answer, key)
    return turns


def _answer(row: Row, key: str) -> list[Any]:
    """The preferred messages: a list of them, one, or a text, which may be Anthropic's transcript of all turns."""
    value = from_json(row[key])
    if isinstance(value, Mapping):
        return [value]
    if (messages := messages_in(value)) is not None:
        if not messages:
            raise expected("a list of at least one message", kind_of(value), path=(key,))
        return messages
    text = text_of(row, key)
    if not text.startswith("\n\nHuman:"):
        return [{"role": "assistant", "content": text}]
    _, *turns = _HUMAN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": said} for who, said in zip(turns[::2], turns[1::2], strict=True)]
