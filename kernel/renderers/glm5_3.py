"""GLM-5.3: reasoning at three efforts, which cannot be switched off, kept on every turn.

No token ends a turn: an assistant's turn ends with the marker of who is next, the user or (after calls) the tools, so
the assistant samples that marker and the next message has none. The prompt opens the reasoning.
"""

import json
import re
from collections.abc import Sequence
from functools import partial
from itertools import groupby

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, content_of, parts_of, text_of
from kernel.parse_response.by_regex import MARKS, PLAIN, Read, left_open, marked, parse_sections, read_matches, unmarked
from kernel.parse_response.common import Segment
from kernel.renderer_language.pieces import Calls, Header, Reasoning, Renderer, Sampled, Text, Tools
from kernel.renderers.tool_syntax import C, Data, Markup, argument_texts, json_or_text

_CALL_CONTROLS = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")


def _write_call(_: int, call: ToolCall) -> Markup:
    markup: list[str | Data] = ["<tool_call>", Data(call.name)]
    for name, _value, text in argument_texts(call):
        markup += ["<arg_key>", Data(name), "</arg_key><arg_value>", Data(text), "</arg_value>"]
    return *markup, "</tool_call>"


_OPENS, _CLOSES, *_INNER = MARKS[: len(_CALL_CONTROLS)]
# An argument is text as it is and JSON for everything else: what reads as JSON is taken for JSON.
_CALL = re.compile(f"{_OPENS}([^{_OPENS}{_CLOSES}]*){_CLOSES}")
_PAIR = re.compile(rf"{_INNER[0]}({PLAIN}){_INNER[1]}\s*{_INNER[2]}({PLAIN}){_INNER[3]}\s*")
_WHOLE = re.compile(rf"\s*([^\s\ud800-\udfff]+)\s*((?:{_PAIR.pattern})*)")


def _read_calls(segments: Sequence[Segment]) -> Read:
    """The calls, and the text around them; a call without an end stays in the text."""
    rest, calls, bad = read_matches(_CALL, marked(segments, _CALL_CONTROLS), _CALL_CONTROLS, _read_call)
    return Read(unmarked(rest, _CALL_CONTROLS), calls, (*bad, *left_open(rest, _CALL_CONTROLS, "</tool_call>")))


def _read_call(text: str) -> ToolCall | str:
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return "expected NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>..., got something else"
    arguments: dict[str, object] = {}
    for key, value in _PAIR.findall(whole[2]):
        if not key.strip() or key.strip() in arguments:
            return f"expected a name of its own for every argument, got {key!r}"
        arguments[key.strip()] = json_or_text(value)
    return ToolCall(whole[1], json.dumps(arguments))


def _write_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """A JSON object per tool, without its loading options; tools to be loaded later are left out."""
    shown = [spec for spec in (json.loads(tool.json) for tool in tools) if not spec.get("defer_loading")]
    lines = [{key: value for key, value in spec.items() if key not in ("defer_loading", "strict")} for spec in shown]
    return (
        "\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n",
        Data("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)),
        "</tools>\n\nFor each function call, output the function name and arguments within the following XML format:\n"
        "<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}</arg_value>"
        "<arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>...</tool_call>",
    )


def _ordered(conversation: Conversation) -> Conversation:
    """Results in the order of their calls, and the assistant's reasoning before its text, which is trimmed."""
    if conversation and conversation[0].tools and conversation[0].content == "":  # an empty system message of its own
        declares, says = conversation[0]._replace(content=()), conversation[0]._replace(tools=())
        conversation = declares, says, *conversation[1:]
    out: list[Message] = []
    for role, group in groupby(conversation, lambda message: message.role):
        messages = [_gathered(message) if role == "assistant" else message for message in group]
        is_answered = role == "tool" and out and out[-1].role == "assistant"
        out += _sorted(messages, out[-1].tool_calls) if is_answered else messages
    return tuple(out)


def _sorted(results: list[Message], calls: tuple[ToolCall, ...]) -> list[Message]:
    """The results in the order of the calls, where each has an id that only one call has."""
    order = {call.id: i for i, call in enumerate(calls)}
    ids = {result.tool_call_id for result in results}
    if "" in order or len(order) < len(calls) or len(ids) < len(results) or not ids <= order.keys():
        return results
    return sorted(results, key=lambda result: order[result.tool_call_id])


def _gathered(message: Message) -> Message:
    parts = parts_of(message)
    reasoning = "".join(part.text for part in parts if part.kind == "thinking")
    images = [part for part in parts if part.kind == "image"]
    content = content_of([Part("thinking", reasoning), *images, Part("text", text_of(message).strip())])
    return message._replace(content=content)


_USER, _RESULTS = "<|user|>", "<|observation|>"
_ROWS = {
    "system": (
        *(Header("<|system|>"), Tools(_write_tools)),
        Header("<|system|>", when=(C.HAS_TOOLS, C.HAS_TEXT)),
        Text(),
    ),
    "user": (Header(_USER, unless=(C.AFTER_ANSWER,)), Text()),
    "assistant": (
        *(Header("<|assistant|><think>"), Reasoning("{}"), Sampled("</think>"), Text(), Calls(_write_call)),
        Sampled(_USER, when=(C.BEFORE_USER,), unless=(C.HAS_CALLS,)),
        Sampled(_RESULTS, when=(C.BEFORE_TOOL, C.HAS_CALLS)),
        Sampled(_USER, when=(C.LAST_IN_EXAMPLE,), unless=(C.HAS_CALLS,)),
        Sampled(_RESULTS, when=(C.LAST_IN_EXAMPLE, C.HAS_CALLS)),
    ),
    "tool": (
        Header(_RESULTS, unless=(C.AFTER_CALLS, C.AFTER_TOOL)),
        *(Sampled("<tool_response>"), Text(), Sampled("</tool_response>")),
    ),
}


def _glm5_3(effort: str) -> Renderer:
    return Renderer(
        f"glm5_3_{effort.lower()}_reasoning",
        _ROWS,
        cue=(Header("<|assistant|><think>"),),
        stops=(_USER, _RESULTS, "<|endoftext|>"),
        parse=partial(
            parse_sections, stops=(_USER, _RESULTS), read_calls=_read_calls, opened=True, eos="<|endoftext|>"
        ),
        controls=(
            *("[gMASK]", "<sop>", "<|system|>", _USER, "<|assistant|>", _RESULTS, "<|endoftext|>"),
            *("<think>", "</think>", "<tool_response>", "</tool_response>", *_CALL_CONTROLS),
        ),
        bos=f"[gMASK]<sop><|system|>Reasoning Effort: {effort}",
        keep=((),),
        before=_ordered,
    )


FORMATS = tuple(map(_glm5_3, ("Max", "High", "Low")))
