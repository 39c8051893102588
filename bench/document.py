"""What a run found: a table for the terminal, and one JSON document with all that it takes to judge and repeat it.

A figure without its machine, versions, commit and command is a rumour. The document keeps every lap, so that other
statistics than ours can be made of it.
"""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.contest import Contest
from shell.process.gc_and_cpus import n_cores

PACKAGES = (
    "numpy",
    "numba",
    "tokenizers",
    "fastokens",
    "tinker",
    "pydantic",
    "datasets",
    "msgspec",
    "pytest-benchmark",
)
ROOT = Path(__file__).parent.parent
ARRAYS, DATUMS = "rows to flat arrays", "rows to list[tinker.Datum]"
BARE, COOKBOOK = "bare encode_batch_fast", "tinker-cookbook get_batch"
KINDS = ("mixed languages", "English")


def table(contest: Contest) -> Iterator[str]:
    """The lines of a contest's table. Ratios are times: 1.15 took 15% longer than what it is compared with."""
    width = max(map(len, [*contest.laps, *(one.name for one in contest.missing)])) + 4
    compared = [("ours", contest.ours)]
    if contest.yardstick:
        compared.append((contest.yardstick.split()[0], contest.yardstick))
    compared += contest.also.items()
    yield f"{contest.title}: {contest.n_rounds} rounds of {contest.laps[contest.ours][0].tally.n_rows} {contest.rows}"
    heads = [f"{contest.rows}/s", "tokens/s", "us a row", *(f"/ {short}" for short, _ in compared), "spread", "same"]
    yield " " * width + " ".join(f"{head:>{room}}" for head, room in zip(heads, _rooms(compared), strict=True))
    for name in contest.laps:
        cells = [f"{contest.rows_per_second(name):,.0f}", f"{contest.tokens_per_second(name):,.0f}".lstrip("0")]
        cells += [f"{contest.microseconds_a_row(name):,.2f}", *(f"{contest.ratio(name, to):.3f}" for _, to in compared)]
        same = contest.same(name)
        cells += [f"{contest.spread(name):.0%}", "" if same is None else f"{same:.1%}"]
        called = ("  " if name in contest.parts else "") + name
        yield called.ljust(width) + " ".join(f"{c:>{room}}" for c, room in zip(cells, _rooms(compared), strict=True))
    for name, reason, cannot in contest.missing:
        yield f"{name.ljust(width)} {'takes no part' if cannot else 'missing'}: {reason}"
    yield from (f"  ({note})" for note in contest.notes)


def _rooms(compared: Sequence[object]) -> list[int]:
    return [17, 13, 11, *[10] * len(compared), 7, 7]


