"""Code of the user's that a setting names as FILE.py:NAME: loaded, called, and its errors in one sentence.

Only the file's own bytes are part of a digest: modules that it imports, and what its functions close over, are not.
"""

import inspect
import os
import re
import runpy
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from kernel.errors import InputError, problem, unknown

NOTICE_SECONDS = 10
"""of one call, after which it is logged, and the first Ctrl-C ends it"""
F = TypeVar("F", bound=Callable[..., Any])
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_overdue: set[tuple[int, int]] = set()
"""(plug, thread) of the calls of over ten seconds"""


class PlugError(InputError):
    """Code of the user's failed while it ran, or returned what it must not."""


class Plug:
    """An object of the user's, called through `plug(...)`.

    An exception in it becomes a PlugError that names their file and line; a call of over ten seconds is logged.
    """

    def __init__(self, found: Any, spec: str, at: str, path: Path | None = None, data: bytes = b"") -> None:
        self.found, self.spec, self.at, self.path, self.data = found, spec, at, path, data
        self.log: Callable[[str], object] = lambda line: print(line, file=sys.stderr)
        self._since: dict[int, float] = {}  # by thread
        self._lock, self._is_watched = threading.Lock(), False

    @property
    def name(self) -> str:
        """NAME of FILE.py:NAME."""
        return self.spec.rpartition(":")[2]

    @property
    def digest(self) -> str:
        """A digest of the file's bytes as they were run, and of the name in it."""
        return _digest(self.data, self.name)

    @property
    def mark(self) -> str:
        """What a run's fingerprint has of it; of an object without a version something that never comes again."""
        if self.path is not None:
            return f"{self.path.name}:{self.name} {self.digest[:16]}"
        version = getattr(self.found, "version", None)
        return f"{self.name} without a version ({uuid4().hex[:8]})" if version is None else f"{self.name} {version}"

    def __call__(self, *args: Any, **named: Any) -> Any:
        self._begin()
        try:
            return self.found(*args, **named)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            if hasattr(error, "exit_code"):  # a fault of the service
                raise
            raise self.error(error) from error
        finally:
            self._end()

    def error(self, error: BaseException) -> PlugError:
        """The sentence for an exception in the user's code, with their file and line."""
        what = " ".join(f"{type(error).__name__}: {error}".split()) if str(error) else type(error).__name__
        return self.problem(f"raised {what[:300]} in {self._line(error.__traceback__)}")

    def problem(self, what: str) -> PlugError:
        """The sentence that it does `what`, which it must not."""
        return PlugError(f"{self.spec} {what}", self.at)

    def check_takes(self, n: int, what: str) -> None:
        """Raises if it cannot be called with `n` positional arguments, which `what` names."""
        if not callable(self.found):
            raise problem(f"{self.spec} is {_kind(self.found)}, not a function of {what}", self.at)
        try:
            signature = inspect.signature(self.found)
        except (TypeError, ValueError):  # a built-in
            return
        try:
            signature.bind(*range(n))
        except TypeError:
            raise problem(f"{self.spec}{signature} cannot be called with {what}", self.at) from None

    def _line(self, trace: TracebackType | None) -> str:
        frames = traceback.extract_tb(trace)
        code = getattr(inspect.unwrap(self.found) if callable(self.found) else None, "__code__", None)
        path = os.path.realpath(self.path or str(getattr(code, "co_filename", "")))
        own = [frame for frame in frames if os.path.realpath(frame.filename) == path]
        last = (own or frames or [traceback.FrameSummary("?", 0, "?")])[-1]
        return f"{last.filename}:{last.lineno}"

    def _begin(self) -> None:
        with self._lock:
            self._since[threading.get_ident()] = time.monotonic()
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch, daemon=True).start()

    def _end(self) -> None:
        with self._lock:
            self._since.pop(threading.get_ident(), None)
            _overdue.discard((id(self), threading.get_ident()))

    def _watch(self) -> None:
        while True:
            time.sleep(NOTICE_SECONDS / 10)
            with self._lock:
                if not self._since:
                    self._is_watched = False
                    return
                latest = time.monotonic() - NOTICE_SECONDS
                late = {(id(self), thread) for thread, since in self._since.items() if since <= latest} - _overdue
                _overdue.update(late)
            for _ in late:
                self.log(f"still waiting for {self.spec} after {NOTICE_SECONDS} s; Ctrl-C ends it")


def is_overdue() -> bool:
    """Whether some call of the user's code has lasted for over ten seconds."""
    return bool(_overdue)


