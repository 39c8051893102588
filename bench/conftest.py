"""The bench's options, what its contests share, and the report at the end."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.contest import Contest
from bench.document import document, machine, table
from bench.peers import Peers
from bench.workload import Workload, open_workload
from kernel.renderers import RENDERERS

BENCHED = ("role_colon", "llama3", "qwen3", "qwen3_5")
CONTESTS = pytest.StashKey[list[Contest]]()
WORKLOAD = pytest.StashKey[dict[str, object]]()
VERSIONS = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bench")
    group.addoption("--bench-json", metavar="FILE", type=Path, help="write the run's figures there, as one JSON object")
    group.addoption(
        "--bench-cores", metavar="N", type=int, help="use only N cores (Linux): all threads of all contenders"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        raise pytest.UsageError("a bench is timed alone: run it without -n")
    config.stash[CONTESTS], config.stash[WORKLOAD], config.stash[VERSIONS] = [], {}, {}
    config.option.benchmark_quiet = not config.option.benchmark_verbose  # our table, not its
    n_cores = config.getoption("--bench-cores", None)
    if n_cores:
        if not hasattr(os, "sched_setaffinity"):
            raise pytest.UsageError("--bench-cores needs Linux")
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_cores])
        os.environ["RAYON_NUM_THREADS"] = str(n_cores)


@pytest.fixture(scope="session")
def workload(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    opened = open_workload([RENDERERS[name] for name in BENCHED if name in RENDERERS], tmp_path_factory.mktemp("bench"))
    request.config.stash[WORKLOAD] = opened.about
    return opened


@pytest.fixture(scope="session")
def peers(request: pytest.FixtureRequest) -> Iterator[Peers]:
    opened = Peers()
    request.config.stash[VERSIONS] = opened.versions
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def contests(request: pytest.FixtureRequest) -> list[Contest]:
    """Where the contests of a run go, to be reported at its end."""
    return request.config.stash[CONTESTS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    contests = [contest for contest in config.stash[CONTESTS] if contest.laps.get(contest.ours)]
    if not contests:
        return
    about, on = config.stash[WORKLOAD], machine()
    terminalreporter.section("bench")
    terminalreporter.line(f"{on['cpu']}, {on['n_cores']} cores, load {on['load']}, Python {sys.version.split()[0]}")
    if about:
        terminalreporter.line(
            f"{about['n_conversations']} conversations of {about['data']}, tokenizer {about['tokenizer']}"
        )
    for contest in contests:
        terminalreporter.line("")
        for line in table(contest):
            terminalreporter.line(line)
    file = config.getoption("--bench-json", None)
    if file:
        file.write_text(
            json.dumps(document(contests, about, config.stash[VERSIONS]), indent=1) + "\n", encoding="utf-8"
        )
        terminalreporter.line(f"\nwritten: {file}")
