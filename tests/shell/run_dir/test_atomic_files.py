import errno
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from shell.run_dir.atomic_files import (
    InUseError,
    NoLocksError,
    append_line,
    locked,
    read_lines,
    replace,
    rewrite_lines,
    whole_lines,
)

values = st.lists(st.dictionaries(st.text(max_size=5), st.integers(-99, 99) | st.text(max_size=9), max_size=3))


@given(values, st.binary(max_size=20).filter(lambda torn: b"\n" not in torn))
def test_what_was_appended_is_read_back_whatever_a_crash_left_behind_it(tmp_path_factory, lines, torn):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    for line in lines:
        append_line(path, line)
    with path.open("ab") as file:
        file.write(torn)
    assert read_lines(path) == lines


def test_a_mended_file_takes_new_lines_after_a_half_written_one(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":')
    rewrite_lines(path, whole_lines(path))
    append_line(path, {"a": 2})
    assert read_lines(path) == [{"a": 1}, {"a": 2}]


def test_kept_lines_stay_to_the_byte(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1.50}\n{"b" :2}\n{"c":3}\n')
    rewrite_lines(path, [line for line in whole_lines(path) if b"b" not in line])
    assert path.read_bytes() == b'{"a": 1.50}\n{"c":3}\n'


def test_a_broken_line_that_is_whole_is_an_error_with_its_place(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a":1}\n{"a"\n{"a":2}\n')
    with pytest.raises(InputError, match=r"x\.jsonl:2: "):
        read_lines(path)


def test_a_file_that_is_not_there_has_no_lines(tmp_path):
    assert whole_lines(tmp_path / "none") == []
    rewrite_lines(tmp_path / "none", [])
    assert list(tmp_path.iterdir()) == []


def test_a_replacement_that_fails_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "x"
    replace(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=f"got No space left on device - at {path}"):
        replace(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_one_sentence_that_names_the_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(InputError) as error:
        append_line(path, {"step": 1})
    assert str(error.value) == f"expected a disk that can be written, got No space left on device - at {path}"


HOLD = (
    "import sys, pathlib, shell.run_dir.atomic_files as f; "
    "l = f.locked(pathlib.Path(sys.argv[1])); l.__enter__(); print()"
)


def test_a_lock_is_refused_while_another_process_holds_it_and_free_once_that_is_killed(tmp_path):
    path = tmp_path / "x.lock"
    other = subprocess.Popen(
        [sys.executable, "-c", f"{HOLD}; sys.stdout.flush(); input()", path], stdin=-1, stdout=-1, text=True
    )
    other.stdout.readline()
    with pytest.raises(InUseError, match=f"^{tmp_path} is in use by another run$"), locked(path, user="run"):
        pass
    other.kill()
    other.communicate()
    with locked(path):
        pass


def test_a_lock_is_waited_for_if_asked(tmp_path):
    path = tmp_path / "x.lock"
    program = f"{HOLD}; sys.stdout.flush(); input(); l.__exit__(None, None, None); input()"
    with subprocess.Popen([sys.executable, "-c", program, path], stdin=-1, stdout=-1, text=True) as other:
        other.stdout.readline()
        other.stdin.write("\n")
        other.stdin.flush()
        with locked(path, wait=True):
            pass
        other.stdin.write("\n")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_not_taken_for_one_in_use(tmp_path, monkeypatch, code):
    fcntl = pytest.importorskip("fcntl")

    def refuse(_file, _operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    sentence = f"^this disk grants no locks: {os.strerror(code)} - at "
    with pytest.raises(NoLocksError, match=sentence), locked(tmp_path / "x"):
        pass
