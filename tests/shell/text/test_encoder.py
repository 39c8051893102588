"""The fast encoder: the authority's ids on every text, and nothing of it where it differs by one."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from kernel.ragged_batches import Ragged
from shell.text import encoder, encoder_check
from shell.text.encoder import PIECE, FastEncoder
from shell.text.encoder_check import HARD, cache_folder, first_difference, probes
from shell.text.tokenizer import SAMPLE, Tokenizer, open_tokenizer
from tests.shell.text.spaced import with_runs_of_spaces

pytest.importorskip("fastokens")
AUTHORITY, FAST = open_tokenizer("sample", encoder="tokenizers"), open_tokenizer("sample", encoder="fast")
SPACED = [Tokenizer(with_runs_of_spaces(), encoder=choice) for choice in ("tokenizers", "fast")]
pieces = st.text(max_size=8) | st.sampled_from([*HARD, *AUTHORITY.controls, "  ", "    ", "<|a|>"])
texts = st.lists(pieces, max_size=6).map("".join)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINSMITH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of a fast encoder asks for all of the vocabulary once, in a test of its own."""
    monkeypatch.setattr(encoder, "probes", lambda _spec: list(HARD))


@pytest.fixture
def said() -> list[str]:
    return []


def same(a: Ragged, b: Ragged) -> bool:
    return a.ids.tolist() == b.ids.tolist() and a.offsets.tolist() == b.offsets.tolist()


@given(st.lists(texts, max_size=5))
def test_both_give_the_same_ids_whatever_the_texts_spell(some: list[str]) -> None:
    assert same(FAST.encode(some), AUTHORITY.encode(some))
    assert FAST.encoder == "fastokens"


@given(st.lists(texts.filter(lambda text: "\ufdd0" not in text), max_size=5))
def test_both_give_the_same_ids_where_plain_added_tokens_stay(some: list[str]) -> None:
    assert same(SPACED[1].encode(some), SPACED[0].encode(some))


def test_both_give_the_same_ids_for_the_vocabulary_and_every_code_point() -> None:
    some = probes(AUTHORITY.literal)
    assert len(some) > len(AUTHORITY.n_bytes) - len(AUTHORITY.controls)
    assert same(FAST.encode(some), AUTHORITY.encode(some))


@pytest.mark.parametrize("tokenizer", [AUTHORITY, FAST], ids=["tokenizers", "fast"])
def test_calls_begun_side_by_side_and_in_pieces_give_what_each_text_gives_alone(tokenizer: Tokenizer) -> None:
    calls = [[f"{text}{i}" for i in range(n) for text in ("", "Hello ", HARD[20])] for n in (0, 1, PIECE, 2 * PIECE)]
    calls.append(calls[-1] + calls[-2])  # every text of the second half stands in the first too
    for call, wait in zip(calls, [tokenizer.submit(call) for call in calls], strict=True):
        ids, offsets = wait()
        assert len(offsets) == len(call) + 1
        for k in range(0, len(call), 97):
            assert ids[offsets[k] : offsets[k + 1]].tolist() == AUTHORITY.encode(call[k : k + 1]).ids.tolist()


@given(st.lists(texts, max_size=3), st.lists(st.integers(0, 2), max_size=6))
def test_a_text_that_stands_often_is_encoded_as_if_it_stood_alone(some: list[str], which: list[int]) -> None:
    many = [some[i] for i in which if i < len(some)]
    ids = [AUTHORITY.encode([text]).ids.tolist() for text in many]
    encoded = AUTHORITY.encode(many)
    assert [encoded.ids[a:b].tolist() for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)] == ids


