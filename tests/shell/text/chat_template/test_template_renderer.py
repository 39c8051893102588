"""Conversations under chat templates: their masks are those of the pieces, and what cannot be proven is refused."""

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.ragged_batches import Examples
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.spans import Span
from kernel.render.token_program import assemble
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderers.llama3 import LLAMA3
from kernel.renderers.qwen3 import QWEN3, QWEN3_INSTRUCT
from kernel.row_to_conversation import read_conversation
from shell.text.chat_template.find_turns import Control
from shell.text.chat_template.open_template import ChatTemplate
from shell.text.chat_template.template_renderer import Masked, TemplateRenderer
from shell.text.tokenizer import open_tokenizer
from tests import strategies
from tests.shell.text.chat_template import samples
from tests.shell.text.chat_template.samples import chatml

ALL = TrainOnWhat.ALL_ASSISTANT_MESSAGES
LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE
TOKENIZER = open_tokenizer("sample")
TALK = (
    Message("system", "s"),
    Message("user", "q"),
    Message("assistant", "a"),
    Message("user", "r"),
    Message("assistant", "b"),
)


def composed(source: str, split_turns: bool = True, **variables: object) -> TemplateRenderer:
    variables = {"bos_token": "<|begin_of_text|>", **variables}
    return TemplateRenderer(ChatTemplate(source, map(Control, samples.CONTROLS), variables), split_turns)


def shown(examples: list[Masked]) -> list[str]:
    """Examples as text, what is trained between marks."""
    texts = []
    for example in examples:
        text = "".join(f"«{span.text}»" if w else span.text for span, w in example)
        texts.append(text.replace("»«", ""))
    return texts


def assembled(batch_renderer: BatchRenderer | TemplateRenderer, talk: Conversation, mode: TrainOnWhat) -> Examples:
    script = batch_renderer.render([talk], mode)
    return assemble(script, TOKENIZER.encode_constants(batch_renderer.constant_texts), TOKENIZER.encode(script.texts))


def spaceless(text: str) -> str:
    return text.strip()


plain = strategies.texts.map(spaceless).filter(bool)
"""what stays as it is, in templates that trim too"""


@st.composite
def chats(draw: st.DrawFn, calls: bool = False) -> Conversation:
    """Turns of user and assistant, at times with a system message, calls and results."""
    talk: list[Message] = [Message("system", draw(plain))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        talk.append(Message("user", draw(plain)))
        if calls and draw(st.booleans()):
            made = tuple(draw(st.lists(strategies.calls, min_size=1, max_size=2)))
            talk.append(Message("assistant", draw(plain | st.just("")), made))
            talk.append(Message("tool", draw(plain), name="f"))
        talk.append(Message("assistant", draw(plain)))
    return tuple(talk)


PAIRS = {
    "instruct": (composed(samples.INSTRUCT), BatchRenderer(QWEN3_INSTRUCT), True),
    "thinking": (composed(samples.THINKING), BatchRenderer(QWEN3), False),
    "trimmed": (composed(samples.TRIMMED), BatchRenderer(LLAMA3), False),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("mode", [ALL, LAST, TrainOnWhat.LAST_ASSISTANT_TURN])
def test_tokens_and_weights_are_those_of_the_renderer_of_pieces(pair: str, mode: TrainOnWhat) -> None:
    by_template, by_pieces, calls = PAIRS[pair]

    @settings(max_examples=20, deadline=None)
    @given(chats(calls))
    def law(talk: Conversation) -> None:
        assume(not any("<think>" in str(m.content) or "</think>" in str(m.content) for m in talk))
        ours, theirs = assembled(by_template, talk, mode), assembled(by_pieces, talk, mode)
        assert ours.offsets.tolist() == theirs.offsets.tolist()
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        assert ours.weights.tolist() == theirs.weights.tolist()

    law()


@settings(max_examples=30, deadline=None)
@given(chats(calls=True))
def test_control_tokens_are_the_templates_whatever_the_data_spells(talk: Conversation) -> None:
    def controls(talk: Conversation) -> list[str]:
        (example,) = PAIRS["instruct"][0].masked(talk, ALL)
        return [span.text for span, _ in example if span.kind is SpanKind.CONTROL]

    assert controls(talk) == controls(tuple(m._replace(content="x" if m.content else "") for m in talk))


BARE = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]).from_string(
    samples.TRIMMED
)


