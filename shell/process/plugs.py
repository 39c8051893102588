"""Code of the user's that a setting names as FILE.py:NAME: loaded, called, and its errors in one sentence.

Only the file's own bytes are part of a digest: modules that it imports, and what its functions close over, are not.
"""

import inspect
import os
import runpy
import threading
import time
import traceback
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from kernel.errors import InputError, problem, unknown

NOTICE_SECONDS = 10
"""of one call, after which it is logged"""


class Plug:
    """An object of the user's, called through `plug(...)`.

    An exception in it becomes an InputError that names their file and line; a call of over ten seconds is logged.
    """

    def __init__(self, found: Any, spec: str, at: str, path: Path | None = None, version: str | None = None) -> None:
        self.found, self.spec, self.at, self.path = found, spec, at, path
        self.version = version
        self.log: Callable[[str], object] = lambda _line: None
        self._since: float | None = None
        self._watcher: threading.Thread | None = None

    @property
    def digest(self) -> str:
        """A digest of the file's bytes; of the version that was given with an object from Python."""
        data = self.path.read_bytes() if self.path else (self.version or "").encode()
        return sha256(data + b"\0" + self.spec.rpartition(":")[2].encode()).hexdigest()[:32]

    def __call__(self, *args: Any, **named: Any) -> Any:
        self._begin()
        try:
            return self.found(*args, **named)
        except InputError:
            raise
        except Exception as error:
            raise self.error(error) from error
        finally:
            self._since = None

    def error(self, error: BaseException) -> InputError:
        """The sentence for an exception in the user's code, with their file and line."""
        what = " ".join(f"{type(error).__name__}: {error}".split()) if str(error) else type(error).__name__
        return problem(f"{self.spec} raised {what[:300]} in {self._line(error.__traceback__)}", self.at)

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
        path = os.path.realpath(self.path or "")
        own = [frame for frame in frames if os.path.realpath(frame.filename) == path]
        last = (own or frames or [traceback.FrameSummary("?", 0, "?")])[-1]
        return f"{last.filename}:{last.lineno}"

    def _begin(self) -> None:
        self._since = time.monotonic()
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        noticed = None
        while True:
            time.sleep(NOTICE_SECONDS / 10)
            since = self._since
            if since is not None and since != noticed and time.monotonic() - since >= NOTICE_SECONDS:
                noticed = since
                self.log(f"still waiting for {self.spec} after {NOTICE_SECONDS} s; Ctrl-C ends it")


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
    plug = Plug(None, spec, at, file)
    try:
        variables = runpy.run_path(str(file), run_name=file.stem)
    except (KeyboardInterrupt, InputError):
        raise
    except SyntaxError as error:
        raise problem(f"{path} is not Python: {error.msg} in line {error.lineno}", at) from None
    except BaseException as error:  # whatever a program of the user's raises, an exit too
        raise plug.error(error) from error
    if name not in variables:
        known = [key for key in variables if not key.startswith("_")]
        raise unknown(f"name in {path}", name, known, at) if known else problem(f"{path} defines no {name}", at)
    plug.found = variables[name]
    return plug


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
