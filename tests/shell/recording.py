"""A stand-in for a service: it runs requests in order, remembers what took effect, and can be cut anywhere.

Its weights are their own history, a tuple of (gradients, learning rate) of every update, so two runs that end with
equal weights applied equal updates in equal order. It answers when it is asked for an answer (`lazy`) or at once; its
saves are as quick as the rest, or answer only when `save_takes` more requests are through.
"""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from kernel.datum import Datums
from kernel.row_outcomes import Outcome, RowOutcome
from shell.datums.render_rows import BatchResult
from shell.run_dir.progress_display import Pace, Screen
from shell.service.protocol import AdamParams, ServiceFault


class Cut(BaseException):
    """The end of the process, at any moment."""


class State(NamedTuple):
    """A model: its updates, and the gradients gathered since."""

    updates: tuple[Any, ...] = ()
    gradients: tuple[Any, ...] = ()


class Answer(Future):
    """A future that drives the stand-in when somebody waits for it."""

    def __init__(self, drive: Callable[["Answer"], None], happens: Callable[[str], None]) -> None:
        super().__init__()
        self.drive, self.happens = drive, happens

    def result(self, timeout: float | None = None) -> Any:
        self.happens("wait")
        self.drive(self)
        return super().result(timeout)


class RecordingClient:
    """A `shell.service.protocol.Client` whose every call and answer is an event."""

    def __init__(
        self,
        state: State = State(),  # noqa: B008 - immutable
        kept: dict[str, State] | None = None,
        lazy: bool = True,
        happens: Callable[[str], None] = lambda _: None,
        failing: Mapping[int, str] | None = None,
        save_takes: int = 0,
    ) -> None:
        self.save_takes, self._running = save_takes, RLock()
        self.state, self.kept, self.lazy, self.happens = state, {} if kept is None else kept, lazy, happens
        self.failing = failing or {}
        self.calls: list[tuple[str, Any]] = []
        self.n_in_flight: list[int] = []
        self._queue: deque[tuple[Answer, Callable[[], Any], int]] = deque()
        self._saving: deque[tuple[int, Answer, Any]] = deque()
        self._n_through = 0

    nll_prefix = ""

    def forward(self, datums: Datums) -> Future:
        return self._submit("forward", None, lambda: _logprobs(self.state, datums))

    def forward_backward(self, datums: Datums, loss: Any = None) -> Future:  # noqa: ARG002
        def learn() -> Any:
            logprobs = _logprobs(self.state, datums)
            self.state = self.state._replace(gradients=(*self.state.gradients, datums.inputs.tobytes()))
            return logprobs

        return self._submit("forward_backward", int(datums.inputs[0]), learn)

    def optim_step(self, adam: AdamParams) -> Future:
        def update() -> Mapping[str, float]:
            self.state = State((*self.state.updates, (self.state.gradients, adam.learning_rate)))
            return {"grad_norm:mean": float(len(self.state.updates))}

        return self._submit("optim_step", adam.learning_rate, update)

    def save_state(self, name: str, ttl_seconds: int | None) -> Future:
        return self._submit("save_state", (name, ttl_seconds), lambda: self._keep("weights", name))

    def save_sampler(self, name: str, ttl_seconds: int | None) -> Future:
        return self._submit("save_sampler", (name, ttl_seconds), lambda: self._keep("sampler", name))

    def sample(self, prompts: Any, params: Any) -> Future:  # noqa: ARG002
        n = len(prompts)
        return self._submit("sample", n, lambda: [[70 + len(self.state.updates)] * (1 + i) for i in range(n)])

    def snapshot(self) -> Callable[..., Future]:
        """What is sampled later counts the updates before this; it may be called on a thread."""
        weights = self._submit("snapshot", None, lambda: self.state)

        def sample(prompts: Any, params: Any) -> Future:  # noqa: ARG001
            self._run_until(weights)
            n = 70 + len(Future.result(weights).updates)
            return done([[n] * (1 + i) for i in range(len(prompts))])

        return sample

    def note_pause(self) -> None: ...

    def check(self) -> None: ...

    def forget(self, path: str) -> None:
        """Deletes a checkpoint, which must be there: nothing deletes one twice but a run that was cut meanwhile."""
        self.happens("forget")
        self.kept.pop(path, None)

    def _keep(self, kind: str, name: str) -> str:
        path = f"tinker://{len(self.kept)}/{kind}/{name}"
        self.kept[path] = self.state
        return path

    def _submit(self, kind: str, sent: Any, act: Callable[[], Any]) -> Answer:
        self.happens(kind)
        answer = Answer(self._run_until, self.happens)
        with self._running:
            self._queue.append((answer, act, len(self.calls)))
            self.calls.append((kind, sent))
            self.n_in_flight.append(len(self._queue) + len(self._saving))
            if not self.lazy:
                self._run_until(answer)
        return answer

    def _run_until(self, wanted: Answer) -> None:
        with self._running:
            while not wanted.done():
                if self._queue:
                    self._run_next()
                while self._saving and (not self._queue or self._saving[0][0] <= self._n_through):
                    _, answer, path = self._saving.popleft()
                    answer.set_result(path)

    def _run_next(self) -> None:
        answer, act, position = self._queue.popleft()
        self._n_through += 1
        if position in self.failing:
            answer.set_exception(ServiceFault(self.failing[position]))
        elif self.calls[position][0].startswith("save"):
            self._saving.append((self._n_through + self.save_takes, answer, act()))
        else:
            answer.set_result(act())


def _logprobs(state: State, datums: Datums) -> np.ndarray:
    """Something that every update and every input changes."""
    return (-(1 + len(state.updates)) / (1 + datums.inputs % 7)).astype(np.float32)


class Quiet(Screen):
    """A screen that only remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.pace, self._bar = Pace(), None

    def log(self, text: str) -> None:
        self.lines.append(text)


class FakeDataset:
    """Three batches an epoch, each recognised by its first token; some without any loss."""

    sources, batch_size = (), 2

    def __init__(self, n_batches: int = 3, without_loss: frozenset[tuple[int, int]] = frozenset()) -> None:
        self.n_batches, self.without_loss, self.n_rows = n_batches, without_loss, 2 * n_batches + 1
        self.steps: list[int] = []

    def __len__(self) -> int:
        return self.n_batches

    def submit(self, step: int) -> Future:
        self.steps.append(step)
        epoch, i = divmod(step, self.n_batches)
        first = 100 * epoch + 10 * i
        outcomes = (RowOutcome(Outcome.TRUNCATED, f"row {first}", "1 of 2 tokens"),) if i else ()
        return done(BatchResult(datums(first, 0.0 if (epoch, i) in self.without_loss else 1.0), 2, outcomes))

    def rows_after(self, step: int) -> np.ndarray:
        epoch, i = divmod(step, self.n_batches)
        return np.arange(2 * (i + 1), self.n_rows) + 100 * epoch

    def locations(self, rows: np.ndarray) -> list[str]:
        return [f"tail {row // 100}" for row in rows.tolist()]

    def sources_of(self, rows: np.ndarray) -> np.ndarray:
        return np.zeros_like(rows)


def done(value: Any) -> Future:
    future: Future = Future()
    future.set_result(value)
    return future


def datums(first: int, weight: float = 1.0) -> Datums:
    """Two examples of three and two tokens."""
    inputs = np.arange(first, first + 5, dtype=np.int32)
    weights = np.array([0, 1, 1, 0, 1], np.float32) * np.float32(weight)
    return Datums(inputs, inputs.astype(np.int64) + 1, weights, np.array([0, 3, 5]))
