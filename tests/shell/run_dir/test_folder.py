import errno
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from kernel.errors import InputError
from shell.run_dir.folder import check_room, decide, empty, enter, terminal_question
from shell.run_dir.run_files import write_config


@pytest.fixture
def run_folder(tmp_path):
    """A folder that a run of ours made, with a link out of it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("data")
    folder = tmp_path / "run"
    folder.mkdir()
    write_config(folder, {"tinsmith": "0.1.0"})
    (folder / "metrics.jsonl").write_text('{"step":0}\n')
    (folder / "service").mkdir()
    (folder / "service" / "state").write_text("x")
    (folder / "link").symlink_to(outside)
    (folder / "service" / "link").symlink_to(outside)
    return folder


def listing(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("behavior", ["ask", "resume", "delete", "raise"])
def test_a_new_or_empty_folder_is_used_without_a_question(tmp_path, behavior):
    assert decide(tmp_path / "new" / "deep", behavior) == "new"
    assert decide(tmp_path, behavior) == "new"


def test_what_a_run_cut_at_its_first_moment_leaves_counts_as_empty(tmp_path):
    (tmp_path / "run.lock").touch()
    (tmp_path / "config.json.part").write_text("{")
    assert decide(tmp_path, "raise") == "new"


@pytest.mark.parametrize("behavior", ["ask", "resume", "delete", "raise"])
def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, behavior):
    (tmp_path / "thesis.tex").write_text("...")
    (tmp_path / "config.json").write_text("{}")
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"one that a run of ours made.* - at --log-path"):
        decide(tmp_path, behavior)
    assert listing(tmp_path) == before


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder"):
        decide(tmp_path / "file", "delete")


def test_a_run_that_is_there_is_resumed_deleted_or_refused_as_the_flag_says(run_folder):
    assert decide(run_folder, "resume") == "resume"
    assert decide(run_folder, "delete") == "delete"
    with pytest.raises(InputError, match=r"already holds a run \(--behavior-if-log-dir-exists raise\)"):
        decide(run_folder, "raise")


def test_without_a_terminal_nothing_is_asked_and_the_flag_is_named(run_folder):
    with pytest.raises(InputError, match="no terminal to ask at: use --behavior-if-log-dir-exists resume, delete"):
        decide(run_folder, "ask", ask=None)


def test_at_a_terminal_the_question_is_put_until_it_is_answered(run_folder):
    answers = iter(["what?", " Delete "])
    assert decide(run_folder, "ask", ask=lambda _: next(answers)) == "delete"
    assert decide(run_folder, "ask", ask=lambda _: "r") == "resume"
    with pytest.raises(InputError, match="was left as it is"):
        decide(run_folder, "ask", ask=lambda _: "q")


def test_the_end_of_input_is_an_answer_and_a_closed_end_is_no_terminal(run_folder, monkeypatch):
    def end_of_input(_):
        raise EOFError

    with pytest.raises(InputError, match="was left as it is"):
        decide(run_folder, "ask", ask=end_of_input)
    monkeypatch.setattr(sys, "stdin", None)
    assert terminal_question() is None


def test_deciding_touches_nothing(run_folder):
    before = listing(run_folder.parent)
    for behavior in ("resume", "delete"):
        decide(run_folder, behavior)
    assert listing(run_folder.parent) == before


def test_deleting_empties_the_folder_and_follows_no_link_out_of_it(run_folder):
    with enter(run_folder, "delete"):
        assert (run_folder / "metrics.jsonl").exists(), "entering alone removes nothing"
        empty(run_folder)
        assert [path.name for path in run_folder.iterdir()] == ["run.lock"]
    assert (run_folder.parent / "outside" / "precious").read_text() == "data"


def test_a_link_to_a_run_is_not_deleted_through(run_folder, tmp_path):
    (tmp_path / "alias").symlink_to(run_folder)
    assert decide(tmp_path / "alias", "resume") == "resume"
    with pytest.raises(InputError, match="expected a folder of its own to delete"):
        decide(tmp_path / "alias", "delete")


def test_a_link_among_the_folders_above_leads_to_the_run_and_to_nothing_else(run_folder, tmp_path):
    (tmp_path / "house").symlink_to(tmp_path)
    through_link = tmp_path / "house" / "run"
    with enter(through_link, decide(through_link, "delete")):
        empty(through_link)
        assert [path.name for path in run_folder.iterdir()] == ["run.lock"]
    assert (tmp_path / "outside" / "precious").read_text() == "data"


@pytest.mark.parametrize("swapped_for", ["a link", "a folder"])
def test_what_takes_the_place_of_a_run_before_it_is_deleted_is_left_alone(run_folder, tmp_path, swapped_for):
    verdict = decide(run_folder, "delete")
    run_folder.rename(tmp_path / "moved")
    if swapped_for == "a link":
        run_folder.symlink_to(tmp_path / "outside")
    else:
        (tmp_path / "outside").rename(run_folder)
    with pytest.raises(InputError, match="is no longer the run that was to be deleted"), enter(run_folder, verdict):
        pass
    assert (run_folder / "precious").read_text() == "data"


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_is_in_it(tmp_path):
    with enter(tmp_path, "new"), pytest.raises(InputError, match="in use"), enter(tmp_path, "resume"):
        pass
    with enter(tmp_path, "resume"):
        pass


def test_a_new_folder_on_a_disk_without_locks_is_refused_and_removed(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(_file, _operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match=r"^this disk grants no locks: "), enter(tmp_path / "new" / "run", "new"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_no_lock_behind(tmp_path):
    program = (
        "import os, pathlib, sys; from shell.run_dir.folder import enter\n"
        "with enter(pathlib.Path(sys.argv[1]), 'new'): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == -9
    with enter(tmp_path, "resume"):
        pass


def begin_and_fail(folder, error, verdict="new", n_steps=0):
    with suppress(type(error)), enter(folder, verdict):
        write_config(folder, {"tinsmith": "0.1.0"})
        (folder / "service").mkdir(exist_ok=True)
        (folder / "service" / "state").touch()
        if n_steps:
            (folder / "metrics.jsonl").write_text('{"step":0}\n' * n_steps)
        raise error


@pytest.mark.parametrize("error", [InputError("no"), BrokenPipeError(), KeyboardInterrupt()])
def test_a_new_run_that_never_began_leaves_nothing_behind(tmp_path, monkeypatch, error):
    begin_and_fail(tmp_path / "new" / "deep", error)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    begin_and_fail(Path("new/deep"), error)
    (tmp_path / "empty").mkdir()
    begin_and_fail(tmp_path / "empty", error)
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_a_run_that_began_or_was_there_or_met_a_fault_stays(tmp_path, run_folder):
    for folder, error, about in (
        (tmp_path / "began", InputError("no"), {"n_steps": 1}),
        (run_folder, InputError("no"), {"verdict": "resume"}),
        (tmp_path / "fault", RuntimeError("the service"), {}),
    ):
        begin_and_fail(folder, error, **about)
        assert (folder / "config.json").is_file()


def test_a_folder_that_was_new_when_it_was_decided_and_is_a_runs_now_is_left_alone(run_folder):
    before = listing(run_folder)
    with pytest.raises(InputError, match=r"a run has begun in .* since this one looked"), enter(run_folder, "new"):
        pass
    (run_folder / "run.lock").unlink()
    assert listing(run_folder) == before


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path):
    for path in (tmp_path / "file" / "run", tmp_path / "dangling"):
        if path.parent != tmp_path:
            path.parent.touch()
        else:
            path.symlink_to(tmp_path / "nowhere" / "x")
        with pytest.raises(InputError, match=r"expected a disk .*, got .* - at "), enter(path, "new"):
            pass


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path):
    check_room(tmp_path / "new" / "deep", 0)
    with pytest.raises(InputError, match=r"expected 1000000000 MB free on the disk of .*, got .* MB - at --log-path"):
        check_room(tmp_path / "new" / "deep", 10**9)
    assert list(tmp_path.iterdir()) == []
