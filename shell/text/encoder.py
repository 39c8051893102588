"""Text to ids, many strings a call: by `tokenizers`, or by `fastokens`, which gives the same ids many times as fast.

`tokenizers` is the authority. The fast encoder is believed only once it has given the authority's ids for the
tokenizer's own vocabulary, every script and hostile strings (`shell.text.encoder_check`), and it is asked again on
texts of
the run, at every doubling of the number of calls. Where the two differ, or the fast one cannot read a tokenizer, the
authority goes on alone, and one line says so. It takes seconds to load, as long as the authority needs for some
millions of characters; so by default it is loaded on a thread of its own, once that much has been encoded.
"""

import os
import threading
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, pairwise
from typing import Any, Literal, Protocol

import msgspec
import numpy as np

from kernel.errors import expected
from kernel.examples import Ragged
from shell.process.cpus import n_threads
from shell.text.encoder_check import first_difference, probes

Choice = Literal["auto", "fast", "tokenizers"]
PACKAGE = "fastokens"
WORTH = 4_000_000
"""characters that the authority encodes in about the time it takes to load and check the fast encoder"""
N_SAMPLED, SAMPLED_CHARACTERS = 32, 6_000
"""the most that is compared in one call"""
PIECE = 8_000
"""characters that a thread has the authority encode in one go: two milliseconds' worth"""


class Encoder(Protocol):
    """Encodes texts as they stand, in one call."""

    def encode(self, texts: Sequence[str]) -> Ragged: ...


