"""The service's memory: one SQLite file in the state directory, opened by one process at a time.

Everything the service must not forget is a row here, and every change is one transaction, so that `kill -9` at any
moment leaves either all of a request's effects (result, new weights, checkpoint, place in the order) or none. The log
is flushed to the disk only when SQLite folds it into the file (`synchronous=NORMAL`): the death of the process loses
nothing; a power cut may lose the last moments, never the consistency. That keeps a step's write at a few milliseconds.

One connection is shared by the threads under a lock; no statement here takes longer than writing one model.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kernel.errors import InputError
from shell.run_dir.files import locked

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    session_id TEXT PRIMARY KEY, created REAL NOT NULL, alive REAL NOT NULL, finished REAL,
    user_metadata TEXT, display_name TEXT);
CREATE TABLE IF NOT EXISTS models (
    model_id TEXT PRIMARY KEY, session_id TEXT NOT NULL, created REAL NOT NULL, touched REAL NOT NULL,
    next_seq INTEGER NOT NULL DEFAULT 0, base_model TEXT, adapter TEXT, user_metadata TEXT,
    has_gradient INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS live (
    model_id TEXT NOT NULL, part TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (model_id, part));
CREATE TABLE IF NOT EXISTS requests (
    request_id TEXT PRIMARY KEY, owner TEXT NOT NULL, seq INTEGER NOT NULL, model_id TEXT, kind TEXT NOT NULL,
    size INTEGER NOT NULL, body BLOB, accepted REAL NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued', result BLOB, finished REAL, finish_number INTEGER, delivered REAL);
CREATE INDEX IF NOT EXISTS queued ON requests (model_id, seq) WHERE status = 'queued';
CREATE INDEX IF NOT EXISTS results ON requests (finished) WHERE result IS NOT NULL;
CREATE INDEX IF NOT EXISTS finishes ON requests (owner, finish_number);
CREATE TABLE IF NOT EXISTS checkpoints (
    path TEXT PRIMARY KEY, model_id TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL,
    expires REAL, size INTEGER NOT NULL, public INTEGER NOT NULL DEFAULT 0, user_metadata TEXT,
    base_model TEXT NOT NULL, adapter TEXT NOT NULL, parameters BLOB, listed INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS samplers (
    sampler_id TEXT PRIMARY KEY, session_id TEXT, base_model TEXT NOT NULL, path TEXT,
    n_clients INTEGER NOT NULL DEFAULT 1);
"""


class StateError(Exception):
    """The state directory cannot be used; the text is one sentence."""


class Database:
    """The open database; use as a context manager or close() it."""

    def __init__(self, state_dir: Path, *, lock_timeout_s: float = 1.0) -> None:
        """Open (or make) the database of a state directory and lock the directory.

        Args:
            state_dir: made if it does not exist.
            lock_timeout_s: how long to wait for a service that is just ending.

        Raises:
            StateError: another process holds the directory, or its version is another.

        Touches: `state_dir`: lock, state.sqlite3 and its -wal and -shm.
        """
        state_dir.mkdir(parents=True, exist_ok=True)
        self._guard = threading.RLock()
        try:
            with ExitStack() as lock:
                lock.enter_context(locked(state_dir / "lock", lock_timeout_s, "service"))
                self._connection = _open(state_dir)
                self._lock = lock.pop_all()
        except InputError as error:
            raise StateError(str(error)) from None

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Fold the log into the file and unlock the directory."""
        with self._guard:
            self._connection.close()
        self._lock.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements within happen, or none does; other threads wait."""
        with self._guard:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def run(self, sql: str, *values: Any) -> int:
        """Execute one statement; the number of rows it changed."""
        with self._guard:
            return self._connection.execute(sql, values).rowcount

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a query."""
        with self._guard:
            row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._guard:
            return self._connection.execute(sql, values).fetchall()


def _open(state_dir: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(state_dir / "state.sqlite3", isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in ("page_size=16384", "journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=2000"):
        connection.execute(f"PRAGMA {pragma}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise StateError(f"expected a state directory of version {VERSION}, got {version} - at {state_dir}")
    connection.executescript(SCHEMA)
    connection.execute(f"PRAGMA user_version={VERSION}")
    return connection
