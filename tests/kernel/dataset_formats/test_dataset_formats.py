"""Shapes: every row is told by its keys, becomes messages without loss, and errors keep the user's own paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.dataset_formats import KEYS, format_of, to_messages
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.render.batch_renderer import BatchRenderer
from kernel.renderers.plain_text import TEXT
from kernel.renderers.qwen3 import QWEN3, QWEN3_INSTRUCT
from kernel.row_to_conversation import read_conversation

USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
SYSTEM = {"role": "system", "content": "S"}
CHAT = [USER, ANSWER]
TALK = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]

SAME = {
    "messages": {"messages": CHAT},
    "messages under conversations": {"conversations": CHAT},
    "messages told by ShareGPT's keys": {"messages": TALK},
    "ShareGPT": {"conversations": TALK},
    "one conversation": {"conversation": TALK},
    "other speakers": {"conversations": [{"from": "User", "value": "Q"}, {"from": "chatgpt", "value": "A"}]},
    "ShareGPT and OpenAI in turns": {"conversations": [TALK[0], ANSWER]},
    "Alpaca": {"instruction": "Q", "output": "A"},
    "Alpaca with an empty input": {"instruction": "Q", "input": "", "output": "A", "history": []},
    "Alpaca with nothing but an input": {"instruction": "", "input": "Q", "output": "A"},
    "prompt and completion": {"prompt": "Q", "completion": "A"},
    "prompt and response": {"prompt": "Q", "response": "A"},
    "lists of messages": {"prompt": [USER], "completion": [ANSWER]},
    "a list and a text": {"prompt": [USER], "completion": "A"},
    "nulls of other shapes": {"messages": None, "text": None, "prompt": "Q", "completion": "A"},
}


@pytest.mark.parametrize("what", SAME)
def test_one_conversation_reads_the_same_in_every_shape(what):
    row = to_messages({**SAME[what], "id": 7})
    assert read_conversation(row) == read_conversation({"messages": CHAT})
    assert row["id"] == 7


def test_a_row_of_messages_is_passed_on_as_it_is():
    row = {"messages": CHAT, "id": 1}
    assert to_messages(row) is row
    assert to_messages({"chat": CHAT}, column="chat") == {"chat": CHAT}


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": TALK, "system": "S"},
        {"conversations": [{"from": "system", "value": "S"}, *TALK], "system": "S"},
        {"instruction": "Q", "output": "A", "system": "S"},
        {"prompt": "Q", "completion": "A", "system": "S"},
        {"messages": CHAT, "system": "S"},
        {"messages": [SYSTEM, *CHAT], "system": "S"},
    ],
)
def test_a_system_prompt_beside_the_turns_opens_them(row):
    assert read_conversation(to_messages(row)) == read_conversation({"messages": [SYSTEM, *CHAT]})


def test_two_system_prompts_that_differ_are_refused():
    with pytest.raises(InputError, match=r"expected one system prompt, got two that differ - at f:3 \$\.system"):
        to_messages({"conversations": [{"from": "system", "value": "T"}, *TALK], "system": "S"}, "f:3")


def test_alpaca_joins_instruction_and_input_and_opens_with_its_history():
    row = {"instruction": "Add.", "input": "1+1", "output": "2", "history": [["Q", "A"]]}
    assert to_messages(row)["messages"] == [*CHAT, {"role": "user", "content": "Add.\n1+1"}, {**ANSWER, "content": "2"}]


def test_calls_of_sharegpt_are_tool_calls_and_observations_their_results():
    call = {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'}
    talk = [TALK[0], call, {"from": "observation", "value": "ok"}, TALK[1]]
    read = read_conversation(to_messages({"conversations": talk, "tools": '[{"name": "f"}]'}))
    assert [message.role for message in read] == ["system", "user", "assistant", "tool", "assistant"]
    assert (read[2].tool_calls[0].name, read[2].tool_calls[0].arguments) == ("f", '{"x": 1}')
    assert read[0].tools[0].name == "f"


@pytest.mark.parametrize(
    ("row", "shape", "message"),
    [
        ({}, "auto", "expected the key 'messages', those of another shape (see --dataset-format), or --dataset-map "),
        (
            {"text": "x", "prompt": "Q", "completion": "A"},
            "auto",
            "expected a row of one shape (--dataset-format says which), got prompt_completion and text: 'text', "
            "'prompt', 'completion'",
        ),
        ({"text": "x"}, "messages", "expected the key 'messages', got 'text'"),
        ({"conversations": TALK}, "messages", "expected the key 'messages', got 'conversations' (try --dataset-colu"),
        (
            {"conversations": 3},
            "auto",
            "expected a list of at least one message, got a number - at f:1 $.conversations",
        ),
        (
            {"conversations": [3]},
            "auto",
            "expected a message object with role and content, got a number - at f:1 $.conversation",
        ),
        ({"conversations": [{"from": 3}]}, "auto", "expected text, got a number - at f:1 $.conversations[0].from"),
        (
            {"conversations": [{"value": ""}]},
            "auto",
            "expected 'role' and 'content', or 'from' and 'value' (--dataset-map role=KEY,content=KEY names "
            "other keys), got 'value' - at f:1 $.conversations[0]",
        ),
        (
            {"conversations": [{"from": "function_call", "value": "{"}]},
            "auto",
            "expected the JSON text of a tool call, got text that is not JSON (",
        ),
        (
            {"conversations": [{"from": "function_call", "value": "[3]"}]},
            "auto",
            "expected the JSON text of a tool call with a name, got a number - at f:1 $.conversations[0].value",
        ),
        ({"instruction": 3, "output": "A"}, "auto", "expected text, got a number - at f:1 $.instruction"),
        ({"instruction": "Q"}, "alpaca", "expected text, got nothing (the keys are 'instruction') - at f:1 $.output"),
        (
            {"instruction": "Q", "output": "A", "history": [["Q"]]},
            "auto",
            "expected a pair of instruction and answer, got a list - at f:1 $.history[0]",
        ),
        ({"prompt": [3], "completion": "A"}, "auto", "expected a message object with role and content, got a number"),
        ({"prompt": [], "completion": "A"}, "auto", "expected a list of at least one message, got an empty list"),
        ({"prompt": "Q", "completion": "A", "response": "B"}, "auto", "expected a completion or a response, got both"),
        ({"text": ["x"]}, "auto", "expected text, got a list - at f:1 $.text"),
    ],
)
def test_a_row_that_is_no_such_row_is_refused_with_what_it_holds(row, shape, message):
    with pytest.raises(InputError) as error:
        read_conversation(to_messages(row, "f:1", shape), "f:1")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("shape", ["alpaca", "prompt_completion"])
def test_a_column_cannot_be_named_where_the_keys_are_fixed(shape):
    with pytest.raises(InputError, match="--dataset-column chat cannot be used with"):
        to_messages({"chat": []}, "f:1", shape, "chat")


PATHS = [
    ({"conversations": [TALK[0], {"from": "gpt", "value": None}]}, "$.conversations[1].value"),
    ({"conversations": [{"role": "usr", "content": "Q"}]}, "$.conversations[0].role"),
    ({"conversations": [{"from": "gpt"}], "system": "S"}, "$.conversations[0].value"),
    ({"prompt": [USER, {"role": "usr", "content": "Q"}], "completion": "A"}, "$.prompt[1].role"),
    ({"prompt": "Q", "completion": [{"role": "assistant"}]}, "$.completion[0].content"),
    ({"instruction": "Q", "output": "A", "history": [["x", None]]}, "$.history[0][1]"),
    ({"messages": [USER, {"role": "usr", "content": ""}], "tools": [{"name": "f"}]}, "$.messages[1].role"),
    ({"text": "x"}, "$.text"),
    ({"instruction": "Q\ud800", "output": "A"}, "$.instruction"),
]


@pytest.mark.parametrize(("row", "path"), PATHS)
def test_what_is_found_later_is_told_in_the_words_of_the_users_row(row, path):
    def render():
        talk = read_conversation(to_messages(row, "f:1"), "f:1")
        BatchRenderer(QWEN3).render([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES, ["f:1"])

    with pytest.raises(InputError) as error:
        render()
    assert str(error.value).endswith(f"- at f:1 {path}")


def test_a_column_of_ones_own_stands_in_the_path_of_an_unknown_role():
    talk = read_conversation({"chat": [{"role": "usr", "content": ""}]}, "f:1", "chat")
    with pytest.raises(InputError, match=r"- at f:1 \$\.chat\[0\]\.role$"):
        BatchRenderer(QWEN3).render([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES, ["f:1"])


def test_raw_text_is_trained_by_the_renderer_of_that_name_and_refused_by_all_that_write_turns():
    talk = read_conversation(to_messages({"text": "once"}))
    script = BatchRenderer(TEXT).render([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
    assert (script.texts, script.weights.tolist()) == (["once"], [1])
    with pytest.raises(InputError, match=r"raw text needs --renderer-name text; qwen3_instruct .* - at \$\.text"):
        BatchRenderer(QWEN3_INSTRUCT).render([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES)


def test_a_prompt_and_a_completion_are_one_text_of_which_the_completion_is_trained():
    talk = read_conversation(to_messages({"prompt": "2+2=", "completion": "4"}))
    script = BatchRenderer(TEXT).render([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
    assert (script.texts, script.weights.tolist()) == (["2+2=", "4"], [0, 1])


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from", "value", "role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
names = sorted({key for sets in KEYS.values() for keys in sets for key in keys} | {"system", "history", "input", "id"})


@given(st.dictionaries(st.sampled_from(names), junk, max_size=4), st.sampled_from(["auto", *KEYS]))
def test_whatever_a_row_holds_it_becomes_messages_or_one_sentence(row, shape):
    before, told = repr(row), "f:1"
    try:
        read_conversation(to_messages(row, "f:1", shape), "f:1")
    except InputError as error:
        told = str(error)
    assert "f:1" in told
    assert "\n" not in told
    assert repr(row) == before


@given(st.dictionaries(st.sampled_from(names), st.just("x"), max_size=5))
def test_a_shape_is_found_only_where_there_is_exactly_one(row):
    fits = [name for name, sets in KEYS.items() if any(set(keys) <= set(row) for keys in sets)]
    fits = [name for name in fits if not ("alpaca" in fits and name == "input_output")]
    try:
        assert [format_of(row)] == fits
    except InputError:
        assert len(fits) != 1 or fits == ["preference"]
