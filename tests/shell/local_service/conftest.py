"""A client of the wire protocol."""

import pytest

from shell.service.local_process import ServiceProcess
from tests.shell.local_service.serving import RawClient


@pytest.fixture
def client(service: ServiceProcess) -> RawClient:
    return RawClient(service.url)
