"""A disk that is full at any write of a run: one sentence, and the run can be taken up when there is room."""

import errno
import os
import resource
import stat
import subprocess
from contextlib import contextmanager
from itertools import count

import pytest

from shell.run_dir import atomic_files
from shell.run_dir.progress_display import Screen
from shell.service import local_process
from tests.shell.faults.runs import RESUME, cursors, finish, metrics, weights

NO_ROOM = "expected a disk that can be written, got No space left on device - at "


class FullAt:
    """`os` for the writers of a run, on a disk that is full at the nth thing that is to be on it for good."""

    def __init__(self, n: int) -> None:
        self.n, self.count = n, count(1)

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, handle: int) -> None:
        if next(self.count) == self.n:
            found = os.fstat(handle)
            if stat.S_ISREG(found.st_mode):  # of what was to be written last, the end is missing
                os.ftruncate(handle, max(0, found.st_size - 4))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)


@pytest.mark.parametrize("n", [1, 9, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5, 7, 14))])
def test_a_disk_that_is_full_at_any_write_stops_a_run_where_it_can_go_on(
    n, whole, rows, service, state_dir, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    monkeypatch.setattr(atomic_files, "os", FullAt(n))
    ending = finish(rows, folder, service.url)
    assert (ending.code, ending.errors.count("\n")) == (2, 1)
    assert NO_ROOM + str(folder) in ending.errors
    assert all(cursor <= len(metrics(folder)) for cursor in cursors(folder))
    monkeypatch.undo()
    assert finish(rows, folder, service.url, *RESUME * folder.exists()).code == 0
    assert (metrics(folder), weights(folder, state_dir)) == whole


@contextmanager
def disk(folder, n_megabytes):
    """A small disk of its own at a folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={n_megabytes}m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount the small disk that this needs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def filling(monkeypatch, ballast, at_step):
    """Fills the disk of a file to its last byte when a step is shown."""
    shown = Screen.step

    def fill(screen, row, n_steps):
        shown(screen, row, n_steps)
        if row["step"] == at_step:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"\0" * 4096)
                except OSError:
                    pass

    monkeypatch.setattr(Screen, "step", fill)


@pytest.mark.slow
def test_a_disk_that_fills_up_under_a_run_stops_it_where_it_can_go_on(
    whole, rows, service, state_dir, tmp_path, monkeypatch
):
    with disk(tmp_path / "disk", 2) as small:
        filling(monkeypatch, small / "ballast", at_step=1)  # before the first checkpoint's record
        ending = finish(rows, small / "run", service.url)
        assert (ending.code, ending.errors.count("\n")) == (2, 1)
        assert NO_ROOM + str(small / "run") in ending.errors
        monkeypatch.undo()
        (small / "ballast").unlink()
        assert finish(rows, small / "run", service.url, *RESUME).code == 0
        assert (metrics(small / "run"), weights(small / "run", state_dir)) == whole


@pytest.mark.slow
def test_so_does_one_that_fills_up_under_the_service_in_the_box(whole, rows, tmp_path, monkeypatch):
    with disk(tmp_path / "disk", 70) as small:
        filling(monkeypatch, small / "ballast", at_step=2)
        ending = finish(rows, small / "run", "embedded")
        assert ending.code in (1, 2)
        assert ending.errors.count("\n") == 1
        assert "Traceback" not in ending.errors
        monkeypatch.undo()
        (small / "ballast").unlink()
        assert finish(rows, small / "run", "embedded", *RESUME).code == 0
        assert (metrics(small / "run"), weights(small / "run", small / "run" / "service")) == whole


@pytest.mark.slow
def test_a_service_in_the_box_that_cannot_keep_its_state_says_so_and_stops_the_run(whole, rows, tmp_path, monkeypatch):
    folder, started, start, shown = tmp_path / "run", [], local_process.start, Screen.step

    def limit(screen, row, n_steps):
        shown(screen, row, n_steps)
        if row["step"] == 2:  # no file of the service may grow any more
            resource.prlimit(started[0].process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    monkeypatch.setattr(
        local_process, "start", lambda *told, **more: started.append(start(*told, **more)) or started[-1]
    )
    monkeypatch.setattr(Screen, "step", limit)
    ending = finish(rows, folder, "embedded")
    assert ending.code == 1
    assert ending.errors.count("\n") == 1
    assert "the service cannot write its state: " in ending.errors
    assert "The last checkpoint is 000002; resume with: tinsmith train" in ending.errors
    assert len(started) == 1
    monkeypatch.undo()
    assert finish(rows, folder, "embedded", *RESUME).code == 0
    assert (metrics(folder), weights(folder, folder / "service")) == whole
