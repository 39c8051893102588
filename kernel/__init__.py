"""The pure half of Tinsmith: chat data to tokens, weights and datums, over numpy arrays and plain data.

Nothing here sees a tokenizer, a file, a clock or a network. The kernel says which strings must be encoded and is handed
the ids, so it fits into any pipeline that has a way to encode text:

>>> import numpy as np
>>> from kernel import LLAMA3, Ragged, TrainOnWhat, build_datums, read_conversation, render_examples
>>> def encode(texts):                                    # yours: any tokenizer, many texts a call, nothing added
...     ids = [list(text.encode()) for text in texts]     # what spells a control token stays text
...     offsets = np.cumsum([0, *map(len, ids)])
...     return Ragged(np.fromiter((i for one in ids for i in one), np.int32, offsets[-1]), offsets)
>>> control_ids = {name: 256 + i for i, name in enumerate(LLAMA3.controls)}  # yours: what the tokenizer calls them
>>> row = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
>>> talks = [read_conversation(row, at="train.jsonl:1")]  # conversations: plain data, checked
>>> examples = render_examples(LLAMA3, talks, TrainOnWhat.ALL_ASSISTANT_MESSAGES, encode, control_ids)
>>> datums = build_datums(examples.tokens, examples.weights, examples.offsets, max_length=1024, reduction="mean")
>>> inputs, targets, weights = datums.example(0)          # views; targets[i] follows inputs[i]: shifted by one already
>>> targets[weights > 0].tolist() == [ord("4"), control_ids["<|eot_id|>"]], weights.sum().item()
(True, 1.0)

The rows of step k are a function of k, so a resumed run replays nothing:

>>> from kernel import rows_of_step
>>> epoch, rows = rows_of_step(step=3, n_rows=10, batch_size=4, seed=0)
>>> epoch, rows.tolist()
(1, [1, 2, 5, 9])
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOMES = {
    "conversation": "Conversation Message Part ToolCall ToolSpec text_of",
    "row_to_conversation": "read_conversation",
    "errors": "InputError",
    "renderer_language.pieces": "Calls Content Data Condition Header Reasoning Refuse Renderer Sampled Text Tools "
    "by_roles",
    "renderer_language.interpreter": "SpanKind",
    "render.spans": "Span spans",
    "renderers": "RENDERERS find_renderer",
    "renderers.llama3": "LLAMA3",
    "renderers.plain_text": "ROLE_COLON",
    "renderers.qwen3": "QWEN3 QWEN3_DISABLE_THINKING QWEN3_INSTRUCT",
    "enums": "TrainOnWhat Truncation",
    "render.batch_renderer": "BatchRenderer render_examples",
    "render.token_program": "TokenProgram assemble encode_constants",
    "ragged_batches": "Examples Ragged concat take",
    "length_limit": "LengthPolicy apply_length_limit without_middle without_oldest_turns",
    "row_outcomes": "Outcome RowOutcome totals",
    "parse_response.common": "BadCall ParseTermination Parsed Segment",
    "shuffle": "hf_permutation shuffled_rows",
    "mixture_order": "Mixture mix",
    "batches": "n_batches n_steps positions rows_after_step rows_of_step",
    "datum": "Datums Media build_datums n_kept",
    "lr_schedules": "constant cosine join linear schedule warmup",
    "loss": "LossSums sum_loss",
    "training_steps": "TrainPlan Request requests",
}
"""Public names by module."""
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """A public name, its module imported when it is first asked for: numba costs a second that `--help` has not got."""
    if name not in _HOME:
        raise AttributeError(f"module 'kernel' has no attribute {name!r}")
    value = getattr(import_module(f"kernel.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]


if TYPE_CHECKING:
    from kernel.batches import n_batches, n_steps, positions, rows_after_step, rows_of_step
    from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, text_of
    from kernel.datum import Datums, Media, build_datums, n_kept
    from kernel.enums import TrainOnWhat, Truncation
    from kernel.errors import InputError
    from kernel.length_limit import LengthPolicy, apply_length_limit, without_middle, without_oldest_turns
    from kernel.loss import LossSums, sum_loss
    from kernel.lr_schedules import constant, cosine, join, linear, schedule, warmup
    from kernel.mixture_order import Mixture, mix
    from kernel.parse_response.common import BadCall, Parsed, ParseTermination, Segment
    from kernel.ragged_batches import Examples, Ragged, concat, take
    from kernel.render.batch_renderer import BatchRenderer, render_examples
    from kernel.render.spans import Span, spans
    from kernel.render.token_program import TokenProgram, assemble, encode_constants
    from kernel.renderer_language.interpreter import SpanKind
    from kernel.renderer_language.pieces import (
        Calls,
        Condition,
        Content,
        Data,
        Header,
        Reasoning,
        Refuse,
        Renderer,
        Sampled,
        Text,
        Tools,
        by_roles,
    )
    from kernel.renderers import RENDERERS, find_renderer
    from kernel.renderers.llama3 import LLAMA3
    from kernel.renderers.plain_text import ROLE_COLON
    from kernel.renderers.qwen3 import QWEN3, QWEN3_DISABLE_THINKING, QWEN3_INSTRUCT
    from kernel.row_outcomes import Outcome, RowOutcome, totals
    from kernel.row_to_conversation import read_conversation
    from kernel.shuffle import hf_permutation, shuffled_rows
    from kernel.training_steps import Request, TrainPlan, requests
