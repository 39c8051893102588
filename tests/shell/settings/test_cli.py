"""From what was typed to settings with their sources; and what a recipe's process says and returns when it fails."""

import errno
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from kernel.errors import InputError
from shell.data.row_faults import RowFaultsError
from shell.settings.cli import Resolved, describe, main, resolve
from shell.settings.config import PRESETS, Config, PrepareConfig, ShowConfig
from shell.settings.flags import doc, fields_of

ROOT = Path(__file__).parents[3]
in_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials, and an empty folder to stand in."""
    for name in ("TINKER_API_KEY", "TINKER_BASE_URL", "TINKER_CREDENTIAL_CMD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def settle(words: str) -> Resolved[Config]:
    return resolve(words.split(), Config)


def test_without_a_key_the_run_is_small_and_in_the_box() -> None:
    config, sources, endpoint = settle("--log-path run")
    assert endpoint is not None
    assert endpoint.kind == "embedded"
    assert (config.model_name, config.dataset, config.learning_rate) == ("tinsmith/tiny", "sample", 1e-2)
    assert config.batch_size == PRESETS["sample"]["batch_size"]
    assert (sources["dataset"], sources["batch_size"], sources["lora_rank"], sources["log_path"]) == (
        "preset embedded",
        "preset sample",
        "default",
        "flag --log-path",
    )


def test_with_a_key_the_run_is_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-env")
    config, _, endpoint = settle("--log-path run")
    assert endpoint is not None
    assert (endpoint.kind, endpoint.api_key) == ("tinker", "tml-env")
    assert (config.model_name, config.dataset) == ("Qwen/Qwen3.5-9B-Base", "no_robots")
    assert (config.batch_size, config.max_length, config.learning_rate, config.eval_every) == (128, 32768, 2e-4, 8)


def test_the_reference_commands_tokens_work() -> None:
    config = settle("log_path=~/run model_name=tinsmith/tiny dataset_builder.common_config.batch_size=4").config
    assert config.log_path == os.path.expanduser("~/run")
    assert config.batch_size == 4


def test_none_leaves_a_value_to_its_preset_or_open() -> None:
    config, sources, _ = settle("--log-path run --dataset tulu3 --test-size none --ttl-seconds none --service embedded")
    assert (config.test_size, sources["test_size"]) == (1024, "preset tulu3")
    assert (config.ttl_seconds, sources["ttl_seconds"]) == (None, "flag --ttl-seconds")


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "dataset": st.sampled_from(["sample", "tulu3", "no_robots", "hf:a/b"]),
    "model_name": st.sampled_from(["a", "b"]),
    "batch_size": st.integers(1, 999),
    "max_length": st.integers(2, 999),
    "eval_every": st.integers(0, 999),
    "learning_rate": st.floats(1e-6, 1.0) | st.just("auto"),
    "lr_schedule": st.sampled_from(["linear", "cosine", "constant"]),
    "streaming": st.booleans(),
    "train_mlp": st.booleans(),
    "test_size": st.integers(0, 999),
    "train_on_what": st.sampled_from(["all_tokens", "customized"]),
    "seed": st.integers(0, 999),
}
some_values = st.fixed_dictionaries({}, optional=VALUES)


@in_one_folder
@given(typed=some_values, filed=some_values, service=st.sampled_from(["embedded", "http://localhost:1"]))
def test_default_goes_below_preset_below_file_below_flag(
    typed: dict[str, Any], filed: dict[str, Any], service: str
) -> None:
    Path("run.json").write_text(json.dumps(filed))
    argv = [f"--{name.replace('_', '-')}={value}" for name, value in typed.items()]
    config, sources, _ = resolve([*argv, "--config", "run.json", "--log-path=x", f"--service={service}"], Config)

    kind = "embedded" if service == "embedded" else "tinker"
    dataset = typed.get("dataset") or filed.get("dataset") or PRESETS[kind]["dataset"]
    for name, field in fields_of(Config).items():
        value, source = getattr(config, name), sources[name]
        if name in ("log_path", "service"):
            assert source == f"flag {field.flag}"
        elif name in typed:
            assert (value, source) == (typed[name], f"flag {field.flag}")
        elif name in filed:
            assert (value, source) == (filed[name], "file run.json")
        elif name in PRESETS.get(dataset, {}):
            assert (value, source) == (PRESETS[dataset][name], f"preset {dataset}")
        elif name in PRESETS[kind]:
            assert (value, source) == (PRESETS[kind][name], f"preset {kind}")
        else:
            assert (value, source) == (field.default, "default")


FILES = {
    "run.toml": 'batch_size = 4\nlearning_rate = 2e-4\ntrain_mlp = false\ntokenizer = "~/t.json"\n',
    "run.json": '{"batch_size": 4, "learning_rate": 2e-4, "train_mlp": false, "tokenizer": "~/t.json"}',
    "run.yaml": "batch_size: 4\nlearning_rate: 2e-4\ntrain_mlp: false\ntokenizer: ~/t.json\n",
    "RUN.YML": "\ufeffbatch_size: 4\r\nlearning_rate: 2e-4\r\ntrain_mlp: off\r\ntokenizer: ~/t.json\r\n",
}


@pytest.mark.parametrize("name", FILES)
def test_the_three_kinds_of_file_say_the_same(name: str, tmp_path: Path) -> None:
    Path(name).write_text(FILES[name], newline="")
    config, sources, _ = settle(f"--log-path run --config {name}")
    assert (config.batch_size, config.learning_rate, config.train_mlp) == (4, 2e-4, False)
    assert config.tokenizer == f"{tmp_path}/t.json"
    assert sources["batch_size"] == f"file {name}"
    assert settle(f"--log-path run --config ~/{name}").config == config


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("run.toml", "batch_size = 0", "expected an integer >= 1, got 0 - at run.toml $.batch_size"),
        ("run.toml", "[train]\nsede = 1", "unknown setting 'sede', did you mean 'seed'? - at run.toml $.train.sede"),
        (
            "run.toml",
            "batch_sise = 1",
            "unknown setting 'batch_sise', did you mean 'batch_size'? - at run.toml $.batch_sise",
        ),
        (
            "run.toml",
            "seed = 1\nseed",
            "expected TOML, got something else (Expected '=' after a key in a key/value pair ",
        ),
        ("run.toml", "seed = 1979-05-27", "expected an integer >= 0, got 1979-05-27 - at run.toml $.seed"),
        ("run.toml", "seed = [1]", "expected an integer >= 0, got a list - at run.toml $.seed"),
        (
            "run.toml",
            'log_path = "run"\ndataset = "no_robot"',
            "unknown dataset 'no_robot', did you mean 'no_robots'? - at run.toml",
        ),
        ("run.json", "", "expected JSON, got something else ("),
        ("run.json", "[1]", "expected a table of settings, got a list - at run.json"),
        ("run.json", '{"log_path": null}', "expected text that is not empty, got nothing - at run.json $.log_path"),
        ("run.json", "[" * 100_000, "expected JSON, got something else ("),
        ("run.yaml", "", "expected a table of settings, got nothing - at run.yaml"),
        ("run.yaml", "a: b: c", "expected YAML, got something else ("),
        ("run.yaml", "1: 2", "unknown setting '1', expected one that --help-all lists - at run.yaml $.1"),
        ("run.yaml", "seed: 2001-99-99", "expected YAML, got something else ("),
        ("run.ini", "seed=1", "expected a file that ends in .toml, .json, .yaml, .yml, got 'run.ini' - at --config"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_place(
    name: str, content: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text(content)
    assert main(lambda _: 0, ["--config", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {sentence}")


def test_a_missing_file_a_folder_and_broken_utf8_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder.toml").mkdir()
    Path("latin.toml").write_bytes(b'dataset = "\xe4"')
    for name, words in {
        "no.toml": "expected a file of settings, got no such file or directory - at no.toml",
        "folder.toml": "expected a file of settings, got is a directory - at folder.toml",
        "latin.toml": "expected TOML, got something else ('utf-8' codec can't decode byte 0xe4",
    }.items():
        assert main(lambda _: 0, ["--config", name]) == 2
        assert capsys.readouterr().err.startswith(f"error: {words}")


def test_without_pyyaml_a_yaml_file_is_answered_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("run.yaml").write_text("seed: 1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match=r"^expected PyYAML to read YAML \(pip install pyyaml\), got no such package"):
        settle("--log-path run --config run.yaml")


def test_what_a_run_records_names_no_key_and_is_read_back_as_it_was() -> None:
    first = settle("--log-path run --service http://localhost:1 --api-key tml-secret --batch-size 4 --ttl-seconds none")
    document = msgspec.json.encode({"tinsmith": "0.1.0", **describe(first)})
    assert b"tml-secret" not in document
    assert "tml-secret" not in repr(first)
    assert set(describe(first)["sources"]) == set(fields_of(Config))
    Path("config.json").write_bytes(document)
    again = settle("--config config.json --api-key tml-secret")
    assert again.config == first.config
    assert again.sources["batch_size"] == "file config.json"


def test_code_is_recorded_with_its_path_and_digest_and_is_read_back_as_long_as_it_is_the_same() -> None:
    Path("mine.py").write_text("f = len")
    Path("run").mkdir()
    first = settle("--log-path run --schedule mine.py:f --evaluator a=mine.py:f --allow-code")
    document = describe(first)
    spec = f"{Path.cwd()}/mine.py:f"
    assert (document["config"]["schedule"], document["config"]["evaluator"]) == (spec, f"a={spec}")
    assert (list(document["code"]), document["model_name"]) == ([spec], first.config.model_name)
    Path("run/config.json").write_bytes(msgspec.json.encode({"tinsmith": "0.1.0", **document}))
    again = settle("--config run/config.json").config
    assert (again.schedule, again.evaluator, again.allow_code) == (spec, f"a={spec}", False)
    Path("mine.py").write_text("f = max")
    with pytest.raises(InputError, match=r"mine\.py:f: repeat --schedule, or give --allow-code - at run/config\.json"):
        settle("--config run/config.json --evaluator mine.py:f")
    assert settle("--config run/config.json --allow-code").config.schedule == spec
    assert settle("--config run/config.json --evaluator mine.py:f --schedule mine.py:f").config.schedule == "mine.py:f"


def test_every_command_asks_before_code_of_a_file_runs() -> None:
    Path("sent").mkdir()
    Path("sent/run.toml").write_text("renderer_name = '../mine.py:MINE'")
    for struct in (Config, ShowConfig, PrepareConfig):
        words = ["--config", "sent/run.toml", *(["--log-path", "run"] if struct is Config else [])]
        with pytest.raises(InputError, match="repeat --renderer-name, or give --allow-code"):
            resolve(words, struct)
        assert resolve([*words, "--allow-code"], struct).config.renderer_name == f"{Path.cwd()}/sent/../mine.py:MINE"


def test_a_model_of_tinkers_without_a_key_is_an_error() -> None:
    with pytest.raises(InputError, match="expected a key for Qwen/Qwen3-8B on Tinker, got none"):
        settle("--log-path run --model-name Qwen/Qwen3-8B")


class ShowOptions(Struct, frozen=True, kw_only=True):
    """Print examples as the model will see them."""

    dataset: Annotated[str, doc("what to show", "DATA")] = "sample"
    limit: Annotated[int, Meta(ge=1), doc("rows to show")] = 10
    api_key: Annotated[str | None, doc("a key", "KEY", secret=True)] = None


def test_any_flat_struct_is_resolved_without_presets_or_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    Path("show.toml").write_text("limit = 3")
    resolved = resolve(["dataset=tulu3", "--config=show.toml", "--api-key=x"], ShowOptions)
    assert resolved.config == ShowOptions(dataset="tulu3", limit=3, api_key="x")
    assert resolved.sources == {"dataset": "flag --dataset", "limit": "file show.toml", "api_key": "flag --api-key"}
    assert resolved.endpoint is None
    assert describe(resolved)["config"] == {"dataset": "tulu3", "limit": 3}
    with pytest.raises(InputError, match="did you mean 'tulu3'"):
        resolve(["--dataset", "tulu"], ShowOptions)
    with pytest.raises(SystemExit):
        resolve(["-h"], ShowOptions)
    page = capsys.readouterr().out
    assert "Print examples as the model will see them." in page
    assert "rows to show [10]" in page
    assert "embedded" not in page


def test_a_recipe_may_add_fields_to_the_settings_of_a_run() -> None:
    class Recipe(Config, frozen=True, kw_only=True):
        extra: Annotated[int, doc("its own")] = 3

    resolved = resolve(["--log-path", "run", "--extra", "4"], Recipe)
    assert (resolved.config.extra, resolved.config.dataset) == (4, "sample")


class ServiceError(RuntimeError):
    exit_code = 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("expected a,\n got b"), 2, "error: expected a, got b"),
        (ServiceError("the service is gone"), 1, "error: the service is gone"),
        (OSError(errno.ENOSPC, "No space left on device", "/run/x"), 2, "error: no space left on device - at /run/x"),
        (PermissionError(errno.EACCES, "Permission denied", "/run"), 2, "error: permission denied - at /run"),
        (OSError("odd"), 2, "error: odd"),
        (KeyboardInterrupt(), 130, None),
    ],
)
def test_what_a_run_raises_becomes_a_sentence_and_an_exit_code(
    error: BaseException, code: int, line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Resolved[ShowOptions]) -> int:
        raise error

    assert main(run, [], ShowOptions) == code
    assert capsys.readouterr().err == (f"{line}\n" if line else "")


def test_letters_that_a_terminal_lacks_are_spelled_and_a_closed_one_is_no_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    for stream in (screen, None):
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(lambda _: print("é"), [], ShowOptions) == 0
    assert screen.buffer.getvalue() == b"\\xe9\n"  # type: ignore[attr-defined]


def test_a_fault_of_our_own_keeps_its_traceback() -> None:
    def run(_: Resolved[ShowOptions]) -> int:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        main(run, [], ShowOptions)


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_is_what_a_run_returns(returned: int | None, code: int) -> None:
    assert main(lambda _: returned, [], ShowOptions) == code


names = sorted(fields_of(Config))
flags = [fields_of(Config)[name].flag for name in names]
words = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(codec=None, categories=None), max_size=4),
    st.sampled_from(
        [*flags, "--no-streaming", "--help", "-h", "--", "--config", "-x", "---", "=", "none", "auto", "-1"]
    ),
    st.tuples(st.sampled_from([*names, *flags, "config", "...seed"]), st.text(max_size=5)).map("=".join),
    st.tuples(st.sampled_from(names), st.integers().map(str)).map("=".join),
)


def settles_or_refuses(argv: list[str]) -> None:
    try:
        resolve(argv, Config)
    except InputError as error:
        sentence = str(error)
    except SystemExit as exit_:
        sentence = f"exit {exit_.code}"
    else:
        sentence = "settled"
    assert sentence
    assert sentence[:5] != "exit " or sentence == "exit 0"


@in_one_folder
@given(st.lists(words, max_size=6))
@example(["--config", "a\0.toml"])
@example(["--config", "~nobody/run.toml"])
@example(["\udc80=1", "--\udc80", "--log-path", "\udc80"])
def test_no_words_end_in_a_traceback(argv: list[str]) -> None:
    settles_or_refuses(argv)
    settles_or_refuses(["--log-path", "run", *argv])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
tables = st.dictionaries(st.sampled_from([*names, "config", "sources"]) | st.text(), json_values, max_size=4)
contents = st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | tables.map(lambda t: json.dumps(t).encode())


@in_one_folder
@given(content=contents, suffix=st.sampled_from([".toml", ".json", ".yaml"]))
@example(content=b"seed = " + b"9" * 5000, suffix=".toml")
@example(content=b"a: &a [*a]", suffix=".yaml")
@example(content=b'dataset: "\\ud800"', suffix=".yaml")
@example(content=b"? {a: 1}\n: 2", suffix=".yaml")
@example(content=b"!!python/object/apply:os.system [true]", suffix=".yaml")
def test_no_file_ends_in_a_traceback(content: bytes, suffix: str) -> None:
    path = Path(f"run{suffix}")
    path.write_bytes(content)
    settles_or_refuses(["--config", str(path), "--log-path", "run"])


SCRIPT = """
import sys
from shell.settings.cli import main
HEAVY = {{"numba", "numpy", "datasets", "tokenizers", "tinker", "torch", "rich"}}
def run(resolved):
    {body}
    print("heavy:", *sorted(HEAVY & set(sys.modules)))
