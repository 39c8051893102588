"""Answers of tinker-cookbook, one JSON document a line: run by the Python of an environment that has it, never by ours.

    PYTHON_OF_THE_ORACLE tests/parity/oracle.py < questions.jsonl > answers.jsonl

A question is {"tokenizer", "renderer", "mode", "messages"} and maybe "tools"; the tokenizer is a tokenizer.json. Mode
"prompt" asks for the generation prompt, with "prefill" begun by that text. Mode "parse" asks what the sampled "tokens"
say. An answer is {"tokens", "weights"}, {"content", "calls", "n_bad_calls", "termination"} or {"error"}. An image is
its size, "WIDTHxHEIGHT", and as many tokens -1 in the answer as it has. A renderer with a tokenizer of its own is asked
and answers in pieces, not tokens: [text, whether it is a control token].

A line may also be {"tokenizer", "renderer", "messages", "asks"} with a list of questions about one conversation; its
answer is the list of their `digest`s, "error" for one that is refused.

What the tokenizer makes of a text is remembered, since the cookbook encodes the same headers and messages many times;
its own code is untouched.
"""

import gc
import hashlib
import json
import logging
import os
import sys
from functools import lru_cache
from types import SimpleNamespace

DATE = "2025-01-01"  # where a format tells the model the date
SEES = " with images"
OWN_TOKENIZER = {"tml_v0": "thinkingmachines/Inkling"}
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one text a call


def main() -> None:
    logging.disable(logging.CRITICAL)
    import torch

    torch.set_num_threads(1)
    gc.set_threshold(100_000)
    renderers = None
    for line in sys.stdin:
        asked = json.loads(line)
        if renderers is None or asked["tokenizer"] != renderers.tokenizer_file:
            renderers = Renderers(asked["tokenizer"])
        if "asks" in asked:
            print(json.dumps(digests(renderers[asked["renderer"]], asked["messages"], asked["asks"])), flush=True)
        else:
            name = asked["renderer"] + (SEES if '"type": "image"' in line else "")
            print(json.dumps(answer(renderers[name], asked)), flush=True)


class Renderers(dict):
    """Renderers by name, made on first use; all but those with a tokenizer of their own share one."""

    def __init__(self, tokenizer_file: str) -> None:
        from transformers import PreTrainedTokenizerFast

        class Remembering(PreTrainedTokenizerFast):
            @lru_cache(maxsize=20_000)  # noqa: B019 (it lives as long as the tokenizer)
            def _remembered(self, text, **how):
                return tuple(super().encode(text, **how))

            def encode(self, text, **how):
                return list(self._remembered(text, **how))

        self.tokenizer_file, self.tokenizer = tokenizer_file, Remembering(tokenizer_file=tokenizer_file)

    def __missing__(self, name: str):
        from tinker_cookbook.renderers import get_renderer
        from tinker_cookbook.tokenizer_utils import get_tokenizer

        own = OWN_TOKENIZER.get(name)
        images = counter(name) if name.endswith(SEES) else None
        tokenizer = get_tokenizer(own) if own else self.tokenizer
        renderer = self[name] = get_renderer(name.removesuffix(SEES), tokenizer, images)
        if hasattr(renderer, "current_date"):
            renderer.current_date = DATE
        return renderer


def counter(name: str):
    """What counts the tokens of an image: Qwen's own arithmetic; 3 for Kimi, whose code is not in any package."""
    if name.startswith("kimi"):
        return SimpleNamespace(get_resize_config=lambda _: {"num_tokens": 3})
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    size = {"shortest_edge": 256 * 256, "longest_edge": 4096 * 4096}
    return Qwen2VLImageProcessorPil(patch_size=16, merge_size=2, size=size)


def with_images(message: dict) -> dict:
    from PIL import Image

    if isinstance(message["content"], str):
        return message
    parts = [
        {**part, "image": Image.new("RGB", tuple(map(int, part["image"].split("x"))))} if "image" in part else part
        for part in message["content"]
    ]
    return {**message, "content": parts}


def ids(given) -> list[int]:
    """The tokens of a model input, -1 where an image is."""
    return [
        number
        for chunk in given.chunks
        for number in (chunk.tokens if chunk.type == "encoded_text" else [-1] * chunk.expected_tokens)
    ]


