"""What is rendered and encoded: a file of conversations, and a tokenizer that every renderer of the bench can use.

By default the conversations are made up (`made.py`) and the tokenizer is the one in the box. TINSMITH_BENCH_DATA and
TINSMITH_BENCH_TOKENIZER name others: a JSONL file of `messages`, and a tokenizer.json. A control token that a renderer
needs and the tokenizer lacks is added behind its last id, in a copy that all contenders read: llama3 can then be timed
with Qwen's vocabulary, and nobody has an advantage.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.made import made_rows
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.render.batch_renderer import BatchRenderer
from kernel.renderer_language.pieces import Renderer
from kernel.row_to_conversation import read_conversation
from shell.data.dataset import Dataset
from shell.data.open_rows import open_rows
from shell.data.rows import Row
from shell.text.tokenizer import SAMPLE as SAMPLE_TOKENIZER

MODE = TrainOnWhat.ALL_ASSISTANT_MESSAGES
BATCH_SIZE, N_ROUNDS, MAX_ROUNDS, N_MADE = 128, 7, 15, 2000


class Workload(NamedTuple):
    """Conversations, and the file of the tokenizer."""

    data: Dataset
    tokenizer: Path
    about: dict[str, object]
    """names and hashes of both, for the record"""

    @property
    def batch_size(self) -> int:
        """128 rows, or fewer if `N_ROUNDS` batches of as many are not there."""
        return min(BATCH_SIZE, len(self.data) // N_ROUNDS)

    def english(self) -> "Workload":
        """The conversations in ASCII, as English ones are; as many made-up ones where these are too few to race on."""
        rows = [i for i, row in enumerate(self.data.to_list()) if _is_ascii(row)]
        if len(rows) >= N_ROUNDS * BATCH_SIZE // 2:
            return self._replace(data=self.data.select(rows))
        return self._replace(data=Dataset.from_list(made_rows(N_MADE, english=True), "made-up English"))

    def fitting(self, renderer: Renderer) -> Dataset:
        """The conversations that a renderer can write."""
        batch_renderer, fits = BatchRenderer(renderer), []
        for i, row in enumerate(self.data.to_list()):
            try:
                batch_renderer.render([read_conversation(row)], MODE)
            except InputError:
                continue
            fits.append(i)
        return self.data.select(fits)


def open_workload(renderers: Iterable[Renderer], folder: Path) -> Workload:
    """The workload that the environment names. Touches: the files; a copy of the tokenizer, in `folder`."""
    data = Path(os.environ.get("TINSMITH_BENCH_DATA") or _made(folder)).expanduser()
    tokenizer = Path(os.environ.get("TINSMITH_BENCH_TOKENIZER") or SAMPLE_TOKENIZER).expanduser()
    copy = folder / "tokenizer.json"
    added = _add_controls(tokenizer, {name for renderer in renderers for name in renderer.controls}, copy)
    rows = Dataset(open_rows(data)).shuffle(seed=0)
    about = {
        "data": data.name,
        "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "n_conversations": len(rows),
        "n_ascii_conversations": int(np.sum([_is_ascii(row) for row in rows.to_list()])),
        "tokenizer": tokenizer.name,
        "tokenizer_sha256": hashlib.sha256(tokenizer.read_bytes()).hexdigest(),
        "n_controls_added": added,
    }
    return Workload(rows, copy, about)


def _made(folder: Path) -> Path:
    path = folder / "made-up.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in made_rows(N_MADE)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _is_ascii(row: Row) -> bool:
    return json.dumps(row["messages"], ensure_ascii=False).isascii()


def literal(tokenizer: Path) -> str:
    """The tokenizer.json without its added tokens: what encodes message text literally."""
    spec: dict[str, Any] = json.loads(tokenizer.read_bytes())
    return json.dumps({**spec, "added_tokens": [], "post_processor": None}, ensure_ascii=False)


def _add_controls(tokenizer: Path, names: set[str], copy: Path) -> int:
    spec: dict[str, Any] = json.loads(tokenizer.read_bytes())
    added: list[dict[str, Any]] = spec["added_tokens"]
    lacking = sorted(names - {token["content"] for token in added})
    behind = 1 + max([*spec["model"]["vocab"].values(), *(token["id"] for token in added)])
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added += [{"id": behind + i, "content": name, **plain, "special": True} for i, name in enumerate(lacking)]
    copy.write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
    return len(lacking)
