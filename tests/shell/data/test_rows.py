"""Rows: digests of their content, several sources as one, and how many may be invalid."""

import json

import numpy as np
import pytest

from kernel.enums import UnknownKeys
from kernel.errors import InputError
from shell.data.open_rows import open_rows
from shell.data.rows import ConcatRows, ListRows, Rejected, RowValidation, labels_of


def test_rows_that_cannot_be_read_equal_no_other(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(b'{\n{\n{"text": "a"}\n{"messages": [{"content": "a", "role": "text"}]}')
    found = open_rows(path, RowValidation(max_bad_rows=2)).digests("messages")
    assert len(set(found.tolist())) == 3
    assert found[2] == found[3]
    listed = ListRows([Rejected("x"), Rejected("x")]).digests("messages")
    assert listed[0] != listed[1]


def test_mixed_rows_are_the_rows_of_their_parts():
    sizes = {"x": 3, "y": 0, "z": 4}
    lists = [ListRows([{"messages": f"{name}{i}"} for i in range(n)], name) for name, n in sizes.items()]
    rows = ConcatRows(lists, ("x", "y", "z"))
    assert len(rows) == 7
    assert [one["messages"] for one in rows.take(np.array([6, 0, 3, 2]))] == ["z3", "x0", "z0", "x2"]
    assert [one["messages"] for _, block in rows.scan() for one in block] == ["x0", "x1", "x2", "z0", "z1", "z2", "z3"]
    assert [rows.place(i) for i in (2, 3)] == ["x[2]", "z[0]"]
    assert labels_of(rows, np.array([2, 3])) == ["x", "z"]
    assert rows.digests("messages").tolist() == [h for part in lists for h in part.digests("messages").tolist()]
    assert rows.fingerprint != ConcatRows(lists[::-1], ("z", "y", "x")).fingerprint


def test_a_digest_is_of_the_content_not_of_the_order_of_keys():
    rows = ListRows([{"m": {"a": 1, "b": "é"}}, {"m": {"b": "é", "a": 1}}, {"m": {"a": 1, "b": "e"}}, {"m": [1]}] * 600)
    hashes = rows.digests("m")
    assert len(hashes) == len(rows)
    assert hashes[0] == hashes[1] == hashes[-4]
    assert len(set(hashes.tolist())) == 3


@pytest.mark.parametrize("n_bad", [1, 3])
def test_a_row_too_many_stops_once_and_a_row_read_twice_is_counted_once(n_bad, tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(b'{"a": 1}\n' * n_bad + b'{"messages": []}\n')
    rows = open_rows(path, RowValidation(max_bad_rows=n_bad))
    for _ in range(2):
        rows.take(np.arange(len(rows)))
        assert rows.n_rejected == n_bad
    with pytest.raises(InputError, match=rf"rows:1$|{n_bad} of {n_bad + 1} rows .* --max-bad-rows allows {n_bad - 1}:"):
        open_rows(path, RowValidation(max_bad_rows=n_bad - 1)).check()


def chat(**more):
    return {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], **more}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_ignored_keys_are_counted_in_one_look_through_all_rows(tmp_path):
    listed = [chat(source="s"), chat(source="s", id=1), {"prompt": "Q", "completion": "A", "id": 2}, chat()]
    rows = open_rows(written(tmp_path / "a", listed * 500), RowValidation())
    assert rows.ignored == {}
    rows.take(np.arange(100))
    for _ in range(2):
        assert [row["messages"][0]["content"] for _, block in rows.scan() for row in block] == ["Q"] * 2000
        assert rows.ignored == {"source": 1000, "id": 1000}
    other = open_rows(written(tmp_path / "b", [chat(id=3, hint="x")]), RowValidation(unknown_keys=UnknownKeys.IGNORE))
    other.check()
    assert ConcatRows([rows, other], ["a", "b"]).ignored == {"source": 1000, "id": 1001, "hint": 1}


def test_columns_that_are_mapped_must_be_in_a_table():
    validation = RowValidation(dataset_map="user=q,assistant=x.a,system=s")
    validation.check_columns(["q", "x", "s"], "t")
    with pytest.raises(InputError, match=r"expected the key 's' \(--dataset-map system=s\), got 'q', 'x' - at t"):
        validation.check_columns(["q", "x"], "t")


def test_what_decides_the_messages_of_rows_is_in_their_description():
    given = [{}, {"dataset_map": "user=q"}, {"unknown_keys": UnknownKeys.IGNORE}, {"column": "chat"}]
    assert len({RowValidation(**one).description for one in given}) == 4
