"""What the user typed to start this process, as hints and the page of `--help` repeat it."""

import os
import shlex
import shutil
import sys

_typed = ["tinsmith"]


def set_command(name: str) -> None:
    """The installed command was typed, with this subcommand."""
    program = sys.argv[0] if os.path.basename(sys.argv[0]) in ("tinsmith", "tinsmith.exe") else "tinsmith"
    found = shutil.which("tinsmith")
    _typed[:] = ["tinsmith" if found and os.path.samefile(found, program) else _near(program), name]


def set_script() -> None:
    """A recipe was typed, with the interpreter that runs."""
    found = shutil.which("python")
    is_python = found is not None and os.path.realpath(os.path.dirname(found)) == os.path.dirname(sys.executable)
    _typed[:] = ["python" if is_python else _near(sys.executable), sys.argv[0]]


def program(command: str = "train") -> str:
    """The start of a command line that does it again; `tinsmith COMMAND` where nothing was typed (a notebook)."""
    return shlex.join(_typed if len(_typed) > 1 else [*_typed, command])


def short_program(command: str = "train") -> str:
    """The same without the folder of the interpreter, for pages of 80 columns."""
    first, *rest = program(command).split(" ", 1)
    return " ".join([os.path.basename(first), *rest])


def serve_program() -> str:
    """What serves a folder of the local service again, spelled as the user started this."""
    return shlex.join([_typed[0], "-m", "shell.local_service"]) if _is_script() else f"{_typed[0]} serve"


def _is_script() -> bool:
    return len(_typed) > 1 and _typed[1].endswith(".py")


def _near(path: str) -> str:
    """A path as short as it can be typed here."""
    inside = os.path.relpath(path) if os.path.isabs(path) else path
    return path if inside.startswith("..") else inside
