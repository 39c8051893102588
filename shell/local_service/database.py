"""The service's state in one SQLite file: live models, checkpoints, samplers, and the tables of the queue.

Every change is one transaction, so `kill -9` leaves all of a request's effects or none; a power cut may lose the last
moments, never the consistency (`synchronous=NORMAL`).
"""

import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import msgspec

from shell.local_service import RefusedError, UserError
from shell.local_service.model.learner import Adapter, Learner, pack, unpack

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
SEGMENTS = {"training": "weights", "sampler": "sampler_weights"}
CHECKPOINT_COLUMNS = "path, model_id, kind, name, created, expires, size, public, user_metadata, base_model, adapter"
SILENCE_S = 7 * 86_400.0  # a session without a heartbeat for so long is over


class Database:
    """The open database of a state directory, shared by the threads under a lock; use as a context manager."""

    def __init__(self, state_dir: Path) -> None:
        """Open or create it and lock the directory, waiting a second for a service that is just ending."""
        state_dir.mkdir(parents=True, exist_ok=True)
        self._guard = threading.RLock()
        self._directory_lock = filelock.FileLock(state_dir / "lock", 1.0, thread_local=False)
        try:
            self._directory_lock.acquire()
        except filelock.Timeout:
            raise UserError(f"the state directory {state_dir} is in use by another service") from None
        try:
            self._connection = _open(state_dir)
        except BaseException:
            self._directory_lock.release()
            raise

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        """Fold SQLite's log into the file and unlock the directory."""
        with self._guard:
            self._connection.close()
        self._directory_lock.release()

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

    def run(self, sql: str, *values: Any) -> None:
        with self._guard:
            self._connection.execute(sql, values)

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        with self._guard:
            row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._guard:
            return self._connection.execute(sql, values).fetchall()