def document(contests: Sequence[Contest], workload: dict[str, object], peers: dict[str, str]) -> dict[str, Any]:
    """The run as one JSON object."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["pytest", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len((_git("status", "--porcelain") or "").splitlines()),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "peers": peers,
        "workload": workload,
        "contests": [_contest(contest) for contest in contests],
    }


def readme_table(run: dict[str, Any], renderers: Sequence[str]) -> Iterator[str]:
    """The lines of a page's table from a run's document: a column a renderer, and where the figures come from.

    Raises:
        ValueError: no such contest, or one in which a contender is missing, which does not count.
    """
    yield f"| | {' | '.join(renderers)} |"
    yield f"|---|{'---:|' * len(renderers)}"
    yield f"| **rows to `list[tinker.Datum]`, with `tokenizers` alone** |{' |' * len(renderers)}"
    first = [_counting(run, f"{name}, first pass") for name in renderers]
    cores = f"{run['machine']['n_cores']} cores"
    yield _line(f"times the time of bare tokenisation of the same strings, {cores}", first, DATUMS, BARE)
    yield _line(f"the same on {cores}, a process each", first, *_both("a process a core"))
    yield _line("the same on one core", first, *_both("one core"))
    yield _line("times as fast as tinker-cookbook's `get_batch`", first, COOKBOOK, DATUMS)
    yield f"| **times as fast as the cookbook, with the fast encoder** |{' |' * len(renderers)}"
    for kind in KINDS:
        fast = [_counting(run, f"{name}, fast encoder, first pass, {kind}") for name in renderers]
        yield _line(f"{kind}, to flat arrays, one core", fast, COOKBOOK, ARRAYS)
        yield _line(f"{kind}, to `list[tinker.Datum]`, one core", fast, COOKBOOK, DATUMS)
        yield _line(f"{kind}, to flat arrays, two cores", fast, COOKBOOK, f"{ARRAYS}, two cores")
        yield _line(f"{kind}, to `list[tinker.Datum]`, two cores", fast, COOKBOOK, f"{DATUMS}, two cores")
        yield _line(f"{kind}, tml-renderers to `tinker.Datum`", fast, COOKBOOK, "tml-renderers to tinker.Datum")
    yield f"| **times as fast as the cookbook, out of the token cache** |{' |' * len(renderers)}"
    warm = [_counting(run, f"{name}, warm") for name in renderers]
    yield _line("to flat arrays", warm, COOKBOOK, "cache to flat arrays")
    yield _line("to `list[tinker.Datum]`", warm, COOKBOOK, "cache to list[tinker.Datum]")
    on = run["machine"]
    yield ""
    yield f"{on['cpu']}, {on['n_cores']} cores, load {on['load']}; commit {str(run['commit'])[:10]}, {run['made']};"
    yield f"`{run['command']}`; {_listed(run['versions'])}; the peers' own environment: {_listed(run['peers'])}."


def _both(how: str) -> tuple[str, str]:
    return f"{DATUMS}, {how}", f"{BARE}, {how}"


def _counting(run: dict[str, Any], title: str) -> dict[str, Any]:
    """The contest of a title, with every contender in it that there could be."""
    known = {contest["title"]: contest for contest in run["contests"]}
    if title not in known:
        raise ValueError(f"expected one of {list(known)}, got {title!r}")
    if known[title]["missing"]:
        raise ValueError(f"expected every contender in {title!r}, got {known[title]['missing']} missing")
    return dict(known[title]["contenders"])


def _line(what: str, contests: Sequence[dict[str, Any]], slow: str, fast: str) -> str:
    """A row of the table: how many times as long the slow one took for a row, in each contest that has both."""
    cells = []
    for contest in contests:
        if slow not in contest or fast not in contest:
            cells.append("-")
            continue
        times = _times_as_fast(contest[fast]["laps"], contest[slow]["laps"])
        cells.append(f"{times:.2f}" if times < 3 else f"{times:.1f}" if times < 100 else f"{times:.0f}")
    return f"| {what} | {' | '.join(cells)} |"


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _times_as_fast(laps: dict[str, list[float]], slow: dict[str, list[float]]) -> float:
    """The median over the rounds of how many times as long the slow one took for a row."""
    each = zip(slow["seconds"], slow["n_rows"], laps["seconds"], laps["n_rows"], strict=True)
    return statistics.median((theirs / n) / (own / m) for theirs, n, own, m in each)


def machine() -> dict[str, Any]:
    """What the run ran on, as far as it shows in a figure."""
    load = [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None
    threads = {key: os.environ[key] for key in ("RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM") if key in os.environ}
    return {"system": platform.platform(), "cpu": _cpu(), "n_cores": n_cores(), "load": load, "threads": threads}


def _contest(contest: Contest) -> dict[str, Any]:
    return {
        "title": contest.title,
        "ours": contest.ours,
        "n_rounds": contest.n_rounds,
        "notes": contest.notes,
        "contenders": {name: _figures(contest, name) for name in contest.laps},
        "missing": {name: reason for name, reason, cannot in contest.missing if not cannot},
        "take_no_part": {name: reason for name, reason, cannot in contest.missing if cannot},
    }


def _figures(contest: Contest, name: str) -> dict[str, Any]:
    laps = contest.laps[name]
    to = {contest.ours, contest.yardstick, *contest.also.values()} - {""}
    return {
        "rows": contest.rows,
        "part": name in contest.parts[1:],
        "rows_per_second": contest.rows_per_second(name),
        "tokens_per_second": contest.tokens_per_second(name),
        "times_as_long_as": {other: contest.ratio(name, other) for other in sorted(to)},
        "spread": contest.spread(name),
        "same_examples": contest.same(name),
        "laps": {
            "seconds": [lap.seconds for lap in laps],
            "n_rows": [lap.tally.n_rows for lap in laps],
            "n_tokens": [lap.tally.n_tokens for lap in laps],
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


if __name__ == "__main__":  # python -m bench.document RUN.json RENDERER ...: the table of the README
    print("\n".join(readme_table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2:])))
