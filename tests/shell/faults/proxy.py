"""A proxy on loopback between the SDK and a service, and a script of what goes wrong in it.

A script is data: which request (by its route and number), and what happens to it. All else goes through untouched.
"""

import json
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

import httpx
from tinker.proto import tinker_public_pb2 as proto

POLL = "retrieve_future/"
"""of a poll, the SDK says what it polls for: retrieve_future/ForwardBackward, /OptimStep, /SaveWeights"""


class Says(NamedTuple):
    """An answer in place of the service's; `after` it did what was asked, or without its hearing of it."""

    status: int
    body: bytes = b"{}"
    kind: str = "application/json"
    after: bool = False


class Reset(NamedTuple):
    """The connection is torn: before the service hears, after it has acted, or in the middle of its answer."""

    when: Literal["before", "after", "midway"]


class Refuse(NamedTuple):
    """Nobody listens for a while."""

    seconds: float


class Slow(NamedTuple):
    """The answer takes its time, or for ever."""

    seconds: float = 3600.0


class Late(NamedTuple):
    """The answer comes only after so many others, or when there are none."""

    n_others: int


class Twice(NamedTuple):
    """The service gets the request twice; the second answer counts."""


class Spoiled(NamedTuple):
    """The service gets a forward_backward that it cannot do."""


class Finished(NamedTuple):
    """The session is over when the service gets the request."""


Act = Says | Reset | Refuse | Slow | Late | Twice | Spoiled | Finished


class Fault(NamedTuple):
    """What happens to the nth request of a route (from 1), and to so many behind it."""

    route: str
    nth: int
    act: Act
    times: int = 1


def failed(category: str = "server") -> Says:
    """A future that fails."""
    return Says(200, json.dumps({"error": "a worker was lost", "category": category}).encode())


def queued(request_id: str = "") -> Says:
    """A request that has to wait."""
    state = {"queue_state": "paused_capacity", "queue_state_reason": "no room"}
    return Says(200, json.dumps({"type": "try_again", "request_id": request_id, **state}).encode())


class Proxy:
    """The running proxy."""

    def __init__(self, upstream: str, script: Sequence[Fault]) -> None:
        self.script = script
        self.counts: Counter[str] = Counter()
        self.happened: list[str] = []
        self.keys: set[str | None] = set()
        self.http = httpx.Client(base_url=upstream, timeout=60, trust_env=False)
        self.over = threading.Event()
        self._n_answers = 0
        self._guard = threading.Condition()
        self.is_away = False
        self._server, self.port = None, 0
        self.appear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def appear(self) -> None:
        """Listens, at the same port as before."""
        if self.over.is_set():
            return
        proxy = self

        class Bound(Handler):
            def __init__(self, *told: Any) -> None:
                self.proxy = proxy
                super().__init__(*told)

        self._server = Server(("127.0.0.1", self.port), Bound)
        self.port, self.is_away = self._server.server_port, False
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def vanish(self) -> None:
        """Stops listening; whoever is connected finds the connection torn."""
        self.is_away = True
        self._server.shutdown()
        self._server.server_close()

    def fault_for(self, route: str) -> Act | None:
        with self._guard:
            self.counts[route] += 1
            for fault in self.script:
                if fault.route == route and fault.nth <= self.counts[route] < fault.nth + fault.times:
                    self.happened.append(route)
                    return fault.act
        return None

    def answered(self) -> None:
        with self._guard:
            self._n_answers += 1
            self._guard.notify_all()

    def wait_for_others(self, n: int) -> None:
        with self._guard:
            enough = self._n_answers + n
            self._guard.wait_for(lambda: self._n_answers >= enough or self.over.is_set(), timeout=1)


@contextmanager
def through(upstream: str, *script: Fault) -> Iterator[Proxy]:
    """A proxy while it is open."""
    proxy = Proxy(upstream, script)
    try:
        yield proxy
    finally:
        proxy.over.set()
        if not proxy.is_away:
            proxy.vanish()
        proxy.http.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Torn connections are what this is for."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.proxy.is_away or self.proxy.over.is_set():
            self.tear()
            return
        self.proxy.keys.add(self.headers["X-API-Key"])
        route = self.path.removeprefix("/api/v1/")
        if route == "retrieve_future":
            route = POLL + self.headers["X-Tinker-Request-Type"]
        self.meet(self.proxy.fault_for(route), body)

    do_GET = do_POST  # noqa: N815

    def meet(self, act: Act | None, body: bytes) -> None:
        match act:
            case None:
                self.give(self.forward(body))
            case Says(after=after):
                if after:
                    self.forward(body)
                self.give(act)
            case Reset("before"):
                self.tear()
            case Reset("after"):
                self.forward(body)
                self.tear()
            case Reset("midway"):
                self.give(self.forward(body), torn=True)
            case Refuse(seconds):
                self.proxy.vanish()
                threading.Timer(seconds, self.proxy.appear).start()
                self.tear()
            case Slow(seconds):
                found = self.forward(body)
                if self.proxy.over.wait(seconds):
                    self.tear()
                else:
                    self.give(found)
            case Late(n_others):
                found = self.forward(body)
                self.proxy.wait_for_others(n_others)
                self.give(found)
            case Twice():
                self.forward(body)
                self.give(self.forward(body))
            case Spoiled():
                message = proto.ForwardBackwardRequest.FromString(body)
                message.loss_fn = "dro"
                self.give(self.forward(message.SerializeToString()))
            case Finished():
                sessions = self.proxy.http.get("/api/v1/sessions?limit=1").json()["sessions"]
                self.proxy.http.post(f"/api/v1/sessions/{sessions[0]}/finish", content=b"{}").raise_for_status()
                self.give(self.forward(body))

    def forward(self, body: bytes) -> Says:
        kept = ("accept", "content-type", "content-encoding")
        headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
        answer = self.proxy.http.request(self.command, self.path, content=body, headers=headers)
        return Says(answer.status_code, answer.content, answer.headers.get("content-type", ""))

    def give(self, answer: Says, torn: bool = False) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if torn:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.tear()
        else:
            self.wfile.write(answer.body)
            self.proxy.answered()

    def tear(self) -> None:
        """Ends the connection with a reset, not a farewell."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def log_message(self, *_: Any) -> None: ...
