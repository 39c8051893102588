"""A mixture holds the rows of its sources in the order of `datasets`, and leaks nothing it holds out."""

import json
import re
from collections import Counter

import datasets
import pytest

from kernel.errors import InputError
from kernel.row_outcomes import Intake, Outcome
from shell.data import load_dataset
from shell.data.dataset import Dataset
from shell.data.load_dataset import DatasetSpec
from shell.data.mixture_spec import Share, intake, intakes, mode_of, names, open_data, parts, read_shares
from shell.run_dir.run_files import read_entries, read_metrics
from shell.settings.cli import main
from shell.train import train


def row(text):
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": f"{text}!"}]}


@pytest.fixture
def files(tmp_path):
    """Three sources: 12, 5 and 8 rows; the last has four rows of the first."""
    rows = {"a": [f"a {i}" for i in range(12)], "b": [f"b {i}" for i in range(5)]}
    rows["c"] = [f"c {i}" for i in range(4)] + rows["a"][:4]
    for name, texts in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row(text)) + "\n" for text in texts))
    return tmp_path


def opened(files, dataset, **more):
    text = ",".join(f"{files}/{one}" if one[0] in "abc" else one for one in dataset.split(","))
    return open_data(DatasetSpec(dataset=text, **more))


def texts(dataset):
    return [one["messages"][0]["content"] for one in dataset.to_list()] if dataset else []


@pytest.mark.parametrize("strategy", ["all_exhausted", "first_exhausted", "all_exhausted_without_replacement"])
@pytest.mark.parametrize("seed", [0, 3])
def test_rows_stand_where_datasets_and_an_epochs_shuffle_put_them(files, strategy, seed):
    source = opened(files, "a.jsonl=0.7,b.jsonl=0.3", mix_stopping=strategy, seed=seed)
    tables = [datasets.Dataset.from_list([row(text) for text in of]) for of in (texts_of("a", 12), texts_of("b", 5))]
    theirs = datasets.interleave_datasets(tables, probabilities=[0.7, 0.3], seed=seed, stopping_strategy=strategy)
    assert source.train.to_list() == theirs.to_list()
    for epoch in range(2):
        assert source.train.shuffle(seed + epoch).to_list() == theirs.shuffle(seed=seed + epoch).to_list()
    for place, text in zip(source.train.places(), texts(source.train), strict=True):
        letter, number = text.split()
        assert place == f"{files}/{letter}.jsonl:{int(number) + 1}"


