"""A run that nothing happens to, and an SDK that is in a hurry."""

import asyncio
import time
from functools import partial
from types import ModuleType

import pytest
from tinker import _base_client
from tinker.lib import api_future_impl, internal_client_holder

from shell.service import connect
from shell.service.protocol import Liveness
from tests.shell.faults.runs import finish, metrics, weights, write_rows


@pytest.fixture(scope="package")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture(scope="package")
def whole(rows, service, state_dir, tmp_path_factory):
    """What a run leaves that nothing happens to: its metrics and its final weights."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    ending = finish(rows, folder, service.url)
    assert (ending.code, ending.errors) == (0, "")
    return metrics(folder), weights(folder, state_dir)


class Hurried(ModuleType):
    """asyncio for the SDK's own modules, in which a second's patience is a fiftieth."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    async def sleep(self, seconds, *result):
        return await asyncio.sleep(seconds / 50, *result)


@pytest.fixture(autouse=True)
def hurried_sdk(monkeypatch):
    """The SDK's pauses between attempts, shortened; what it attempts, and how often, stays."""
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    monkeypatch.setattr(_base_client, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(_base_client, "MAX_RETRY_DELAY", 0.2)
    for module in (api_future_impl, internal_client_holder):
        monkeypatch.setattr(module, "asyncio", Hurried("asyncio"))


@pytest.fixture
def impatient(monkeypatch):
    """Counts the silence of a service only from its first fault on, ten minutes of it in a second."""

    def count_from(proxy):
        began = None

        def clock():
            nonlocal began
            if not proxy.happened:
                return 0.0
            began = began or time.monotonic()
            return 600 * (time.monotonic() - began)

        monkeypatch.setattr(connect, "Liveness", partial(Liveness, clock=clock))

    return count_from