@pytest.fixture
def wrong_about(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the fast encoder wrong about every text that holds a string."""

    def spoil(part: str) -> None:
        right = FastEncoder.encode

        def encode(self: FastEncoder, some: Sequence[str]) -> Ragged:
            encoded = right(self, some)
            for i, text in enumerate(some):
                if part in text and encoded.offsets[i] < encoded.offsets[i + 1]:
                    encoded.ids[encoded.offsets[i]] ^= 1
            return encoded

        monkeypatch.setattr(FastEncoder, "encode", encode)

    return spoil


def test_an_encoder_that_is_wrong_about_one_hard_string_is_not_used(
    wrong_about: Callable[[str], None], said: list[str]
) -> None:
    wrong_about(HARD[-1])
    tokenizer = Tokenizer(SAMPLE.read_bytes(), encoder="fast", log=said.append)
    assert same(tokenizer.encode(["one", HARD[-1]]), AUTHORITY.encode(["one", HARD[-1]]))
    assert same(tokenizer.encode(["two"]), AUTHORITY.encode(["two"]))
    (line,) = said
    assert "tokenizers alone" in line
    assert repr(HARD[-1]) in line
    assert tokenizer.encoder == "tokenizers"


def test_an_encoder_that_is_wrong_about_a_text_of_the_run_is_used_no_more(
    wrong_about: Callable[[str], None], said: list[str]
) -> None:
    wrong_about("Heraklit")
    tokenizer = Tokenizer(SAMPLE.read_bytes(), encoder="fast", log=said.append)
    tokenizer.encode(["one"])
    assert not said
    assert same(tokenizer.encode(["two", "Heraklit"]), AUTHORITY.encode(["two", "Heraklit"]))
    assert "Heraklit" in said[0]
    assert tokenizer.encoder == "tokenizers"


def test_a_poisoned_cache_makes_nothing_wrong(wrong_about: Callable[[str], None], said: list[str]) -> None:
    def kept() -> Path:
        (file,) = cache_folder().iterdir()
        return file

    Tokenizer(SAMPLE.read_bytes(), encoder="fast").encode(["fills the cache"])
    right = kept().read_text()
    kept().write_text("0" * 64)
    tokenizer = Tokenizer(SAMPLE.read_bytes(), encoder="fast", log=said.append)
    assert tokenizer.encode(["one"]).ids.tolist() == AUTHORITY.encode(["one"]).ids.tolist()
    assert not said
    assert tokenizer.encoder == "fastokens"
    assert kept().read_text() == right
    wrong_about("'ſ")
    assert first_difference(AUTHORITY.literal, list(HARD), AUTHORITY.encode, FAST.encode) is not None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="modes of files are POSIX's")
def test_an_answer_that_others_could_have_written_is_not_read() -> None:
    encoder_check._write_digest("key", "digest")
    assert encoder_check._read_digest("key") == "digest"
    (cache_folder() / "key").chmod(0o666)
    assert encoder_check._read_digest("key") == ""


def test_what_the_authority_said_is_asked_once() -> None:
    some = ["a", "b"]
    assert first_difference(b"{}", some, AUTHORITY.encode, AUTHORITY.encode) is None

    def never(_: Sequence[str]) -> Ragged:
        raise AssertionError

    assert first_difference(b"{}", some, never, AUTHORITY.encode) is None


def test_by_default_the_fast_encoder_comes_when_it_is_worth_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "WORTH", 10)
    tokenizer = Tokenizer(SAMPLE.read_bytes())
    tokenizer.encode(["abc"])
    assert not loading()
    tokenizer.encode(["0123456789"])
    for thread in loading():
        thread.join()
    assert tokenizer.encoder == "fastokens"
    assert same(tokenizer.encode(list(HARD)), AUTHORITY.encode(list(HARD)))


def loading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "encoder"]


def test_without_the_package_tokenizers_goes_on_and_asking_for_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "installed", lambda: False)
    monkeypatch.setattr(encoder, "WORTH", 0)
    tokenizer = Tokenizer(SAMPLE.read_bytes())
    assert same(tokenizer.encode(["one"]), AUTHORITY.encode(["one"]))
    assert tokenizer.encoder == "tokenizers"
    with pytest.raises(InputError, match="--encoder fast"):
        Tokenizer(SAMPLE.read_bytes(), encoder="fast")


def test_an_error_of_the_fast_encoder_is_no_error_of_the_run(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    tokenizer = Tokenizer(SAMPLE.read_bytes(), encoder="fast", log=said.append)
    tokenizer.encode(["one"])

    def fails(*_: object) -> Ragged:
        raise RuntimeError("match limit\nexceeded")

    monkeypatch.setattr(FastEncoder, "encode", fails)
    assert same(tokenizer.encode(["two"]), AUTHORITY.encode(["two"]))
    assert "match limit" in said[0]


def test_the_ids_are_arrays_of_our_own() -> None:
    ids, offsets = FAST.encode(["one", "two"])
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64
    assert ids.flags.writeable
    assert offsets.flags.writeable


def ids_of_program(program: str, *argv: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


IN_A_FORK = """
import os, signal, sys
from shell.text.tokenizer import open_tokenizer
tokenizer = open_tokenizer("sample", encoder=sys.argv[1])
print(tokenizer.encode(["one"] * 40).ids.tolist(), flush=True)
if os.fork():
    assert os.wait()[1] == 0
else:
    signal.alarm(30)
    print(tokenizer.encode(["one"] * 40).ids.tolist(), flush=True)
    os._exit(0)
"""
AS_THE_PROCESS_ENDS = """
import atexit, sys, threading
from shell.text.tokenizer import open_tokenizer
tokenizer = open_tokenizer("sample", encoder=sys.argv[1])
def say():
    threading.main_thread().join()
    print(tokenizer.encode(["one"]).ids.tolist())
print(tokenizer.encode(["one"]).ids.tolist())
atexit.register(lambda: print(tokenizer.encode(["one"]).ids.tolist()))
threading.Thread(target=say).start()
"""


@pytest.mark.parametrize("choice", ["fast", pytest.param("tokenizers", marks=pytest.mark.slow)])
@pytest.mark.parametrize("program", [IN_A_FORK, AS_THE_PROCESS_ENDS])
def test_text_is_encoded_wherever_its_threads_cannot_be(program: str, choice: str) -> None:
    first, *others = ids_of_program(program, choice)
    assert others
    assert {first} == set(others)


def test_closing_lets_go_what_waits_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    tokenizer, held, at_work = open_tokenizer("sample", encoder="tokenizers"), threading.Event(), threading.Event()
    right = encoder.ReferenceEncoder.encode

    def slow(self: encoder.ReferenceEncoder, some: Sequence[str]) -> Ragged:
        at_work.set()
        assert held.wait(60)
        return right(self, some)

    monkeypatch.setattr(encoder.ReferenceEncoder, "encode", slow)
    waits = [tokenizer.submit(["one"]) for _ in range(9)]
    assert at_work.wait(60)
    tokenizer.close()
    held.set()
    assert same(waits[0](), AUTHORITY.encode(["one"]))
    for wait in waits[1:]:
        with pytest.raises(CancelledError):
            wait()
    with pytest.raises(RuntimeError):
        tokenizer.submit(["one"])


class PanicError(BaseException):
    """As PyO3 has them."""


def test_a_panic_of_the_fast_encoder_is_no_error_of_the_run(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    def panic(self: FastEncoder, some: Sequence[str]) -> Ragged:
        if "Heraklit" in some:
            raise PanicError("index out of bounds")
        return right(self, some)

    right = FastEncoder.encode
    monkeypatch.setattr(FastEncoder, "encode", panic)
    tokenizer = Tokenizer(SAMPLE.read_bytes(), encoder="fast", log=said.append)
    assert same(tokenizer.encode(["Heraklit"]), AUTHORITY.encode(["Heraklit"]))
    assert "it cannot encode a text (index out of bounds)" in said[0]


def test_what_another_call_finds_wrong_holds_for_those_at_work(
    wrong_about: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "2")
    wrong_about("Heraklit")
    tokenizer = Tokenizer(SAMPLE.read_bytes(), encoder="fast", log=lambda _line: None)
    for _ in range(4):  # calls 1 to 4; the fifth is not compared
        tokenizer.encode(["one"])
    spoiled, given_up = FastEncoder.encode, threading.Event()

    def late(self: FastEncoder, some: Sequence[str]) -> Ragged:
        encoded = spoiled(self, some)
        assert len(some) > 1 or given_up.wait(60)
        if len(some) > 1:
            relay._give_up("told by the test")
            given_up.set()
        return encoded

    monkeypatch.setattr(FastEncoder, "encode", late)
    relay = tokenizer._open()[1]
    waits = [tokenizer.submit(["Heraklit"]), tokenizer.submit(["one", "two"])]
    assert same(waits[0](), AUTHORITY.encode(["Heraklit"]))