@settings(max_examples=25, deadline=None)
@given(chats())
def test_the_text_is_what_jinja_writes_without_us(talk: Conversation) -> None:
    messages = [{"role": message.role, "content": message.content} for message in talk]
    text = BARE.render(messages=messages, bos_token="<|begin_of_text|>")
    (example,) = PAIRS["trimmed"][0].masked(talk, ALL)
    assert "".join(span.text for span, _ in example) == text.removesuffix("\n")


def test_each_turn_is_trained_through_its_end_and_nothing_else_is() -> None:
    assert shown(composed(samples.PLAIN).masked(TALK, ALL)) == [
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n«a<|im_end|>»\n"
        "<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n«b<|im_end|>»"
    ]


def test_generation_blocks_lose_what_the_prompt_supplies_and_what_nobody_samples() -> None:
    assert shown(composed(samples.MARKED).masked(TALK, ALL)) == shown(composed(samples.PLAIN).masked(TALK, ALL))


def test_a_generation_block_narrows_the_turn() -> None:
    marked = (
        chatml("{% generation %}{{- message.content }}{% endgeneration %}")
        .replace("{% generation %}", "{%- if message.role == 'assistant' %}{% generation %}")
        .replace("{% endgeneration %}", "{% endgeneration %}{% else %}{{- message.content }}{% endif %}")
    )
    assert shown(composed(marked).masked(TALK[1:3], ALL))[0].endswith("assistant\n«a»<|im_end|>")


def test_a_turn_that_reads_otherwise_later_gets_an_example_of_its_own() -> None:
    reasoned = Message("assistant", (Part("thinking", "hm"), Part("text", "a")))
    talk = (TALK[1], reasoned, *TALK[3:])
    assert shown(composed(samples.THINKING).masked(talk, ALL)) == [
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n«<think>\nhm\n</think>\n\na<|im_end|>»",
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
        "<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n«<think>\n\n</think>\n\nb<|im_end|>»",
    ]
    assert composed(samples.THINKING).render([talk, talk], ALL).rows.tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match=r"read the same once more messages follow.* at \$\.messages\[1\]"):
        composed(samples.THINKING, split_turns=False).masked(talk, ALL)


def test_a_turn_that_loses_its_own_reasoning_is_refused() -> None:
    source = chatml(
        "{{- message.reasoning_content if not message.tool_calls }}{{ message.content }}"
        "{%- for call in message.tool_calls %}{{ call.function | tojson }}{% endfor %}"
    )
    reasoned = Message("assistant", (Part("thinking", "hm"), Part("text", "a")))
    assert composed(source).masked((TALK[1], reasoned), ALL)
    with pytest.raises(InputError, match=r"its reasoning in the turn, got none.* at \$\.messages\[1\]"):
        composed(source).masked((TALK[1], reasoned._replace(tool_calls=(ToolCall("f", "{}"),))), ALL)


def test_no_more_examples_than_it_takes() -> None:
    ends = [text.count("«") for text in shown(composed(samples.CHANNELS).masked(TALK, ALL))]
    assert ends == [1, 1]
    assert len(composed(samples.CHANNELS).masked(TALK, LAST)) == 1
    assert len(composed(samples.PLAIN).masked(TALK, ALL)) == 1


def test_inline_reasoning_is_reasoning_where_the_template_reads_it() -> None:
    talk = (TALK[1], Message("assistant", "<think>\nhm\n</think>\n\na"))
    (example,) = composed(samples.THINKING).masked(talk, ALL)
    assert [span.text for span, _ in example if span.kind is SpanKind.MESSAGE] == ["q", "hm", "a"]
    (example,) = composed(samples.PLAIN).masked(talk, ALL)
    assert example[-2][0][:2] == (SpanKind.MESSAGE, "<think>\nhm\n</think>\n\na")


MODES = {
    TrainOnWhat.ALL_MESSAGES: (
        "system\n«s<|im_end|>»\n<|im_start|>user\n«q<|im_end|>»\n<|im_start|>assistant\n«a<|im_end|>»"
    ),
    TrainOnWhat.ALL_USER_AND_SYSTEM_MESSAGES: (
        "system\n«s<|im_end|>»\n<|im_start|>user\n«q<|im_end|>»\n<|im_start|>assistant\na<|im_end|>"
    ),
    LAST: "system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n«a<|im_end|>»",
}


@pytest.mark.parametrize("mode", MODES)
def test_other_modes_train_messages_from_their_text_on(mode: TrainOnWhat) -> None:
    assert shown(composed(samples.PLAIN).masked(TALK[:3], mode)) == ["<|im_start|>" + MODES[mode]]


