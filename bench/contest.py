"""A contest: several ways of doing one thing, timed on the same rows in rounds that take turns.

A shared machine is slow for seconds at a time. So every contender runs once in each round, in an order that changes,
and what counts is the ratio within a round; its median over the rounds is robust where a ratio of two means is not.
Ours is timed by pytest-benchmark; the others run in its setup and teardown, half of them before ours and half behind.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from pytest_benchmark.fixture import BenchmarkFixture

from shell.process.gc_and_cpus import loaded_spared


class Tally(NamedTuple):
    """What a contender got through: rows, tokens, and a digest of each example where it made any."""

    n_rows: int
    n_tokens: int
    digests: tuple[str, ...] = ()


class Lap(NamedTuple):
    """A contender's time for one round, and what it did in it."""

    seconds: float
    tally: Tally

    @property
    def seconds_a_row(self) -> float:
        return self.seconds / self.tally.n_rows


class Contender(Protocol):
    """Whoever takes part in a round: laps by name, one or (for the stages of one thing) several."""

    def laps(self, turn: int) -> dict[str, Lap]: ...


@dataclass(frozen=True)
class Timed:
    """A contender of this process: `ready` is not timed, `run` is; `tally` says what came out, `parts` what of it took
    how long, where it was timed within."""

    name: str
    ready: Callable[[int], Any]
    run: Callable[[Any], Any]
    tally: Callable[[Any], Tally]
    parts: Callable[[Any], dict[str, Lap]] = lambda _: {}

    def laps(self, turn: int) -> dict[str, Lap]:
        given = self.ready(turn)
        seconds, result = timed(self.run, given)
        return {self.name: Lap(seconds, self.tally(result)), **self.parts(result)}


def task(name: str, run: Callable[[], Any], n_rows: int, n_tokens: int = 0, times: int = 1) -> Timed:
    """A contender that does the same thing every round, `times` times over where once is too short to time well."""

    def often(_: Any) -> None:
        for _ in range(times):
            run()

    return Timed(name, lambda _: None, often, lambda _: Tally(times * n_rows, times * n_tokens))


class Missing(NamedTuple):
    """A contender that could not take part, and why."""

    name: str
    reason: str
    cannot: bool = False
    """it does not do such a thing at all, so that nobody could have it take part"""


@dataclass
class Contest:
    """The laps of every contender, round by round.

    Attributes:
        title: what was done, to what.
        ours: the name that ratios are taken to.
        yardstick: a second such name.
        also: further such names, by the heads of their columns.
        rows: what is counted in a second beside tokens.
        parts: the names that are stages of one thing rather than contenders.
        notes: what else a reader must know.
    """

    title: str
    ours: str
    yardstick: str = ""
    rows: str = "conversations"
    also: dict[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    laps: dict[str, list[Lap]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)

    @property
    def n_rounds(self) -> int:
        return len(self.laps[self.ours])

    def microseconds_a_row(self, name: str) -> float:
        """The median of the rounds."""
        return 1e6 * statistics.median(lap.seconds_a_row for lap in self.laps[name])

    def rows_per_second(self, name: str) -> float:
        """The median of the rounds."""
        return statistics.median(lap.tally.n_rows / lap.seconds for lap in self.laps[name])

    def tokens_per_second(self, name: str) -> float:
        """The median of the rounds; 0 where no tokens were made."""
        return statistics.median(lap.tally.n_tokens / lap.seconds for lap in self.laps[name])

    def ratio(self, name: str, to: str) -> float:
        """How many times as long as `to` it took for a row: the median of the rounds."""
        pairs = zip(self.laps[name], self.laps[to], strict=True)
        return statistics.median(lap.seconds_a_row / other.seconds_a_row for lap, other in pairs)

    def spread(self, name: str) -> float:
        """Half the distance between the quartiles of the time per token (or row), as a share of its median."""
        tallies = [lap.tally.n_tokens or lap.tally.n_rows for lap in self.laps[name]]
        each = [lap.seconds / n for lap, n in zip(self.laps[name], tallies, strict=True)]
        if len(each) < 2:
            return 0.0
        low, middle, high = statistics.quantiles(each, n=4, method="inclusive")
        return (high - low) / 2 / middle

    def same(self, name: str) -> float | None:
        """The share of this contender's examples that we made too, token for token and weight for weight."""
        ours = {digest for lap in self.laps[self.ours] for digest in lap.tally.digests}
        theirs = [digest for lap in self.laps[name] for digest in lap.tally.digests]
        return sum(digest in ours for digest in theirs) / len(theirs) if ours and theirs else None


def timed(run: Callable[..., Any], *given: Any) -> tuple[float, Any]:
    """How many seconds a call took, and what it gave."""
    began = perf_counter()
    result = run(*given)
    return perf_counter() - began, result


@dataclass(frozen=True)
class Again:
    """A contender on rows that it has just been through once."""

    contender: Contender

    def laps(self, turn: int) -> dict[str, Lap]:
        self.contender.laps(turn)
        return self.contender.laps(turn)


def race(
    benchmark: BenchmarkFixture, contest: Contest, ours: Timed, others: Sequence[Contender | Missing], n_rounds: int
) -> Contest:
    """Fills in the laps of a contest: `n_rounds` rounds of ours and the others."""
    contest.missing = [other for other in others if isinstance(other, Missing)]
    present = [other for other in others if not isinstance(other, Missing)]
    theirs: list[dict[str, list[Lap]]] = [{} for _ in present]
    latest: list[Any] = []
    tallies: list[Tally] = []
    parts: dict[str, list[Lap]] = {}

    def play(turn: int, half: int) -> None:
        for i in range(half, len(present), 2):
            for name, lap in present[i].laps(turn).items():
                theirs[i].setdefault(name, []).append(lap)

    def before() -> tuple[tuple[Any], dict[str, Any]]:
        turn = len(tallies)
        play(turn, turn % 2)
        return (ours.ready(turn),), {}

    def run(given: Any) -> None:
        latest.append(ours.run(given))

    def behind(_: Any) -> None:
        turn, result = len(tallies), latest.pop()
        tallies.append(ours.tally(result))
        for name, lap in ours.parts(result).items():
            parts.setdefault(name, []).append(lap)
        play(turn, 1 - turn % 2)

    with loaded_spared():  # as in a run, of ours and of others
        benchmark.pedantic(run, setup=before, teardown=behind, rounds=n_rounds)
    if benchmark.stats is not None:  # None with --benchmark-disable
        contest.laps = {ours.name: list(map(Lap, benchmark.stats.stats.data, tallies))}
        contest.laps |= parts
        contest.laps |= {name: laps for each in theirs for name, laps in each.items()}
    return contest
