"""A bare machine, rows to train on, and a way to run a recipe in this process."""

import pytest

from shell.command import main
from shell.training.open_run import compile_kernel
from tests.recipes.running import ANSWER, GOOD, RUNS, SMALL, USER, Told, finish, line, process_of, write


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch):
    """No credentials, no answer from any hub, and a folder of one's own to stand in."""
    for name in ("TINKER_API_KEY", "TINKER_BASE_URL", "TINKER_CREDENTIAL_CMD", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def compiled():
    """A busy machine takes its time to load the kernel's loops, and a run would show that."""
    compile_kernel(lambda _line: None)


@pytest.fixture
def ask(capsys):
    """Runs a recipe in this process: exit code, standard output, standard error."""

    def ask(name, *argv):
        code = main(RUNS[name], [str(word) for word in argv])
        return Told(code, *capsys.readouterr())

    return ask


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good.jsonl", *[GOOD] * 8)


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    """Nine conversations of different lengths."""
    rows = [line(USER, {**ANSWER, "content": "It is so. " * n}) for n in range(1, 10)]
    return write(tmp_path_factory.mktemp("data") / "talks.jsonl", *rows)


@pytest.fixture(scope="module")
def whole(talks, tmp_path_factory):
    """A run as it is typed, from a folder that is not the repository's."""
    here = tmp_path_factory.mktemp("here")
    flags = ("--dataset", talks, *SMALL, "--test-size", 1, "--eval-every", 3, "--save-every", 2)
    return here / "run", finish(process_of("sl_basic", "--log-path", "run", *flags, cwd=here))
