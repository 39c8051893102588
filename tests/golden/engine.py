"""The only module of the golden renders that imports what renders: a refactor edits this file and no golden text."""

import json
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from kernel.conversation import Conversation
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.token_program import Ragged, assemble
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.row_to_conversation import read_conversation
from shell.text.tokenizer import Tokenizer, open_tokenizer
from tests.golden.cases import CASES
from tests.spans import weigh, write, write_prompt

__all__ = ["RENDERERS", "Encoded", "InputError", "Renderer", "Tokenizer", "open_tokenizer"]

MODES = [mode.value for mode in TrainOnWhat]
IMAGE_LENGTH = 3


class Span(NamedTuple):
    """A stretch of a render. `kind` is control, template, message or image; `message` is -1 for none."""

    kind: str
    text: str
    sampled: bool
    message: int


class Encoded(NamedTuple):
    """The examples of a case: int32[T], float32[T], int64[B + 1]."""

    tokens: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray


def example_spans(renderer: Renderer, row: dict[str, Any]) -> tuple[list[Span], dict[str, list[float]]]:
    """The spans of an example, and their weights in each mode."""
    spans = write(renderer, _read(row))
    weights = {mode: weigh(renderer, _read(row, mode), spans, TrainOnWhat(mode)) for mode in MODES}
    return [Span(s.kind.value, s.text, s.sampled, s.message) for s in spans], weights


def prompt_spans(renderer: Renderer, row: dict[str, Any] | None) -> list[Span]:
    """The spans of a prompt; without a row, of the prompt that begins a conversation."""
    talk = () if row is None else _read(row)
    return [Span(s.kind.value, s.text, s.sampled, s.message) for s in write_prompt(renderer, talk)]


def encoded(renderer: Renderer, tokenizer: Tokenizer) -> list[list[Encoded | str]]:
    """The examples of each case in each mode, or the refusal."""
    constants, scripts = _composed(renderer)
    run_ids = tokenizer.encode_constants(constants)
    lists = [[] if isinstance(script, str) else script.texts for own in scripts for script in own]
    ids, offsets = tokenizer.encode([text for texts in lists for text in texts])
    ends = np.cumsum([0, *map(len, lists)])
    pieces = iter(Ragged(ids, offsets[a : b + 1]) for a, b in pairwise(ends))
    return [[_encoded(script, run_ids, next(pieces)) for script in own] for own in scripts]


def control_runs(tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[bool, str]]:
    """Ids as text, cut at the control tokens: (whether it is a control token, text)."""
    return [(segment.kind.value == "control", segment.text) for segment in tokenizer.segments(ids)]


@lru_cache(maxsize=64)
def _composed(renderer: Renderer) -> tuple[list[Any], list[list[Any]]]:
    batch_renderer = BatchRenderer(renderer)
    scripts = [[_script(batch_renderer, row, mode) for mode in MODES] for row in CASES.values()]
    return batch_renderer.constant_texts, scripts


@cache
def _conversation(row: str) -> Conversation:
    return read_conversation(json.loads(row))


def _read(row: dict[str, Any], mode: str = "") -> Conversation:
    talk = _conversation(json.dumps(row))
    if mode == "customized":  # every other message
        talk = tuple(message._replace(trainable=i % 2 == 1) for i, message in enumerate(talk))
    return talk


def _script(batch_renderer: BatchRenderer, row: dict[str, Any], mode: str) -> Any:
    try:
        return batch_renderer.render([_read(row, mode)], TrainOnWhat(mode))
    except InputError as error:
        return str(error)


def _encoded(script: Any, constants: Ragged, texts: Ragged) -> Encoded | str:
    if isinstance(script, str):
        return script
    try:
        examples = assemble(script, constants, texts, np.full(len(script.images), IMAGE_LENGTH))
    except InputError as error:
        return str(error)
    return Encoded(examples.tokens, examples.weights, examples.offsets)