def test_all_tokens_are_all_but_the_one_that_opens_the_sequence() -> None:
    (text,) = shown(composed(samples.TRIMMED).masked(TALK[1:3], TrainOnWhat.ALL_TOKENS))
    assert text.startswith("<|begin_of_text|>«<|start_header_id|>")
    assert text.endswith("a<|eot_id|>»")


def test_customized_trains_the_messages_marked_trainable() -> None:
    talk = tuple(m._replace(trainable=i in (1, 4)) for i, m in enumerate(TALK))
    (text,) = shown(composed(samples.PLAIN).masked(talk, TrainOnWhat.CUSTOMIZED))
    assert (text.count("«"), "«q<|im_end|>»" in text, "«b<|im_end|>»" in text) == (2, True, True)


def test_where_an_empty_message_starts_is_not_guessed() -> None:
    talk = (Message("user", ""), *TALK[2:3])
    assert composed(samples.PLAIN).masked(talk, ALL)
    with pytest.raises(InputError, match=r"the start of an empty message is not known.*messages\[0\]"):
        composed(samples.PLAIN).masked(talk, TrainOnWhat.ALL_MESSAGES)


@pytest.mark.parametrize("content", ["", None, "Be brief."])
@pytest.mark.parametrize("tools", [True, False])
def test_an_empty_system_message_is_written_with_tools_and_without(content: str | None, tools: bool) -> None:
    source = "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}" + chatml("{{- message.content }}")
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    if content is not None:
        messages.insert(0, {"role": "system", "content": content})
    row = {"messages": messages, **({"tools": [{"type": "function", "function": {"name": "f"}}]} if tools else {})}
    (text,) = shown(composed(source).masked(read_conversation(row), ALL))
    assert ("system\n" in text) == (content is not None)


def test_calls_results_and_declarations_are_data() -> None:
    tools = (ToolSpec("f", json.dumps({"name": "f", "description": "<|im_end|>", "parameters": {}})),)
    call = ToolCall("<|im_start|>", '{"<|im_end|>": ["</tool_call>", 1, null]}', "i")
    talk = (
        Message("system", tools=tools),
        TALK[1],
        Message("assistant", "", (call,)),
        Message("tool", "</tool_response>"),
    )
    (example,) = composed(samples.INSTRUCT).masked(talk, ALL)
    controls = [span.text for span, _ in example if span.kind is SpanKind.CONTROL]
    assert [controls.count(token) for token in ("<|im_start|>", "<|im_end|>", "</tool_call>", "</tool_response>")] == [
        4,
        4,
        3,
        1,
    ]
    (text,) = shown([example])
    assert '«<tool_call>\n{"name": "<|im_start|>", "arguments": {"<|im_end|>": ["</tool_call>", 1, null]}}' in text


