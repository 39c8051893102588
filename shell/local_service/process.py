"""The service as a child process of a run.

    with start(log_path / "service") as service:
        client = tinker.ServiceClient(base_url=service.url, api_key=API_KEY)

    start(state_dir: Path, *, port: int = 0, timeout_s: float = 30.0) -> Service
    Service.url: str      Service.process: subprocess.Popen      Service.close() -> None

The child listens on 127.0.0.1, on a free port unless one is given, and locks its state directory. It is in a session of
its own, so that the terminal's Ctrl-C does not reach it and the run can still save a checkpoint; and it ends with its
parent whatever way that ends, because it holds the other end of the child's stdin. What it prints goes to
`service.log` in the state directory.
"""

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import NamedTuple

API_KEY = "tml-embedded"  # the service takes any key; the SDK insists on this prefix
_ROOT = Path(__file__).resolve().parents[2]


class ServiceError(Exception):
    """The service did not start; the text is one sentence."""


class Service(NamedTuple):
    """A running service; close it, or use it as a context manager."""

    url: str
    process: subprocess.Popen[bytes]

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the service and wait until it has gone."""
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def start(state_dir: Path, *, port: int = 0, timeout_s: float = 30.0) -> Service:
    """Start the service and wait until it serves.

    Args:
        state_dir: where it keeps checkpoints and requests; made if missing.
        port: 0 for any free one.
        timeout_s: how long it may take to start.

    Raises:
        ServiceError: it ended or did not answer in time; the sentence is its own where it gave one.

    Touches: `state_dir`; a child process; a socket on 127.0.0.1.
    """
    state_dir = state_dir.expanduser().resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "shell.local_service", "--port", str(port), "--state-dir", str(state_dir)]
    log_path = state_dir / "service.log"
    with log_path.open("ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(
            [*command, "--parent-pid", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env=_environment(),
        )
    line = _first_line(process, timeout_s)
    try:
        url = json.loads(line)["url"]
    except (ValueError, KeyError, TypeError):
        Service("", process).close(timeout_s=1)
        words = log_path.read_bytes()[log_start:].decode(errors="replace").strip().splitlines()
        raise ServiceError(words[-1] if words else f"the embedded service did not start in {timeout_s:.0f} s") from None
    return Service(url, process)


def _environment() -> dict[str, str]:
    """The environment of the child: where this package is, and none of the credentials, which it has no use for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TINKER_")}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))}


def _first_line(process: subprocess.Popen[bytes], timeout_s: float) -> bytes:
    assert process.stdout is not None
    deadline = monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - monotonic()))
        piece = os.read(process.stdout.fileno(), 4096) if readable else b""
        if not piece:
            break
        line += piece
    return line
