"""Check of a fast encoder: it must give the ids of `tokenizers`, the reference, for texts that are hard to get right.

A digest of the reference's ids is cached; an encoder that differs from it is compared with the reference itself.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from kernel.errors import InputError
from kernel.ragged_batches import Ragged
from shell.data.open_file import cache_root
from shell.run_dir.atomic_files import replace

Encode = Callable[[Sequence[str]], Ragged]

HARD = (
    *("", " ", "  ", "\n", "\r\n", "\r\r\n\n", "\t \t", "\u00a0", "\u3000", "\u2028", "\u0085"),
    *("\x00", "\x7f", "\ufffe", "\ufeff", "\ufe0f\u200d", "\u200b\u200e\u202e\u2066", "\ufdd0\ufdd1"),
    *("'s 'S 'ſ 'LL 'rE ’re 'K", "I'm you're DON'T l'été 'd'", "x'ſ x'S 'S'S ''s", "\u212a \u017f \u0130 ı ß ẞ"),
    *("é e\u0301 ê\u0323 \u1112\u1161\u11ab 한 \u0344 \u0958 \ufb1d \u2126", "a\u0300\u0316\u0316\u0300", "\u0301a"),
    *("1234567890 12,345.67 ٣٤٥ १२३ Ⅷ ½ ² 𝟘𝟙 ໑", "٠١2३4", "1" * 40, "a1b2c3 4th"),
    *("👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽", "\U000e0001\U000e0041", "\U0010ffff\U000f0000"),
    *("中文日本語ไทยພາສາမြန်မာភាសា", "עברית العربية فارسی हिन्दी தமிழ்", "ΑΒΓ абв ԱԲԳ ქართული", "𝒜𝓑 𐌰𐌱 𓀀 𞤀"),
    *("def f(x):\n\treturn  x\n\n\n    y = 'z'\r\n", "{}[]()<>!!!???...,,,;;;:::___---", "http://a.b/c?d=e&f#g"),
    *("a" * 300, " " * 300 + "x", "\n" * 100, "\n \n \n", "ab " * 100, "é" * 200, "?" * 300, " !" * 100),
    *("<|im_end|>", "<think>\n</think>", "<|im_start|>system\n<|im_end|>\n<|endoftext|>", "</s><s>[INST]"),
)
_CODE_POINTS = (range(0xD800), range(0xE000, 0x34000), range(0xE0000, 0xE0200), range(0xF0000, 0xF0010))
_VERSION = 1  # of the texts


def probes(spec: bytes) -> list[str]:
    """The texts on which encoders are compared, for a tokenizer.json."""
    tokenizer = msgspec.json.decode(spec)
    vocabulary: Any = tokenizer["model"]["vocab"]
    pieces = list(vocabulary) if isinstance(vocabulary, dict) else [piece for piece, _ in vocabulary]
    added = [token["content"] for token in tokenizer.get("added_tokens") or []]
    points = [chr(c) for some in _CODE_POINTS for c in some]
    blocks = ["".join([f"{c}b {c}1" for c in points[i : i + 16]]) for i in range(0, len(points), 16)]
    return [*map(_text_of, pieces), *added, *("x" + text + " " for text in added), *blocks, *HARD]


def first_difference(spec: bytes, texts: Sequence[str], reference: Encode, encode: Encode) -> str | None:
    """The first text with other ids than the reference's, shortened, or None. Touches: the user's cache."""
    key = hashlib.sha256(f"{_VERSION} {version('tokenizers')} {len(texts)}\n".encode() + spec).hexdigest()
    given = encode(texts)
    if _read_digest(key) == _digest(given):
        return None
    right = reference(texts)
    _write_digest(key, _digest(right))
    for i, text in enumerate(texts):
        own, its = slice(*right.offsets[i : i + 2]), slice(*given.offsets[i : i + 2])
        if right.ids[own].tolist() != given.ids[its].tolist():
            return text[:60]
    return None


def cache_folder() -> Path:
    """The folder of cached answers."""
    return cache_root() / "answers"


def _read_digest(key: str) -> str:
    """A cached digest, from a file that only this user can have written; "" for none."""
    try:
        with (cache_folder() / key).open(encoding="ascii") as file:
            status = os.fstat(file.fileno())
            if hasattr(os, "getuid") and (
                status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            ):
                return ""
            return file.read(128)
    except (OSError, ValueError, RuntimeError):
        return ""


def _write_digest(key: str, digest: str) -> None:
    """Caches a digest, whole or not at all; a cache that cannot be written is skipped."""
    with suppress(OSError, RuntimeError, InputError):
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(folder / key, digest.encode("ascii"), mode=0o600)


def _digest(encoded: Ragged) -> str:
    return hashlib.sha256(encoded.offsets.tobytes() + encoded.ids.tobytes()).hexdigest()


def _text_of(piece: str) -> str:
    """The text of an entry of a byte-level vocabulary, or the entry itself."""
    try:
        return piece.translate(_BYTES).encode("latin-1").decode(errors="replace")
    except UnicodeEncodeError:
        return piece


def _byte_alphabet() -> dict[int, int]:
    """GPT-2's characters for bytes, each to its byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: byte for byte in printable}, **{256 + i: byte for i, byte in enumerate(others)}}


_BYTES = _byte_alphabet()