class ReferenceEncoder:
    """The `tokenizers` library, over a tokenizer of its own.

    A call stays on the thread that makes it, as calls are made side by side: the library's own threads would sleep
    while Python makes lists of what they found. Touches: TOKENIZERS_PARALLELISM, where it is not set.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    def encode(self, texts: Sequence[str]) -> Ragged:
        ids, ends = array("i"), [0]
        for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False):
            ids.fromlist(encoding.ids)  # at once, so that a list is let go while it is in the processor's cache
            ends.append(len(ids))
        return Ragged(np.frombuffer(ids, np.int32), np.array(ends, np.int64))


class FastEncoder:
    """The `fastokens` library. Raises whatever it raises for a tokenizer that it cannot read."""

    def __init__(self, spec: bytes) -> None:
        from fastokens import Tokenizer as Backend

        self._backend = Backend.from_json_str(spec.decode())

    def encode(self, texts: Sequence[str]) -> Ragged:
        ids, offsets = self._backend.encode_batch_flat(list(texts))
        return Ragged(np.frombuffer(ids, np.int32).copy(), np.frombuffer(offsets, np.int64).copy())


class HotSwapEncoder:
    """An encoder that begins as the authority and hands over to the fast one, on threads of its own.

    Args:
        spec: the tokenizer.json that both read.
        backend: the authority's tokenizer, made of `spec`.
        choice: "auto" loads the fast encoder when it is worth while, "fast" at once, "tokenizers" never.
        say: shows a line, when the fast encoder cannot be used.

    Raises:
        InputError: "fast", and the package is not installed.
    """

    def __init__(self, spec: bytes, backend: Any, choice: Choice, say: Callable[[str], object]) -> None:
        self._spec, self._say = spec, say
        self._authority = ReferenceEncoder(backend)
        self._open = choice != "tokenizers" and installed()
        self._coming: Future[FastEncoder] | None = None
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
        """Begins to encode at least one text: futures of the ids, of so many texts each that all threads have some.

        Raises:
            RuntimeError: it is closed.
        """
        if self._owner != os.getpid():  # a fork has the pool, but not its threads
            self._make_threads()
        if self._fast() is not None:
            return [self._begin(texts, next(self._calls))]
        return [self._begin(piece, 0) for piece in pieces_of(texts, PIECE)]

    def close(self) -> None:
        """Lets go what has been begun and not waited for; nothing is encoded from there on."""
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
        """The ids of some texts; `number` counts the calls of the fast encoder: 0, 1, 2, 4, 8, ... are compared."""
        fast = self._fast()
        if fast is None:
            if self._open and self._coming is None:
                with self._lock:
                    self._n_characters += sum(map(len, texts))
                if self._n_characters >= WORTH:
                    self._start()
            return self._authority.encode(texts)
        try:
            encoded = fast.encode(texts)
        except BaseException as error:  # whatever its Rust side raises, a panic too; the authority decides
            self._give_up(f"it cannot encode a text ({_first_line(error)})")
            return self._authority.encode(texts)
        is_compared = number & (number - 1) == 0
        if (is_compared and self._differs(texts, encoded)) or not self._open:  # or another call has found it wrong
            return self._authority.encode(texts)
        return encoded

    def _fast(self) -> FastEncoder | None:
        """The fast encoder, where it is there and right."""
        if not self._open or self._coming is None or not (self._at_once or self._coming.done()):
            return None
        failure = self._coming.exception()
        if failure is None:
            return self._coming.result()
        self._give_up(_first_line(failure))
        return None

    def _start(self) -> None:
        with self._lock:
            if self._coming is None:
                self._coming = Future()
                threading.Thread(target=self._load, args=(self._coming,), name="encoder").start()

    def _load(self, coming: "Future[FastEncoder]") -> None:
        try:
            fast = FastEncoder(_merges_as_text(self._spec))
            texts = probes(self._spec)
            difference = first_difference(self._spec, texts, self._authority.encode, fast.encode)
            if difference is not None:
                raise ValueError(f"it encodes {difference!r} differently")
            coming.set_result(fast)
        except BaseException as error:  # a panic of Rust's too is for whoever waits
            coming.set_exception(error)

    def _differs(self, texts: Sequence[str], encoded: Ragged) -> bool:
        """Whether the authority has other ids for a sample of the texts; then the fast encoder is not asked again."""
        n_left = SAMPLED_CHARACTERS
        for i in range(0, len(texts), max(1, len(texts) // N_SAMPLED)):
            n_left -= len(texts[i])
            if n_left < 0 < i:
                break
            ids = encoded.ids[encoded.offsets[i] : encoded.offsets[i + 1]]
            if not np.array_equal(ids, self._authority.encode([texts[i]]).ids):
                self._give_up(f"it encodes {texts[i][:60]!r} differently")
                return True
        return False

    def _give_up(self, reason: str) -> None:
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            self._say(f"encoder   tokenizers alone: {PACKAGE} cannot stand in for it here, {reason}")


def pieces_of(texts: Sequence[str], n_characters: int) -> list[Sequence[str]]:
    """Texts in pieces of about as many characters, in order.

    >>> pieces_of(["a", "bbbbb", "", "c", "dd", "e"], 3)
    [['a'], ['bbbbb', '', 'c'], ['dd', 'e']]
    """
    number = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts))) // n_characters
    ends = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(texts)]
    return [texts[a:b] for a, b in pairwise(ends)]


def installed() -> bool:
    """Whether the fast encoder's package is there."""
    from importlib.util import find_spec

    return find_spec(PACKAGE) is not None


def check_installed() -> None:
    """Refuses to encode with a package that is not there.

    Raises:
        InputError: it is not installed.
    """
    if not installed():
        raise expected(f"the package {PACKAGE}", "none (pip install fastokens)", at="--encoder fast")


def _merges_as_text(spec: bytes) -> bytes:
    """The same tokenizer with its merges as "a b" rather than ["a", "b"], which are read sooner."""
    tokenizer = msgspec.json.decode(spec)
    merges = tokenizer["model"].get("merges") or []
    if not all(isinstance(merge, list) and " " not in "".join(merge) for merge in merges):
        return spec
    model = {**tokenizer["model"], "merges": [" ".join(merge) for merge in merges]}
    return msgspec.json.encode({**tokenizer, "model": model})


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
