"""Rows out of the token cache are, to the id and the weight, those of the committed text; so is what becomes of them.

    python -m tests.guard          # writes tests/guard/expected/ anew; look at the difference before you commit it

A line per row: tokens of its examples and a digest of ids, weights and offsets as cached, then of the datums sent, then
what became of it. In the first way of each renderer the text follows, ⟦trained⟧, as in `tests/golden`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden.engine import Tokenizer, open_tokenizer
from tests.golden.renders import token_text
from tests.guard.chats import CUSTOMIZED, ROWS
from tests.guard.token_cache import through_the_cache

HERE = Path(__file__).parent / "expected"
WAYS: dict[str, dict[str, Any]] = {
    "right": {"max_length": 64},
    "keep_answer": {"max_length": 64, "truncation": "keep_answer"},
    "drop": {"max_length": 64, "truncation": "drop"},
    "answers cut by the length untrained": {"max_length": 64, "train_cut_answers": False},
    "zero loss sent": {"max_length": 64, "send_zero_loss": True},
    "never split": {"max_length": 2048, "split_turns": False},
    "last_assistant_turn": {"max_length": 2048, "mode": "last_assistant_turn"},
    "customized": {"max_length": 2048, "mode": "customized"},
}
RENDERERS = {
    "qwen3": list(WAYS),
    "role_colon": ["right", "keep_answer", "customized"],
    "llama3": ["right", "last_assistant_turn"],
    "qwen3_5": ["right", "never split"],
}


def cache_lines(renderer: str, folder: Path, tokenizer: Tokenizer) -> Iterator[str]:
    for n, way in enumerate(RENDERERS[renderer]):
        own = folder / f"{renderer} {way}"
        own.mkdir()
        rows = CUSTOMIZED if way == "customized" else ROWS
        cached = through_the_cache(own, rows, renderer, tokenizer, **WAYS[way])
        yield f"== {way}: {WAYS[way]}"
        for i, examples in enumerate(cached.examples):
            kept = lengths_and_digest(examples) if cached.is_kept[i] else "not in the cache"
            sent = lengths_and_digest(cached.datums[i]) if cached.datums[i] else "nothing"
            yield f"row {i}: {kept}; sent {sent}; {cached.outcomes.get(i, 'whole')}"
            if n == 0:
                yield from ("    " + token_text(tokens, weights, tokenizer) for tokens, weights in examples)


def lengths_and_digest(examples: Sequence[Iterable[np.ndarray]]) -> str:
    """The lengths of a row's examples, and a digest of their arrays, ids as int32."""
    digest, lengths = hashlib.sha256(), []
    for arrays in map(list, examples):
        lengths.append(len(arrays[0]))
        digest.update(np.int64(len(arrays[0])).tobytes())
        for array in arrays:
            digest.update(array.astype("<f4" if array.dtype.kind == "f" else "<i4").tobytes())
    return f"{' + '.join(map(str, lengths))} {digest.hexdigest()[:16]}"


def path_of(renderer: str) -> Path:
    return HERE / f"cache_{renderer}.txt"


def save(renderer: str, folder: Path) -> None:
    lines = cache_lines(renderer, folder, open_tokenizer("sample"))
    path_of(renderer).write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")


@pytest.mark.parametrize("renderer", RENDERERS)
def test_rows_out_of_the_cache_are_the_committed_ones(renderer: str, tmp_path: Path) -> None:
    kept = path_of(renderer).read_text(encoding="utf-8").split("\n")[:-1]
    now = list(cache_lines(renderer, tmp_path, open_tokenizer("sample")))
    if kept != now:
        diff = unified_diff(kept, now, str(path_of(renderer)), "now", lineterm="", n=1)
        pytest.fail("\n".join(diff), pytrace=False)
