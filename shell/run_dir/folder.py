"""Folder of a run: whether it may be used, as what, and by whom.

`decide` only looks. When everything else about a run is known to be good, `enter` makes or locks the folder, and
`empty` removes an old run. A folder is changed only if a run of ours made it; deleting follows no link.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from kernel.errors import InputError, expected
from shell.run_dir.atomic_files import PART, NoLocksError, locked, writing
from shell.run_dir.run_files import CONFIG, METRICS, is_marked

Behavior = Literal["ask", "resume", "delete", "raise"]
Verdict = Literal["new", "resume", "delete"]

LOCK = "run.lock"
FLAG = "--behavior-if-log-dir-exists"


def decide(folder: Path, behavior: Behavior, ask: Callable[[str], str] | None = None) -> Verdict:
    """What to do with a run's folder; raises if it cannot be used."""
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
        raise InputError(f"{folder} already holds a run ({FLAG} raise)")
    if verdict == "delete" and folder.is_symlink():
        raise expected("a folder of its own to delete", f"{folder}, a link to {folder.resolve()}", at="--log-path")
    return verdict


def _asked(folder: Path, ask: Callable[[str], str] | None) -> Literal["resume", "delete"]:
    if ask is None:
        raise InputError(
            f"{folder} already holds a run and there is no terminal to ask at: use {FLAG} resume, delete or raise"
        )
    while True:
        try:
            answer = ask(f"{folder} already holds a run. [r]esume it, [d]elete it or [q]uit? ").strip().lower()
        except EOFError:
            answer = "q"
        if answer in ("r", "resume"):
            return "resume"
        if answer in ("d", "delete"):
            return "delete"
        if answer in ("q", "quit", "exit", ""):
            raise InputError(f"{folder} was left as it is")


def terminal_question() -> Callable[[str], str] | None:
    """A way to ask the user, if both ends are a terminal."""
    return input if all(end is not None and end.isatty() for end in (sys.stdin, sys.stdout)) else None


def check_room(folder: Path, n_megabytes: int) -> None:
    """Raises unless the disk of a folder (which need not exist yet) has this much free; /proc and the like pass."""
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    n_all, _, n_free_bytes = shutil.disk_usage(parent)
    n_free = n_free_bytes / 1e6
    if n_all and n_free < n_megabytes:
        raise expected(f"{n_megabytes} MB free on the disk of {folder}", f"{n_free:.1f} MB", at="--log-path")


@contextmanager
def enter(folder: Path, verdict: Verdict) -> Iterator[None]:
    """Makes the folder if it is new, and locks it; a new run that fails before its first step leaves nothing."""
    new_folders = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / LOCK, user="run"):
            if verdict == "new" and not _is_empty(folder):
                raise InputError(f"a run has begun in {folder} since this one looked - at --log-path")
            if verdict == "delete" and (folder.is_symlink() or not is_marked(folder)):
                raise InputError(f"{folder} is no longer the run that was to be deleted - at --log-path")
            try:
                yield
            except (InputError, OSError, KeyboardInterrupt):
                if verdict == "new" and not (folder / METRICS).exists():
                    _remove_new(folder, new_folders)
                raise
    except NoLocksError:
        if verdict == "new":
            _remove_new(folder, new_folders)
        raise


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing in it, or only what a run leaves that was cut before its first file."""
    return all(
        path.is_file()
        and not path.is_symlink()
        and (path.name == LOCK or (path.name.startswith(CONFIG) and path.name.endswith(PART)))
        for path in folder.iterdir()
    )


def empty(folder: Path) -> None:
    """Removes all from a folder but the lock, its mark last, so that a deletion that is cut can be repeated."""
    with writing(folder):
        entries = [entry for entry in folder.iterdir() if entry.name not in (LOCK, CONFIG)]
        for entry in [*entries, folder / CONFIG]:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)


def _remove_new(folder: Path, new_folders: Sequence[Path]) -> None:
    """Removes what a run put into a folder that was empty, and the folders made for it, innermost first."""
    with suppress(OSError, InputError):
        empty(folder)
        (folder / LOCK).unlink(missing_ok=True)
        for path in new_folders:
            path.rmdir()
