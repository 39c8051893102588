"""DSML: DeepSeek V4.1's calls, an element a call and a parameter, whose every tag holds one control token.

A text is written as it is and marked as one, and everything else as JSON, so the two cannot be mixed up. The tags are
told from text by their control token, so a value may spell them.
"""

import json
import re
from collections.abc import Sequence

from kernel.chat_format.pieces import Data, Markup
from kernel.conversation import ToolCall, ToolSpec
from kernel.formats.tool_syntax.arguments import json_value
from kernel.parsing.marks import MARKS, PLAIN, Read, left_open, marked, unmarked
from kernel.parsing.segments import BadCall, Segment

DSML = "｜DSML｜"
CALLS_OPEN, CALLS_CLOSE = f"<{DSML} calls>", f"</{DSML} calls>"


def write_dsml_call(_: int, call: ToolCall) -> Markup:
    """An invoke element with a parameter element per argument.

    >>> print("".join(piece if isinstance(piece, str) else piece.text
    ...               for piece in write_dsml_call(0, ToolCall("add", '{"a": 1, "unit": "m"}'))))
    <｜DSML｜ invoke name="add">
    <｜DSML｜ parameter name="a" string="false">1</｜DSML｜ parameter>
    <｜DSML｜ parameter name="unit" string="true">m</｜DSML｜ parameter>
    </｜DSML｜ invoke>
    """
    markup: list[str | Data] = [f'<{DSML} invoke name="', Data(call.name), '">\n']
    for i, (name, value) in enumerate(json.loads(call.arguments).items()):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        kind = "true" if isinstance(value, str) else "false"
        markup += ["\n" if i else "", f'<{DSML} parameter name="', Data(name), f'" string="{kind}">', Data(text)]
        markup.append(f"</{DSML} parameter>")
    return *markup, f"\n</{DSML} invoke>"


_M = MARKS[0]
_BLOCK = re.compile(f"(?:\n\n)?<{_M} calls>(.*?)</{_M} calls>", re.DOTALL)
_INVOKE = re.compile(f'<{_M} invoke name="({PLAIN}?)">(.*?)</{_M} invoke>', re.DOTALL)
_PARAMETER = re.compile(f'<{_M} parameter name="({PLAIN}?)" string="(true|false)">({PLAIN})</{_M} parameter>')


def read_dsml_calls(segments: Sequence[Segment]) -> Read:
    """The calls of the block that `write_dsml_call` wrote into, and the text before it.

    The block ends a turn: what comes behind it is reported, as is what it holds beside calls. A block without an end
    stays in the text.

    >>> from kernel.chat_format.elements import SpanKind
    >>> turn = 'Wait.\\n\\n<@ calls>\\n<@ invoke name="now">\\n\\n</@ invoke>\\n</@ calls>'
    >>> texts = [Segment(SpanKind.MESSAGE, text) for text in turn.split("@")]
    >>> read_dsml_calls([part for text in texts for part in (Segment(SpanKind.CONTROL, DSML), text)][1:])
    Read(text='Wait.', calls=(ToolCall(name='now', arguments='{}', id=''),), bad_calls=())
    """
    text = marked(segments, [DSML])
    block = _BLOCK.search(text)
    if block is None:
        return Read(unmarked(text, [DSML]), bad_calls=left_open(text, [DSML], CALLS_CLOSE))
    before, behind = text[: block.start()], text[block.end() :]
    calls, bad = list[ToolCall](), list(left_open(before, [DSML], CALLS_CLOSE))
    for invoke in _INVOKE.finditer(block[1]):
        call = _call(invoke[1], invoke[2])
        if isinstance(call, ToolCall):
            calls.append(call)
        else:
            bad.append(BadCall(unmarked(invoke[0], [DSML]), call))
    if _INVOKE.sub("", block[1]).strip() or not _INVOKE.search(block[1]):
        bad.append(BadCall(unmarked(block[0], [DSML]), f"expected <{DSML} invoke ...> elements, got something else"))
    if behind.strip():
        bad.append(BadCall(unmarked(behind, [DSML]), f"expected the end of the turn behind {CALLS_CLOSE}, got more"))
    return Read(unmarked(before, [DSML]), tuple(calls), tuple(bad))


def _call(name: str, body: str) -> ToolCall | str:
    if not name.strip():
        return "expected a name, got nothing"
    beside = unmarked(_PARAMETER.sub("", body).strip(), [DSML])
    if beside:
        return f"expected <{DSML} parameter ...> elements, got {beside!r}"
    arguments: dict[str, object] = {}
    for key, is_text, value in _PARAMETER.findall(body):
        if not key.strip() or key in arguments:
            return f"expected a name of its own for every parameter, got {key!r}"
        try:
            arguments[key] = value if is_text == "true" else json_value(value)
        except ValueError as error:
            return f"expected JSON in {key!r}, got text that is not ({error})"
    return ToolCall(name, json.dumps(arguments))


def write_dsml_tools(tools: tuple[ToolSpec, ...]) -> Markup:
    """How to call tools, and a JSON object a tool.

    >>> write_dsml_tools((ToolSpec("now", '{"name": "now"}'),))[1].text
    '{"name": "now"}'
    """
    return (
        "## Tools\n\nYou have access to a set of tools to help answer the user's question. "
        f'You can invoke tools by writing a "{CALLS_OPEN}" block like the following:\n\n{CALLS_OPEN}\n'
        f'<{DSML} invoke name="$TOOL_NAME">\n'
        f'<{DSML} parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</{DSML} parameter>\n...\n'
        f'</{DSML} invoke>\n<{DSML} invoke name="$TOOL_NAME2">\n...\n</{DSML} invoke>\n{CALLS_CLOSE}\n\n'
        'String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, '
        'arrays, objects), pass the value in JSON format and set `string="false"`.\n\n'
        "If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside "
        "<think>...</think> BEFORE any tool calls or final response.\n\n"
        "Otherwise, output directly after </think> with tool calls or final response.\n\n"
        "### Available Tool Schemas\n\n",
        Data("\n".join(json.dumps(json.loads(tool.json), ensure_ascii=False) for tool in tools)),
        "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n",
    )