def _open(state_dir: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(state_dir / "state.sqlite3", isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in ("page_size=16384", "journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=2000"):
        connection.execute(f"PRAGMA {pragma}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise UserError(f"expected a state directory of version {VERSION}, got {version} - at {state_dir}")
    connection.executescript(SCHEMA)
    connection.execute(f"PRAGMA user_version={VERSION}")
    return connection


class Checkpoint(NamedTuple):
    """A model to save; kind is "training" or "sampler"; one that is not listed is deleted with its session."""

    path: str
    model_id: str
    kind: str
    name: str
    learner: Learner
    ttl_s: int | None
    user_metadata: dict[str, str] | None
    overwrite: bool = True
    listed: bool = True


class Sampler(NamedTuple):
    """What a sampling session samples from: a checkpoint's path, or None for the base model."""

    sampler_id: str
    session_id: str | None
    base_model: str
    path: str | None


def checkpoint_path(model_id: str, kind: str, name: str) -> str:
    """The path of a checkpoint, such as tinker://run:train:0/weights/000020."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name):
        raise UserError(f"expected a checkpoint name of letters, digits, '.', '_' and '-', got {name!r} - at path")
    return f"tinker://{model_id}/{SEGMENTS[kind]}/{name}"


def expiry(ttl_s: int | None, *, now: float) -> float | None:
    """When something with a time to live expires; None: never."""
    if ttl_s is None:
        return None
    if not 0 < ttl_s <= 10 * 366 * 86_400:
        raise UserError(f"expected more than 0 seconds and at most 10 years, got {ttl_s} - at ttl_seconds")
    return now + ttl_s


def add_model(db: Database, model_id: str, session_id: str, user_metadata: Any, *, now: float) -> None:
    """Add a model, which its first request will fill."""
    db.run(
        "INSERT INTO models (model_id, session_id, created, touched, user_metadata) VALUES (?,?,?,?,?)",
        model_id, session_id, now, now, json.dumps(user_metadata) if user_metadata else None,
    )  # fmt: skip


def write_learner(db: Database, model_id: str, learner: Learner, before: Learner | None) -> None:
    """Write what changed in a live model; rows keep their sizes, so that SQLite overwrites them in place."""
    upsert = "INSERT INTO live VALUES (?,?,?) ON CONFLICT (model_id, part) DO UPDATE SET data = excluded.data"
    if before is None or before.parameters is not learner.parameters or before.adam is not learner.adam:
        db.run(upsert, model_id, "learner", pack(learner))
    if learner.gradient is not None:
        db.run(upsert, model_id, "gradient", learner.gradient.tobytes())
    db.run(
        "UPDATE models SET base_model = ?, adapter = ?, has_gradient = ? WHERE model_id = ?",
        learner.base_model, msgspec.json.encode(learner.adapter).decode(), learner.gradient is not None, model_id,
    )  # fmt: skip


def read_learner(db: Database, model_id: str) -> Learner:
    """A live model as its last request left it."""
    row = db.one("SELECT base_model, adapter, has_gradient FROM models WHERE model_id = ?", model_id)
    parts = {part["part"]: part["data"] for part in db.all("SELECT part, data FROM live WHERE model_id = ?", model_id)}
    if row is None or "learner" not in parts:
        raise UserError(f"model {model_id!r} was never created, or its session is finished")
    gradient = parts["gradient"] if row["has_gradient"] else None
    return unpack(row["base_model"], adapter_of(row), parts["learner"], gradient)


def write_checkpoint(db: Database, checkpoint: Checkpoint, *, now: float) -> None:
    learner, expires = checkpoint.learner, expiry(checkpoint.ttl_s, now=now)
    taken = db.one("SELECT expires FROM checkpoints WHERE path = ?", checkpoint.path)
    if taken and not checkpoint.overwrite and not _is_expired(taken, now):
        raise UserError(f"{checkpoint.path} exists already; save under another name or with overwrite=True")
    data = pack(learner)
    db.run(
        """INSERT OR REPLACE INTO checkpoints (path, model_id, kind, name, created, expires, size, user_metadata,
        base_model, adapter, parameters, listed) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)""",
        checkpoint.path, checkpoint.model_id, checkpoint.kind, checkpoint.name, now, expires, len(data),
        json.dumps(checkpoint.user_metadata) if checkpoint.user_metadata else None,
        learner.base_model, msgspec.json.encode(learner.adapter).decode(), data, checkpoint.listed,
    )  # fmt: skip


def read_checkpoint_row(db: Database, path: str, *, now: float) -> sqlite3.Row:
    """The row, without the weights, of a checkpoint that can be loaded."""
    row = db.one(f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints WHERE path = ?", path)
    if row is None:
        raise UserError(f"there is no checkpoint {path!r} in this service")
    if _is_expired(row, now):
        raise UserError(f"checkpoint {path!r} has expired (ttl_seconds)")
    return row


def load(db: Database, path: str, *, now: float) -> Learner:
    """The model of a checkpoint, with the optimizer's state."""
    row = read_checkpoint_row(db, path, now=now)
    weights = db.one("SELECT parameters FROM checkpoints WHERE path = ?", path)
    if weights is None or weights["parameters"] is None:
        raise UserError(f"there is no checkpoint {path!r} in this service any more")
    return unpack(row["base_model"], adapter_of(row), weights["parameters"])


def add_sampler(db: Database, sampler: Sampler) -> None:
    db.run("INSERT OR IGNORE INTO samplers (sampler_id, session_id, base_model, path) VALUES (?,?,?,?)", *sampler)


def read_sampler(db: Database, sampler_id: str) -> Sampler:
    """A sampling session; refuses one that does not exist."""
    row = db.one("SELECT sampler_id, session_id, base_model, path FROM samplers WHERE sampler_id = ?", sampler_id)
    if row is None:
        raise RefusedError(404, f"there is no sampling session {sampler_id!r} here")
    return Sampler(*row)


def drop_old(db: Database, *, now: float, since: float) -> None:
    """Delete the weights of expired checkpoints, whose rows stay, and of finished or long silent sessions."""
    db.run("UPDATE checkpoints SET parameters = NULL, size = 0 WHERE expires <= ? AND parameters IS NOT NULL", now)
    if since < now - SILENCE_S:
        db.run("UPDATE sessions SET finished = ? WHERE finished IS NULL AND alive < ?", now, now - SILENCE_S)
    finished = """model_id IN (SELECT model_id FROM models
        WHERE session_id IN (SELECT session_id FROM sessions WHERE finished IS NOT NULL))"""
    db.run(
        f"""DELETE FROM live WHERE {finished}
        AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.model_id = live.model_id AND r.status = 'queued')"""
    )
    db.run(f"DELETE FROM checkpoints WHERE NOT listed AND {finished}")


def adapter_of(row: sqlite3.Row) -> Adapter:
    return msgspec.json.decode(row["adapter"], type=Adapter)


def _is_expired(row: sqlite3.Row, now: float) -> bool:
    return row["expires"] is not None and row["expires"] <= now
