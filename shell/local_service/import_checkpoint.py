"""Bring a checkpoint from one service's state into that of another, so that a new run can start from an old one."""

import sqlite3
from contextlib import closing
from pathlib import Path

from kernel.errors import expected
from shell.local_service.database import Database

_FOUND = "FROM {} WHERE path = ? AND parameters IS NOT NULL"


def check_adoptable(path: str, source_dir: Path, at: str) -> None:
    """Make sure that a checkpoint is there to be brought over.

    Args:
        path: the checkpoint's tinker:// path.
        source_dir: state directory of the service that saved it; that service may be running.
        at: the flag that asked for it.

    Touches: the directory's database, reading only.

    Raises:
        InputError: there is no such state, or no such checkpoint in it, or it has expired there.
    """
    source = source_dir / "state.sqlite3"
    if not source.is_file():
        raise expected("the folder of a run that trained in the box", f"{source_dir.parent}, without its state", at)
    with closing(sqlite3.connect(source)) as connection:
        if connection.execute(f"SELECT 1 {_FOUND.format('checkpoints')}", [path]).fetchone() is None:
            raise expected(f"{path} in {source_dir}", "no such checkpoint, or one that has expired", at)


def adopt_checkpoint(path: str, source_dir: Path, state_dir: Path) -> None:
    """Copy one checkpoint, under the path that it has.

    Args:
        path: the checkpoint's tinker:// path, which `check_adoptable` has found.
        source_dir: state directory of the service that saved it; that service may be running.
        state_dir: state directory of a service that is not running; made if it does not exist.

    Touches: both directories' databases, the first one reading only.
    """
    with Database(state_dir) as db:
        db.run("ATTACH DATABASE ? AS source", str(source_dir / "state.sqlite3"))
        db.run(f"INSERT OR REPLACE INTO checkpoints SELECT * {_FOUND.format('source.checkpoints')}", path)
        db.run("DETACH DATABASE source")
