"""The pure half of Tinsmith: chat data to tokens, weights and datums, over numpy arrays and plain data.

Nothing here sees a tokenizer, a file, a clock or a network. The kernel says which strings must be encoded and is handed
the ids, so it fits into any pipeline that has a way to encode text:

>>> import numpy as np
>>> from kernel import ROLE_COLON, Compositor, Ragged, TrainOnWhat, assemble, build_datums, read_conversation
>>> def encode(texts):                                    # yours: any tokenizer, many texts a call
...     ids = [list(text.encode()) for text in texts]
...     offsets = np.cumsum([0, *map(len, ids)])
...     return Ragged(np.array(sum(ids, []), np.int32), offsets)
>>> row = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
>>> talks = [read_conversation(row, at="train.jsonl:1")]  # conversations: plain data, checked
>>> compositor = Compositor(ROLE_COLON)                   # a renderer is a row of a table
>>> script = compositor.compose(talks, TrainOnWhat.ALL_ASSISTANT_MESSAGES)
>>> statics = encode([text for _, text in compositor.statics])
>>> examples = assemble(script, statics, encode(script.texts))
>>> bytes(examples.tokens.tolist())
b'User: 2+2?\\n\\nAssistant: 4\\n\\nUser:'
>>> datums = build_datums(examples.tokens, examples.weights, examples.offsets, max_length=1024, reduction="mean")
>>> inputs, targets, weights = datums.example(0)          # views; what a client sends
>>> bytes(targets[weights > 0].tolist()), round(float(weights.sum()), 6)
(b' 4\\n\\nUser:', 1.0)

Which rows make step k of a run is a question too, asked anew on resuming:

>>> from kernel import places, rows_at
>>> epoch, at = places(step=5, n_rows=10, batch_size=4)
>>> rows_at("hf", at, 10, seed=0, epoch=epoch).tolist()
[1, 5, 7, 3]
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOMES = {
    "conversation": ("Conversation", "Message", "Part", "ToolCall", "ToolSpec", "text_of"),
    "reading": ("read_conversation",),
    "errors": ("InputError",),
    "pieces": (
        *("Calls", "Content", "Data", "Fact", "Given", "Reasoning", "Refuse", "Renderer", "Said", "Text", "Tools"),
        "by_roles",
    ),
    "atoms": ("Kind",),
    "renderer": ("Span", "write", "write_prompt"),
    "renderers": (
        "LLAMA3",
        "QWEN3",
        "QWEN3_DISABLE_THINKING",
        "QWEN3_INSTRUCT",
        "RENDERERS",
        "ROLE_COLON",
        "find_renderer",
    ),
    "example": ("TrainOnWhat", "weigh"),
    "compositor": ("Compositor",),
    "script": ("Examples", "Ragged", "Script", "assemble"),
    "selection": ("chosen", "joined"),
    "truncation": ("Treatment", "Truncation", "settle"),
    "shortening": ("without_middle", "without_oldest_turns"),
    "ledger": ("Entry", "Outcome", "totals"),
    "parse": ("BadCall", "ParseTermination", "Parsed", "Segment"),
    "order": ("hf_permutation", "holdout_rows", "places_of", "rows_at"),
    "mixture": ("Mixture", "mix"),
    "batch": ("n_batches", "n_steps", "places"),
    "datum": ("Datums", "Media", "build_datums", "n_kept"),
    "schedule": ("constant", "cosine", "join", "linear", "schedule", "warmup"),
    "metrics": ("Sums", "add_up"),
    "plan": ("Plan", "Request", "requests"),
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
    from kernel.atoms import Kind
    from kernel.batch import n_batches, n_steps, places
    from kernel.compositor import Compositor
    from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec, text_of
    from kernel.datum import Datums, Media, build_datums, n_kept
    from kernel.errors import InputError
    from kernel.example import TrainOnWhat, weigh
    from kernel.ledger import Entry, Outcome, totals
    from kernel.metrics import Sums, add_up
    from kernel.mixture import Mixture, mix
    from kernel.order import hf_permutation, holdout_rows, places_of, rows_at
    from kernel.parse import BadCall, Parsed, ParseTermination, Segment
    from kernel.pieces import (
        Calls,
        Content,
        Data,
        Fact,
        Given,
        Reasoning,
        Refuse,
        Renderer,
        Said,
        Text,
        Tools,
        by_roles,
    )
    from kernel.plan import Plan, Request, requests
    from kernel.reading import read_conversation
    from kernel.renderer import Span, write, write_prompt
    from kernel.renderers import (
        LLAMA3,
        QWEN3,
        QWEN3_DISABLE_THINKING,
        QWEN3_INSTRUCT,
        RENDERERS,
        ROLE_COLON,
        find_renderer,
    )
    from kernel.schedule import constant, cosine, join, linear, schedule, warmup
    from kernel.script import Examples, Ragged, Script, assemble
    from kernel.selection import chosen, joined
    from kernel.shortening import without_middle, without_oldest_turns
    from kernel.truncation import Treatment, Truncation, settle
