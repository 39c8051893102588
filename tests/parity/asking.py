"""Asks tinker-cookbook, in the environment that has it; what the parity tests have in common."""

import atexit
import functools
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any, Self

import pytest

ORACLE = os.environ.get("TINSMITH_ORACLE", "")
TOKENIZERS = Path(os.environ.get("TINSMITH_TOKENIZERS", ""))
N = int(os.environ.get("TINSMITH_PARITY_N", "200"))

needs_oracle = pytest.mark.skipif(
    not ORACLE or not TOKENIZERS.is_dir(),
    reason="needs TINSMITH_ORACLE (a Python with tinker-cookbook) and TINSMITH_TOKENIZERS (a folder of tokenizer.json)",
)


class Oracle:
    """`oracle.py` as a process that is asked as long as the block lasts; each question names its tokenizer's file."""

    def __init__(self) -> None:
        script = str(Path(__file__).with_name("oracle.py"))
        self._process = subprocess.Popen(
            [ORACLE, "-P", "-W", "ignore", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def batches(self, batches: Iterable[Sequence[object]]) -> Iterator[list[Any]]:
        """The answers to batches of questions, which are written while answers are read."""
        sizes: SimpleQueue[int | None] = SimpleQueue()

        def feed() -> None:
            try:
                for batch in batches:
                    sizes.put(len(batch))
                    _write(self._in, batch)
            finally:
                sizes.put(None)

        Thread(target=feed, daemon=True).start()
        while (n := sizes.get()) is not None:
            yield [json.loads(self._out.readline()) for _ in range(n)]

    @property
    def _in(self) -> IO[str]:
        assert self._process.stdin
        return self._process.stdin

    @property
    def _out(self) -> IO[str]:
        assert self._process.stdout
        return self._process.stdout


def _write(file: IO[str], questions: Iterable[object]) -> None:
    for question in questions:
        file.write(json.dumps(question) + "\n")
    file.flush()


@functools.cache
def _oracle() -> Oracle:
    """One for all tests, since it takes long to start."""
    oracle = Oracle()
    atexit.register(oracle.__exit__)
    return oracle


def ask(tokenizer: str, questions: Iterable[dict[str, object]]) -> list[dict]:
    """The answers of `oracle.py`, which reads the tokenizer at this path."""
    asked = [{"tokenizer": tokenizer, **question} for question in questions]
    return [answer for answers in _oracle().batches([asked]) for answer in answers]
