"""Kimi K3.1 Pro: elements between tags, reasoning that stays, and numbered results."""

import pytest

from kernel.conversation import Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.parse_response.common import BadCall, ParseTermination
from kernel.render.batch_renderer import BatchRenderer
from kernel.renderers import RENDERERS
from kernel.renderers.kimi_k3 import KIMI_K31_PRO_DISABLE_THINKING, KIMI_K31_PRO_NO_REASONING_EFFORT
from tests.kernel.renderers.spelling import parsed, prompt, sampled, trained, written

PLAIN, OFF = KIMI_K31_PRO_NO_REASONING_EFFORT, KIMI_K31_PRO_DISABLE_THINKING
MAX, HIGH = RENDERERS["kimi_k31_pro_max_reasoning"], RENDERERS["kimi_k31_pro_high_reasoning"]
END = "<|close|>message<|sep|><|end_of_msg|>"
USER = f'<|open|>message role="user"<|sep|>1+2?{END}'
HEADER = '<|open|>message role="assistant"<|sep|>'
CALL = Message(
    "assistant",
    (Part("thinking", "Add."), Part("text", "So:")),
    (ToolCall("add", '{"n": 7, "s": "7", "\\"k": [null], "ok": true}', "c0"), ToolCall("sub", "{}", "c1")),
)
CALLS = (
    '<|open|>tools<|sep|><|open|>call tool="add" index="1"<|sep|>'
    '<|open|>argument key="n" type="number"<|sep|>7<|close|>argument<|sep|>'
    '<|open|>argument key="s" type="string"<|sep|>7<|close|>argument<|sep|>'
    '<|open|>argument key="&quot;k" type="array"<|sep|>[null]<|close|>argument<|sep|>'
    '<|open|>argument key="ok" type="boolean"<|sep|>true<|close|>argument<|sep|>'
    '<|close|>call<|sep|><|open|>call tool="sub" index="2"<|sep|><|close|>call<|sep|><|close|>tools<|sep|>'
)
REASONED = "<|open|>think<|sep|>Add.<|close|>think<|sep|>"
SAID = f"<|open|>response<|sep|>So:<|close|>response<|sep|>{CALLS}{END}"
RESULTS = (
    f'<|open|>message role="tool" tool="add" index="1"<|sep|>3{END}'
    f'<|open|>message role="tool" tool="sub" index="2"<|sep|>4{END}'
)
TALK = (
    Message("user", "1+2?"),
    CALL,
    Message("tool", "4", tool_call_id="c1"),
    Message("tool", "3", name="stale", tool_call_id="c0"),
    Message("assistant", "3<|sep|>"),
)
ANSWER = f"<|close|>think<|sep|><|open|>response<|sep|>3<|sep|><|close|>response<|sep|>{END}"


def test_a_turn_is_elements_and_keeps_its_reasoning() -> None:
    assert written(PLAIN, TALK) == f"{USER}{HEADER}{REASONED}{SAID}{RESULTS}{HEADER}<|open|>think<|sep|>{ANSWER}"


def test_without_reasoning_there_is_no_element_for_it() -> None:
    answer = ANSWER.removeprefix("<|close|>think<|sep|>")
    assert written(OFF, TALK) == f"{USER}{HEADER}{SAID}{RESULTS}{HEADER}{answer}"
    assert prompt(OFF, TALK[:1]) == f"{USER}{HEADER}<|open|>response<|sep|>"


