import msgspec
import pytest

from kernel.errors import InputError
from kernel.train_plan import CheckpointRef
from shell.run_dir.checkpoints import (
    Checkpoint,
    keep_checkpoints,
    last_checkpoint,
    read_checkpoints,
    record_checkpoint,
)


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
