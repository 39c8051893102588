"""The folder of a run: whether it may be used, as what, and by whom.

First it is decided, by looking alone (`decide`); only when everything else about a run has been found good is the
folder made or entered (`enter`), and what stood there removed (`empty`). A folder that is there already is never
touched unless a run of ours made it and the user said what is to become of it; one made for a run that never began is
taken back. Deleting never follows a link. While a run is in the folder, no second one gets in; the lock is the
system's, so a crash cannot leave it stuck.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from kernel.errors import InputError, expected
from shell.run_dir.files import PART, locked, writing
from shell.run_dir.logs import CONFIG, METRICS, is_marked

Behavior = Literal["ask", "resume", "delete", "raise"]
Verdict = Literal["new", "resume", "delete"]

LOCK = "run.lock"
FLAG = "--behavior-if-log-dir-exists"


def decide(folder: Path, behavior: Behavior, ask: Callable[[str], str] | None = None) -> Verdict:
    """What is to become of a run's folder.

    Args:
        folder: where the run is to keep its files.
        behavior: what the user wants if a run is there already.
        ask: puts a question and returns the line typed; None where there is no terminal to ask at.

    Touches: the folder, reading only; the terminal, through `ask`.

    Raises:
        InputError: it cannot be used, or the user does not want it used.
    """
    if not folder.exists():
        return "new"
    if not folder.is_dir():
        raise expected("a folder for the run", f"a file, {folder}", at="--log-path")
    if _is_empty(folder):
        return "new"
    if not is_marked(folder):
        raise expected("a new or empty folder, or one that a run of ours made", f"{folder}", at="--log-path")
    verdict = _asked(folder, ask) if behavior == "ask" else behavior
    if verdict == "raise":
        raise expected("a folder without a run in it", f"{folder}", at=f"--log-path ({FLAG} raise)")
    if verdict == "delete" and folder.is_symlink():
        raise expected("a folder of its own to delete", f"{folder}, a link to {folder.resolve()}", at="--log-path")
    return verdict


def _asked(folder: Path, ask: Callable[[str], str] | None) -> Literal["resume", "delete"]:
    if ask is None:
        raise InputError(
            f"{folder} holds a run already and there is no terminal to ask at: "
            f"say {FLAG} resume, delete or raise, or choose another --log-path"
        )
    while True:
        try:
            answer = ask(f"{folder} holds a run already. [r]esume it, [d]elete it or [q]uit? ").strip().lower()
        except EOFError:
            answer = "q"
        if answer in ("r", "resume"):
            return "resume"
        if answer in ("d", "delete"):
            return "delete"
        if answer in ("q", "quit", "exit", ""):
            raise InputError(f"{folder} was left as it is")


def terminal_question() -> Callable[[str], str] | None:
    """Something that can ask the user, if there is a terminal at both ends.

    Touches: standard input and output.
    """
    return input if all(end is not None and end.isatty() for end in (sys.stdin, sys.stdout)) else None


def check_room(folder: Path, n_megabytes: int) -> None:
    """Makes sure that a disk has some room left.

    Args:
        folder: a place on it, which need not be there yet.
        n_megabytes: the least that must be free.

    Touches: the disk's own account of itself.

    Raises:
        InputError: it has less. What is no disk at all (/proc) has no room to speak of, and passes.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    n_all, _, n_free_bytes = shutil.disk_usage(there)
    n_free = n_free_bytes / 1e6
    if n_all and n_free < n_megabytes:
        raise expected(f"{n_megabytes} MB free on the disk of {folder}", f"{n_free:.1f} MB", at="--log-path")


@contextmanager
def enter(folder: Path, verdict: Verdict) -> Iterator[None]:
    """Makes or re-enters the folder, and holds it against every other run.

    A new run that is refused or interrupted before its first step was finished leaves nothing behind, so that the same
    command, put right, meets no folder of a run.

    Touches: the folder and its lock.

    Raises:
        InputError: it cannot be written, or another run is in it, or was since it was decided what it is.
    """
    made = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, user="run"):
        if verdict == "new" and not _is_empty(folder):
            raise expected("a folder without a run in it", f"{folder}, where one has just run", at="--log-path")
        if verdict == "delete" and (folder.is_symlink() or not is_marked(folder)):
            raise expected("the run that was to be deleted", f"{folder}, which is another since", at="--log-path")
        try:
            yield
        except (InputError, OSError, KeyboardInterrupt):
            if verdict == "new" and not (folder / METRICS).exists():
                _take_back(folder, made)
            raise


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing in it, or only what a run leaves that was cut before its first file."""
    return all(map(_is_leftover, folder.iterdir()))


def _is_leftover(path: Path) -> bool:
    is_part = path.name.startswith(CONFIG) and path.name.endswith(PART)
    return path.is_file() and not path.is_symlink() and (path.name == LOCK or is_part)


def empty(folder: Path) -> None:
    """Removes all that is in a folder that was entered but the lock, the mark last.

    So a deletion that is cut short can be taken up again.

    Touches: the folder and all that is in it.

    Raises:
        InputError: the disk refuses.
    """
    with writing(folder):
        _empty(folder)


def _empty(folder: Path) -> None:
    entries = [entry for entry in folder.iterdir() if entry.name not in (LOCK, CONFIG)]
    for entry in [*entries, folder / CONFIG]:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _take_back(folder: Path, made: Sequence[Path]) -> None:
    """Removes what a run put into a folder that was empty, and the folders that were made for it, innermost first."""
    with suppress(OSError):
        _empty(folder)
        (folder / LOCK).unlink()
        for path in made:
            path.rmdir()
