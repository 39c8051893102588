"""Names of roles: one table for every row shape, for `role` and for ShareGPT's `from`, in upper or lower case."""

from collections.abc import Mapping

_NAMES: Mapping[str, tuple[str, ...]] = {
    "user": ("user", "human", "prompter"),
    "assistant": (
        *("assistant", "gpt", "chatgpt", "gpt4", "gpt-4", "bing", "bard", "claude", "gemini"),
        *("ai", "bot", "chatbot", "model"),
    ),
    "system": ("system", "system_prompt", "system prompt", "sys"),
    "developer": ("developer",),
    "tool": (
        *("tool", "function", "observation", "ipython"),
        *("tool_response", "tool_result", "tool_output", "tool_responses", "tool_results", "tool_outputs"),
        *("function_response", "function_result", "function_output", "function_responses", "function_results"),
        *("tool response", "tool-response", "tool-result", "function response", "function-response", "funcresponse"),
    ),
}
_CALLERS = (
    *("function_call", "function-call", "function call", "function_calls", "funccall", "funccaller", "function_caller"),
    *("tool_call", "tool-call", "tool call", "tool_calls", "toolcall", "tool_caller", "toolcaller"),
)
ROLES: Mapping[str, str] = {
    **{alias: role for role, aliases in _NAMES.items() for alias in aliases},
    **dict.fromkeys(_CALLERS, "assistant"),
}
"""Every known name in lower case, and its role."""
CALLERS = frozenset(_CALLERS)
"""The names of an assistant whose text is the JSON of its calls, in lower case."""


def role_named(name: str) -> str | None:
    """The role that a name has, None when it is in no table.

    >>> role_named("Human"), role_named("funccaller"), role_named("critic")
    ('user', 'assistant', None)
    """
    return ROLES.get(name) or ROLES.get(name.strip().lower())
