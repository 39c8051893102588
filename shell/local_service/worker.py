"""The one thread that runs requests, one at a time, and writes what comes of each in one transaction.

So a request is applied exactly once. If the process dies before the transaction, the request will run again from the
same state and, since the numbers repeat bit for bit, come out the same; if it dies after, it is done. The models in
memory are copies of what the database has.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable
from time import time

import numpy as np

from shell.local_service import queue, store
from shell.local_service.database import Database
from shell.local_service.errors import UserError
from shell.local_service.handlers import Outcome, Turn, failure, handle
from shell.local_service.learner import Learner

SWEEP_S = 60.0
N_LIVE = 4  # models kept in memory

log = logging.getLogger(__name__)


class Engine:
    """Runs the queue's requests on a thread of its own."""

    def __init__(self, db: Database, on_finish: Callable[[str | None], None] = lambda _: None) -> None:
        """`on_finish` is called on that thread with the id of each request done, and with None if the engine fails."""
        self.fault: str | None = None  # why the engine has stopped for good
        self._db, self._on_finish = db, on_finish
        self._learners: dict[str, Learner] = {}
        self._wake, self._stopping = threading.Event(), False
        self._started, self._next_sweep = time(), 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin with what is queued."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def stop(self) -> None:
        """Stop, waiting a second for the request in hand; one that is cut off runs again when the service is back."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        with np.errstate(all="ignore"):
            try:
                while not self._stopping:
                    self._wake.clear()
                    self._sweep()
                    if request := queue.next_request(self._db):
                        self._perform(request)
                    elif not queue.pass_over(self._db, now=time(), since=self._started):
                        self._wake.wait(timeout=1.0)
            except sqlite3.Error as error:
                if not self._stopping:
                    log.exception("the engine stopped")
                    self.fault = f"the service cannot keep its state: {error}"
                    self._on_finish(None)

    def _perform(self, request: queue.Request) -> None:
        learner, status = None, "failed"
        try:
            learner = self._learner(request)
            outcome, status = handle(Turn(self._db, request, learner)), "done"
        except UserError as error:
            outcome = Outcome(failure(str(error), "user"))
        except sqlite3.Error:
            raise
        except Exception as error:
            log.exception("request %s failed", request.request_id)
            outcome = Outcome(failure(f"{type(error).__name__}: {error}", "server"))
        try:
            self._write(request, outcome, learner, status)
        except UserError as error:
            outcome = Outcome(failure(str(error), "user"))
            self._write(request, outcome, learner, "failed")
        if outcome.learner is not None and request.model_id is not None:
            self._remember(request.model_id, outcome.learner)
        self._on_finish(request.request_id)

    def _write(self, request: queue.Request, outcome: Outcome, before: Learner | None, status: str) -> None:
        with self._db.transaction():
            if outcome.checkpoint is not None:
                store.keep_checkpoint(self._db, outcome.checkpoint, now=time())
            if outcome.sampler is not None:
                store.add_sampler(self._db, outcome.sampler)
            if outcome.learner is not None and request.model_id is not None:
                store.keep_learner(self._db, request.model_id, outcome.learner, before)
            queue.finish(self._db, request, status, outcome.answer, now=time())

    def _learner(self, request: queue.Request) -> Learner | None:
        if request.model_id is None or request.seq == 0:
            return None
        if request.model_id not in self._learners:
            self._remember(request.model_id, store.live_learner(self._db, request.model_id))
        return self._learners[request.model_id]

    def _remember(self, model_id: str, learner: Learner) -> None:
        self._learners.pop(model_id, None)
        self._learners[model_id] = learner
        while len(self._learners) > N_LIVE:
            del self._learners[next(iter(self._learners))]

    def _sweep(self) -> None:
        """Now and then, forget what nobody will ask for again."""
        if time() >= self._next_sweep:
            self._next_sweep = time() + SWEEP_S
            queue.forget(self._db, now=time())
            store.forget(self._db, now=time(), since=self._started)
