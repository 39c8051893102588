"""Messages in the forms of OpenAI, Anthropic, ShareGPT and Gemini."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.message_reader import READ
from kernel.render.batch_renderer import BatchRenderer
from kernel.renderers.qwen3 import QWEN3
from kernel.row_keys import KeyPolicy
from kernel.row_to_conversation import read_conversation

USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
THOUGHT = (Part("thinking", "T"), Part("text", "A"))


def read(*messages: object, **more: object) -> Conversation:
    return tuple(read_conversation({"messages": list(messages), **more}, "f:1"))


SAME = {
    "OpenAI": [USER, ANSWER],
    "ShareGPT": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}],
    "both in turns": [{"from": "Human", "value": "Q"}, ANSWER],
    "Gemini": [{"role": "user", "parts": [{"text": "Q"}]}, {"role": "model", "parts": [{"text": "A"}]}],
    "Anthropic": [
        {"role": "user", "content": [{"type": "text", "text": "Q"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A", "citations": None}]},
    ],
    "role and value": [{"role": "user", "value": "Q"}, {"role": "assistant", "text": "A"}],
    "nulls of other forms": [
        {**USER, "from": None, "value": None, "tool_calls": None, "parts": []},
        {**ANSWER, "reasoning": None, "thinking": "", "refusal": None, "function_call": None, "weight": None},
    ],
    "other names of roles": [{"role": "Human", "content": "Q"}, {"role": "AI", "content": "A"}],
    "a refusal": [USER, {"role": "assistant", "content": None, "refusal": "A"}],
    "a refusal among the parts": [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "A"}]}],
    "JSON text of each": [json.dumps(USER), json.dumps(ANSWER)],
    "one in JSON text": [USER, " " + json.dumps(ANSWER)],
}


@pytest.mark.parametrize("what", SAME)
def test_one_conversation_reads_the_same_in_every_form(what: str) -> None:
    assert read(*SAME[what]) == (Message("user", "Q"), Message("assistant", "A"))
    assert read_conversation({"messages": json.dumps(SAME[what])}) == (Message("user", "Q"), Message("assistant", "A"))


@pytest.mark.parametrize("name", ["function", "tool", "ipython", "observation", "Tool_Response", "tool_result"])
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
def test_results_of_tools_are_read_under_every_name(name: str, keys: tuple[str, str]) -> None:
    assert read({keys[0]: name, keys[1]: "R", "name": "f"}) == (Message("tool", "R", name="f"),)


REASONING = {
    **{
        key: {key: "T"} for key in ("reasoning_content", "reasoning", "thinking", "thought", "think", "analysis", "cot")
    },
    "two that agree": {"reasoning": "T", "reasoning_content": "T", "thinking": None},
    "OpenRouter": {"reasoning_details": [{"type": "reasoning.text", "text": "T", "signature": None, "format": "x"}]},
    "OpenRouter's summary": {"reasoning_details": [{"type": "reasoning.summary", "summary": "T", "index": 0}]},
    "OpenRouter's text twice": {"reasoning": "T", "reasoning_details": [{"type": "reasoning.text", "text": "T"}]},
    "OpenRouter's in JSON text": {"reasoning_details": '[{"type": "reasoning.text", "text": "T"}]'},
    "LiteLLM": {"thinking_blocks": [{"type": "thinking", "thinking": "T", "signature": "x"}]},
    "Anthropic": {"content": [{"type": "thinking", "thinking": "T"}, {"type": "text", "text": "A"}]},
    "Anthropic's and beside": {
        "content": [{"type": "thinking", "thinking": "T"}, {"type": "text", "text": "A"}],
        "reasoning_content": "T",
    },
    "OpenAI's summary": {
        "content": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "T"}]},
            {"type": "output_text", "text": "A"},
        ]
    },
    "Gemini": {"content": None, "parts": [{"text": "T", "thought": True}, {"text": "A"}]},
}


@pytest.mark.parametrize("what", REASONING)
def test_reasoning_reads_the_same_under_every_name(what: str) -> None:
    assert read({**ANSWER, **REASONING[what]})[0].content == THOUGHT


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"reasoning": "T", "thinking": "U"}, "expected one value under 'reasoning' and 'thinking'"),
        ({"cot": 3}, "expected text, got a number - at f:1 $.messages[0].cot"),
        ({"thinking": True}, "expected text, got a boolean - at f:1 $.messages[0].thinking"),
        (
            {"reasoning": "T", "reasoning_details": [{"type": "reasoning.text", "text": "U"}]},
            "'reasoning' and 'reasoning_details' hold different reasoning",
        ),
        ({"reasoning_details": "T"}, "expected the JSON text of a list of reasoning details"),
        (
            {"reasoning_details": [{"type": "x"}]},
            "expected a detail of type reasoning.text, reasoning.summary, thinking, got 'x'",
        ),
        (
            {"content": [{"type": "thinking", "thinking": "U"}], "reasoning": "T"},
            "the reasoning in the content and that beside it differ",
        ),
    ],
)
def test_reasoning_that_is_not_one_text_is_refused(keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as error:
        read({**ANSWER, **keys})
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        (
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
            "messages[].reasoning_details[] of type reasoning.encrypted",
        ),
        (
            {"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]},
            "messages[].thinking_blocks[] of type redacted_thinking",
        ),
        (
            {"content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "A"}]},
            "messages[].content[] of type redacted_thinking",
        ),
        (
            {"content": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}]},
            "messages[].content[].cache_control",
        ),
        ({"metadata": {"a": 1}}, "messages[].metadata"),
    ],
)
def test_what_is_encrypted_or_no_content_is_ignored_and_counted(keys: dict[str, object], path: str) -> None:
    policy = KeyPolicy()
    assert read_conversation({"messages": [{**ANSWER, **keys}]}, keys=policy) == (Message("assistant", "A"),)
    assert policy.counts == {path: 1}


SESSION = [
    USER,
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "T", "signature": "s"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "R"},
            {
                "type": "tool_result",
                "tool_use_id": "t2",
                "content": [
                    {"type": "text", "text": "S"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                ],
                "is_error": True,
            },
            {"type": "text", "text": "Go on."},
        ],
    },
    ANSWER,
]


def test_an_agent_session_of_anthropics_is_calls_results_and_texts() -> None:
    tools = [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]
    assert read({"role": "system", "content": [{"type": "text", "text": "S"}]}, *SESSION, tools=tools) == (
        Message(
            "system", "S", tools=(ToolSpec("f", '{"name": "f", "description": "d", "parameters": {"type": "object"}}'),)
        ),
        Message("user", "Q"),
        Message(
            "assistant",
            (Part("thinking", "T"), Part("text", "I look.")),
            (ToolCall("f", '{"a": 1}', "t1"), ToolCall("g", "{}", "t2")),
        ),
        Message("tool", "R", tool_call_id="t1"),
        Message("tool", (Part("text", "S"), Part("image", "data:image/png;base64,AA==")), tool_call_id="t2"),
        Message("user", "Go on."),
        Message("assistant", "A"),
    )


def test_geminis_calls_and_answers_are_calls_and_results() -> None:
    talk = read(
        {"role": "user", "parts": [{"text": "Q"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]},
        {"role": "model", "parts": [{"text": "I look."}, {"functionCall": {"name": "f", "args": {"a": 1}}}]},
        {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {"r": "é"}}}]},
    )
    assert talk == (
        Message("user", (Part("text", "Q"), Part("image", "data:image/png;base64,AA=="))),
        Message("assistant", "I look.", (ToolCall("f", '{"a": 1}'),)),
        Message("tool", '{"r": "é"}', name="f"),
    )


IMAGES: list[dict[str, object]] = [
    {"type": "image", "image": "u"},
    {"type": "image", "url": "u"},
    {"type": "image", "path": "u"},
    {"type": "image_url", "image_url": "u"},
    {"type": "image_url", "image_url": {"url": "u"}},
    {"type": "input_image", "image_url": "u"},
    {"type": "image", "source": {"type": "url", "url": "u"}},
    {"type": None, "fileData": {"fileUri": "u"}},
]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_reads_the_same_in_every_spelling(image: dict[str, object]) -> None:
    assert read({"role": "user", "content": [image]})[0].content == (Part("image", "u"),)


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({**ANSWER, "refusal": "No."}, "expected one value under 'content' and 'refusal'"),
        ({**ANSWER, "value": "B"}, "expected one value under 'content' and 'value'"),
        ({"role": "user", "from": "gpt", "value": "x"}, "'role' and 'from' name different roles"),
        ({"from": "critic", "value": "x"}, "unknown speaker 'critic'"),
        ({**ANSWER, "type": "reasoning"}, "expected a message of type 'message', got 'reasoning'"),
        ({"from": "gpt"}, "expected text, got nothing (the key is missing) - at f:1 $.messages[0].value"),
        ({"role": "user", "content": {"a": 1}}, "expected text, got an object - at f:1 $.messages[0].content"),
        ('{"role": "user"', "expected the JSON text of a message, got text that is not JSON"),
        (
            {"role": "assistant", "content": [SESSION[1]["content"][2], {"type": "text", "text": "A"}]},  # type: ignore[index]
            "text after a call in one message is not read: put it in the next message - at f:1 $.mess",
        ),
        (
            {"role": "assistant", "content": [{"type": "tool_result", "content": "R"}]},
            "an answer of a tool must be in a message of the user or the tool - at f:1 $.messages[0].content",
        ),
        (
            {"role": "user", "content": [{"type": "tool_result", "content": "R"}, SESSION[1]["content"][2]]},  # type: ignore[index]
            "a call must be in a message of the assistant - at f:1 $.messages[0].content[1]",
        ),
        (
            {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "x"}}]},
            "the key 'file_id' is not read",
        ),
        (
            {"role": "user", "content": [{"type": "image", "source": {"data": "AA=="}}]},
            "expected the type of an image, got nothing (the key is missing) - at f:1 $.messages[0].content[0].source",
        ),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "expected a part of type"),
        ({"role": "user", "parts": [{"executableCode": {"code": "1"}}]}, "expected a part of type"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_with_its_place(message: object, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        read(message)
    assert str(error.value).startswith(sentence)


TEXTS = {"role": "user", "content": [{"type": "tool_result", "content": "R"}, {"type": "text", "text": "Go on."}]}


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([USER, {"from": "", "value": "x"}], "$.messages[1].from"),
        ([USER, {"role": "critic", "content": "x"}], "$.messages[1].role"),
        ([USER, SESSION[1], SESSION[2]], "$.messages[2].content[1].content"),  # an image for a renderer of text
        ([TEXTS, {"role": "critic", "content": "x"}], "$.messages[1].role"),
        ([TEXTS, {"role": "critic", "parts": [{"text": "x"}]}], "$.messages[1].role"),
    ],
)
def test_what_the_renderer_refuses_has_the_path_in_the_users_row(messages: list[object], path: str) -> None:
    def render() -> None:
        talk = read_conversation({"messages": messages}, "f:1")
        BatchRenderer(QWEN3).render([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES, ["f:1"])

    with pytest.raises(InputError) as error:
        render()
    assert str(error.value).endswith(f"- at f:1 {path}")


KEYS = """function arguments input thought functionCall functionResponse inlineData response source url data media_type
summary id image image_url output is_error"""
WORDS = """user assistant tool_call tool text thinking tool_use tool_result image reasoning.text { [] null \ud800
{"name":"f"} [{"name":"f","input":{"a":NaN}}] {"role":"user"} f"""
keys = st.sampled_from([*sorted(READ), *KEYS.split()])
words = st.sampled_from([*WORDS.split(), ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
some_messages = st.lists(
    st.dictionaries(keys, values, max_size=4).map(lambda more: {"role": "user", "content": "Q", **more}), min_size=1
)


@given(st.fixed_dictionaries({"messages": some_messages | values, "tools": values, "weight": values}))
def test_whatever_messages_hold_they_are_read_or_refused_in_one_sentence(row: dict[str, object]) -> None:
    before, found = repr(row), "f:1"
    try:
        talk = read_conversation(row, "f:1")
        assert talk
        assert all(isinstance(message, Message) and message.weight >= 0 for message in talk)
    except InputError as error:
        found = str(error)
    assert "f:1" in found
    assert "\n" not in found
    assert repr(row) == before
