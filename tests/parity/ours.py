"""The package, asked what the reference was asked: all that the recorded answers need of kernel and shell.

The tokenizer is the package's own, which has the control tokens of every family.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.parse_response.common import Parsed, Segment
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.token_program import Ragged, assemble
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderers import RENDERERS
from kernel.row_to_conversation import read_conversation
from shell.text.tokenizer import SAMPLE, open_tokenizer

Question = dict[str, Any]
Rendering = tuple[list[int], list[float]]
"""tokens, and their weights; none for a prompt"""

TOKENIZER = open_tokenizer("sample", encoder="tokenizers")
TOKENIZER_FILE = SAMPLE
MODES = tuple(map(str, TrainOnWhat))
NAMES = tuple(RENDERERS)
SEEING = tuple(name for name, renderer in RENDERERS.items() if renderer.image and renderer.image_tokens)


@cache
def _batch_renderer(renderer: str) -> BatchRenderer:
    return BatchRenderer(RENDERERS[renderer], split_turns=False)


@cache
def _statics(renderer: str, _n: int) -> Ragged:
    """The ids of the n constant texts that the renderer has written so far; they only grow."""
    return TOKENIZER.encode_constants(_batch_renderer(renderer).constant_texts)


def render(questions: Sequence[Question]) -> list[Rendering | str]:
    """Tokens and weights of questions with one renderer, mode and prefill; a sentence for one that is refused."""
    try:
        return list(_rendered(questions))
    except InputError as error:
        if len(questions) == 1:
            return [str(error)]
        half = len(questions) // 2
        return render(questions[:half]) + render(questions[half:])


def _rendered(questions: Sequence[Question]) -> list[Rendering]:
    renderer, mode, prefill = (questions[0].get(key, "") for key in ("renderer", "mode", "prefill"))
    batch_renderer, prompts = _batch_renderer(renderer), mode == "prompt"
    talks = [read_conversation({key: q[key] for key in ("messages", "tools") if key in q}) for q in questions]
    script = batch_renderer.prompts(talks, prefill) if prompts else batch_renderer.render(talks, TrainOnWhat(mode))
    lengths = np.array([_image_tokens(renderer, size) for size in script.images], np.int64)
    statics = _statics(renderer, len(batch_renderer.constant_texts))
    examples = assemble(script, statics, TOKENIZER.encode(script.texts), lengths)
    tokens, weights = examples.tokens.tolist(), [] if prompts else examples.weights.tolist()
    return [(tokens[a:b], weights[a:b]) for a, b in pairwise(examples.offsets.tolist())]


def _image_tokens(renderer: str, size: str) -> int:
    """How many tokens an image "WIDTHxHEIGHT" has; 3 for Kimi, as the reference was told."""
    count = RENDERERS[renderer].image_tokens
    width, height = map(int, size.split("x"))
    return 3 if renderer.startswith("kimi") or count is None else count(height, width)


def parse(renderer: str, tokens: Sequence[int]) -> Parsed:
    """The message that sampled tokens are."""
    return RENDERERS[renderer].parse(TOKENIZER.segments(tokens))


def pieces(tokens: Sequence[int]) -> list[list[Any]]:
    """Tokens as control tokens and the texts between them: [text, whether it is a control token]."""
    return [[segment.text, segment.kind is SpanKind.CONTROL] for segment in TOKENIZER.segments(tokens)]


def parse_pieces(renderer: str, sampled: Sequence[Sequence[Any]]) -> Parsed:
    """The message that sampled pieces are."""
    return RENDERERS[renderer].parse(
        [Segment(SpanKind.CONTROL if c else SpanKind.MESSAGE, text) for text, c in sampled]
    )


def in_tokens(sampled: Sequence[Sequence[Any]], weights: Sequence[float]) -> Rendering:
    """Pieces as tokens of ours, with a weight each: a control token, or one pass over a text."""
    texts = TOKENIZER.encode(["" if is_control else text for text, is_control in sampled])
    out: Rendering = [], []
    for (text, is_control), weight, (a, b) in zip(sampled, weights, pairwise(texts.offsets), strict=True):
        tokens = [TOKENIZER.controls[text]] if is_control else texts.ids[a:b].tolist()
        out[0].extend(tokens)
        out[1].extend([weight] * len(tokens))
    return out


def shown(tokens: Sequence[int], weights: Sequence[float]) -> str:
    """Tokens as one line of text, what is trained between « and »."""
    marked, on = "", False
    for a in range(len(tokens)):
        trained = bool(a < len(weights) and weights[a])
        marked += ("»" if on else "«") if trained != on else ""
        on, marked = trained, marked + TOKENIZER.decode([tokens[a]])
    return repr(marked + "»" * on)
