"""One service for the tests that only talk to it; tests that kill it start their own."""

from collections.abc import Iterator

import pytest

from shell.service.local_process import ServiceProcess, start
from tests.shell.local_service.serving import RawClient


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with start(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def client(service: ServiceProcess) -> RawClient:
    return RawClient(service.url)
