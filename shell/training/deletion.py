"""Superseded checkpoints, deleted beside the training: asked for, never waited for, and no fault where it fails.

What could not be deleted lives on until its `ttl_seconds` are over. All are asked for on one thread and through one
client of the SDK's, because opening that asks the service first, and waits.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import cache, partial
from queue import SimpleQueue

import tinker

from shell.service.connection import Connection
from shell.service.sdk import settle

LIMIT_SECONDS = 5.0


@contextmanager
def deleting(connection: Connection, limit_seconds: float = LIMIT_SECONDS) -> Iterator[Callable[[str], None]]:
    """What asks a service to delete the checkpoint of a path, while it is open.

    Args:
        connection: the service.
        limit_seconds: how long those still on their way are given at the end.

    Touches: the network, once something is deleted.
    """
    asked: list[Future[None]] = []
    waiting: SimpleQueue[tuple[Future[None], str] | None] = SimpleQueue()

    @cache
    def client() -> tinker.RestClient:
        return tinker.RestClient(base_url=connection.url, api_key=connection.secret)

    def delete(path: str) -> None:
        client().delete_checkpoint_from_tinker_path(path).result()

    def work() -> None:
        while told := waiting.get():
            settle(told[0], partial(delete, told[1]))

    def forget(path: str) -> None:
        if not asked:
            threading.Thread(target=work, daemon=True).start()
        asked.append(Future())
        waiting.put((asked[-1], path))

    try:
        yield forget
        wait(asked, limit_seconds)
    finally:
        waiting.put(None)
