"""The local service as a child process of a run, restarted if it dies, and checkpoints imported into its state.

All that it accepted is in its state directory, and the SDK repeats what has no answer, so it resumes bit for bit.
"""

import json
import os
import select
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from kernel.errors import expected
from shell.local_service.database import Database
from shell.service.protocol import ServiceFault

MAX_RESTARTS = 3
_SAVED = "FROM {} WHERE path = ? AND parameters IS NOT NULL"


class ServiceProcess(NamedTuple):
    """A running service, in a session of its own so that Ctrl-C does not reach it; use as a context manager."""

    url: str
    process: subprocess.Popen[bytes]

    def __enter__(self) -> "ServiceProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the service and wait until it has ended."""
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def start(state_dir: Path, *, port: int = 0, timeout_s: float = 30.0, without: str = "") -> ServiceProcess:
    """Start the service and wait until it serves, on any free port if 0; a ServiceFault if it does not."""
    state_dir = state_dir.expanduser().resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "shell.local_service", "--port", str(port), "--state-dir", str(state_dir)]
    command += ["--parent-pid", str(os.getpid()), "--without", without]
    # The service finds this package, and does not get the credentials.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TINKER_")}
    root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    log_path = state_dir / "service.log"
    with log_path.open("ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True, env=environment
        )
    assert process.stdout is not None
    is_ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    line = process.stdout.readline() if is_ready else b""
    try:
        url = json.loads(line)["url"]
    except (ValueError, KeyError, TypeError):
        ServiceProcess("", process).close(timeout_s=1)
        lines = log_path.read_bytes()[log_start:].decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"no answer in {timeout_s:.0f} s"
        raise ServiceFault(f"the local service did not start: {reason}") from None
    return ServiceProcess(url, process)


class LocalProcess:
    """A local service that is restarted when it dies, up to MAX_RESTARTS times; close it at the end."""

    def __init__(self, state_dir: Path, log: Callable[[str], None]) -> None:
        """Start the service; a ServiceFault if it does not."""
        self._state_dir, self._log, self._n_restarts = state_dir, log, 0
        self.service = start(state_dir)

    def close(self) -> None:
        self.service.close()

    def check(self) -> None:
        """Restart the service if it has died; a ServiceFault after MAX_RESTARTS, or if it does not start."""
        code = self.service.process.poll()
        if code is None:
            return
        if self._n_restarts == MAX_RESTARTS:
            more = f" once more after {self._n_restarts} restarts" if self._n_restarts else ""
            raise ServiceFault(f"the local service has ended (code {code}){more}")
        self._n_restarts += 1
        self.service.close()
        self.service = start(self._state_dir, port=int(self.service.url.rpartition(":")[2]))
        self._log(f"warning   the local service ended (code {code}) and was restarted from its state")


def check_importable(path: str, source_dir: Path, at: str) -> None:
    """Check that a checkpoint is in another service's state directory; that service may be running."""
    source = source_dir / "state.sqlite3"
    if not source.is_file():
        raise expected("the folder of a run on the local service", f"{source_dir.parent}, without its state", at)
    with closing(sqlite3.connect(source)) as connection:
        if connection.execute(f"SELECT 1 {_SAVED.format('checkpoints')}", [path]).fetchone() is None:
            raise expected(f"{path} in {source_dir}", "no such checkpoint, or one that has expired", at)


def import_checkpoint(path: str, source_dir: Path, state_dir: Path) -> None:
    """Copy a checkpoint into the state directory of a service that is not running, under the same path."""
    with Database(state_dir) as db:
        db.run("ATTACH DATABASE ? AS source", str(source_dir / "state.sqlite3"))
        db.run(f"INSERT OR REPLACE INTO checkpoints SELECT * {_SAVED.format('source.checkpoints')}", path)
        db.run("DETACH DATABASE source")