def digests(renderer, messages: list[dict], asks: list[dict]) -> list[str]:
    """What the questions about one conversation are answered; one may bring "messages" of its own."""
    read = [with_calls(message) for message in messages]
    out = []
    for ask in asks:
        own = [with_calls(message) for message in ask["messages"]] if "messages" in ask else [*map(dict, read)]
        try:
            out.append(digest(**rendered(renderer, ask, own)))
        except Exception:  # whatever it raises is a refusal
            out.append("error")
    return out


def digest(tokens, weights) -> str:
    """What tells one answer from another: the tokens as int32, a mark, the weights as float32."""
    import numpy as np

    told = np.array(tokens, "<i4").tobytes() + b"|" + np.array(weights, "<f4").tobytes()
    return hashlib.blake2b(told, digest_size=16).hexdigest()


def answer(renderer, question: dict) -> dict:
    try:
        messages = [with_images(with_calls(message)) for message in question.get("messages", ())]
        if "tools" in question:
            messages = declared(renderer, question["tools"], messages)
        if "pieces" in question:
            question["tokens"] = from_pieces(renderer.tokenizer.tml_tokenizer, question["pieces"])
        if question["mode"] == "parse":
            return parsed(renderer, question["tokens"])
        found = rendered(renderer, question, messages)
        own = question["renderer"] in OWN_TOKENIZER
        return in_pieces(renderer.tokenizer.tml_tokenizer, **found) if own else found
    except Exception as error:  # whatever it raises is its answer
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def rendered(renderer, question: dict, messages: list[dict]) -> dict:
    if question["mode"] == "prompt":
        prompt = renderer.build_generation_prompt(messages, prefill=question.get("prefill"))
        return {"tokens": ids(prompt), "weights": []}
    example, weights = renderer.build_supervised_example(messages, question["mode"])
    return {"tokens": ids(example), "weights": weights.float().tolist()}


def with_calls(message: dict) -> dict:
    from tinker_cookbook.renderers.base import ToolCall

    if not message.get("tool_calls"):
        return {key: value for key, value in message.items() if key != "tool_calls"}
    return {**message, "tool_calls": [ToolCall(**call) for call in message["tool_calls"]]}


def declared(renderer, tools: list[dict], messages: list[dict]) -> list[dict]:
    """The messages with the tools declared, together with the system message where there is one."""
    says = messages[0]["content"] if messages[0]["role"] == "system" else ""
    rest = messages[1:] if messages[0]["role"] == "system" else messages
    return [*renderer.create_conversation_prefix_with_tools(tools, says), *rest]


def in_pieces(tokenizer, tokens: list[int], weights: list[float]) -> dict:
    """Control tokens, and the texts between them; each text must be what one pass of the tokenizer makes of it."""
    pieces, kept = [], []
    for number, weight in zip(tokens, weights or [0.0] * len(tokens), strict=True):
        is_control = tokenizer.is_special_token(number)
        if is_control or not pieces or pieces[-1][1]:
            pieces.append([[], is_control])
            kept.append(weight)
        pieces[-1][0].append(number)
        assert kept[-1] == weight, "a text with two weights"
    texts = [[tokenizer.decode(ids), is_control] for ids, is_control in pieces]
    assert all(c or tokenizer.encode_ordinary(text) == ids for (text, c), (ids, _) in zip(texts, pieces, strict=True))
    return {"pieces": texts, "weights": kept}


def from_pieces(tokenizer, pieces: list[list]) -> list[int]:
    ids = [
        [tokenizer.encode_special(text[2:-2])] if is_control else tokenizer.encode_ordinary(text)
        for text, is_control in pieces
    ]
    return [number for one in ids for number in one]


def parsed(renderer, tokens: list[int]) -> dict:
    message, termination = renderer.parse_response(tokens)
    return {
        "content": message["content"],
        "calls": [[call.function.name, call.function.arguments] for call in message.get("tool_calls", ())],
        "n_bad_calls": len(message.get("unparsed_tool_calls", ())),
        "termination": str(termination),
    }


if __name__ == "__main__":
    main()
