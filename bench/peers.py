"""Other projects as contenders: a process of their own environment, asked for one round at a time.

TINSMITH_ORACLE names the Python of an environment with tinker-cookbook and tml-renderers. Without it they are missing,
and the report says so. They are timed by their own process, so the way there and back does not count.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from bench.contest import Contender, Lap, Missing, Tally
from bench.lane import GREETING, Lane

NAMES = {"cookbook": "tinker-cookbook get_batch", "tml": "tml-renderers", "tml datums": "tml-renderers to tinker.Datum"}


class Peers:
    """The process; started when it is first asked. `versions` fills as contenders are opened."""

    def __init__(self) -> None:
        self.python = os.environ.get("TINSMITH_ORACLE", "")
        self.versions: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer; {"error": ...} when the process cannot be had."""
        try:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            print(json.dumps(question), file=process.stdin, flush=True)
            line = process.stdout.readline()
        except OSError as error:
            return {"error": f"{self.python}: {error.strerror}"}
        return dict(json.loads(line)) if line else {"error": f"{self.python} ended"}

    def contenders(self, lane: Lane) -> list[Contender | Missing]:
        """Those that take part in a lane, with nothing of it seen yet, and those that are missing."""
        return [self._open(kind, lane) for kind in NAMES]

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()

    def _open(self, kind: str, lane: Lane) -> Contender | Missing:
        if not self.python:
            return Missing(NAMES[kind], "TINSMITH_ORACLE names no Python that has it")
        opened = self.ask({"open": kind, "renderer": lane.renderer.name, "tokenizer": str(lane.tokenizer)})
        if "error" in opened:
            return Missing(NAMES[kind], opened["error"], opened.get("cannot", False))
        self.versions |= opened["versions"]
        peer = Peer(self, kind, opened["peer"], lane)
        try:
            peer.measure([GREETING])  # what is imported late is imported now
        except RuntimeError as error:
            return Missing(NAMES[kind], str(error))
        return peer

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [self.python, str(Path(__file__).with_name("peers_worker.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        return self._process


class Peer:
    """One way of one project's, on the rows of a lane."""

    def __init__(self, peers: Peers, kind: str, number: int, lane: Lane) -> None:
        self._peers, self.name, self._number, self._lane = peers, NAMES[kind], number, lane

    def laps(self, turn: int) -> dict[str, Lap]:
        self.measure(self._lane.warm_rows(turn))
        return {self.name: self.measure(self._lane.rows(turn))}

    def measure(self, rows: list[dict[str, Any]]) -> Lap:
        said = self._peers.ask({"peer": self._number, "rows": [{"messages": row["messages"]} for row in rows]})
        if "error" in said:
            raise RuntimeError(f"{self.name}: {said['error']}")
        return Lap(said["seconds"], Tally(len(rows), said["n_tokens"], tuple(said["digests"])))
