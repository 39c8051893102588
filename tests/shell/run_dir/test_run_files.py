import logging

import msgspec
import pytest

from kernel.errors import InputError
from kernel.row_outcomes import Outcome, RowOutcome
from kernel.training_steps import CheckpointRef
from shell.run_dir.run_files import (
    Checkpoint,
    append_entries,
    append_metrics,
    begin_ledger,
    is_marked,
    keep_checkpoints,
    last_checkpoint,
    log_line,
    read_checkpoints,
    read_entries,
    read_metrics,
    record_checkpoint,
    rewind,
    sdk_warnings_to,
    write_config,
)


def test_going_back_to_a_cursor_takes_back_the_lines_at_and_past_it(tmp_path):
    for step in range(5):
        append_metrics(tmp_path, {"step": step, "train_mean_nll": 3.0 - step / 7})
    before = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    rewind(tmp_path, 3)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(before[:3])


def test_going_back_mends_a_half_written_line(tmp_path):
    append_metrics(tmp_path, {"step": 0})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 0, "tr')
    rewind(tmp_path, 5)
    append_metrics(tmp_path, {"step": 1})
    assert read_metrics(tmp_path) == [{"step": 0}, {"step": 1}]


def test_the_account_for_people_loses_its_steps_past_the_cursor_and_keeps_what_happened(tmp_path):
    for text in ("service   in the box", "step 1/9  loss 3.1", "step 2/9  loss 3.0", "stopped   step 2/9 was the last"):
        log_line(tmp_path, text)
    rewind(tmp_path, 1)
    told = [line.split(" ", 2)[2] for line in (tmp_path / "logs.log").read_text().splitlines()]
    assert told == ["service   in the box", "step 1/9  loss 3.1", "stopped   step 2/9 was the last"]


def test_a_line_for_people_that_a_crash_cut_does_not_swallow_the_next(tmp_path):
    log_line(tmp_path, "step 1/9  loss 3.1")
    with (tmp_path / "logs.log").open("ab") as file:
        file.write(b"2026-01-01 00:00:00 step 2/9  lo")
    log_line(tmp_path, "service   in the bøx")
    rewind(tmp_path, 1)
    told = [line.split(" ", 2)[2] for line in (tmp_path / "logs.log").read_text().splitlines()]
    assert told == ["step 1/9  loss 3.1", "service   in the bøx"]


def test_a_line_of_metrics_without_a_step_is_an_error_and_nothing_is_lost(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:1: "):
        rewind(tmp_path, 0)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"loss": 1}\n'


def test_going_back_in_an_empty_folder_writes_nothing(tmp_path):
    rewind(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_ours_when_its_own_config_says_so(tmp_path):
    assert not is_marked(tmp_path)
    (tmp_path / "config.json").write_text('{"model": "x"}')
    assert not is_marked(tmp_path)
    (tmp_path / "config.json").write_text('["tinsmith"]')
    assert not is_marked(tmp_path)
    write_config(tmp_path, {"tinsmith": "0.1.0", "config": {"seed": 0}})
    assert is_marked(tmp_path)
    assert msgspec.json.decode((tmp_path / "config.json").read_bytes())["config"] == {"seed": 0}


def test_a_linked_config_does_not_make_a_folder_ours(tmp_path):
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    write_config(ours, {"tinsmith": "0.1.0"})
    (other / "config.json").symlink_to(ours / "config.json")
    assert not is_marked(other)


def test_the_sdks_warnings_are_said_while_it_listens_and_its_chatter_is_not(capsys):
    said = []
    with sdk_warnings_to(said.append):
        logging.getLogger("tinker.lib.queue").warning("Training for %s is paused", "m")
        logging.getLogger("tinker.lib.queue").info("HTTP Request")
    logging.getLogger("tinker.lib.queue").info("nobody listens")
    assert said == ["tinker: Training for m is paused"]
    assert capsys.readouterr().err == ""


def test_a_warning_of_several_lines_is_one_line():
    said = []
    with sdk_warnings_to(said.append):
        logging.getLogger("tinker.lib").warning("no answer\nin %s s.", 3)
    assert said == ["tinker: no answer in 3 s."]


def test_going_on_keeps_the_lines_below_the_cursor_and_those_outside(tmp_path):
    outside = [RowOutcome(Outcome.HELD_OUT, "a:1")]
    begin_ledger(tmp_path, outside, 0)
    lines = [RowOutcome(Outcome.TRUNCATED, f"a:{i}", "1 of 2 tokens", 1, 0, i) for i in range(4)]
    append_entries(tmp_path, lines)
    before = (tmp_path / "ledger.jsonl").read_bytes()
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b'{"outcome":"trunc')
    begin_ledger(tmp_path, outside, 2)
    assert read_entries(tmp_path) == [*outside, *lines[:2]]
    append_entries(tmp_path, lines[2:])
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


def checkpoint(cursor, **more):
    return Checkpoint(
        name=f"{cursor:06d}", cursor=cursor, epoch=0, batch=cursor, n_steps=9, state_path=f"tinker://r/{cursor}", **more
    )


def test_what_is_recorded_is_read_back_oldest_first(tmp_path):
    recorded = [checkpoint(2), checkpoint(4, fingerprint={"rows": "ab12"}), checkpoint(9, final=True, sampler_path="t")]
    for one in recorded:
        record_checkpoint(tmp_path, one)
    assert read_checkpoints(tmp_path) == recorded
    assert [one.mark for one in recorded] == [CheckpointRef(2), CheckpointRef(4), CheckpointRef(9, final=True)]


def test_a_half_written_record_does_not_count(tmp_path):
    record_checkpoint(tmp_path, checkpoint(2))
    with (tmp_path / "checkpoints.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(checkpoint(4)))
    assert [one.cursor for one in read_checkpoints(tmp_path)] == [2]


def test_going_back_to_an_earlier_checkpoint_takes_back_the_later_ones_and_mends_the_file(tmp_path):
    for cursor in (2, 4, 6):
        record_checkpoint(tmp_path, checkpoint(cursor))
    with (tmp_path / "checkpoints.jsonl").open("ab") as file:
        file.write(b'{"name":"0000')
    keep_checkpoints(tmp_path, 2)
    record_checkpoint(tmp_path, checkpoint(5))
    assert [one.cursor for one in read_checkpoints(tmp_path)] == [2, 4, 5]


def test_a_record_of_another_version_is_read_for_what_is_known(tmp_path):
    line = msgspec.to_builtins(checkpoint(2)) | {"mood": "good"}
    (tmp_path / "checkpoints.jsonl").write_bytes(msgspec.json.encode(line) + b"\n")
    assert read_checkpoints(tmp_path) == [checkpoint(2)]


def test_a_line_that_is_no_checkpoint_is_an_error_with_its_place(tmp_path):
    (tmp_path / "checkpoints.jsonl").write_text('{"name":"000002"}\n')
    with pytest.raises(InputError, match=r"checkpoints\.jsonl:1: .*missing required field"):
        read_checkpoints(tmp_path)


def test_another_runs_folder_stands_for_its_last_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"got .* \(no checkpoints.jsonl .*\) - at --load-checkpoint-path"):
        last_checkpoint(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        last_checkpoint(tmp_path / "nothing")
    for cursor in (2, 4):
        record_checkpoint(tmp_path, checkpoint(cursor))
    assert last_checkpoint(tmp_path).cursor == 4
