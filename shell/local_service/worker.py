"""The thread that runs the queue's requests, one at a time, each applied exactly once.

A request's effects are written in one transaction; one that was cut off runs again and, bit for bit, gives the same.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from time import time

import numpy as np

from shell.local_service import UserError, database, queue, without
from shell.local_service.database import Database
from shell.local_service.model.learner import Learner
from shell.local_service.queued_calls import HANDLERS, Outcome, Task, failure

SWEEP_S = 60.0
N_LIVE = 4  # models in memory, copies of what the database has

log = logging.getLogger(__name__)


class Worker:
    """Runs the queue's requests on a thread of its own; routes wait for them on the event loop that started it."""

    def __init__(self, db: Database, lacks: frozenset[str] = frozenset()) -> None:
        self.db, self.lacks = db, lacks
        self.fault: str | None = None  # why it has stopped for good
        self._learners: dict[str, Learner] = {}
        self.wake, self._stopping = threading.Event(), False  # set `wake` when a request is queued
        self._started, self._next_sweep = time(), 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._thread = threading.Thread(target=self.run, name="worker", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Stop, waiting a second for the running request; one that is cut off runs again at the next start."""
        self._stopping = True
        self.wake.set()
        self._thread.join(timeout=1.0)

    async def wait(self, key: str, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Until is_ready() or the timeout; checked whenever the request of that id, or one of that owner, finishes."""
        event = asyncio.Event()
        self._waiting.setdefault(key, set()).add(event)
        try:
            async with asyncio.timeout(timeout_s):
                while not is_ready() and self.fault is None:
                    await event.wait()
                    event.clear()
        except TimeoutError:
            pass
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    def _on_finish(self, keys: list[str] | None) -> None:
        """Wake those who wait for one of the keys, or (None) for any."""

        def notify() -> None:
            for key in self._waiting if keys is None else keys:
                for event in self._waiting.get(key, ()):
                    event.set()

        if self._loop is not None:
            self._loop.call_soon_threadsafe(notify)

    def run(self) -> None:
        """Run requests until stopped, or until the state cannot be written."""
        with np.errstate(all="ignore"):
            try:
                while not self._stopping:
                    self.wake.clear()
                    if time() >= self._next_sweep:
                        self._next_sweep = time() + SWEEP_S
                        queue.drop_old_results(self.db, now=time())
                        database.drop_old(self.db, now=time(), since=self._started)
                    if request := queue.next_request(self.db):
                        self.perform(request)
                    elif not queue.skip_missing(self.db, now=time(), since=self._started):
                        self.wake.wait(timeout=1.0)
            except sqlite3.Error as error:
                if not self._stopping:
                    log.exception("the worker stopped")
                    self.fault = f"the service cannot write its state: {error}"
                    self._on_finish(None)

    def perform(self, request: queue.Request) -> None:
        """Run one request and write its outcome."""
        try:
            without.check(self.lacks, request.kind, request.body)
            learner = self._learner(request)
            outcome = HANDLERS[request.kind](Task(self.db, request, learner))
            self._write(request, outcome, learner, "done")
        except sqlite3.Error:
            raise
        except UserError as error:
            outcome = Outcome(failure(str(error), "user"))
            self._write(request, outcome, None, "failed")
        except Exception as error:
            log.exception("request %s failed", request.request_id)
            outcome = Outcome(failure(f"{type(error).__name__}: {error}", "server"))
            self._write(request, outcome, None, "failed")
        if outcome.learner is not None and request.model_id is not None:
            self._remember(request.model_id, outcome.learner)
        self._on_finish([request.request_id, request.owner])

    def _write(self, request: queue.Request, outcome: Outcome, before: Learner | None, status: str) -> None:
        with self.db.transaction():
            if outcome.checkpoint is not None:
                database.write_checkpoint(self.db, outcome.checkpoint, now=time())
            if outcome.sampler is not None:
                database.add_sampler(self.db, outcome.sampler)
            if outcome.learner is not None and request.model_id is not None:
                database.write_learner(self.db, request.model_id, outcome.learner, before)
            queue.finish(self.db, request, status, outcome.answer, now=time())

    def _learner(self, request: queue.Request) -> Learner | None:
        if request.model_id is None or request.seq == 0:
            return None
        if request.model_id not in self._learners:
            self._remember(request.model_id, database.read_learner(self.db, request.model_id))
        return self._learners[request.model_id]

    def _remember(self, model_id: str, learner: Learner) -> None:
        self._learners.pop(model_id, None)
        self._learners[model_id] = learner
        while len(self._learners) > N_LIVE:
            del self._learners[next(iter(self._learners))]
