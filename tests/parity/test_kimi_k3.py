"""Kimi K3.1 Pro against Moonshot's own encoder of K3, piece for piece, where that file is at hand.

Set TINSMITH_KIMI_K3 to `encoding_k3.py` from the repository of moonshotai/Kimi-K3, or to a derivation with the same
`build_chat_segments` (vLLM has one). It gives segments: control tokens, and texts that are never read as such. It says
nothing of weights, so what is trained is held down by tests of our own.
"""

import importlib.util
import json
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kernel.parse_response.common import ParseTermination, Segment
from kernel.render.spans import Span
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderers import RENDERERS
from kernel.row_to_conversation import read_conversation
from tests.parity.conversations import conversation
from tests.parity.declarations import typed_tool as tool
from tests.spans import write, write_prompt

ENCODER = os.environ.get("TINSMITH_KIMI_K3", "")
N = int(os.environ.get("TINSMITH_PARITY_N", "200"))
EFFORTS = {  # what the encoder is asked for
    "kimi_k31_pro_max_reasoning": {"thinking": True, "thinking_effort": "max"},
    "kimi_k31_pro_high_reasoning": {"thinking": True, "thinking_effort": "high"},
    "kimi_k31_pro_low_reasoning": {"thinking": True, "thinking_effort": "low"},
    "kimi_k31_pro_no_reasoning_effort": {"thinking": True, "thinking_effort": None},
    "kimi_k31_pro_disable_thinking": {"thinking": False},
}
pytestmark = pytest.mark.skipif(not ENCODER, reason="needs TINSMITH_KIMI_K3 (the encoding_k3.py of moonshotai/Kimi-K3)")


def encoder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("encoding_k3", Path(ENCODER))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    __import__("sys").modules[spec.name] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def native(message: dict) -> dict:
    """The message as the encoder takes it: reasoning apart from the text, and no parts."""
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    said = {kind: "".join(part.get(kind, "") for part in parts) for kind in ("thinking", "text")}
    return {**message, "content": said["text"], "reasoning_content": said["thinking"]}


def joined(pieces: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    out: list[tuple[str, bool]] = []
    for said, is_control in pieces:
        if out and not out[-1][1] and not is_control:
            said = out.pop()[0] + said
        out.append((said, is_control))
    return out


def ours(spans: list[Span]) -> list[tuple[str, bool]]:
    return joined([(span.text, span.kind is SpanKind.CONTROL) for span in spans])


@pytest.mark.parametrize("name", EFFORTS)
def test_pieces_are_those_of_moonshots_encoder(name: str) -> None:
    for question, theirs in zip(asked := questions(name, N), answers(asked), strict=True):
        talk = read_conversation({key: question[key] for key in ("messages", "tools")})
        write_it = write_prompt if question["mode"] == "prompt" else write
        assert ours(write_it(RENDERERS[name], talk)) == theirs, question


def questions(name: str, n: int) -> list[dict]:
    """Examples ("all_tokens") and prompts of n random conversations."""
    rng = random.Random(f"k3 {name}")
    asked = []
    for i in range(n):
        talk = conversation(rng, True, True, odd=i % 4 == 0)
        tools = [tool(rng) for _ in range(rng.randint(1, 2))] if i % 3 == 0 else []
        if i % 4 and i % 5 < 2:  # results that say less of what they answer
            less = ("tool_call_id", "name")[i % 5]
            talk = [{key: said for key, said in message.items() if key != less} for message in talk]
        asked += [{"renderer": name, "mode": m, "messages": talk, "tools": tools} for m in ("prompt", "all_tokens")]
    return asked


def answers(asked: Iterable[dict]) -> Iterator[list[tuple[str, bool]]]:
    """What Moonshot's encoder writes, in pieces."""
    build = encoder().build_chat_segments
    for question in asked:
        segments = build(
            [native(message) for message in question["messages"]],
            [{"type": "function", "function": one} for one in question["tools"]],
            add_generation_prompt=question["mode"] == "prompt",
            **EFFORTS[question["renderer"]],
        )
        yield joined([(one.text, one.allow_special) for one in segments])


@pytest.mark.parametrize("name", EFFORTS)
def test_a_sampled_turn_is_read_back_as_it_was_written(name: str) -> None:
    rng = random.Random(f"parse k3 {name}")
    renderer = RENDERERS[name]
    for _ in range(N):
        talk = read_conversation({"messages": conversation(rng, "disable" not in name, True, odd=False)})
        last = max(i for i, message in enumerate(talk) if message.role == "assistant")
        turn = talk[last]
        prompt = ours(write_prompt(renderer, talk[:last]))
        whole = ours(write(renderer, talk[: last + 1]))
        assert whole[: len(prompt)] == prompt
        sampled = [
            Segment(SpanKind.CONTROL if is_control else SpanKind.MESSAGE, said)
            for said, is_control in whole[len(prompt) :]
        ]
        read = renderer.parse(sampled)
        assert read.termination is ParseTermination.STOP_SEQUENCE
        assert not read.bad_calls
        assert native_parts(read.message) == native_parts(turn)
        assert [(call.name, json.loads(call.arguments)) for call in read.message.tool_calls] == [
            (call.name, json.loads(call.arguments)) for call in turn.tool_calls
        ]


def native_parts(message) -> tuple[str, str]:
    parts = [("text", message.content)] if isinstance(message.content, str) else message.content
    return tuple("".join(said for kind, said in parts if kind == wanted) for wanted in ("thinking", "text"))
