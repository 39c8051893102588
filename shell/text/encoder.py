"""Encoders of text: `tokenizers`, the reference, and `fastokens`, which gives the same ids many times as fast.

The fast encoder is used only after it has given the reference's ids for the texts of `shell.text.encoder_check`, and is
compared again at every doubling of the number of calls. Loading takes seconds, so by default it starts on a thread.
"""

import os
import threading
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, pairwise
from typing import Any, Literal

import msgspec
import numpy as np

from kernel.errors import InputError
from kernel.ragged_batches import Ragged
from shell.process.gc_and_cpus import n_threads
from shell.text.encoder_check import first_difference, probes

Choice = Literal["auto", "fast", "tokenizers"]
PACKAGE = "fastokens"
WORTH = 4_000_000  # characters that the reference encodes in about the time it takes to load and check the fast encoder
N_SAMPLED, SAMPLED_CHARACTERS = 32, 6_000  # the most that is compared in one call
PIECE = 8_000  # characters of one job of the reference: two milliseconds' worth


class ReferenceEncoder:
    """The `tokenizers` library; a call stays on its thread. Touches: TOKENIZERS_PARALLELISM, where it is not set."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    def encode(self, texts: Sequence[str]) -> Ragged:
        ids, ends = array("i"), [0]
        for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False):
            ids.fromlist(encoding.ids)  # at once, so that a list is freed while it is in the processor's cache
            ends.append(len(ids))
        return Ragged(np.frombuffer(ids, np.int32), np.array(ends, np.int64))


class FastEncoder:
    """The `fastokens` library; raises whatever it raises for a tokenizer that it cannot read."""

    def __init__(self, spec: bytes) -> None:
        from fastokens import Tokenizer as Backend

        self._backend = Backend.from_json_str(spec.decode())

    def encode(self, texts: Sequence[str]) -> Ragged:
        ids, offsets = self._backend.encode_batch_flat(list(texts))
        return Ragged(np.frombuffer(ids, np.int32).copy(), np.frombuffer(offsets, np.int64).copy())


class HotSwapEncoder:
    """An encoder that starts as the reference and changes to the fast one, on threads of its own."""

    def __init__(self, spec: bytes, backend: Any, choice: Choice, log: Callable[[str], object]) -> None:
        self._spec, self._log = spec, log
        self._reference = ReferenceEncoder(backend)
        self._open = choice != "tokenizers" and installed()
        self._loading: Future[FastEncoder] | None = None
        self._at_once = choice == "fast"
        self._n_characters, self._calls = 0, count(1)
        self._closed = False
        self._make_threads()
        if self._at_once:
            check_installed()
            self._start()

    @property
    def name(self) -> str:
        """Which library encodes what comes next."""
        return PACKAGE if self._fast() is not None else "tokenizers"

    def submit(self, texts: Sequence[str]) -> list[Future[Ragged]]:
        """Futures of the ids of at least one text, in order, several texts each; RuntimeError once it is closed."""
        if self._owner != os.getpid():  # a fork has the pool, but not its threads
            self._make_threads()
        if self._fast() is not None:
            return [self._begin(texts, next(self._calls))]
        return [self._begin(piece, 0) for piece in pieces_of(texts, PIECE)]

    def close(self) -> None:
        """Cancels what was submitted and not waited for."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _make_threads(self) -> None:
        self._owner, self._lock = os.getpid(), threading.Lock()
        self._threads = ThreadPoolExecutor(n_threads(), thread_name_prefix="encode")

    def _begin(self, texts: Sequence[str], number: int) -> Future[Ragged]:
        try:
            return self._threads.submit(self._encode, texts, number)
        except RuntimeError:  # the main thread has ended, and with it all pools
            if self._closed:
                raise
        done: Future[Ragged] = Future()
        done.set_result(self._encode(texts, number))
        return done

    def _encode(self, texts: Sequence[str], number: int) -> Ragged:
        """The ids of texts; calls of the fast encoder are compared where their number is 0, 1, 2, 4, 8, ..."""
        fast = self._fast()
        if fast is None:
            if self._open and self._loading is None:
                with self._lock:
                    self._n_characters += sum(map(len, texts))
                if self._n_characters >= WORTH:
                    self._start()
            return self._reference.encode(texts)
        try:
            encoded = fast.encode(texts)
        except BaseException as error:  # whatever its Rust side raises, a panic too; the reference decides
            self._give_up(f"it cannot encode a text ({_first_line(error)})")
            return self._reference.encode(texts)
        is_compared = number & (number - 1) == 0
        if (is_compared and self._differs(texts, encoded)) or not self._open:  # or another call has found it wrong
            return self._reference.encode(texts)
        return encoded

    def _fast(self) -> FastEncoder | None:
        """The fast encoder, once it is loaded and checked."""
        if not self._open or self._loading is None or not (self._at_once or self._loading.done()):
            return None
        failure = self._loading.exception()
        if failure is None:
            return self._loading.result()
        self._give_up(_first_line(failure))
        return None

    def _start(self) -> None:
        with self._lock:
            if self._loading is None:
                self._loading = Future()
                threading.Thread(target=self._load, args=(self._loading,), name="encoder").start()

    def _load(self, coming: "Future[FastEncoder]") -> None:
        try:
            fast = FastEncoder(_merges_as_text(self._spec))
            texts = probes(self._spec)
            difference = first_difference(self._spec, texts, self._reference.encode, fast.encode)
            if difference is not None:
                raise ValueError(f"it encodes {difference!r} differently")
            coming.set_result(fast)
        except BaseException as error:  # a panic of Rust's too is for who waits
            coming.set_exception(error)

    def _differs(self, texts: Sequence[str], encoded: Ragged) -> bool:
        """Whether the reference has other ids for a sample of the texts; then the fast encoder is not used again."""
        n_left = SAMPLED_CHARACTERS
        for i in range(0, len(texts), max(1, len(texts) // N_SAMPLED)):
            n_left -= len(texts[i])
            if n_left < 0 < i:
                break
            ids = encoded.ids[encoded.offsets[i] : encoded.offsets[i + 1]]
            if not np.array_equal(ids, self._reference.encode([texts[i]]).ids):
                self._give_up(f"it encodes {texts[i][:60]!r} differently")
                return True
        return False

    def _give_up(self, reason: str) -> None:
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            self._log(f"encoder   tokenizers alone, {PACKAGE} cannot be used: {reason}")


def pieces_of(texts: Sequence[str], n_characters: int) -> list[Sequence[str]]:
    """Texts in pieces of about as many characters, in order."""
    number = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts))) // n_characters
    ends = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(texts)]
    return [texts[a:b] for a, b in pairwise(ends)]


def installed() -> bool:
    """Whether the fast encoder's package is installed."""
    from importlib.util import find_spec

    return find_spec(PACKAGE) is not None


def check_installed() -> None:
    """Raises InputError when the fast encoder's package is not installed."""
    if not installed():
        raise InputError(f"{PACKAGE} is not installed: pip install {PACKAGE} - at --encoder fast")


def _merges_as_text(spec: bytes) -> bytes:
    """The same tokenizer with its merges as "a b" rather than ["a", "b"], which is faster to read."""
    tokenizer = msgspec.json.decode(spec)
    merges = tokenizer["model"].get("merges") or []
    if not all(isinstance(merge, list) and " " not in "".join(merge) for merge in merges):
        return spec
    model = {**tokenizer["model"], "merges": [" ".join(merge) for merge in merges]}
    return msgspec.json.encode({**tokenizer, "model": model})


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
