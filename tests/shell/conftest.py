"""What the SDK keeps for a whole process, made anew for each test."""

import pytest
from tinker.lib.public_interfaces import rest_client_common


@pytest.fixture(autouse=True)
def own_rest_clients(monkeypatch):
    """The SDK opens REST clients one at a time: one that waits for a dead service stops all others."""
    cache = type(rest_client_common.sessionless_holder_cache)
    monkeypatch.setattr(rest_client_common, "sessionless_holder_cache", cache())
