"""Evaluation sets: named, whole, apart from training, scored by weight, refused when nothing can be evaluated."""

import json

import numpy as np
import pytest

from kernel.datum import Datums
from kernel.errors import InputError
from kernel.renderers import find_renderer
from kernel.row_outcomes import Outcome, RowOutcome
from shell.data.load_dataset import spec_of
from shell.datums.open_run_data import open_dataset
from shell.settings.config import Config
from shell.text.tokenizer import open_tokenizer
from shell.training.evaluate import EvalSet, check_names, open_sets, queue_evaluations, read_names, score, score_sources
from tests.shell.recording import RecordingClient, datums

N_BYTES = np.full(1000, 2, np.int32)


def test_each_set_is_evaluated_whole_in_one_forward_pass():
    client = RecordingClient()
    answers = queue_evaluations(client, {"test": datums(3), "code": datums(40)})
    assert client.calls == [("forward", None)] * 2
    assert {name: len(answer.result()) for name, answer in answers.items()} == {"test": 5, "code": 5}


def test_the_loss_is_the_weighted_mean_over_all_of_the_set():
    held_out = {"test": datums(0)}  # weights 0 1 1 0 1
    logprobs = {"test": np.array([-9, -1, -2, -9, -3], np.float32)}
    found = score(held_out, logprobs, N_BYTES)
    assert found == {"test/nll": 2.0, "test/bpb": pytest.approx(6 / np.log(2) / 6)}


def test_each_source_has_a_loss_of_its_own_where_it_has_weight():
    logprobs = np.array([-9, -1, -2, -9, -3], np.float32)  # two examples, weights 0 1 1 | 0 1
    sources = {"a": np.array([1]), "b": np.array([0]), "both": np.array([0, 1]), "none": np.array([], np.int64)}
    found = score_sources(datums(0), logprobs, sources, "test_nll")
    assert found == {"source/a/test_nll": 3.0, "source/b/test_nll": 1.5, "source/both/test_nll": 2.0}


def test_what_is_not_defined_is_left_out():
    special = np.zeros(1000, np.int32)
    assert list(score({"test": datums(0)}, {"test": np.zeros(5, np.float32)}, special)) == ["test/nll"]
    without_loss = Datums(*datums(0)[:2], np.zeros(5, np.float32), np.array([0, 5]))
    assert score({"test": without_loss}, {"test": np.zeros(5, np.float32)}, N_BYTES) == {}


def row(text):
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": f"{text}!"}]}


def write(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return str(path)


@pytest.fixture
def opened(tmp_path):
    path = write(tmp_path / "train.jsonl", [row(f"a {i}") for i in range(9)])
    config = Config(log_path="unused", dataset=path, test_size=2, batch_size=4, prepare="never")
    spec, data = spec_of(config), open_dataset(config, find_renderer("qwen3"), open_tokenizer("sample"))

    def opened(**wanted):
        return open_sets(wanted, spec, data.source, data.renderer, "--eval-dataset")

    return opened


def test_a_set_is_evaluated_whole_but_for_what_training_also_has(opened, tmp_path):
    own = [row(f"b {i}") for i in range(5)]
    both = write(tmp_path / "both.jsonl", [*own, *(row(f"a {i}") for i in range(9))])
    plain, mixed, sample = opened(b=write(tmp_path / "b.jsonl", own), both=both, s="sample")
    assert (str(plain), plain.datums.n_examples) == ("b: 5 rows", 5)
    assert str(mixed) == "both: 7 rows (without 7 that training also has)"  # two of the nine are held out
    assert sample.n_rows == 60
    kinds = [entry.outcome for entry in mixed.entries]
    assert kinds == [Outcome.DUPLICATE] * 7 + [Outcome.HELD_OUT] * 7
    assert {entry.source for entry in mixed.entries} == {"evaluation set both"}
    assert len({entry.location for entry in mixed.entries}) == 14


def test_a_set_is_a_split_of_a_file_a_folder_or_a_pattern(opened, tmp_path):
    path = tmp_path / "both.json"
    path.write_text(json.dumps({"train": [row("c")], "test": [row(f"d {i}") for i in range(3)]}))
    (tmp_path / "shards").mkdir()
    for i in range(2):
        write(tmp_path / "shards" / f"{i}.jsonl", [row(f"e {i}")])
    wanted = {"test": f"{path}:test", "train": str(path), "all": f"{tmp_path}/shards/*.jsonl"}
    asked = read_names(",".join(f"{name}1={data}" for name, data in wanted.items()))
    assert [one.n_rows for one in opened(**asked)] == [3, 1, 2]
    with pytest.raises(InputError, match="unknown split 'tset', did you mean 'test'"):
        opened(x=f"{path}:tset")


def test_a_set_of_which_nothing_can_be_evaluated_is_refused(opened, tmp_path):
    with pytest.raises(InputError, match=r"expected a JSONL file, got an empty file"):
        opened(x=write(tmp_path / "empty.jsonl", []))
    asked = write(tmp_path / "asked.jsonl", [{"messages": [{"role": "user", "content": "?"}]}])
    with pytest.raises(InputError, match=r"a set of which all_assistant_messages trains something, got none"):
        opened(x=asked)
    seen = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    (part,) = opened(x=write(tmp_path / "part.jsonl", seen))
    left = [int(e.location.rpartition(":")[2]) for e in part.entries if e.outcome is Outcome.DUPLICATE]
    only = [seen[i - 1] for i in left]
    with pytest.raises(InputError, match=r"at least one row to evaluate, got none, as training has all 7"):
        opened(x=write(tmp_path / "only.jsonl", only))


@pytest.mark.parametrize("text", ["test=a.jsonl", "a.jsonl,a=b.jsonl", "x/test.jsonl", "time=a"])
def test_names_are_each_their_own(text):
    with pytest.raises(InputError, match="expected a name of its own for each set"):
        read_names(text)


def test_a_rare_set_has_a_name_of_its_own_too():
    with pytest.raises(InputError, match=r"got 'a' - at --infrequent-eval-dataset"):
        check_names(["a"], ["b", "a"], at="--infrequent-eval-dataset")


def test_a_path_with_a_comma_or_an_equals_sign_is_used_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b=c.jsonl", "x=y.jsonl"):
        (tmp_path / name).touch()
    assert read_names("one=a,b=c.jsonl,x=y.jsonl") == {"one": "a,b=c.jsonl", "x=y": "x=y.jsonl"}


def test_sets_have_the_names_of_their_files_or_names_of_their_own():
    sets = {"code": "code.jsonl", "chat": "no_robots", "x": "more/x.jsonl"}
    assert read_names("code=code.jsonl,chat=no_robots,more/x.jsonl") == sets


def test_a_set_in_one_line():
    entry = RowOutcome(Outcome.HELD_OUT, "c.jsonl:3", "too_long: 90 tokens, more than 64")
    line = "code: 30 rows (without 1 that training also has), of which 1 are not evaluated whole (see the ledger)"
    assert str(EvalSet("code", None, (entry,), 30, 1)) == line
