"""What the SDK keeps for a whole process, made anew for each test."""

from importlib import import_module

import pytest


@pytest.fixture(autouse=True)
def own_rest_clients(monkeypatch):
    """The SDK opens REST clients one at a time: one that waits for a dead service stops all others."""
    try:
        rest_client_common = import_module("tinker.lib.public_interfaces.rest_client_common")
    except ImportError:  # releases before 0.36
        return
    cache = type(rest_client_common.sessionless_holder_cache)
    monkeypatch.setattr(rest_client_common, "sessionless_holder_cache", cache())
