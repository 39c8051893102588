"""CSV and TSV: whatever separates, quotes and encodes the cells, the rows are those of the table."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from shell.data.open_rows import open_rows
from shell.data.rows import Rejected, RowValidation
from tests.shell.packing import packed_by_gzip

ROWS = [("a, b", 'say "hi"'), ("é\nc", "d\te;f|g"), ("x", "y")]


def table(delimiter=",", rows=ROWS, header=("prompt", "completion"), end="\n"):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows([header, *rows])
    return text.getvalue()


def write(folder, text, name="a.csv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def pairs(path, **more):
    rows = open_rows(path, RowValidation(**more))
    return [tuple(message["content"] for message in row["messages"]) for row in rows.take(np.arange(len(rows)))]


def refusal(path):
    with pytest.raises(InputError) as error:
        open_rows(path).check()
    return str(error.value).replace(str(path), path.name)


TABLES = {
    "a.csv": table(),
    "b.csv": table(";"),
    "c.csv": table("\t"),
    "d.tsv": table("\t"),
    "e.tsv": table(","),
    "f.txt": table("|"),
    "g.csv": "\ufeff" + table(end="\r\n"),
    "h.csv": "sep=;\n" + table(";"),
    "i.csv": table().encode("utf-16"),
    "j.csv.gz": packed_by_gzip(table().encode()),
    "k": table(),
    "l.jsonl": table(),
    "m.csv": table().replace("prompt,completion", '"prompt" , "completion"').replace('" , "', '","'),
    "n.csv": table().replace("x,y", "\n\nx,y"),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_rows_are_those_of_the_table(name, tmp_path):
    assert pairs(write(tmp_path, TABLES[name], name)) == ROWS


def test_a_row_is_at_the_line_where_it_begins(tmp_path):
    rows = open_rows(write(tmp_path, table()))
    assert [rows.place(i).rsplit(":", 1)[1] for i in range(3)] == ["2", "3", "5"]
    assert rows.take(np.array([2, 0]))[0]["messages"][0]["content"] == "x"


def test_line_ends_of_an_old_mac_end_rows(tmp_path):
    assert pairs(write(tmp_path, "prompt,completion\ra,b\rc,d\r")) == [("a", "b"), ("c", "d")]


def test_a_column_alone_is_read_by_the_name_of_the_file(tmp_path):
    rows = open_rows(write(tmp_path, 'text\nhello\n"a\n\nb"\n'))
    assert [row["messages"][0]["content"] for row in rows.take(np.arange(2))] == ["hello", "a\n\nb"]


def test_an_empty_cell_is_no_key_and_a_column_of_pandas_has_a_name(tmp_path):
    path = write(tmp_path, ",instruction,input,output\n0,a,,b\n")
    assert pairs(path) == [("a", "b")]
    assert open_rows(path).take(np.array([0]))[0]["__index_level_0__"] == "0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "prompt,completion\na,b\nc,d,e\n",
            "expected 2 cells, as in the header (a comma in a cell needs quotes around",
        ),
        ("prompt,completion\na\n", "expected 2 cells, as in the header"),
        ('prompt,completion\na,"b\n', "expected a row of CSV, got unexpected end of data - at a.csv:2"),
        ('prompt,completion\na,"b"c\n', "expected a row of CSV, got ',' expected after '\"' - at a.csv:2"),
        ("prompt,prompt\na,b\n", "expected a name of its own for every column, got 'prompt' twice - at a.csv:1"),
        ("prompt,,completion\na,b,c\n", "expected a name for every column, got none for column 2 - at a.csv:1"),
        ("prompt,completion\n", "expected a row after the header, got none - at a.csv"),
        (
            "What is 1+1?,2\n3,4\n",
            "expected the key 'messages', those of another shape (see --dataset-format), or --dataset-map",
        ),
        (
            "prompt,completion\n\ncafé,b".encode("latin-1"),
            "expected UTF-8, got the byte 0xe9 (Windows-1252 or Latin-1?",
        ),
    ],
)
def test_what_is_no_table_of_rows_is_refused_with_its_line(text, message, tmp_path):
    assert refusal(write(tmp_path, text)).startswith(message)


def test_a_row_with_too_many_cells_may_be_passed_over(tmp_path):
    rows = open_rows(write(tmp_path, "prompt,completion\na,b\nc,d,e\nf,g\n"), RowValidation(max_bad_rows=1))
    assert [isinstance(row, Rejected) for row in rows.take(np.arange(3))] == [False, True, False]
    assert rows.n_rejected == 1


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)


@given(st.lists(st.tuples(cells, cells), min_size=1), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows, delimiter, end):
    path = write(tmp_path_factory.getbasetemp(), table(delimiter, rows, end=end))
    assert pairs(path) == rows
