"""Bare tokenisation: `encode_batch_fast` of the strings that ours encodes, counted and let go.

What nobody can do without who has no faster encoder; by the library's own threads, which ours does without.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer as Backend

from bench.workload import MODE, literal
from kernel.render.batch_renderer import BatchRenderer
from kernel.renderer_language.pieces import Renderer
from kernel.row_to_conversation import read_conversation
from shell.data.rows import Row


class Bare:
    """A tokenizer of its own, and the strings of a renderer's conversations, one example each."""

    def __init__(self, renderer: Renderer, tokenizer: Path) -> None:
        self._backend, self._batch_renderer = (
            Backend.from_str(literal(tokenizer)),
            BatchRenderer(renderer, split_turns=False),
        )

    def strings(self, rows: Sequence[Row]) -> list[str]:
        return self._batch_renderer.render([read_conversation(row) for row in rows], MODE).texts

    def encode(self, strings: list[str]) -> int:
        """How many tokens there are."""
        threads = os.environ.get("TOKENIZERS_PARALLELISM")
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        n_tokens = sum(map(len, self._backend.encode_batch_fast(strings, add_special_tokens=False)))
        if threads is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = threads
        return n_tokens
