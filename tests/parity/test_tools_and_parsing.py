"""Declared tools, and sampled turns read back: equal to tinker-cookbook's, where an environment with it is at hand.

A sampled turn is what an example trains of an assistant's message, kept to what both sides can read: Kimi's calls by
ids that name the function, and gpt-oss's one call a turn, since sampling stops there. Both sides read it; where ours
differs on purpose `alike` says so.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel.conversation import parts_of
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.parse_response.common import Parsed, ParseTermination
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.token_program import assemble
from kernel.renderers import RENDERERS
from kernel.row_to_conversation import read_conversation
from shell.text.tokenizer import Tokenizer, open_tokenizer
from tests.parity.asking import TOKENIZERS, N, ask, needs_oracle
from tests.parity.conversations import conversation
from tests.parity.declarations import tool, typed_tool
from tests.parity.test_cookbook import FAMILIES, speaking
from tests.parity.tokenizers import prepared

pytestmark = needs_oracle
CALLING = [name for name, (_, _, calls) in FAMILIES.items() if calls]
FRAMED = ("qwen3", "nemotron3")  # white space around blocks, calls and arguments belongs to the format
TYPED = ("kimi", "gpt_oss")  # tools are declared as TypeScript
LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE
ALWAYS = tuple(TrainOnWhat)[:5]
MODES = (TrainOnWhat.ALL_USER_AND_SYSTEM_MESSAGES, *ALWAYS, "prompt")  # gpt-oss: the first differs on purpose

Message = dict[str, Any]
Parts = list[tuple[str, str]]
Render = Callable[[Message], tuple[list[int], list[float]]]


def opened(renderer: str, folder: Path) -> tuple[str, Tokenizer]:
    path = str(prepared(TOKENIZERS / FAMILIES[renderer][0], RENDERERS[renderer].controls, folder))
    return path, open_tokenizer(path)


def rendered(renderer: str, tokenizer: Tokenizer, question: Message) -> tuple[list[int], list[float]]:
    batch_renderer = BatchRenderer(RENDERERS[renderer], split_turns=False)
    talk = read_conversation({key: question[key] for key in ("messages", "tools") if key in question})
    prompt = question["mode"] == "prompt"
    script = batch_renderer.prompts([talk]) if prompt else batch_renderer.render([talk], TrainOnWhat(question["mode"]))
    examples = assemble(
        script, tokenizer.encode_constants(batch_renderer.constant_texts), tokenizer.encode(script.texts)
    )
    return examples.tokens.tolist(), [] if prompt else examples.weights.tolist()


def talk_for(renderer: str, rng: random.Random) -> list[Message]:
    _, reasoning, tools = FAMILIES[renderer]
    reasons = reasoning and ("disable" not in renderer or renderer.startswith("deepseek"))
    talk = conversation(rng, reasons, tools, odd=False)
    return [speaking(message) for message in talk] if renderer.startswith("deepseekv3") else talk


def tools_for(renderer: str, rng: random.Random) -> list[dict[str, object]]:
    tools = [(typed_tool if renderer.startswith(TYPED) else tool)(rng) for _ in range(rng.randint(1, 3))]
    deferred = {"defer_loading": True} if renderer.startswith("glm") and rng.random() < 0.1 else {}
    return [tools[0] | deferred, *tools[1:]]


def samplable(renderer: str, message: Message) -> Message:
    if "tool_calls" not in message or not renderer.startswith(TYPED):
        return message
    calls = [{"function": call["function"]} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls[:1] if renderer.startswith("gpt_oss") else calls}


@pytest.mark.parametrize("renderer", CALLING)
def test_declared_tools_read_like_the_cookbooks(renderer: str, tmp_path: Path) -> None:
    path, tokenizer = opened(renderer, tmp_path)
    rng = random.Random(f"tools {renderer}")
    asked = []
    for i in range(N):
        talk = talk_for(renderer, rng)
        talk[0] = talk[0] | ({"content": ""} if i % 5 == 0 and talk[0]["role"] == "system" else {})
        mode = rng.choice(MODES[1:] if renderer.startswith("gpt_oss") else MODES)
        asked.append({"renderer": renderer, "mode": str(mode), "messages": talk, "tools": tools_for(renderer, rng)})
    for question, answer in zip(asked, ask(path, asked), strict=True):
        if "error" in answer:  # a trained turn that the prompt of a format without reasoning does not lead to
            assert "thinking turned off" in answer["error"], (question, answer)
            with pytest.raises(InputError):
                rendered(renderer, tokenizer, question)
            continue
        tokens, weights = rendered(renderer, tokenizer, question)
        assert tokens == answer["tokens"], (tokenizer.decode(tokens), tokenizer.decode(answer["tokens"]))
        assert np.array_equal(weights, answer["weights"]), question


@pytest.mark.parametrize("renderer", CALLING)
def test_sampled_turns_are_read_as_the_cookbook_reads_them(renderer: str, tmp_path: Path) -> None:
    path, tokenizer = opened(renderer, tmp_path)
    opening = tokenizer.controls.get("<think>")
    turns = sampled_turns(renderer, lambda question: rendered(renderer, tokenizer, question), opening, N)
    asked = [{"renderer": renderer, "mode": "parse", "tokens": tokens} for tokens in turns]
    for question, answer in zip(asked, ask(path, asked), strict=True):
        turn = RENDERERS[renderer].parse(tokenizer.segments(question["tokens"]))
        assert_read_alike(renderer, turn, answer, tokenizer.decode(question["tokens"]))


def sampled_turns(renderer: str, render: Render, opening: int | None, n: int) -> list[list[int]]:
    """Turns as they would be sampled, some of them cut; `opening` is the token that begins a block of reasoning."""
    rng = random.Random(f"parse {renderer}")
    out: list[list[int]] = []
    while len(out) < n:
        talk = [samplable(renderer, message) for message in talk_for(renderer, rng)]
        last = rng.choice([i for i, message in enumerate(talk) if message["role"] == "assistant"])
        tokens, weights = render({"mode": LAST, "messages": talk[: last + 1]})
        prompt, _ = render({"mode": "prompt", "messages": talk[:last]})
        sampled = [token for token, weight in zip(tokens, weights, strict=True) if weight]
        if renderer.startswith(FRAMED) and sampled[0] == opening and tokens[: len(prompt)] != prompt:
            continue  # white space that opens the reasoning joins the prompt's newline: the cookbook adds a block
        out.append(sampled[: rng.randrange(len(sampled))] if rng.random() < 0.1 else sampled)
    return out


def assert_read_alike(renderer: str, turn: Parsed, answer: Message, sampled: str) -> None:
    assert "error" not in answer, (sampled, answer)
    assert str(turn.termination) == answer["termination"], sampled
    if turn.termination is ParseTermination.MALFORMED:
        return  # the cookbook gives the text as it came
    assert len(turn.bad_calls) == answer["n_bad_calls"], (sampled, turn, answer)
    assert alike(renderer, *ours(turn)) == alike(renderer, *theirs(renderer, answer)), (sampled, turn, answer)


def ours(turn: Parsed) -> tuple[Parts, list[tuple[str, str]]]:
    parts = [(part.kind, part.text) for part in parts_of(turn.message)]
    return parts, [(call.name, call.arguments) for call in turn.message.tool_calls]


def theirs(renderer: str, answer: dict[str, Any]) -> tuple[Parts, list[tuple[str, str]]]:
    content, calls = answer["content"], [(name, arguments) for name, arguments in answer["calls"]]
    if renderer.startswith("gpt_oss") and calls and isinstance(content, str):
        content = ""  # the cookbook gives a call alone as raw text too
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [(part["type"], part[part["type"]]) for part in parts], calls


def alike(renderer: str, parts: Parts, calls: list[tuple[str, str]]) -> tuple[Parts, list[tuple[str, Any]]]:
    """What was read, without what the two sides are known to read differently."""
    read = [(name, json.loads(arguments)) for name, arguments in calls]
    if renderer.startswith(FRAMED):
        return _framed(parts, bool(calls)), [
            (name, {k: _stripped(v) for k, v in given.items()}) for name, given in read
        ]
    if renderer.startswith("deepseekv3") and calls:  # the cookbook takes white space off what stands beside
        parts = [(kind, said.strip() if kind == "text" else said) for kind, said in parts]
    if renderer.startswith("gpt_oss"):  # the cookbook drops blank parts
        parts = [(kind, said) for kind, said in parts if said.strip()]
    return [(kind, said) for kind, said in parts if said], read


def _framed(parts: Parts, calls: bool) -> Parts:
    """Later blocks trimmed, and text beside calls without newlines at its end."""
    later = [(kind, one.strip() if kind == "thinking" else one) for kind, one in parts[1:]]
    out = _joined([*parts[:1], *later])
    return _joined([(kind, one.rstrip("\n") if calls and kind == "text" else one) for kind, one in out])


def _joined(parts: Parts) -> Parts:
    """Neighbours of a kind as one part, empty ones left out."""
    out: Parts = []
    for kind, one in parts:
        if one:
            out.append((kind, out.pop()[1] + one if out and out[-1][0] == kind else one))
    return out


def _stripped(one: object) -> object:
    return one.strip() if isinstance(one, str) else one
