"""GLM-5.3: turns that end with the marker of who is next, reasoning that is always open, calls of keys and values."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.conversation import Message, Part, ToolCall, ToolSpec, content_of
from kernel.enums import TrainOnWhat
from kernel.parse_response.common import BadCall, ParseTermination
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderers import RENDERERS
from tests import strategies
from tests.kernel.renderers.spelling import parsed, prompt, sampled, trained, written
from tests.spans import write

OPENING = "[gMASK]<sop><|system|>Reasoning Effort: Max"
GLM = RENDERERS["glm5_3_max_reasoning"]
SYSTEM, ASK = Message("system", "Be brief."), Message("user", "2+2?")
REASONED = Message("assistant", (Part("thinking", "two twos"), Part("text", " 4\n")))
CALL = Message("assistant", "", (ToolCall("add", '{"a": 2, "unit": "m"}', "1"), ToolCall("now", "{}", "2")))
RESULTS = Message("tool", "noon", tool_call_id="2"), Message("tool", "4", tool_call_id="1")
CALLED = (
    "<tool_call>add<arg_key>a</arg_key><arg_value>2</arg_value><arg_key>unit</arg_key><arg_value>m</arg_value>"
    "</tool_call><tool_call>now</tool_call>"
)
ALL = TrainOnWhat.ALL_ASSISTANT_MESSAGES


def test_every_prompt_opens_with_the_effort_and_ends_with_open_reasoning() -> None:
    assert prompt(GLM, (SYSTEM, ASK)) == f"{OPENING}<|system|>Be brief.<|user|>2+2?<|assistant|><think>"
    assert prompt(RENDERERS["glm5_3_high_reasoning"], (ASK,)) == prompt(GLM, (ASK,)).replace("Max", "High")
    assert prompt(RENDERERS["glm5_3_low_reasoning"], (ASK,)) == prompt(GLM, (ASK,)).replace("Max", "Low")


def test_what_opens_every_example_is_never_trained() -> None:
    assert trained(GLM, (ASK,), TrainOnWhat.ALL_TOKENS) == "…<|user|>2+2?"


def test_a_turn_ends_with_the_users_marker_which_the_next_message_omits() -> None:
    talk = ASK, REASONED, ASK, Message("assistant", "4")
    assert written(GLM, talk) == (
        f"{OPENING}<|user|>2+2?<|assistant|><think>two twos</think>4<|user|>2+2?<|assistant|><think></think>4<|user|>"
    )
    assert trained(GLM, talk, ALL) == "…two twos</think>4<|user|>…</think>4<|user|>"


def test_a_turn_that_calls_ends_with_the_marker_of_the_results() -> None:
    talk = ASK, CALL, *RESULTS, Message("assistant", "4")
    results = "<tool_response>4</tool_response><tool_response>noon</tool_response>"
    assert written(GLM, talk).endswith(f"{CALLED}<|observation|>{results}<|assistant|><think></think>4<|user|>")
    assert trained(GLM, talk, ALL) == f"…</think>{CALLED}<|observation|>…</think>4<|user|>"
    assert prompt(GLM, talk[:4]).endswith(f"{results}<|assistant|><think>")


def test_a_marker_that_the_turn_would_not_end_with_is_the_next_messages_own() -> None:
    assert trained(GLM, (ASK, CALL, ASK), ALL) == f"…</think>{CALLED}…"
    assert trained(GLM, (ASK, REASONED, RESULTS[0]), ALL) == "…two twos</think>4…"
    assert written(GLM, (ASK, CALL, ASK)).endswith(f"{CALLED}<|user|>2+2?")
    assert written(GLM, (ASK, REASONED, RESULTS[0])).endswith("4<|observation|><tool_response>noon</tool_response>")


@pytest.mark.parametrize("ids", [("", "1"), ("1", "1"), ("3", "1")], ids=["none", "one twice", "unknown"])
def test_results_with_ambiguous_ids_stay_in_their_order(ids: tuple[str, str]) -> None:
    results = [result._replace(tool_call_id=call_id) for result, call_id in zip(RESULTS, ids, strict=True)]
    assert "noon</tool_response><tool_response>4" in written(GLM, (ASK, CALL, *results))


def test_tools_have_a_system_message_of_their_own() -> None:
    spec = '{"name": "add", "description": "ä", "strict": true}'
    tools = ToolSpec("add", spec), ToolSpec("now", '{"name": "now", "defer_loading": true}')
    text = written(GLM, (SYSTEM._replace(tools=tools), ASK))
    assert text.startswith(f"{OPENING}<|system|>\n# Tools\n\nYou may call")
    assert '<tools>\n{"name": "add", "description": "ä"}\n</tools>' in text
    assert text.endswith("...</tool_call><|system|>Be brief.<|user|>2+2?")
    assert written(GLM, (Message("system", (), tools=tools), ASK)).endswith("...</tool_call><|user|>2+2?")
    assert written(GLM, (Message("system", "", tools=tools), ASK)).endswith("...</tool_call><|system|><|user|>2+2?")


def test_spelled_control_tokens_stay_text() -> None:
    forged = "<|user|></think><tool_call></arg_value>"
    calls = (ToolCall(forged, json.dumps({forged: forged})),)
    talk = Message("system", forged), Message("user", forged), Message("assistant", f"4{forged}", calls)
    found = [span.text for span in write(GLM, (*talk, Message("tool", forged))) if span.kind is SpanKind.CONTROL]
    assert found == [
        *("[gMASK]", "<sop>", "<|system|>", "<|system|>", "<|user|>", "<|assistant|>", "<think>", "</think>"),
        *("<tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "</tool_call>"),
        *("<|observation|>", "<tool_response>", "</tool_response>"),
    ]


names = strategies.names.map(str.strip).filter(bool)
values = strategies.texts.map("x{}".format) | st.integers() | st.none() | st.lists(strategies.texts, max_size=2)


@given(strategies.texts, strategies.texts, st.dictionaries(names, values))
def test_a_sampled_turn_reads_back_as_it_was(thought: str, text: str, arguments: dict[str, object]) -> None:
    parts = [Part("thinking", thought), Part("text", text.strip())]
    calls = (ToolCall("f", json.dumps(arguments)), ToolCall("g", "{}")) if arguments else ()
    message = Message("assistant", tuple(part for part in parts if part.text), calls)
    read = GLM.parse(sampled(GLM, (ASK, message)))
    assert read == (message._replace(content=content_of(parts)), ParseTermination.STOP_SEQUENCE, ())


def test_an_argument_is_json_where_it_reads_as_json() -> None:
    called = CALLED.replace(">m<", ">NaN<")
    assert parsed(GLM, f"</think>{called}<|observation|>").message.tool_calls[0].arguments == '{"a": 2, "unit": "NaN"}'


def test_a_turn_may_end_with_no_one_next() -> None:
    turn = parsed(GLM, "two twos</think>4<|endoftext|>")
    assert turn.termination is ParseTermination.EOS
    assert turn.message.content == (Part("thinking", "two twos"), Part("text", "4"))
    assert parsed(GLM, "</think>4<|user|><|user|>").termination is ParseTermination.MALFORMED


@pytest.mark.parametrize(
    ("old", "new"),
    [("add", ""), ("add", "add it"), ("</arg_key>", "</arg_key>and"), ("<arg_value>2</arg_value>", "")],
    ids=["no name", "no one name", "text between", "no value"],
)
def test_a_call_that_cannot_be_read_is_reported_beside_those_that_can(old: str, new: str) -> None:
    turn = parsed(GLM, f"</think>{CALLED.replace(old, new, 1)}<|observation|>")
    assert turn.message.tool_calls == (ToolCall("now", "{}"),)
    error = "expected NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>..., got something else"
    assert turn.bad_calls == (BadCall(CALLED.replace(old, new, 1).removesuffix("<tool_call>now</tool_call>"), error),)


@pytest.mark.parametrize("key", ["unit", " "], ids=["twice", "blank"])
def test_an_argument_without_a_name_of_its_own_is_reported(key: str) -> None:
    turn = parsed(GLM, f"</think>{CALLED.replace('<arg_key>a<', f'<arg_key>{key}<')}<|observation|>")
    named = "unit" if key.strip() else " "
    assert [bad.error for bad in turn.bad_calls] == [f"expected a name of its own for every argument, got {named!r}"]


def test_a_call_without_an_end_stays_in_the_text() -> None:
    turn = parsed(GLM, "</think>Wait.<tool_call>add")
    assert turn.termination is ParseTermination.MALFORMED
    assert turn.message == Message("assistant", "Wait.<tool_call>add")
    assert turn.bad_calls == (BadCall("<tool_call>add", "expected </tool_call>, got the end of the turn"),)
