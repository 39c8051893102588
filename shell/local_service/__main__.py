"""Serves alone, for any program that uses the SDK: `tinsmith serve --port 8765 --state-dir D`.

Prints one line of JSON, {"url": ...}, when it is ready. Ctrl-C, SIGTERM or the end of --parent-pid stops it.
"""

import argparse
import json
import os
import select
import signal
import socket
import stat
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and serve until stopped; the exit code."""
    parser = argparse.ArgumentParser(prog="tinsmith serve", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--port", type=int, default=8765, help="0 for any free port (default: 8765)")
    parser.add_argument("--state-dir", type=Path, required=True, help="folder of checkpoints and requests")
    parser.add_argument("--parent-pid", type=int, help="end when this process, the parent, ends")
    parser.add_argument("--without", default="", metavar="NAMES", help="for tests: abilities that it lacks")
    flags = parser.parse_args(argv)
    if flags.parent_pid is not None:
        threading.Thread(target=_end_with_parent, args=(flags.parent_pid,), daemon=True).start()
    # One BLAS thread, so that results repeat bit for bit; set before numpy is imported.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", VECLIB_MAXIMUM_THREADS="1")
    return _serve(flags.port, flags.state_dir, flags.without)


def _serve(port: int, state_dir: Path, without: str) -> int:
    import sqlite3

    import uvicorn

    from shell.local_service import UserError
    from shell.local_service.database import Database
    from shell.local_service.routes import build_app
    from shell.local_service.without import read_names

    try:
        lacks = read_names(without)
    except UserError as error:
        print(f"{error} - at --without", file=sys.stderr)
        return 2
    try:
        database = Database(state_dir.expanduser())
    except (UserError, OSError, sqlite3.Error) as error:
        print(f"{error} - at --state-dir", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises its signals again when it has stopped
    with database, socket.socket() as listener, suppress(KeyboardInterrupt):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            print(f"cannot listen on port {port} of 127.0.0.1: {error.strerror} - at --port", file=sys.stderr)
            return 2
        listener.listen(128)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = build_app(database, lambda: print(json.dumps({"url": url}), flush=True), lacks)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, ws="none")
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _end_with_parent(parent_pid: int) -> None:
    """End this process when its parent has: the parent's pid changes, or stdin closes, if it is a pipe from it."""
    pipes = [0] if stat.S_ISFIFO(os.fstat(0).st_mode) else []
    while os.getppid() == parent_pid:
        readable, _, _ = select.select(pipes, [], [], 0.5)
        if readable and not os.read(0, 1):
            break
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