REFUSED = {
    "text that a template cuts": (
        chatml("{{- message.content.split('</think>')[-1] }}"),
        Message("assistant", "see </think> there"),
        "the template writes only a part of the text of message 1",
    ),
    "text that a template rewrites": (
        chatml("{{- message.content | replace('[[', '<|') }}"),
        Message("assistant", "[[im_end|>"),
        "the template writes '<.im_end.>' for the text of message 1",
    ),
    "text that makes it write control tokens": (
        chatml("{{- message.content }}{{ '<|im_end|>' if 'stop' in message.content }}"),
        Message("assistant", "please stop"),
        "what the template writes around a text depends on the text",
    ),
    "text that a header depends on": (
        chatml("{{- '!' if message.content | length > 3 }}{{ message.content }}"),
        Message("user", "please"),
        "what the template writes around a text depends on the text",
    ),
    "a length": (
        chatml("{{- message.content | length }}{{ message.content }}", prompt="<|im_start|>assistant\\n1"),
        Message("user", "please"),
        "what the template writes around a text depends on the text",
    ),
    "a role that it drops": (
        samples.PLAIN.replace("in messages", "in messages if message.role != 'developer'"),
        Message("developer", "Be brief."),
        "the template leaves out the text of message 1",
    ),
    "its own error": (
        samples.PLAIN + "{{ raise_exception('no tools') if messages[-1].role == 'tool' }}",
        Message("tool", "2"),
        "the chat template refuses the conversation: no tools",
    ),
    "the next message": (
        chatml("{{- message.content }}{{ '?' if not loop.last and loop.nextitem.content == 'x' }}"),
        Message("user", "x"),
        "depends on the text|once more messages follow",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_conversation_that_a_template_does_not_write_plainly_is_refused(case: str) -> None:
    source, message, sentence = REFUSED[case]
    with pytest.raises(InputError, match=sentence):
        composed(source, split_turns=False).masked((TALK[1], message, *TALK[2:]), ALL)


ROLES = (
    *("title", "capitalize", "upper", "lower", "trim", "string", "replace('s', 'z')"),
    *("title()", "capitalize()", "upper()", "lower()", "strip()", "replace('assistant', 'bot')", "split('_')[0]"),
)


@pytest.mark.parametrize("form", ROLES)
def test_a_role_in_another_form_keeps_the_masks(form: str) -> None:
    role = f"role.{form}" if form.endswith((")", "]")) and "z" not in form else f"role | {form}"
    turn = "{{ '<|im_start|>' + (ROLE) + '\\n' }}".replace("ROLE", role)
    source = f"{{% for m in messages %}}{{% set role = m['role'] %}}{turn}"
    source += "{{ m['content'] + '<|im_end|>' }}{% endfor %}"
    source += f"{{% if add_generation_prompt %}}{{% set role = 'assistant' %}}{turn}{{% endif %}}"
    (example,) = shown(composed(source).masked(TALK, ALL))
    assert [part.split("»")[0] for part in example.split("«")[1:]] == ["a<|im_end|>", "b<|im_end|>"]


def test_a_refusal_does_not_contradict_itself() -> None:
    source = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    source += "{% if add_generation_prompt %}<|im_start|>b{% endif %}"
    with pytest.raises(InputError, match="expected 'b' of the template's own before the turn, got the same text from"):
        composed(source)


def test_an_error_names_its_location() -> None:
    with pytest.raises(InputError, match=r"unknown role 'x'.* - at train\.jsonl:7 \$\.messages\[0\]\.role"):
        composed(samples.PLAIN).render([(Message("x", "a"),)], ALL, ["train.jsonl:7"])


def test_a_conversation_that_starts_with_the_assistant_has_a_prompt_of_nothing() -> None:
    assert shown(composed(samples.PLAIN).masked(TALK[2:3], ALL)) == ["<|im_start|>assistant\n«a<|im_end|>»"]


def test_an_example_begins_with_the_tokens_of_its_prompt() -> None:
    batch_renderer = composed(samples.THINKING)
    example = assembled(batch_renderer, TALK, LAST)
    script = batch_renderer.prompts([TALK[:-1]])
    prompt = assemble(script, TOKENIZER.encode_constants(batch_renderer.constant_texts), TOKENIZER.encode(script.texts))
    n = len(prompt.tokens)
    assert example.tokens[:n].tolist() == prompt.tokens.tolist()
    assert not example.weights[:n].any()
    assert example.weights[n:].all()


def test_a_prefill_comes_last_and_literally() -> None:
    batch_renderer = composed(samples.PLAIN)
    script = batch_renderer.prompts([TALK[:2]], prefill="<|im_end|>Sure")
    assert (script.texts[-1], script.ops[-1], script.weights.any()) == ("<|im_end|>Sure", -1, False)


def test_white_space_beside_a_token_that_removes_it_is_left_out() -> None:
    controls = [Control("<|im_start|>"), Control("<|im_end|>", rstrip=True), Control("<think>", lstrip=True)]
    template = ChatTemplate(chatml("{{- message.content }}{{ ' <think>' }}"), controls)
    (example,) = TemplateRenderer(template).masked(TALK[1:3], ALL)
    assert "".join(span.text for span, _ in example) == (
        "<|im_start|>user\nq<think><|im_end|><|im_start|>assistant\na<think><|im_end|>"
    )


def test_constant_texts_grow_and_keep_their_numbers() -> None:
    batch_renderer = composed(samples.PLAIN)
    batch_renderer.render([TALK[1:3]], ALL)
    before = batch_renderer.constant_texts
    batch_renderer.render([TALK], ALL)
    assert batch_renderer.constant_texts[: len(before)] == before


def test_a_span_has_its_messages_index_and_text_between_turns_that_of_the_next() -> None:
    (example,) = composed(samples.PLAIN).masked(TALK[1:3], ALL)
    assert [span.message for span, _ in example] == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert example[2][0] == Span(SpanKind.MESSAGE, "q", True, 0)
