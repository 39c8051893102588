"""Renderers of pieces against the models' public chat templates, and `hf_template` against the renderers of pieces.

Set TINSMITH_TEMPLATES to a folder of `*.jinja` files. The names are those of TRL's wheel (`trl/chat_templates`), whose
`*_training.jinja` mark the assistant's turns, and three more from llama.cpp and SGLang: `deepseek_v3_1.jinja`,
`kimi_k2_thinking.jinja`, `glm5_3.jinja`. Families whose file is not there are skipped. Where both sides are known to
differ stands in `alike` and in DIFFER below; everything else must be the same, to the token.
"""

import os
import random
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from kernel.conversation import Conversation, split_inline_reasoning
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.token_program import assemble
from kernel.renderers import RENDERERS
from kernel.renderers.follow_template import FOLLOWING
from kernel.renderers.qwen3_template import QWEN3_TEMPLATES
from kernel.row_to_conversation import read_conversation
from shell.text.chat_template.find_turns import Control
from shell.text.chat_template.open_template import DATE, ChatTemplate
from shell.text.chat_template.placeholders import Program
from shell.text.chat_template.template_messages import Arguments, Habits, read_messages
from shell.text.chat_template.template_renderer import Masked, TemplateRenderer
from shell.text.tokenizer import Tokenizer
from tests.parity import alike
from tests.parity.conversations import conversation
from tests.parity.tokenizers import with_controls
from tests.spans import write, write_prompt

TEMPLATES = Path(os.environ.get("TINSMITH_TEMPLATES", ""))
TOKENIZERS = Path(os.environ.get("TINSMITH_TOKENIZERS", ""))
N = int(os.environ.get("TINSMITH_PARITY_N", "200"))
MODES = (TrainOnWhat.LAST_ASSISTANT_MESSAGE, TrainOnWhat.LAST_ASSISTANT_TURN, TrainOnWhat.ALL_ASSISTANT_MESSAGES)

pytestmark = pytest.mark.skipif(
    "TINSMITH_TEMPLATES" not in os.environ, reason="needs TINSMITH_TEMPLATES (a folder of public chat templates)"
)


class Family(NamedTuple):
    """What a renderer's public template is called, and what both read alike."""

    file: str
    variables: Mapping[str, Any] = MappingProxyType({})
    spares: tuple[alike.Adapt, ...] = ()
    reads: Habits = Habits("reasoning_content")
    reasons: bool = True
    calls: bool = True
    masked: tuple[alike.Adapt, ...] | None = ()
    """what else to spare the masks; None: the mask cannot be proven, the template is refused"""
    prefilled: bool = False
    """its prompts say more than whose turn it is; the reference trains that in every mode but the LAST ones"""


EVERYONE = alike.trimmed("system", "user", "assistant", "tool")
THOUGHTS = alike.trimmed("assistant", kinds=("thinking",))
RESULTS = (alike.ascii_calls, alike.one_result)
REASONED = (alike.without_tools, alike.reasoned)
NO_THINKING = {"enable_thinking": False}


def qwen3_8(effort: str) -> Family:
    spares = (alike.ascii_calls, THOUGHTS)
    return Family("qwen3_8", {"reasoning_effort": effort}, spares, masked=(alike.reasoned,), prefilled=True)


def nemotron(file: str, *spares: alike.Adapt) -> Family:
    return Family(file, {}, (alike.ascii_calls, EVERYONE, *spares), masked=(alike.reasoned,), prefilled=True)


