"""Runs in one process, each with REST clients of its own."""

from tests.shell.conftest import own_rest_clients

__all__ = ["own_rest_clients"]
