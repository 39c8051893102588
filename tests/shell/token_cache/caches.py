"""Rows, row renderers and caches for the tests."""

import random
from pathlib import Path
from typing import Any

import numpy as np

from kernel.enums import TrainOnWhat
from kernel.renderers import find_renderer
from shell.data.rows import Rows
from shell.datums.render_rows import Rendered, RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.fingerprints import key_of, provenance_of
from shell.text.tokenizer import open_tokenizer
from shell.token_cache.build import Progress, build_cache, in_this_process
from shell.token_cache.cache import ShardPlan, TokenCache

TOKENIZER = open_tokenizer("sample")
WORDS = ("the", "weather", "in", "Paris?", "är", "ünïcode", "42", "<|im_end|>", "\n\nUser:", "再见")
BAD: dict[str, Any] = {"messages": [{"role": "humna", "content": "x"}]}
SILENT: dict[str, Any] = {"messages": [{"role": "user", "content": "anyone?"}]}


def row(i: int, reasons: bool = True) -> dict[str, Any]:
    """A conversation of one to three turns; with reasoning in two of three, so that some renderers split it."""
    draw = random.Random(i)
    messages: list[dict[str, Any]] = []
    for _ in range(draw.randint(1, 3)):
        said = [" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in range(3)]
        answer = {"role": "assistant", "content": said[1]}
        messages += [{"role": "user", "content": said[0]}, answer]
        if reasons and i % 3:
            answer["reasoning_content"] = said[2]
    return {"messages": messages}


def maker_of(renderer: str = "qwen3", max_length: int | None = None, **more: Any) -> RowRenderer:
    given = {"train_on_what": TrainOnWhat.ALL_ASSISTANT_MESSAGES, "max_length": max_length, **more}
    return RowRenderer(find_renderer(renderer), TOKENIZER, RenderSettings(**given))


def begun(folder: Path, rows: Rows, maker: RowRenderer) -> tuple[Path, ShardPlan, dict[str, Any]]:
    """The folder of the cache of some rows, its plan, and what decides it."""
    provenance = provenance_of(rows, maker)
    plan = ShardPlan(key_of(provenance), len(rows))
    return folder / plan.key, plan, provenance


def built(
    folder: Path, rows: Rows, maker: RowRenderer, progress: Progress = lambda _done, _of: None, **more: Any
) -> TokenCache:
    """The cache of some rows, built by this process."""
    own, plan, provenance = begun(folder, rows, maker)
    assert build_cache(own, plan, provenance, in_this_process(own, rows, maker, plan), progress, **more)
    return TokenCache(own, plan)


def content(folder: Path) -> dict[str, bytes]:
    """All files of a cache but its lock."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".lock"}


def assert_same(ours: Rendered, theirs: Rendered) -> None:
    for a, b in zip(ours.examples[:4], theirs.examples[:4], strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)
    assert ours.examples.media == theirs.examples.media
    assert (ours.rejected, ours.shortened) == (theirs.rejected, theirs.shortened)