FAMILIES = {
    "llama3": Family("llama3", {}, (EVERYONE,), reads=Habits(), reasons=False, calls=False),
    "qwen3": Family("qwen3", {}, (*RESULTS, alike.calls_unreasoned)),
    "qwen3_disable_thinking": Family("qwen3", NO_THINKING, RESULTS, reasons=False, prefilled=True),
    "qwen3_instruct": Family("qwen3_instruct_2507", {}, RESULTS, reasons=False),
    "qwen3_vl": Family("qwen3_vl", {}, (*RESULTS, alike.calls_spoken), reasons=False),
    "qwen3_vl_instruct": Family("qwen3_vl", {}, (*RESULTS, alike.calls_spoken), reasons=False),
    "qwen3_5": Family(
        "qwen3_5_think", {}, (alike.ascii_calls, alike.calls_unreasoned, THOUGHTS), masked=REASONED, prefilled=True
    ),
    "qwen3_5_disable_thinking": Family(
        "qwen3_5_think", NO_THINKING, (alike.ascii_calls,), reasons=False, prefilled=True
    ),
    "qwen3_8_xhigh_reasoning": qwen3_8("xhigh"),
    "qwen3_8_medium_reasoning": qwen3_8("medium"),
    "qwen3_8_low_reasoning": qwen3_8("low"),
    "qwen3_8_disable_thinking": Family("qwen3_8", NO_THINKING, (alike.ascii_calls,), reasons=False, prefilled=True),
    "nemotron3": nemotron("nemotron_3_nano", alike.calls_spoken),
    "nemotron3_ultra": nemotron("nemotron_3_ultra"),
    "deepseekv3": Family("deepseek_v3_1", reads=Habits("", "text"), reasons=False),
    "kimi_k2": Family("kimi_k2_thinking", {}, (alike.ascii_calls, alike.kimi_ids, alike.unreasoned)),
    "glm5_3_max_reasoning": Family("glm5_3", {"clear_thinking": False}, masked=None),
    "gpt_oss_medium_reasoning": Family(
        "gptoss",
        reads=Habits("thinking"),
        reasons=False,
        calls=False,
        masked=(alike.trimmed("system"),),
    ),
}


def source(file: str) -> str:
    path = TEMPLATES / f"{file}.jinja"
    if not path.is_file():
        pytest.skip(f"there is no {path.name} in {TEMPLATES}")
    return path.read_text(encoding="utf-8")


def talks(name: str, more: tuple[alike.Adapt, ...] = ()) -> list[Conversation]:
    family, rng = FAMILIES[name], random.Random(f"templates {name}")
    out = []
    for _ in range(N):
        messages = conversation(rng, family.reasons, family.calls, odd=False)
        for adapt in (alike.reasoning_first, *family.spares, *more):
            messages = adapt(messages)
        out.append(read_conversation({"messages": messages}))
    return out


class Public:
    """A public template, rendered as it is."""

    def __init__(self, name: str) -> None:
        self.family, renderer = FAMILIES[name], RENDERERS[name]
        self.program = Program(source(self.family.file), name)
        self.variables = variables(name) | {"bos_token": renderer.bos}
        self.variables["strftime_now"] = datetime.fromisoformat(DATE).strftime

    def text(self, talk: Conversation, prompt: bool) -> str:
        messages = read_messages(tuple(map(split_inline_reasoning, talk)), self.family.reads, "$")
        given = messages.first(len(talk), lambda field: field.text)
        return self.program.run({**self.variables, **given, "add_generation_prompt": prompt}, "$")


def variables(name: str) -> dict[str, Any]:
    bos = RENDERERS[name].bos
    return {**FAMILIES[name].variables} | ({"bos_token": bos} if bos else {})


def ours(name: str, talk: Conversation, prompt: bool) -> str:
    spans = write_prompt(RENDERERS[name], talk) if prompt else write(RENDERERS[name], talk)
    return "".join(span.text for span in spans)


def same_end(name: str, text: str, talk: Conversation) -> str:
    """The text of a public example as a renderer of pieces ends it: with what the model samples last."""
    if not name.startswith("glm") or talk[-1].role != "assistant":
        return text.removesuffix("\n")
    return text + ("<|observation|>" if talk[-1].tool_calls else "<|user|>")


