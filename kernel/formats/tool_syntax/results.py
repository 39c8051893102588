"""Results of tools, brought together with the calls that they answer: named by them, and in their order."""

from itertools import groupby

from kernel.conversation import Conversation, Message, ToolCall


def named_results(conversation: Conversation) -> Conversation:
    """The conversation with a name on every tool's result that lacks one: its call's, found by id or else by order.

    >>> call = Message("assistant", tool_calls=(ToolCall("add", "{}"),))
    >>> named_results((call, Message("tool", "3")))[1].name
    'add'
    """
    if all(message.name or message.role != "tool" for message in conversation):
        return conversation
    calls: tuple[ToolCall, ...] = ()
    n_results = 0
    named: list[Message] = []
    for message in conversation:
        if message.role == "assistant":
            calls, n_results = message.tool_calls, 0
        elif message.role == "tool":
            name = message.name or _called(calls, n_results, message.tool_call_id)
            message, n_results = message._replace(name=name), n_results + 1
        named.append(message)
    return tuple(named)


def _called(calls: tuple[ToolCall, ...], place: int, call_id: str) -> str:
    known = {call.id: call.name for call in calls if call.id}
    return known.get(call_id) or (calls[place].name if place < len(calls) else "")


def ordered_results(conversation: Conversation) -> Conversation:
    """The conversation with the results of each turn in the order of its calls, under their names.

    A run of results of which one answers no call by its id stays as it is.

    >>> calls = Message("assistant", tool_calls=(ToolCall("add", "{}", "a"), ToolCall("sub", "{}", "b")))
    >>> talk = calls, Message("tool", "1", tool_call_id="b"), Message("tool", "2", tool_call_id="a")
    >>> [(message.content, message.name) for message in ordered_results(talk)[1:]]
    [('2', 'add'), ('1', 'sub')]
    """
    if all(message.role != "tool" for message in conversation):
        return conversation
    places: dict[str, tuple[int, str]] = {}
    ordered: list[Message] = []
    for is_run, messages in groupby(conversation, lambda message: message.role == "tool"):
        run = list(messages)
        if is_run and all(message.tool_call_id in places for message in run):
            run = [message._replace(name=places[message.tool_call_id][1]) for message in run]
            run.sort(key=lambda message: places[message.tool_call_id])
        turns = [message for message in run if message.role == "assistant"]
        if turns:
            calls = list(enumerate(turns[-1].tool_calls))
            places = {call.id: (i, call.name) for i, call in reversed(calls) if call.id}  # of two alike, the first
        ordered += run
    return tuple(ordered)