sys.exit(main(run))
"""


def process(argv: list[str], body: str = "pass", stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT.format(body=body), *argv]
    return subprocess.run(command, cwd=ROOT, text=True, stdout=stdout, stderr=subprocess.PIPE, timeout=60)


def test_settings_are_read_without_the_heavy_packages() -> None:
    done = process(["--log-path", "run", "--batch-size", "4"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "heavy:\n", "")
    assert process(["--log-path", "run"], body="import numpy").stdout == "heavy: numpy\n"


def test_help_answers_in_less_than_half_a_second_of_work() -> None:
    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    done = process(["--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "--learning-rate" in done.stdout
    assert spent() - before < 0.5


def test_a_process_says_one_sentence_and_returns_two() -> None:
    done = process(["--log-path", "run", "--lr-schedule", "linaer"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown lr_schedule 'linaer', did you mean 'linear', 'cosine'? - at --lr-schedule\n"


@pytest.mark.parametrize(("argv", "codes"), [(["--help"], (0, 141)), (["--log-path", "run"], (141,))])
def test_a_reader_that_closes_the_pipe_ends_a_recipe_quietly(argv: list[str], codes: tuple[int, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = process(argv, body="print('x' * 100_000)", stdout=closed)
    assert done.returncode in codes
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.toml", '[dataset_map]\nuser = "question"\nassistant = "meta.answer"\n'),
        ("map.json", '{"dataset_map": {"user": "question", "assistant": "meta.answer"}}'),
        ("map2.json", '{"dataset_map": "user=question,assistant=meta.answer"}'),
    ],
)
def test_the_map_of_columns_is_a_table_or_text_in_a_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    argv = ["--log-path", "run", "--service", "embedded", "--config", str(tmp_path / name)]
    assert resolve(argv).config.dataset_map == "user=question,assistant=meta.answer"


def test_a_table_of_columns_holds_nothing_but_names(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text('{"dataset_map": {"user": 3}}')
    with pytest.raises(InputError, match="got a table"):
        resolve(["--log-path", "run", "--service", "embedded", "--config", str(tmp_path / "map.json")])


def test_one_file_serves_every_command(tmp_path: Path) -> None:
    """Tables group settings, dashes are underscores, sources are a list, and each command takes what is its own."""
    path = tmp_path / "all.toml"
    path.write_text(
        '[model]\nmodel-name = "Qwen/Qwen3-8B"\nlora-rank = 8\n[data]\ndataset = ["a.jsonl=0.7", "b.jsonl=0.3"]\n'
        'max-length = 512\n[prepare]\nworkers = 2\n[run]\nlog-path = "x"\nservice = "embedded"\n'
    )
    argv = ["--config", str(path)]
    trained, shown, prepared = (resolve(argv, of).config for of in (Config, ShowConfig, PrepareConfig))
    assert (trained.log_path, trained.lora_rank, trained.dataset) == ("x", 8, "a.jsonl=0.7,b.jsonl=0.3")
    assert (shown.max_length, shown.model_name) == (512, "Qwen/Qwen3-8B")
    assert (prepared.workers, prepared.max_length) == (2, 512)


def test_a_table_of_sources_is_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"log_path": "x", "dataset": {"a.jsonl": 0.7, "b.jsonl": 0.3}}')
    assert resolve(["--config", str(path)]).config.dataset == "a.jsonl=0.7,b.jsonl=0.3"


def test_the_config_of_a_run_serves_the_other_commands(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(msgspec.json.encode(describe(resolve(["--log-path", "x", "--max-length", "99"]))))
    assert resolve(["--config", str(path)], ShowConfig).config.max_length == 99


def test_a_setting_that_a_file_has_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('log-path = "x"\nlora_rank = 8\n[model]\nlora-rank = 9\n')
    with pytest.raises(InputError, match=r"lora_rank is there twice - at .*run\.toml \$\.model\.lora-rank"):
        resolve(["--config", str(path)])


def test_a_table_of_bad_rows_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: object) -> int:
        raise RowFaultsError("2 of 3 rows:\n  2  no")

    assert main(run, ["--log-path", "unused"]) == 2
    assert capsys.readouterr().err == "error: 2 of 3 rows:\n  2  no\n"