@pytest.mark.parametrize("name", FAMILIES)
def test_text_is_the_public_templates(name: str) -> None:
    public = Public(name)
    for talk in talks(name):
        theirs = same_end(name, public.text(talk, prompt=False), talk)
        assert ours(name, talk, prompt=False) in (theirs, theirs + "\n"), talk
        for i in [i for i, message in enumerate(talk) if message.role == "assistant" and i]:
            assert ours(name, talk[:i], prompt=True) == public.text(talk[:i], prompt=True), talk[:i]


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_and_masks_by_the_template_are_those_of_the_pieces(name: str) -> None:
    family, renderer = FAMILIES[name], RENDERERS[name]
    text, controls = source(family.file), [Control(token) for token in renderer.controls]
    if family.masked is None:
        with pytest.raises(InputError, match="expected a control token that ends the turn"):
            ChatTemplate(text, controls, variables(name))
        return
    tokenizer = Tokenizer(with_controls(qwen_tokenizer(), renderer.controls))
    by_template = TemplateRenderer(ChatTemplate(text, controls, variables(name)))
    by_pieces = BatchRenderer(renderer)
    for talk in talks(name, family.masked):
        for mode in MODES[:1] if family.prefilled else MODES:
            assert examples(by_template, tokenizer, talk, mode) == examples(by_pieces, tokenizer, talk, mode), talk


def qwen_tokenizer() -> bytes:
    path = TOKENIZERS / "qwen3.json"
    if not path.is_file():
        pytest.skip("needs TINSMITH_TOKENIZERS (a folder with qwen3.json)")
    return path.read_bytes()


def examples(
    batch_renderer: BatchRenderer | TemplateRenderer, tokenizer: Tokenizer, talk: Conversation, mode: TrainOnWhat
) -> list[tuple[list[int], list[float]]]:
    script = batch_renderer.render([talk], mode)
    made = assemble(script, tokenizer.encode_constants(batch_renderer.constant_texts), tokenizer.encode(script.texts))
    return [(made.tokens[a:b].tolist(), made.weights[a:b].tolist()) for a, b in pairwise(made.offsets)]


FOLLOWED = {"llama3": "llama3_1"} | {name: FAMILIES[name].file for name in FOLLOWING if name != "llama3"}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_follows_the_template_writes_what_it_writes(name: str) -> None:
    rng, program, renderer = (
        random.Random(f"follow {name}"),
        Program(source(FOLLOWED[name]), name),
        FOLLOWING[name].renderer,
    )
    arguments: Arguments = "text" if renderer.name in [one.name for one in QWEN3_TEMPLATES] else "object"
    reads = Habits("" if name == "llama3" else "reasoning_content", arguments)
    n_compared = 0
    for _ in range(N):
        messages = alike.reasoning_first(conversation(rng, FAMILIES[name].reasons, tools=True, odd=False))
        tools = [{"type": "function", "function": ADD | {"description": "é"}}] if rng.random() < 0.4 else []
        messages = [{"role": "system", "content": ""}, *messages] if rng.random() < 0.1 else messages
        talk = read_conversation({"messages": messages, "tools": tools})
        try:
            mine = "".join(span.text for span in write(renderer, talk))
            asked = "".join(span.text for span in write_prompt(renderer, talk))
        except InputError:
            continue
        given = read_messages(tuple(map(split_inline_reasoning, talk)), reads, "$").first(len(talk), lambda f: f.text)
        given |= variables(name) | {"bos_token": renderer.bos}
        theirs, prompt = (program.run({**given, "add_generation_prompt": p}, "$") for p in (False, True))
        assert mine in (theirs, theirs.removesuffix("\n")), talk
        assert asked == prompt, talk
        n_compared += 1
    assert n_compared > N / 10


class Differ(NamedTuple):
    """A case in which a renderer, as the reference, does not write what the public template writes."""

    name: str
    case: str
    row: dict[str, Any]
    ours: str
    theirs: str


