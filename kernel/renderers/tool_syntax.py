"""Tool syntax that families share: arguments as JSON, sections of calls, results matched with their calls.

A writer returns markup: template text, which may spell control tokens, and `Data`, which never does.
"""

import json
import re
from collections.abc import Mapping
from itertools import groupby

from kernel.conversation import Conversation, Message, ToolCall, ToolSpec, text_of
from kernel.renderer_language.pieces import Calls, Condition, Refuse, Sampled
from kernel.renderer_language.pieces import Data as Data  # exported: the families write their syntax with these
from kernel.renderer_language.pieces import Markup as Markup
from kernel.renderer_language.pieces import Row as Row

C = Condition
Schema = Mapping[str, object]
SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))  # all that `str.strip` takes off
NAMED_RESULT = Refuse("the name of the tool, or a call that this is the result of", unless=(C.HAS_NAME,))


def calls_section(begin: str, calls: Calls, end: str) -> Row:
    """The calls of a message, if any, between two texts."""
    return Sampled(begin, when=(C.HAS_CALLS,)), calls, Sampled(end, when=(C.HAS_CALLS,))


def read_arguments(text: str) -> dict[str, object] | str:
    """The object of arguments that the text holds, or what is wrong with it."""
    try:
        value = json_value(text)
    except ValueError as error:
        return f"expected JSON, got text that is not ({error})"
    return value if isinstance(value, dict) else "expected an object of arguments, got something else"


def json_value(text: str) -> object:
    """The text read as JSON. Raises: ValueError, also for NaN and its like, which Python would read."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def json_or_text(text: str) -> object:
    """The text read as JSON where it is JSON, else the text."""
    try:
        return json_value(text)
    except ValueError:
        return text


def argument_texts(call: ToolCall) -> list[tuple[str, object, str]]:
    """Name, value and text of each argument: a string as it is, everything else as JSON."""
    arguments = json.loads(call.arguments).items()
    return [(k, v, v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)) for k, v in arguments]


def function_objects(tools: tuple[ToolSpec, ...]) -> list[dict[str, object]]:
    """OpenAI's wrapper around each declaration."""
    return [{"type": "function", "function": json.loads(tool.json)} for tool in tools]


def fields(value: object) -> Schema:
    """The fields of a JSON schema; one that is no object (`true` is valid too) has none."""
    return value if isinstance(value, Mapping) else {}


def named_results(conversation: Conversation) -> Conversation:
    """The conversation with each nameless result named after its call, which is found by id, else by order."""
    if all(message.name or message.role != "tool" for message in conversation):
        return conversation
    calls: tuple[ToolCall, ...] = ()
    n_results = 0
    named: list[Message] = []
    for message in conversation:
        if message.role == "assistant":
            calls, n_results = message.tool_calls, 0
        elif message.role == "tool":
            known = {call.id: call.name for call in calls if call.id}
            by_order = calls[n_results].name if n_results < len(calls) else ""
            message = message._replace(name=message.name or known.get(message.tool_call_id) or by_order)
            n_results += 1
        named.append(message)
    return tuple(named)


def ordered_results(conversation: Conversation) -> Conversation:
    """The conversation with the results of each turn in the order of its calls, under their names."""
    if all(message.role != "tool" for message in conversation):
        return conversation
    known: dict[str, tuple[int, str]] = {}
    ordered: list[Message] = []
    for is_run, messages in groupby(conversation, lambda message: message.role == "tool"):
        run = list(messages)
        if is_run and all(message.tool_call_id in known for message in run):
            run = [message._replace(name=known[message.tool_call_id][1]) for message in run]
            run.sort(key=lambda message: known[message.tool_call_id])
        turns = [message for message in run if message.role == "assistant"]
        if turns:
            calls = list(enumerate(turns[-1].tool_calls))
            known = {call.id: (i, call.name) for i, call in reversed(calls) if call.id}  # of two alike, the first
        ordered += run
    return tuple(ordered)


_DECLARED = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)


def declares_again(message: Message) -> bool:
    """Whether the text of a message declares, as JSON between tags, all the tools that are declared with it."""
    names = {tool.name for tool in message.tools}
    return bool(names) and any(names <= _names(found) for found in _DECLARED.findall(text_of(message)))


def _names(text: str) -> set[object]:
    """The names of tools in JSON text: a list, or an object per line."""
    values: list[object] = []
    try:
        whole = json.loads(text)
        values = whole if isinstance(whole, list) else [whole]
    except (ValueError, RecursionError):
        for line in text.splitlines():
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError):
                continue
    bodies = [one.get("function", one) for one in values if isinstance(one, dict)]
    return {body.get("name") for body in bodies if isinstance(body, dict) and isinstance(body.get("name"), str)}
