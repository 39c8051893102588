"""Tokenizers for parity: a `tokenizer.json` at hand, with the control tokens of a family whose own one is not.

Both sides read the same file, so the ids do not matter, only that each control token is one id.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from shell.text.encoder import FastEncoder, installed
from shell.text.tokenizer import Tokenizer


def with_controls(tokenizer: bytes, controls: Iterable[str]) -> bytes:
    """The `tokenizer.json` with an added token for every control token that it lacks."""
    spec = json.loads(tokenizer)
    added = spec["added_tokens"]
    known = {token["content"] for token in added}
    free = 1 + max([*spec["model"]["vocab"].values(), *(token["id"] for token in added)])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    missing = [name for name in dict.fromkeys(controls) if name not in known]
    added += [{"id": number, "content": name, **flags} for number, name in enumerate(missing, free)]
    return json.dumps(spec).encode()


def prepared(file: Path, controls: Iterable[str], folder: Path) -> Path:
    """Where in `folder` the file lies, with the control tokens that it lacked."""
    out = folder / file.name
    out.write_bytes(with_controls(file.read_bytes(), controls))
    return out


def fast_encoder(tokenizer: Tokenizer) -> FastEncoder | Tokenizer:
    """What encodes as this tokenizer, only faster, where its package is installed; the tokenizer itself elsewhere."""
    return _fast_encoder(tokenizer.literal) if installed() else tokenizer


@lru_cache(maxsize=3)
def _fast_encoder(literal: bytes) -> FastEncoder:
    """One for all families whose tokenizers differ in control tokens alone."""
    return FastEncoder(literal)
