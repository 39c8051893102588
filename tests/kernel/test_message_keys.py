"""Closed lists: every key that holds something is read, ignored and counted, or refused."""

import pytest

from kernel.enums import UnknownKeys
from kernel.errors import InputError
from kernel.message_keys import IGNORED, NEVER_IGNORED
from kernel.message_reader import READ
from kernel.row_keys import KeyPolicy
from kernel.row_to_conversation import read_conversation

USER = {"role": "user", "content": "Q"}
CALL = {"name": "f", "arguments": {}}


def rows(key: str, value: object) -> dict[str, dict[str, object]]:
    """A row for each object that a row may hold, with one key more there."""
    more = {key: value}
    return {
        f"messages[0].{key}": {"messages": [{**USER, **more}]},
        f"messages[0].content[0].{key}": {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Q", **more}]}]
        },
        f"messages[0].content[0].source.{key}": {
            "messages": [{"role": "user", "content": [{"type": "image", "source": {"url": "u", **more}}]}]
        },
        f"messages[0].tool_calls[0].{key}": {"messages": [{**USER, "tool_calls": [{**CALL, **more}]}]},
        f"messages[0].tool_calls[0].function.{key}": {
            "messages": [{**USER, "tool_calls": [{"function": {**CALL, **more}}]}]
        },
        f"messages[0].function_call.{key}": {"messages": [{**USER, "function_call": {**CALL, **more}}]},
        f"messages[0].content[0].functionCall.{key}": {
            "messages": [{"role": "model", "parts": [{"functionCall": {"name": "f", **more}}]}]
        },
        f"messages[0].reasoning_details[0].{key}": {
            "messages": [{**USER, "reasoning_details": [{"type": "reasoning.text", "text": "T", **more}]}]
        },
        f"tools[0].{key}": {"messages": [USER], "tools": [{"type": "function", "function": {"name": "f"}, **more}]},
    }


WHERE = list(rows("k", 1))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("value", ["x", 1, False, 0, [None], {"a": None}])
def test_a_key_that_is_not_read_is_refused_with_its_path(where: str, value: object) -> None:
    row = dict(zip(WHERE, rows("mood", value).values(), strict=True))[where]
    with pytest.raises(InputError, match=r"the key 'mood' is not read \(.*--unknown-keys ignore\)") as error:
        read_conversation(row, "f:1")
    assert str(error.value).endswith(where.replace("content[0].f", "parts[0].f").removesuffix("k") + "mood")


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("value", [None, "", [], {}])
def test_a_key_that_holds_nothing_is_passed_over(where: str, value: object) -> None:
    keys = KeyPolicy()
    row = dict(zip(WHERE, rows("mood", value).values(), strict=True))[where]
    read_conversation(row, "f:1", keys=keys)
    assert not keys.counts


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("key", "unknown"), [("source", "refuse"), ("timestamp", "refuse"), ("mood", "ignore")])
def test_an_ignored_key_is_counted_once_per_row(where: str, key: str, unknown: str) -> None:
    keys = KeyPolicy(UnknownKeys(unknown))
    row = dict(zip(WHERE, rows(key, "x").values(), strict=True))[where]
    for _ in range(3):
        read_conversation({**row, "messages": row["messages"] * 2}, "f:1", keys=keys)  # type: ignore[operator]
    path = where.replace("content[0].f", "parts[0].f").removesuffix("k").replace("[0]", "[]") + key
    assert keys.counts == {path: 3}


@pytest.mark.parametrize("unknown", ["refuse", "ignore"])
@pytest.mark.parametrize("key", sorted(NEVER_IGNORED))
def test_a_key_that_asks_for_another_mask_is_refused_under_every_setting(unknown: str, key: str) -> None:
    with pytest.raises(InputError, match=f"the key '{key}' asks for another mask or text"):
        read_conversation({"messages": [{**USER, key: [0]}]}, "f:1", keys=KeyPolicy(UnknownKeys(unknown)))


def test_a_key_that_is_nearly_one_that_is_read_is_named() -> None:
    with pytest.raises(InputError, match=r"'tool_cals' is not read \(did you mean 'tool_calls'\?"):
        read_conversation({"messages": [{**USER, "tool_cals": [CALL]}]}, "f:1")


def test_a_row_that_is_refused_counts_for_nothing() -> None:
    keys = KeyPolicy()
    with pytest.raises(InputError):
        read_conversation({"messages": [{**USER, "id": 1}, {"role": "user"}]}, keys=keys)
    read_conversation({"messages": [USER, USER]}, keys=keys)
    assert not keys.counts


def test_no_key_is_read_and_ignored() -> None:
    assert not READ & IGNORED
    assert not (READ | IGNORED) & NEVER_IGNORED


def test_counts_name_the_column_of_the_user() -> None:
    keys = KeyPolicy()
    read_conversation({"chat": [{**USER, "id": 1}]}, "f:1", "chat", keys)
    assert keys.counts == {"chat[].id": 1}