def texts_of(name, n):
    return [f"{name} {i}" for i in range(n)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dataset", ["a.jsonl,b.jsonl,c.jsonl", "a.jsonl=1,c.jsonl=1", "a.jsonl=6rows,c.jsonl"])
def test_no_content_is_both_held_out_and_trained_in_any_source(files, seed, dataset):
    source = opened(files, dataset, test_size=6, seed=seed)
    trained, held, left = set(texts(source.train)), texts(source.test), texts(source.duplicates)
    assert not trained & set(held)
    assert set(left) <= trained
    assert len(held) + len(left) == 6


def test_without_a_test_size_each_source_holds_out_what_it_does_alone(files):
    source = opened(files, "sample,a.jsonl")
    assert len(source.test) + len(source.duplicates) == 60
    assert intakes(source)["a"].n_drawn - intakes(source)["a"].n_again == 12
    assert not {json.dumps(one) for one in source.test.to_list()} & {json.dumps(one) for one in source.train.to_list()}
    none = opened(files, "sample,a.jsonl", test_size=0)
    assert none.test is None


def test_what_a_source_holds_out_of_its_own_rows_is_not_drawn(files, monkeypatch):
    rows = Dataset.from_list([row(f"h {i}") for i in range(9)] + [row("a 3")] * 2, "held")
    monkeypatch.setitem(load_dataset.NAMED, "held", lambda spec: load_dataset._with_holdout(spec, rows, 6))
    for seed in range(4):
        source = opened(files, "held,a.jsonl", seed=seed)
        trained, held = set(texts(source.train)), texts(source.test)
        assert not trained & set(held)
        assert "a 3" not in held
        assert len(held) + len(source.duplicates) == 6
        assert set(texts(source.train)) | set(held) == {*(f"h {i}" for i in range(9)), *texts_of("a", 12)}
    none = opened(files, "held,a.jsonl", test_size=0)
    assert none.test is None


def test_counts_take_so_many_rows_once_each(files):
    source = opened(files, "a.jsonl=7rows,b.jsonl=2rows")
    assert Counter(text[0] for text in texts(source.train)) == {"a": 7, "b": 2}
    assert len(set(texts(source.train))) == 9
    assert intake(source) == Intake(9)
    assert sum(entry.n_rows for entry in source.not_drawn if entry.source == "a") == 5
    again = opened(files, "a.jsonl=7rows,b.jsonl=2rows", mix_stopping="all_exhausted")
    assert set(texts(again.train)) == set(texts(source.train))


def test_rows_that_are_never_drawn_and_those_drawn_again_are_counted(files):
    source = opened(files, "a.jsonl=0.5,b.jsonl=0.5", mix_stopping="first_exhausted")
    never = {place for entry in source.not_drawn for place in entry.location.split(" to ")}
    assert all("a.jsonl:" in place for place in never)
    n_idle = sum(entry.n_rows for entry in source.not_drawn)
    assert intake(source) == Intake(17 - n_idle)
    more = opened(files, "a.jsonl=0.5,b.jsonl=0.5")
    assert intake(more).n_drawn - intake(more).n_again == 17
    assert intakes(more)["b"].n_again > 0
    assert sum(part.n_drawn for part in intakes(more).values()) == intake(more).n_drawn
    assert sorted(text for part in parts(more) for text in texts(part)) == sorted(set(texts(more.train)))


@pytest.mark.parametrize(
    ("dataset", "about", "sentence"),
    [
        ("a.jsonl=13rows,b.jsonl", {}, "expected a count of 1 to 12 rows, got 13"),
        ("a.jsonl,missing.jsonl", {}, "expected a JSONL file, got no file of that name"),
        ("a.jsonl", {"mix_stopping": "first_exhausted"}, "--mix-stopping is for several sources; "),
        ("a.jsonl,b.jsonl", {"streaming": True}, "--streaming is for one source; --dataset names 2"),
        (
            "a.jsonl,b.jsonl",
            {"dataset_split": "test"},
            "there are no splits in the file, so none called 'test' (--dataset-split) - at",
        ),
        ("a.jsonl,b.jsonl", {"test_size": 16}, "expected test_size <= 15 rows, which leaves the sources their own"),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_one_sentence(files, dataset, about, sentence):
    with pytest.raises(InputError) as error:
        opened(files, dataset, **about)
    assert str(error.value).startswith(sentence)


def test_sources_that_would_be_trained_differently_need_a_word(files):
    source = opened(files, "a.jsonl,b.jsonl")
    assert mode_of(source, None).value == "all_assistant_messages"
    differing = source.__class__(**{**source.__dict__, "train_on_what": ""})
    with pytest.raises(InputError, match="the sources differ in what they train: --train-on-what is needed"):
        mode_of(differing, None)
    assert mode_of(differing, "all_tokens").value == "all_tokens"


def test_a_run_over_a_mixture_tells_shares_losses_and_totals_of_each_source(files, service, capsys):
    folder = files / "run"
    data = f"{files}/a.jsonl=0.7,{files}/c.jsonl=0.3"
    flags = ["--batch-size", "4", "--num-epochs", "2", "--test-size", "4", "--lora-rank", "4", "--max-length", "64"]
    more = ["--max-steps", "6", "--eval-every", "3", "--save-every", "0", "--seed", "2"]
    more += ["--service", service.url, "--model-name", "tinsmith/tiny"]
    assert main(train, ["--log-path", str(folder), "--dataset", data, *flags, *more]) == 0
    said = capsys.readouterr().out
    assert "warning" not in said
    assert "\nmixture   " in said
    assert "\nsources   a: " in said
    rows = [one for one in read_metrics(folder) if "num_rows" in one]
    for one in rows:
        for key in ("num_rows", "num_rows_whole", "num_tokens"):
            assert sum(one.get(f"source/{name}/{key}", 0) for name in "ac") == one[key]
    losses = [one["train_mean_nll"] for one in rows]
    parts = [[one[key] for key in one if key.endswith("/train_mean_nll")] for one in rows]
    assert all(min(of) - 1e-6 <= whole <= max(of) + 1e-6 for whole, of in zip(losses, parts, strict=True))
    evaluated = [one for one in read_metrics(folder) if "test/nll" in one]
    assert len(evaluated) == 3
    for one in evaluated:
        own = [one[key] for key in one if key.endswith("/test_nll")]
        assert min(own) < one["test/nll"] < max(own)
    assert re.search(r"\n          c: .*, training loss \d.*, held-out loss \d", said)
    entries = read_entries(folder)
    assert {entry.source for entry in entries} <= {"a", "c"}
    n_held = sum(entry.outcome in (Outcome.HELD_OUT, Outcome.DUPLICATE) for entry in entries)
    assert n_held == 4
    assert any(entry.outcome is Outcome.NOT_REACHED for entry in entries)
    for name in "ac":
        assert f"\n          {name}: epoch" in said


def read(text, *files):
    return read_shares(text, exists=set(files).__contains__)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("a.jsonl", [Share("a.jsonl")]),
        ("a.jsonl, b.jsonl", [Share("a.jsonl"), Share("b.jsonl")]),
        ("a.jsonl=7,hf:x/y=3e-1", [Share("a.jsonl", 7.0), Share("hf:x/y", 0.3)]),
        ("a.jsonl=5000rows,b.jsonl=1row,c", [Share("a.jsonl", None, 5000), Share("b.jsonl", None, 1), Share("c")]),
        ("a.jsonl=1", [Share("a.jsonl", 1.0)]),
    ],
)
def test_a_source_has_a_weight_a_count_or_neither(text, shares):
    assert list(read(text)) == shares


def test_a_path_may_hold_commas_and_equals_signs_and_an_existing_file_wins():
    files = ("a,b=1.jsonl", "a=2", "x,y,z")
    assert read("a,b=1.jsonl", *files) == (Share("a,b=1.jsonl"),)
    assert read("a,b=1.jsonl=0.5,a=2=0.5", *files) == (Share("a,b=1.jsonl", 0.5), Share("a=2", 0.5))
    assert read("a=2", *files) == (Share("a=2"),)
    assert read("x,y,z=9rows,a", *files) == (Share("x,y,z", None, 9), Share("a"))
    assert read("a.jsonl=0.7,b.jsonl=0.3", "a.jsonl", "b.jsonl") == (Share("a.jsonl", 0.7), Share("b.jsonl", 0.3))


@pytest.mark.parametrize("text", ["a=0.7,b=0.3", "a=5rows,b", "a,b"])
def test_shares_are_written_as_they_are_read(text):
    assert ",".join(map(str, read(text))) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a=0.7,b", "b has no weight, but other sources have one - at --dataset a=0.7,b"),
        ("a=0.7,b=5rows", "b=5rows has no weight, but other sources have one - at --dataset "),
        ("a=much,b", "expected a weight such as 0.7 or a count such as 5000rows (or"),
        ("a,b,a", "a is named twice - at --dataset a,b,a"),
        ("a,,b", "there is nothing between two commas - at --dataset"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_sources_is_refused_in_one_sentence(text, sentence):
    with pytest.raises(InputError) as error:
        read(text)
    assert str(error.value).startswith(sentence)


def test_a_pattern_and_a_folder_are_sources_with_names_of_their_own(files):
    for i in range(3):
        (files / "shards" / f"{i}.jsonl").parent.mkdir(exist_ok=True)
        (files / "shards" / f"{i}.jsonl").write_text(json.dumps(row(f"s {i}")) + "\n")
    for dataset in (f"{files}/shards/*.jsonl=2rows,{files}/b.jsonl", f"{files}/b.jsonl,{files}/shards=2rows"):
        source = open_data(DatasetSpec(dataset=dataset))
        assert set(intakes(source)) == {"shards", "b"}
        assert Counter(text[0] for text in texts(source.train)) == {"s": 2, "b": 5}
        assert all(re.search(r"shards/\d.jsonl:1|b.jsonl:\d", place) for place in source.train.places())
    assert len(open_data(DatasetSpec(dataset=f"{files}/[ab].jsonl")).train) == 17
    assert names((Share("data/v?/x*.jsonl"), Share("*.jsonl"))) == ("data", "*")


def test_sources_of_one_name_are_called_by_their_whole_paths():
    assert names(read("x/a.jsonl.gz,hf:me/set,y/a.jsonl,data/chats.v2.jsonl")) == (
        "x/a.jsonl.gz", "set", "y/a.jsonl", "chats.v2",
    )  # fmt: skip