def test_a_trained_turn_that_reasons_is_refused_where_reasoning_is_switched_off() -> None:
    with pytest.raises(InputError, match=r"expected a turn without reasoning .* - at \$\.messages\[1\]"):
        BatchRenderer(OFF).render([TALK], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
    BatchRenderer(OFF).render([TALK], TrainOnWhat.LAST_ASSISTANT_MESSAGE)


def test_what_the_prompt_opens_is_not_trained_and_the_rest_is() -> None:
    assert trained(PLAIN, TALK, TrainOnWhat.ALL_ASSISTANT_MESSAGES) == (f"…Add.<|close|>think<|sep|>{SAID}…{ANSWER}")


def test_results_that_cannot_be_matched_stay_in_their_order() -> None:
    results = (Message("tool", "4", tool_call_id="other"), Message("tool", "3", name="mine", tool_call_id="c0"))
    text = written(PLAIN, (*TALK[:2], *results))
    assert 'tool="add" index="1"<|sep|>4' in text
    assert 'tool="mine" index="2"<|sep|>3' in text


def test_a_result_of_no_call_is_refused() -> None:
    with pytest.raises(InputError, match="expected the name of the tool"):
        written(PLAIN, (Message("tool", "3"),))


def test_the_name_of_a_tool_cannot_leave_its_attribute() -> None:
    text = written(PLAIN, (Message("tool", "3", name='a" index="9'),))
    assert 'tool="a&quot; index=&quot;9" index="1"' in text


EFFORT = '<|open|>message role="system" type="thinking-effort"<|sep|>'


def test_tools_come_first_and_the_effort_second() -> None:
    tools = (ToolSpec("f", '{"name": "f", "description": "é"}'),)
    text = prompt(MAX, (Message("system", "Be brief.", tools=tools), Message("user", "1+2?")))
    assert text == (
        '<|open|>message role="system" type="tool-declare"<|sep|># Tools\n'
        "Here are the available tools, described in JSONSchema.\n\n```json\n"
        f'[{{"function":{{"description":"é","name":"f"}},"type":"function"}}]\n```{END}'
        f"{EFFORT}`thinking_effort` guides on how much to think in your thinking channel (not including the response "
        "channel), supported values include `low`, `medium`, `high`, and `max`.\n"
        f"Now the system is invoked with `thinking_effort=max`.{END}"
        f'<|open|>message role="system"<|sep|>Be brief.{END}{USER}{HEADER}<|open|>think<|sep|>'
    )


def test_an_empty_system_message_beside_tools_is_written_and_one_that_only_declares_is_not() -> None:
    tools, user = (ToolSpec("f", '{"name": "f"}'),), Message("user", "1+2?")
    empty = f'effort=max`.{END}<|open|>message role="system"<|sep|>{END}{USER}'
    assert empty in prompt(MAX, (Message("system", "", tools=tools), user))
    assert empty not in prompt(MAX, (Message("system", (), tools=tools), user))


def test_the_variants_differ_in_the_effort_alone() -> None:
    high, most = (prompt(one, TALK[:1]) for one in (HIGH, MAX))
    assert high.replace("effort=high", "effort=max") == most
    assert EFFORT not in prompt(PLAIN, TALK[:1])


@pytest.mark.parametrize("renderer", [PLAIN, OFF], ids=lambda one: one.name)
def test_a_sampled_turn_is_read_as_it_was_written(renderer) -> None:
    for talk in (TALK, (*TALK[:1], CALL if renderer is PLAIN else CALL._replace(content="So:"))):
        read = renderer.parse(sampled(renderer, talk))
        assert read.termination is ParseTermination.STOP_SEQUENCE
        assert not read.bad_calls
        assert read.message.content == talk[-1].content
        assert [call._replace(id="") for call in talk[-1].tool_calls] == list(read.message.tool_calls)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("hm", "hm"),
        ("hm<|close|>think<|sep|><|open|>response<|sep|>4", (Part("thinking", "hm"), Part("text", "4"))),
        ("<|open|>think<|sep|>hm<|close|>think<|sep|>", (Part("thinking", "hm"),)),
        ("", ""),
    ],
)
def test_a_turn_that_was_cut_keeps_what_it_has(text: str, content: object) -> None:
    read = parsed(PLAIN, text)
    assert read.termination is ParseTermination.MALFORMED
    assert read.message.content == content


def test_a_call_that_was_cut_is_reported_and_stays_in_the_text() -> None:
    cut = '<|open|>tools<|sep|><|open|>call tool="add" index="1"<|sep|>'
    read = parsed(OFF, f"4<|close|>response<|sep|>{cut}")
    assert read.message == Message("assistant", f"4{cut}")
    assert read.bad_calls == (BadCall(cut, "expected <|close|>tools<|sep|>, got the end of the turn"),)


@pytest.mark.parametrize(
    ("inside", "error"),
    [
        ('<|open|>argument key="a" type="number"<|sep|>x<|close|>argument<|sep|>', "expected a value of type number"),
        ('<|open|>argument key="a" type="array"<|sep|>{}<|close|>argument<|sep|>', "expected a value of type array"),
        ("x", "expected arguments, got 'x'"),
    ],
)
def test_a_call_that_cannot_be_read_is_reported(inside: str, error: str) -> None:
    call = f'<|open|>call tool="add" index="1"<|sep|>{inside}<|close|>call<|sep|>'
    read = parsed(OFF, f"4<|close|>response<|sep|><|open|>tools<|sep|>{call}<|close|>tools<|sep|>{END}")
    assert (read.termination, read.message) == ("stop_sequence", Message("assistant", "4"))
    assert read.bad_calls[0].text == call
    assert read.bad_calls[0].error.startswith(error)
