"""Settings for all tests, made before numpy is loaded, and one local service for those that only talk to it.

Jitted code compiles at its first call, so hypothesis must not time single examples. One BLAS thread: the local
service runs with one, and two on a busy machine wait for each other.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from shell.process import command_line

settings.register_profile("tinsmith", deadline=None, max_examples=50)
settings.load_profile("tinsmith")


@pytest.fixture(autouse=True)
def nothing_typed(monkeypatch):
    """Hints and help are those of a process in which nothing was typed yet."""
    monkeypatch.setattr(command_line, "_typed", ["tinsmith"])


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory):
    """The state of the local service that tests share."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def service(state_dir):
    """A local service for tests that only talk to it; tests that end it start their own."""
    from shell.service import local_process

    with local_process.start(state_dir) as running:
        yield running
