"""Superseded checkpoints, deleted beside the training: asked for, never waited for, and no fault where it fails.

What could not be deleted lives on until its `ttl_seconds` are over. Each is asked for on a thread, because the SDK's
client for it asks the service first, and waits.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager

import tinker

from shell.connection import Connection
from shell.service import settle

LIMIT_SECONDS = 2.0


@contextmanager
def deleting(connection: Connection, limit_seconds: float = LIMIT_SECONDS) -> Iterator[Callable[[str], None]]:
    """What asks a service to delete the checkpoint of a path, while it is open.

    Args:
        connection: the service.
        limit_seconds: how long those still on their way are given at the end.

    Touches: the network, once something is deleted.
    """
    asked: list[Future[None]] = []

    def delete(path: str) -> None:
        rest = tinker.RestClient(base_url=connection.url, api_key=connection.secret)
        rest.delete_checkpoint_from_tinker_path(path).result()

    def forget(path: str) -> None:
        asked.append(Future())
        threading.Thread(target=settle, args=(asked[-1], lambda: delete(path)), daemon=True).start()

    yield forget
    wait(asked, limit_seconds)
