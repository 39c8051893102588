"""The table of role names."""

import pytest

from kernel.roles import CALLERS, ROLES, role_named


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *[(name, "user") for name in ("user", "User", "human", "HUMAN")],
        *[(name, "assistant") for name in ("gpt", "ChatGPT", "bing", "bard", "ai", "model", "Assistant")],
        *[(name, "assistant") for name in ("tool_call", "tool_caller", "funccaller", "function_call")],
        *[(name, "tool") for name in ("tool", "function", "observation", "ipython", "tool_response", "Tool_Response")],
        *[("System", "system"), ("developer", "developer"), ("critic", None), ("", None)],
    ],
)
def test_names_of_roles_are_read_in_upper_and_lower_case(name: str, role: str | None) -> None:
    assert role_named(name) == role


def test_every_role_and_every_caller_is_in_the_table_in_lower_case() -> None:
    assert set(ROLES.values()) <= set(ROLES)
    assert set(ROLES) >= CALLERS
    assert all(name == name.lower() for name in ROLES)
