"""The pure half of Tinsmith: chat data to tokens, weights and datums, over numpy arrays and plain data.

Nothing here sees a tokenizer, a file, a clock or a network. The kernel says which strings must be encoded and is handed
the ids, so it fits into any pipeline that has a way to encode text:

>>> import numpy as np
>>> from kernel import ROLE_COLON, BatchRenderer, Ragged, TrainOnWhat, assemble, build_datums, read_conversation
>>> def encode(texts):                                    # yours: any tokenizer, many texts a call
...     ids = [list(text.encode()) for text in texts]
...     offsets = np.cumsum([0, *map(len, ids)])
...     return Ragged(np.array(sum(ids, []), np.int32), offsets)
>>> row = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
>>> talks = [read_conversation(row, at="train.jsonl:1")]  # conversations: plain data, checked
>>> batch_renderer = BatchRenderer(ROLE_COLON)                   # a renderer is a row of a table
>>> script = batch_renderer.render(talks, TrainOnWhat.ALL_ASSISTANT_MESSAGES)
>>> statics = encode([text for _, text in batch_renderer.constant_texts])
>>> examples = assemble(script, statics, encode(script.texts))
>>> bytes(examples.tokens.tolist())
b'User: 2+2?\\n\\nAssistant: 4\\n\\nUser:'
>>> datums = build_datums(examples.tokens, examples.weights, examples.offsets, max_length=1024, reduction="mean")
>>> inputs, targets, weights = datums.example(0)          # views; what a client sends
>>> bytes(targets[weights > 0].tolist()), round(float(weights.sum()), 6)
(b' 4\\n\\nUser:', 1.0)

Which rows make step k of a run is a question too, asked anew on resuming:

>>> from kernel import positions, shuffled_rows
>>> epoch, at = positions(step=5, n_rows=10, batch_size=4)
>>> shuffled_rows("hf", at, 10, seed=0, epoch=epoch).tolist()
[1, 5, 7, 3]
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOMES = {
    "conversation": ("Conversation", "Message", "Part", "ToolCall", "ToolSpec", "text_of"),
    "row_reader": ("read_conversation",),
    "errors": ("InputError",),
    "chat_format.pieces": (
        *(
            "Calls",
            "Content",
            "Data",
            "Condition",
            "Header",
            "Reasoning",
            "Refuse",
            "Renderer",
            "Sampled",
            "Text",
            "Tools",
        ),
        "by_roles",
    ),
    "chat_format.elements": ("SpanKind",),
    "render.inspect": ("Span", "write", "write_prompt"),
    "formats": (
        "LLAMA3",
        "QWEN3",
        "QWEN3_DISABLE_THINKING",
        "QWEN3_INSTRUCT",
        "RENDERERS",
        "ROLE_COLON",
        "find_renderer",
    ),
    "render.loss_mask": ("TrainOnWhat", "weigh"),
    "render.batch_renderer": ("BatchRenderer",),
    "render.assemble": ("Examples", "Ragged", "TokenProgram", "assemble"),
    "examples": ("take", "concat"),
    "length_limit": ("LengthPolicy", "Truncation", "apply_length_limit"),
    "shorten_prompt": ("without_middle", "without_oldest_turns"),
    "row_outcomes": ("Entry", "Outcome", "totals"),
    "parsing.segments": ("BadCall", "ParseTermination", "Parsed", "Segment"),
    "shuffle": ("hf_permutation", "holdout_rows", "positions_of", "shuffled_rows"),
    "mixture": ("Mixture", "mix"),
    "batches": ("n_batches", "n_steps", "positions"),
    "datum": ("Datums", "Media", "build_datums", "n_kept"),
    "schedules": ("constant", "cosine", "join", "linear", "schedule", "warmup"),
    "loss": ("LossSums", "sum_loss"),
    "train_plan": ("TrainPlan", "Request", "requests"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

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
    from kernel.batches import n_batches, n_steps, positions
    from kernel.chat_format.elements import SpanKind
    from kernel.chat_format.pieces import (
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
    from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, text_of
    from kernel.datum import Datums, Media, build_datums, n_kept
    from kernel.errors import InputError
    from kernel.examples import concat, take
    from kernel.formats import (
        LLAMA3,
        QWEN3,
        QWEN3_DISABLE_THINKING,
        QWEN3_INSTRUCT,
        RENDERERS,
        ROLE_COLON,
        find_renderer,
    )
    from kernel.length_limit import LengthPolicy, Truncation, apply_length_limit
    from kernel.loss import LossSums, sum_loss
    from kernel.mixture import Mixture, mix
    from kernel.parsing.segments import BadCall, Parsed, ParseTermination, Segment
    from kernel.render.assemble import Examples, Ragged, TokenProgram, assemble
    from kernel.render.batch_renderer import BatchRenderer
    from kernel.render.inspect import Span, write, write_prompt
    from kernel.render.loss_mask import TrainOnWhat, weigh
    from kernel.row_outcomes import Entry, Outcome, totals
    from kernel.row_reader import read_conversation
    from kernel.schedules import constant, cosine, join, linear, schedule, warmup
    from kernel.shorten_prompt import without_middle, without_oldest_turns
    from kernel.shuffle import hf_permutation, holdout_rows, positions_of, shuffled_rows
    from kernel.train_plan import Request, TrainPlan, requests
