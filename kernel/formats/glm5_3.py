"""GLM-5.3: reasoning at three efforts, which cannot be switched off, kept on every turn.

There is no token that ends a turn: an assistant's turn ends with the marker of who is next, the user or (behind calls)
the tools, so the assistant says that marker and the next message goes without. Every prompt opens the reasoning.
"""

from functools import partial
from itertools import groupby

from kernel.chat_format.pieces import Calls, Condition, Header, Reasoning, Renderer, Sampled, Text, Tools
from kernel.conversation import Conversation, Message, Part, ToolCall, content_of, parts_of, text_of
from kernel.formats.tool_syntax.glm import CONTROLS, read_glm_calls, write_glm_call, write_glm_tools
from kernel.parsing.sections import parse_sections


def ordered(conversation: Conversation) -> Conversation:
    """Results in the order of their calls, and the assistant's reasoning before its text, which is trimmed.

    >>> calls = ToolCall("f", "{}", "1"), ToolCall("f", "{}", "2")
    >>> talk = Message("assistant", " Wait. ", calls), Message("tool", "b", tool_call_id="2"), Message("tool", "a")
    >>> [message.content for message in ordered((*talk[:2], talk[2]._replace(tool_call_id="1")))]
    ['Wait.', 'a', 'b']
    """
    out: list[Message] = []
    for is_result, group in groupby(conversation, lambda message: message.role == "tool"):
        messages = list(group)
        if is_result and out and out[-1].role == "assistant":
            messages = _sorted(messages, out[-1].tool_calls)
        out += [_gathered(message) if message.role == "assistant" else message for message in messages]
    return tuple(out)


def _sorted(results: list[Message], calls: tuple[ToolCall, ...]) -> list[Message]:
    """The results in the order of the calls, where ids of their own tell all of them apart."""
    order = {call.id: i for i, call in enumerate(calls)}
    ids = {result.tool_call_id for result in results}
    if "" in order or len(order) < len(calls) or len(ids) < len(results) or not ids <= order.keys():
        return results
    return sorted(results, key=lambda result: order[result.tool_call_id])


def _gathered(message: Message) -> Message:
    parts = parts_of(message)
    reasoning = "".join(part.text for part in parts if part.kind == "thinking")
    images = [part for part in parts if part.kind == "image"]
    return message._replace(
        content=content_of([Part("thinking", reasoning), *images, Part("text", text_of(message).strip())])
    )


_USER, _RESULTS = "<|user|>", "<|observation|>"


def glm5_3(effort: str) -> Renderer:
    """GLM-5.3 at this effort: "Max", "High" or "Low"."""
    return Renderer(
        f"glm5_3_{effort.lower()}_reasoning",
        {
            "system": (
                Header("<|system|>"),
                Tools(write_glm_tools),
                Header("<|system|>", when=(Condition.HAS_TOOLS, Condition.HAS_TEXT)),
                Text(),
            ),
            "user": (Header(_USER, unless=(Condition.AFTER_ANSWER,)), Text()),
            "assistant": (
                Header("<|assistant|><think>"),
                Reasoning("{}"),
                Sampled("</think>"),
                Text(),
                Calls(write_glm_call),
                Sampled(_USER, when=(Condition.BEFORE_USER,), unless=(Condition.HAS_CALLS,)),
                Sampled(_RESULTS, when=(Condition.BEFORE_TOOL, Condition.HAS_CALLS)),
                Sampled(_USER, when=(Condition.LAST_IN_EXAMPLE,), unless=(Condition.HAS_CALLS,)),
                Sampled(_RESULTS, when=(Condition.LAST_IN_EXAMPLE, Condition.HAS_CALLS)),
            ),
            "tool": (
                Header(_RESULTS, unless=(Condition.AFTER_CALLS, Condition.AFTER_TOOL)),
                *(Sampled("<tool_response>"), Text(), Sampled("</tool_response>")),
            ),
        },
        cue=(Header("<|assistant|><think>"),),
        stops=(_USER, _RESULTS, "<|endoftext|>"),
        parse=partial(
            parse_sections, stops=(_USER, _RESULTS), read_calls=read_glm_calls, opened=True, eos="<|endoftext|>"
        ),
        controls=(
            *("[gMASK]", "<sop>", "<|system|>", _USER, "<|assistant|>", _RESULTS, "<|endoftext|>"),
            *("<think>", "</think>", "<tool_response>", "</tool_response>", *CONTROLS),
        ),
        bos=f"[gMASK]<sop><|system|>Reasoning Effort: {effort}",
        keep=((),),
        before=ordered,
    )


GLM5_3_MAX_REASONING = glm5_3("Max")
GLM5_3_HIGH_REASONING = glm5_3("High")
GLM5_3_LOW_REASONING = glm5_3("Low")