ASK = {"role": "user", "content": "1+1?"}
CALL = {"function": {"name": "add", "arguments": '{"a": "é", "b": null}'}, "id": "functions.add:0"}
CALLS = {"role": "assistant", "content": "Wait.", "tool_calls": [CALL]}
BARE = {"role": "assistant", "content": "", "tool_calls": [CALL]}
THOUGHT = {"role": "assistant", "content": "Wait.", "reasoning_content": " hm ", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "2", "tool_call_id": "functions.add:0"}
ANSWER = {"role": "assistant", "content": "2"}
REASONED_ANSWER = {"role": "assistant", "content": "2", "reasoning_content": " hm "}
ADD = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}


def differ(name: str, case: str, messages: list[dict[str, Any]], ours: str, theirs: str, **more: Any) -> Differ:
    return Differ(name, case, {"messages": messages, **more}, ours, theirs)


QWEN3_RESULTS = "</tool_response><|im_end|>\n<|im_start|>user\n<tool_response>", "</tool_response>\n<tool_response>"
ESCAPED = '"\\u00e9"', '"é"'
DIFFER = [
    differ("llama3", "white space", [{"role": "user", "content": " hi\n"}], "\n\n hi\n<|eot_id|>", "\n\nhi<|eot_id|>"),
    differ("qwen3", "results", [ASK, CALLS, RESULT, RESULT, ANSWER], *QWEN3_RESULTS),
    differ("qwen3", "escapes", [ASK, CALLS, RESULT, ANSWER], *ESCAPED),
    differ(
        "qwen3", "reasoning in a turn", [ASK, THOUGHT, RESULT, ANSWER], "assistant\nWait.", "hm \n</think>\n\nWait."
    ),
    differ("qwen3_instruct", "results", [ASK, CALLS, RESULT, RESULT, ANSWER], *QWEN3_RESULTS),
    differ("qwen3_instruct", "escapes", [ASK, CALLS, RESULT, ANSWER], *ESCAPED),
    differ("qwen3_vl", "a bare call", [ASK, BARE], "assistant\n\n<tool_call>", "assistant\n<tool_call>"),
    differ("qwen3_vl", "results", [ASK, CALLS, RESULT, RESULT, ANSWER], *QWEN3_RESULTS),
    differ(
        "qwen3_5", "reasoning in a turn", [ASK, THOUGHT, RESULT, ANSWER], "assistant\nWait.", "hm\n</think>\n\nWait."
    ),
    differ("qwen3_5", "white space", [ASK, REASONED_ANSWER], "<think>\n hm \n</think>", "<think>\nhm\n</think>"),
    differ(
        "qwen3_5", "declarations", [ASK], '<tools>\n{"name"', '<tools>\n{"type": "function", "function"', tools=[ADD]
    ),
    differ("qwen3_8_low_reasoning", "white space", [ASK, REASONED_ANSWER], "\n hm \n</think>", "\nhm\n</think>"),
    differ(
        "qwen3_8_low_reasoning", "declarations", [ASK], '<tools>\n{"name"', '<tools>\n{"type": "function"', tools=[ADD]
    ),
    differ("nemotron3", "white space", [{"role": "user", "content": " hi\n"}], "user\nhi<", "user\n hi\n<"),
    differ(
        "nemotron3",
        "a past bare call that reasoned",
        [ASK, {**BARE, "reasoning_content": "hm"}, RESULT, ANSWER, ASK, ANSWER],
        "<think></think><tool_call>",
        "<think></think>\n<tool_call>",
    ),
    differ("deepseekv3", "declarations", [ASK], "## Tools", "sentence｜><｜User｜>", tools=[ADD]),
    differ("kimi_k2", "reasoning of an answer", [ASK, REASONED_ANSWER], "<think> hm </think>2", "<think></think>2"),
    differ("kimi_k2", "declarations", [ASK], '[{"function":{"desc', '[{"type": "function", "func', tools=[ADD]),
    differ("glm5_3_max_reasoning", "the end of a turn", [ASK, ANSWER], "2<|user|>", "</think>2"),
    differ(
        "gpt_oss_medium_reasoning",
        "reasoning of a past answer",
        [ASK, REASONED_ANSWER, ASK],
        "analysis<|message|> hm <|end|>",
        "1+1?<|end|><|start|>assistant<|channel|>final<|message|>2<|end|>",
    ),
    differ(
        "gpt_oss_medium_reasoning",
        "a call",
        [ASK, BARE],
        "commentary <|constrain|>json<|message|>",
        "commentary json<|",
    ),
    differ(
        "gpt_oss_medium_reasoning",
        "words before a call",
        [ASK, CALLS],
        "commentary<|message|>W",
        "analysis<|message|>W",
    ),
    differ("gpt_oss_medium_reasoning", "a result", [ASK, BARE, RESULT], "<|message|>2<|end|>", '<|message|>"2"<|end|>'),
    differ(
        "gpt_oss_medium_reasoning",
        "calls",
        [ASK, {**BARE, "tool_calls": [CALL, CALL]}],
        "<|call|><|start|>",
        "<|call|>",
    ),
    differ(
        "gpt_oss_medium_reasoning",
        "declarations",
        [ASK],
        "<|end|><|start|>system<|message|>Calls to these",
        "message.\nCalls to these",
        tools=[ADD],
    ),
]