def from_python(found: Any, at: str) -> Plug:
    """An object that was given in Python, in place of FILE.py:NAME."""
    return Plug(found, name_of(found), at)


def name_of(found: Any) -> str:
    """The name of a function, or of the kind of an object."""
    return str(getattr(found, "__name__", type(found).__name__))


def versioned(function: F, version: str) -> F:
    """A function with a version, by which a run recognises it when it resumes: change it whenever the function changes.

    >>> def halves(step, n_steps):
    ...     return 1.0 if step < n_steps / 2 else 0.5
    >>> versioned(halves, "1")(3, 4)
    0.5
    """

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        return function(*args, **named)

    call.version = version  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def is_plug(spec: str | None) -> bool:
    """Whether a setting names code of the user's."""
    return spec is not None and ".py:" in spec


def load_plug(spec: str, at: str, what: str = "an object") -> Plug:
    """The object that FILE.py:NAME names. The file is run, as any program of the user's is.

    Args:
        spec: `FILE.py:NAME`.
        at: the flag, for errors.
        what: what it should be, for errors ("a Renderer").

    Raises:
        InputError: no such file, a file that does not run (with its line), no such name in it.
    """
    path, _, name = spec.rpartition(":")
    file = Path(path).expanduser()
    if not file.is_file():
        raise problem(f"there is no file {path} with {what} in it", at)
    plug = Plug(None, spec, at, file, file.read_bytes())
    plug._begin()
    try:
        variables = runpy.run_path(str(file), run_name=file.stem)
    except (KeyboardInterrupt, InputError):
        raise
    except SyntaxError as error:
        raise problem(f"{path} is not Python: {error.msg} in line {error.lineno}", at) from None
    except BaseException as error:  # whatever a program of the user's raises, an exit too
        raise plug.error(error) from error
    finally:
        plug._end()
    if name not in variables:
        known = [key for key in variables if not key.startswith("_")]
        raise unknown(f"name in {path}", name, known, at) if known else problem(f"{path} defines no {name}", at)
    plug.found = variables[name]
    return plug


class Named(NamedTuple):
    """One of a list of plugs: NAME=FILE.py:NAME, or a name alone."""

    name: str
    """empty where none was given"""
    spec: str

    def __str__(self) -> str:
        return f"{self.name}={self.spec}" if self.name else self.spec


def split_specs(text: str) -> Iterator[Named]:
    """The parts of `[NAME=]FILE.py:NAME,...`; paths hold no comma."""
    for part in filter(None, map(str.strip, text.split(","))):
        found = _NAMED.fullmatch(part)
        yield Named(found[1], found[2]) if found and is_plug(found[2]) else Named("", part)


def absolute(text: str, folder: Path) -> str:
    """The same list of plugs with their files' paths absolute, relative ones as seen from a folder."""
    if not is_plug(text):
        return text
    return ",".join(
        str(one._replace(spec=f"{folder / Path(file).expanduser()}:{name}") if is_plug(one.spec) else one)
        for one in split_specs(text)
        for file, _, name in [one.spec.rpartition(":")]
    )


def digests(text: str) -> dict[str, str]:
    """Of each plug of a list, FILE.py:NAME -> the digest that it has now; without those whose file is not there."""
    specs = [one.spec.rpartition(":") for one in split_specs(text) if is_plug(one.spec)]
    return {":".join((f, n)): _digest(Path(f).read_bytes(), n) for f, _, n in specs if Path(f).is_file()}


def check_trusted(text: str, file: Path, recorded: Mapping[str, str], way: str, at: str) -> None:
    """Raises for code that a file of settings names and that may not run: reading settings must not run any program.

    Code may run that lies in the folder of the settings or below, and code that a run has recorded in its
    `config.json` and that is as it was then; other code only where the flag repeats it, or with --allow-code.

    Args:
        text: a list of plugs, their paths absolute.
        file: of the settings.
        recorded: FILE.py:NAME -> digest.
        way: what to do about it, for the error.
    """
    now = digests(text)
    for one in split_specs(text):
        own = Path(one.spec.rpartition(":")[0]).resolve().is_relative_to(file.resolve().parent)
        if is_plug(one.spec) and not own and (one.spec not in now or recorded.get(one.spec) != now[one.spec]):
            state = "has changed since the run recorded it" if one.spec in recorded else f"is not in {file.parent}"
            raise problem(f"{file.name} names code that {state}, {one.spec}: {way}", at)


def _digest(data: bytes, name: str) -> str:
    return sha256(data + b"\0" + name.encode()).hexdigest()[:32]


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
