"""What outlives a request: live models, checkpoints under their tinker:// paths, samplers. Rows in, values out.

Call the functions that write within a transaction, so that they happen together with the request they belong to.
"""

import json
import re
import sqlite3
from typing import Any, NamedTuple

import msgspec

from shell.local_service.database import Database
from shell.local_service.errors import UserError
from shell.local_service.learner import Learner, pack, unpack
from shell.local_service.lora import Adapter

SEGMENTS = {"training": "weights", "sampler": "sampler_weights"}
MAX_TTL_S = 10 * 366 * 86_400
ABOUT = "path, model_id, kind, name, created, expires, size, public, user_metadata, base_model, adapter"
SILENCE_S = 7 * 86_400.0  # a session without a heartbeat for so long is over
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Checkpoint(NamedTuple):
    """A model to save; kind is "training" or "sampler"; one that is not listed goes when its session is finished."""

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
    """The tinker:// path of a checkpoint.

    >>> checkpoint_path("run:train:0", "training", "000020")
    'tinker://run:train:0/weights/000020'
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"expected a checkpoint name of letters, digits, '.', '_' and '-', got {name!r} - at path")
    return f"tinker://{model_id}/{SEGMENTS[kind]}/{name}"


def add_model(db: Database, model_id: str, session_id: str, user_metadata: Any, *, now: float) -> None:
    """Make room for a model that its first request will fill."""
    db.run(
        "INSERT INTO models (model_id, session_id, created, touched, user_metadata) VALUES (?,?,?,?,?)",
        model_id, session_id, now, now, json.dumps(user_metadata) if user_metadata else None,
    )  # fmt: skip


def keep_learner(db: Database, model_id: str, learner: Learner, before: Learner | None) -> None:
    """Write what changed between two states of a live model.

    Parameters and gradient have a row each and keep their sizes, so that SQLite overwrites them in place.
    """
    if before is None or before.parameters is not learner.parameters or before.adam is not learner.adam:
        _keep_part(db, model_id, "learner", pack(learner))
    if learner.gradient is not None:
        _keep_part(db, model_id, "gradient", learner.gradient.tobytes())
    db.run(
        "UPDATE models SET base_model = ?, adapter = ?, has_gradient = ? WHERE model_id = ?",
        learner.base_model, _json(learner.adapter), learner.gradient is not None, model_id,
    )  # fmt: skip


def _keep_part(db: Database, model_id: str, part: str, data: bytes) -> None:
    upsert = "INSERT INTO live VALUES (?,?,?) ON CONFLICT (model_id, part) DO UPDATE SET data = excluded.data"
    db.run(upsert, model_id, part, data)


def live_learner(db: Database, model_id: str) -> Learner:
    """A live model as its last request left it."""
    row = db.one("SELECT base_model, adapter, has_gradient FROM models WHERE model_id = ?", model_id)
    parts = {part["part"]: part["data"] for part in db.all("SELECT part, data FROM live WHERE model_id = ?", model_id)}
    if row is None or "learner" not in parts:
        raise UserError(f"model {model_id!r} was never made, or its session is finished")
    gradient = parts["gradient"] if row["has_gradient"] else None
    return unpack(row["base_model"], adapter_of(row), parts["learner"], gradient)


def keep_checkpoint(db: Database, checkpoint: Checkpoint, *, now: float) -> None:
    """Save a model under its path.

    Raises:
        UserError: the path is taken and not to be overwritten, or the time to live is out of range.
    """
    learner, expires = checkpoint.learner, expiry(checkpoint.ttl_s, now=now)
    taken = db.one("SELECT expires FROM checkpoints WHERE path = ?", checkpoint.path)
    if taken and not checkpoint.overwrite and not _expired(taken, now):
        raise UserError(f"{checkpoint.path} exists already; save under another name or with overwrite=True")
    data = pack(learner)
    db.run(
        """INSERT OR REPLACE INTO checkpoints (path, model_id, kind, name, created, expires, size, user_metadata,
        base_model, adapter, parameters, listed) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)""",
        checkpoint.path, checkpoint.model_id, checkpoint.kind, checkpoint.name, now, expires, len(data),
        json.dumps(checkpoint.user_metadata) if checkpoint.user_metadata else None,
        learner.base_model, _json(learner.adapter), data, checkpoint.listed,
    )  # fmt: skip


def expiry(ttl_s: int | None, *, now: float) -> float | None:
    """When what has a time to live expires; None for never.

    Raises:
        UserError: it is not positive, or longer than Tinker's ten years.
    """
    if ttl_s is None:
        return None
    if not 0 < ttl_s <= MAX_TTL_S:
        raise UserError(f"expected more than 0 seconds and at most 10 years, got {ttl_s} - at ttl_seconds")
    return now + ttl_s


def find_checkpoint(db: Database, path: str, *, now: float) -> sqlite3.Row:
    """What there is to know about a checkpoint that can be loaded: its row, without the weights.

    Raises:
        UserError: there is none, or it has expired.
    """
    row = db.one(f"SELECT {ABOUT} FROM checkpoints WHERE path = ?", path)
    if row is None:
        raise UserError(f"there is no checkpoint {path!r} in this service")
    if _expired(row, now):
        raise UserError(f"checkpoint {path!r} has expired: it has outlived its ttl_seconds")
    return row


def load(db: Database, path: str, *, now: float) -> Learner:
    """The model that a checkpoint holds, with its optimizer's state.

    Raises:
        UserError: there is no such checkpoint, or it has expired.
    """
    row = find_checkpoint(db, path, now=now)
    weights = db.one("SELECT parameters FROM checkpoints WHERE path = ?", path)
    if weights is None or weights["parameters"] is None:
        raise UserError(f"there is no checkpoint {path!r} in this service any more")
    return unpack(row["base_model"], adapter_of(row), weights["parameters"])


def add_sampler(db: Database, sampler: Sampler) -> None:
    """Keep a sampling session."""
    db.run("INSERT OR IGNORE INTO samplers (sampler_id, session_id, base_model, path) VALUES (?,?,?,?)", *sampler)


def find_sampler(db: Database, sampler_id: str) -> Sampler | None:
    """A sampling session by its id."""
    row = db.one("SELECT sampler_id, session_id, base_model, path FROM samplers WHERE sampler_id = ?", sampler_id)
    return Sampler(*row) if row else None


def forget(db: Database, *, now: float, since: float) -> None:
    """Free the room of expired checkpoints (their rows stay, to say what became of them) and of finished sessions.

    Args:
        since: when this service started: no heartbeat could come before that.
    """
    db.run("UPDATE checkpoints SET parameters = NULL, size = 0 WHERE expires <= ? AND parameters IS NOT NULL", now)
    if since < now - SILENCE_S:
        db.run("UPDATE sessions SET finished = ? WHERE finished IS NULL AND alive < ?", now, now - SILENCE_S)
    finished = "SELECT session_id FROM sessions WHERE finished IS NOT NULL"
    db.run(
        f"""DELETE FROM live WHERE model_id IN (SELECT model_id FROM models WHERE session_id IN ({finished}))
        AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.model_id = live.model_id AND r.status = 'queued')"""
    )
    db.run(
        f"""DELETE FROM checkpoints WHERE NOT listed
        AND model_id IN (SELECT model_id FROM models WHERE session_id IN ({finished}))"""
    )


def _expired(row: sqlite3.Row, now: float) -> bool:
    return row["expires"] is not None and row["expires"] <= now


def adapter_of(row: sqlite3.Row) -> Adapter:
    """The adapter that a model's or a checkpoint's row describes."""
    return msgspec.json.decode(row["adapter"], type=Adapter)


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