@pytest.mark.parametrize("case", DIFFER, ids=lambda case: f"{case.name}: {case.case}")
def test_known_differences_are_still_there(case: Differ) -> None:
    talk = read_conversation(case.row)
    mine, theirs = ours(case.name, talk, prompt=False), Public(case.name).text(talk, prompt=False)
    assert case.ours in mine
    assert case.theirs in theirs
    assert mine != theirs


TWINS = (
    *("cohere", "gemma", "gemma3", "gptoss", "lfm2_v2", "llama3", "nemotron_3_nano", "nemotron_3_ultra"),
    *("phi3", "qwen2_5", "qwen3", "qwen3_5_think", "qwen3_instruct_2507", "qwen3_vl"),
)


@pytest.mark.parametrize("file", TWINS)
def test_generation_blocks_mark_what_the_prompts_prove(file: str) -> None:
    rng = random.Random(f"twins {file}")
    by_marks, by_prompts = TemplateRenderer(opened(f"{file}_training")), TemplateRenderer(opened(file))
    compared = 0
    for _ in range(N):
        messages = conversation(rng, reasoning=False, tools=False, odd=False)
        messages = alike.reasoned(messages) if by_prompts.template.habits.reasoning else messages
        talk = read_conversation({"messages": messages})
        try:
            marked, plain = (c.masked(talk, TrainOnWhat.LAST_ASSISTANT_MESSAGE) for c in (by_marks, by_prompts))
        except InputError:
            continue
        texts = ["".join(span.text for span, _ in one) for one in (*marked, *plain)]
        compared += len(set(texts)) == 1
        assert len(set(texts)) > 1 or weighed(marked) == weighed(plain), talk
    assert compared


def opened(file: str) -> ChatTemplate:
    """A template with all that it spells like one as control tokens."""
    text = source(file)
    spelled = re.findall(r"<[|｜][^<>\s]{1,40}?[|｜]>|</?think>|</?tool_\w+>|<(?:start|end)_of_turn>", text)
    return ChatTemplate(text, map(Control, {*spelled, "<bos>", "<eos>"}), {"bos_token": "<bos>", "eos_token": "<eos>"})


def weighed(examples: list[Masked]) -> str:
    """The text of one example, what is trained in it between marks."""
    (example,) = examples
    return "".join(f"«{span.text}»" if weight else span.text for span, weight in example)
