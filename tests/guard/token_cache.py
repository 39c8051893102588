"""The only module of the token-cache guard that imports the cache: a refactor edits this file and no committed text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kernel.enums import TrainOnWhat
from kernel.length_limit import LengthPolicy, Truncation
from kernel.renderers import find_renderer
from shell.data.open_rows import open_rows
from shell.data.rows import RowValidation
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.fingerprints import key_of, provenance_of
from shell.text.tokenizer import Tokenizer
from shell.token_cache.build import build_cache, in_this_process
from shell.token_cache.cache import CachedRows, ShardPlan, TokenCache, render_uncached


class Cached(NamedTuple):
    """What a cache gives back for a file, and what becomes of its rows in a run."""

    examples: list[list[tuple[np.ndarray, np.ndarray]]]
    """of each row: int32[T] tokens and float32[T] weights of each example"""
    is_kept: list[bool]
    """of each row: whether it is in the cache at all"""
    outcomes: dict[int, str]
    """row -> outcome and reason, of those that are not trained whole"""
    datums: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]]
    """of each row: inputs, targets and weights of each datum sent"""


def through_the_cache(
    folder: Path, rows: Sequence[dict[str, Any]], renderer: str, tokenizer: Tokenizer, **how: Any
) -> Cached:
    """Writes the rows to a file, builds the cache, opens it anew and reads every row."""
    path = folder / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = open_rows(path, RowValidation(max_bad_rows=len(rows)))
    treatment = LengthPolicy(
        Truncation(how.get("truncation", "right")), how.get("train_cut_answers", True), how.get("send_zero_loss", False)
    )
    maker = RowRenderer(
        find_renderer(renderer),
        tokenizer,
        RenderSettings(
            train_on_what=TrainOnWhat(how.get("mode", "all_assistant_messages")),
            max_length=how["max_length"],
            split_turns=how.get("split_turns", True),
            length_policy=treatment,
            lenient=True,
        ),
    )
    decided_by = provenance_of(source, maker)
    plan = ShardPlan(key_of(decided_by), len(source))
    own = folder / plan.key
    build_cache(own, plan, decided_by, in_this_process(own, source, maker, plan))
    store = TokenCache(own, plan)
    assert store.is_whole
    numbers, places = np.arange(len(rows)), [f"row {i}" for i in range(len(rows))]
    gathered = store.read(numbers)
    rendered = CachedRows(store, render_uncached(source, maker))(numbers, places).result()
    made = maker.finish(rendered, places)
    examples: list[list[Any]] = [[] for _ in rows]
    for e, number in enumerate(gathered.examples.rows.tolist()):
        a, b = gathered.examples.offsets[e : e + 2]
        examples[number].append((gathered.examples.tokens[a:b], gathered.examples.weights[a:b]))
    datums: list[list[Any]] = [[] for _ in rows]
    for e, number in enumerate(made.rows.tolist()):
        datums[number].append(made.datums.example(e))
    outcomes = {fell.row: f"{fell.outcome}, {fell.reason}".replace(str(path), path.name) for fell in made.outcomes}
    return Cached(examples, (gathered.found == 0).tolist(), outcomes, datums)
