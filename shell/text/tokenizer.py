"""Tokenizers: a `tokenizer.json`, with message text and control tokens kept apart.

Text is encoded without the file's added tokens (but those of white space), so no text can become a control token; as
`tokenizers` numbers added tokens anew, placeholders that no text can spell take their places.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.errors import InputError, expected
from kernel.parse_response.common import Segment
from kernel.ragged_batches import Ragged, concat_ragged, take_ragged
from kernel.render.token_program import encode_constants
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderer_language.pieces import Renderer
from shell.data.dataset import unreachable
from shell.text.encoder import Choice, HotSwapEncoder, check_installed

FLAG = "--tokenizer"
SAMPLE = Path(__file__).parents[1] / "sample" / "tokenizer.json"


class Tokenizer:
    """Encodes text literally, many strings a call, and knows each id's control name and length in bytes."""

    def __init__(
        self,
        json: bytes,
        name: str = "tokenizer.json",
        encoder: Choice = "auto",
        log: Callable[[str], object] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        """Reads the bytes of a tokenizer.json; InputError for others, or where the fast encoder is not installed."""
        try:
            spec: dict[str, Any] = msgspec.json.decode(json)
            added: list[dict[str, Any]] = spec.get("added_tokens") or []
            self.controls = {token["content"]: int(token["id"]) for token in added if not _is_plain(token)}
            self.n_bytes = _byte_lengths(spec, _vocabulary(spec), added)
        except KeyError as error:
            raise expected("a tokenizer.json", f"JSON without {error}", at=name) from None
        except (msgspec.DecodeError, TypeError, ValueError, AttributeError) as error:
            raise expected("a tokenizer.json", f"something else ({error})", at=name) from None
        self.name, self.json, self.log = name, json, log
        self._forbidden = [_placeholder(token) for token in added] if any(map(_is_plain, added)) else []
        self._names = {number: name for name, number in self.controls.items()}
        self._spec: dict[str, Any] | None = spec  # until it is opened: it is large
        self._choice: Choice = encoder
        self._opened: tuple[Any, HotSwapEncoder] | None = None
        self._opening = Lock()
        if encoder == "fast":
            check_installed()

    @cached_property
    def literal(self) -> bytes:
        """The tokenizer.json that text is encoded with: the same without control tokens."""
        return msgspec.json.encode(_literal(self._spec or msgspec.json.decode(self.json)))

    @property
    def encoder(self) -> str:
        """The library that encodes what comes next."""
        return self._open()[1].name

    def _open(self) -> tuple[Any, HotSwapEncoder]:
        """The library's tokenizer and the encoder, opened when text is first encoded: cached rows need neither."""
        from tokenizers import Tokenizer as Backend

        with self._opening:
            if self._opened is None:
                try:
                    backend = Backend.from_str(self.literal.decode())
                except Exception as error:  # the library raises bare Exception for what it cannot read
                    wanted = "a tokenizer.json that the tokenizers library reads"
                    raise expected(wanted, str(error), at=self.name) from None
                _check_ids(backend, _vocabulary(self._spec or msgspec.json.decode(self.json)), self.name)
                encoder = HotSwapEncoder(self.literal, backend, self._choice, lambda line: self.log(line))
                self._opened, self._spec = (backend, encoder), None
            return self._opened

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Ids of every text, encoded literally, in one call."""
        return self.submit(texts)()

    def submit(self, texts: Sequence[str]) -> Callable[[], Ragged]:
        """Starts to encode texts on other threads; the result waits for what `encode` gives. InputError at once."""
        for mark in self._forbidden:
            if any(mark in text for text in texts):
                raise expected("text", f"the placeholder {mark!r} of a control token", at=self.name)
        distinct = dict.fromkeys(texts)  # turns of several examples, system prompts of many
        pieces = self._open()[1].submit(list(distinct)) if texts else []
        if len(distinct) == len(texts):
            return lambda: concat_ragged([piece.result() for piece in pieces])
        numbers = dict(zip(distinct, range(len(distinct)), strict=True))
        which = np.fromiter(map(numbers.__getitem__, texts), np.int64, len(texts))
        return lambda: take_ragged(concat_ragged([piece.result() for piece in pieces]), which)

    def close(self) -> None:
        """Cancels what was submitted: waiting raises `CancelledError` then, and `submit` RuntimeError."""
        if self._opened is not None:
            self._opened[1].close()

    def encode_constants(self, constant_texts: Sequence[tuple[SpanKind, str]]) -> Ragged:
        """Ids of constant texts: a control token's own id, template text encoded."""
        return encode_constants(constant_texts, self.encode, self.controls)

    def decode(self, ids: Sequence[int]) -> str:
        """The ids as text, control tokens spelled out."""
        return "".join(segment.text for segment in self.segments(ids))

    def segments(self, ids: Sequence[int]) -> list[Segment]:
        """Sampled ids cut at the control tokens, the text between them decoded."""
        out: list[Segment] = []
        text: list[int] = []
        for number in [int(i) for i in ids]:
            if number in self._names:
                out += self._text(text)
                out.append(Segment(SpanKind.CONTROL, self._names[number]))
                text = []
            else:
                text.append(number)
        return out + self._text(text)

    def _text(self, ids: list[int]) -> list[Segment]:
        return [Segment(SpanKind.MESSAGE, self._open()[0].decode(ids, skip_special_tokens=False))] if ids else []

    def check_controls(self, name: str, controls: Sequence[str]) -> None:
        """Raises InputError when a control token of the format of that name is not in the tokenizer."""
        missing = [control for control in controls if control not in self.controls]
        if missing:
            wanted = f"a tokenizer with the control tokens of {name}"
            raise expected(wanted, f"{self.name} without {', '.join(missing)}", at=FLAG)

    def stops(self, renderer: Renderer) -> list[int] | list[str]:
        """The renderer's stop sequences as the sampler takes them: ids, or texts where it has no control tokens."""
        if all(stop in self.controls for stop in renderer.stops):
            return [self.controls[stop] for stop in renderer.stops]
        return list(renderer.stops)


def open_tokenizer(spec: str, revision: str | None = None, encoder: Choice = "auto") -> Tokenizer:
    """The tokenizer of that name: "sample" (built-in), a path to a tokenizer.json or its folder, or a repository."""
    if spec == "sample":
        return Tokenizer(SAMPLE.read_bytes(), "sample", encoder)
    if spec.startswith("tml:"):
        reason = "this model's tokenizer comes with the tml-renderers package alone"
        raise InputError(f"expected a tokenizer.json by its path ({reason}), got {spec} - at {FLAG}")
    path = Path(spec).expanduser()
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return Tokenizer(_read(path), spec, encoder)
    if spec.endswith(".json") or spec.startswith((".", "/", "~")) or spec.count("/") != 1:
        what = "a tokenizer: a path to a tokenizer.json, or a repository's name"
        raise expected(what, f"{spec!r} (no file {path})", at=FLAG)
    return Tokenizer(_read(_download(spec, revision)), spec, encoder)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise expected("a readable tokenizer.json", str(error.strerror), at=str(path)) from None


def _download(repository: str, revision: str | None) -> Path:
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    from huggingface_hub import constants, hf_hub_download

    silence = unreachable(repository, constants.ENDPOINT, kind="model")  # its own client would try for half a minute
    cached = silence is not None
    try:
        return Path(hf_hub_download(repository, "tokenizer.json", revision=revision, local_files_only=cached))
    except Exception as error:  # the hub's client raises a dozen kinds; all mean that the file is not here
        reason = silence or (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"could not fetch the tokenizer of {repository} ({reason}): give a tokenizer.json by its path - at {FLAG}"
        ) from None


def _is_plain(token: dict[str, Any]) -> bool:
    """Whether an added token is ordinary text (runs of white space) rather than a control token."""
    return not token["content"].strip() and not token.get("special", False)


def _placeholder(token: dict[str, Any]) -> str:
    return f"\ufdd0{token['id']}\ufdd1"


def _literal(spec: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer with its control tokens taken out, and nothing added around a text."""
    added = spec.get("added_tokens") or []
    kept: list[dict[str, Any]] = []
    if any(map(_is_plain, added)):
        kept = [token if _is_plain(token) else {**token, "content": _placeholder(token)} for token in added]
        known = set(_vocabulary(spec).values())
        kept = [token for token in kept if _is_plain(token) or token["id"] not in known]
    return {**spec, "added_tokens": kept, "post_processor": None, "truncation": None, "padding": None}


def _vocabulary(spec: dict[str, Any]) -> dict[str, int]:
    vocabulary = spec["model"]["vocab"]
    if isinstance(vocabulary, dict):
        return vocabulary
    return {piece: i for i, (piece, _) in enumerate(vocabulary)}  # Unigram: pieces with their scores


def _check_ids(backend: Any, vocabulary: dict[str, int], name: str) -> None:
    """Every id of the vocabulary is still what the file says."""
    have = backend.get_vocab(with_added_tokens=True)
    moved = next((token for token, number in vocabulary.items() if have.get(token) != number), None)
    if moved is not None:
        raise expected(f"{moved!r} to be id {vocabulary[moved]}", f"{have.get(moved)}", at=name)


def _byte_lengths(spec: dict[str, Any], vocabulary: dict[str, int], added: list[dict[str, Any]]) -> NDArray[np.int32]:
    n_ids = 1 + max([*vocabulary.values(), *(int(token["id"]) for token in added)], default=-1)
    lengths = np.zeros(n_ids, np.int32)
    measure = len if _is_byte_level(spec) else _piece_bytes
    for token, number in vocabulary.items():
        lengths[number] = measure(token)
    for entry in added:
        lengths[int(entry["id"])] = 0 if entry.get("special") else len(entry["content"].encode())
    return lengths


def _is_byte_level(spec: dict[str, Any]) -> bool:
    """Whether a token's characters are bytes (GPT-2's alphabet) rather than text."""
    return '"type":"ByteLevel"' in msgspec.json.encode([spec.get("decoder"), spec.get("pre_tokenizer")]).decode()


def _piece_bytes(piece: str) -> int:
    """Bytes of a SentencePiece piece: `<0xAB>` is one, and the mark for a space is a space."""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return 1
    return len(piece.replace("▁", " ").encode())
