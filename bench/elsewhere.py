"""Contenders of ours that want a process of their own, and the races that they take part in.

The process times itself, so neither its start nor the way there and back counts.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contender, Contest, Lap, Missing, Timed, race
from bench.document import ROOT


class Elsewhere:
    """A process that runs `serve` of a module of the bench; a line in and a line out, each a JSON object."""

    def __init__(self, module: str, environment: Mapping[str, str] = {}) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {module} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )

    def ask(self, question: object) -> Any:
        self.tell(question)
        return self.hear()

    def tell(self, question: object) -> None:
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)

    def hear(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def race_elsewhere(
    benchmark: BenchmarkFixture,
    contest: Contest,
    laps: Callable[[int], dict[str, Lap]],
    others: Sequence[Contender | Missing],
    n_rounds: int,
) -> Contest:
    """`race`, where ours (and its parts) are timed by another process.

    Args:
        laps: turn -> the laps that it took.
    """
    taken: list[dict[str, Lap]] = []
    ours = Timed(
        contest.ours, lambda turn: turn, lambda turn: taken.append(laps(turn)), lambda _: taken[-1][contest.ours].tally
    )
    race(benchmark, contest, ours, others, n_rounds)
    if contest.laps:
        contest.laps |= {name: [lap[name] for lap in taken] for name in taken[0]}
    return contest
