"""The words of a command line, and the page of help."""

import pytest
from msgspec import Struct

from kernel.errors import InputError
from shell.settings.config import PRESETS, Config, PrepareConfig, ShowConfig
from shell.settings.flags import fields_of, read_flags


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ("--batch-size 64", {"batch_size": "64"}),
        ("--batch-size=64", {"batch_size": "64"}),
        ("--batch_size 64", {"batch_size": "64"}),
        ("batch_size=64", {"batch_size": "64"}),
        ("dataset_builder.common_config.batch_size=64", {"batch_size": "64"}),
        ("...batch_size=64", {"batch_size": "64"}),
        ("dataset_builder.file_path=a/b=c.jsonl", {"dataset": "a/b=c.jsonl"}),
        ("base_url=http://localhost:1", {"service": "http://localhost:1"}),
        ("wandb_name=a --base-url tinker", {"session_name": "a", "service": "tinker"}),
        ("--log-path a=b", {"log_path": "a=b"}),
        ("--log-path=", {"log_path": ""}),
        ("--test-size -1", {"test_size": "-1"}),
        ("--streaming", {"streaming": "true"}),
        ("--no-streaming", {"streaming": "false"}),
        ("--no_streaming", {"streaming": "false"}),
        ("streaming=True --no-train-mlp", {"streaming": "true", "train_mlp": "false"}),
        ("--train-mlp=false", {"train_mlp": "false"}),
        ("--seed 1 seed=2 --seed=3", {"seed": "3"}),
        ("--seed=3 --seed 1 seed=2", {"seed": "2"}),
        ("--streaming --no-streaming", {"streaming": "false"}),
        ("", {}),
    ],
)
def test_a_field_is_named_in_either_spelling_and_the_last_word_holds(words: str, texts: dict[str, str]) -> None:
    assert read_flags(words.split(), Config) == (texts, None)


@pytest.mark.parametrize("words", ["--config run.toml", "--config=run.toml", "config=run.toml"])
def test_a_file_is_named_in_either_spelling(words: str) -> None:
    assert read_flags([*words.split(), "--seed", "1"], Config) == ({"seed": "1"}, "run.toml")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--learnin-rate 1", "unknown flag '--learnin-rate', did you mean '--learning-rate', '--min-learning-rate'?"),
        ("--learnin-rate=1", "unknown flag '--learnin-rate', did you mean '--learning-rate', '--min-learning-rate'?"),
        ("--no-streming", "unknown flag '--no-streming', did you mean '--no-streaming', '--streaming'?"),
        ("--xyz 1", "unknown flag '--xyz', expected one that --help-all lists"),
        ("learnin_rate=1", "unknown setting 'learnin_rate', did you mean 'learning_rate', 'min_learning_rate'?"),
        ("elsewhere.seed=1", "unknown setting 'elsewhere.seed', expected one that --help-all lists"),
        (
            "wandb_project=a",
            "wandb_project is a setting of tinker-cookbook that is none here (metrics are in metrics.jsonl; "
            "--session-name names the run)",
        ),
        (
            "--num-replicas 2",
            "--num-replicas is a setting of tinker-cookbook that is none here (nothing is needed: the service spreads "
            "a step by itself)",
        ),
        ("64", "expected --flag VALUE or key=value, got 64"),
        ("-x", "expected --flag VALUE or key=value, got '-x'"),
        ("--seed", "expected a value, got none - at --seed"),
        ("--seed --streaming", "expected a value, got none - at --seed"),
        ("streaming=maybe", "expected true or false, got 'maybe' - at --streaming"),
        ("--no-streaming=1", "ignored explicit argument '1' - at --no-streaming"),
        ("apikey=tml-secret", "unknown setting 'apikey', did you mean 'api_key'?"),
    ],
)
def test_a_word_that_cannot_be_used_is_told_in_one_sentence(words: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        read_flags(words.split(), Config)
    assert str(caught.value) == sentence


def help_page(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    flag: str = "--help-all",
    config_type: type[Struct] = Config,
) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as caught:
        read_flags([flag], config_type)
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_all_shows_every_flag_under_its_heading_with_its_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = help_page(capsys, monkeypatch, 100)
    lines = page.splitlines()
    headings = [line for line in lines if line and not line.startswith(" ") and line.endswith(":")]
    assert headings[:6] == ["General:", *(f"{title}:" for title in Config.headings.values())]
    for field in fields_of(Config).values():
        (line,) = [line for line in lines if line.startswith(f"  {field.flag} ")]
        assert field.text in line
    assert "  --batch-size N                    rows per step [128]" in lines
    assert "(required)" in next(line for line in lines if "--log-path FOLDER" in line)
    assert "[on; off with --no-train-mlp]" in page
    for preset in PRESETS:
        assert any(line.startswith(f"  {preset} ") for line in lines)
    assert lines[-1].endswith(" --log-path run --config run.toml learning_rate=1e-4")
    assert page.isascii()


def test_help_takes_a_line_for_each_flag_but_those_with_long_choices(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = help_page(capsys, monkeypatch, 100)
    continued = [line for line in page.splitlines() if line.startswith(" " * 30)]
    assert len(continued) == 7
    for choice in ("all_exhausted_without_replacement", "all_user_and_system_messages", "prompt_completion"):
        assert sum(choice in line for line in continued) == 1


def test_help_shows_the_twenty_flags_of_most_runs_with_their_defaults_and_names_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = help_page(capsys, monkeypatch, 100, "--help")
    flags = [line.split()[0] for line in page.splitlines() if line.startswith("  --")]
    assert flags[:2] == ["--help-all", "--config"]
    assert len(flags[2:]) == 20
    assert {flag[2:].replace("-", "_") for flag in flags[2:]} == set(Config.common)
    assert f"show {len(fields_of(Config)) - 20} more flags too" in page
    for text in ("[128]", "[0.0002]", "[linear]", "(required)"):
        assert text in page


@pytest.mark.parametrize(
    ("recipe", "config_type"), [("sl_basic", Config), ("show", ShowConfig), ("prepare", PrepareConfig)]
)
@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_help_fits_into_eighty_columns(
    recipe: str,
    config_type: type[Struct],
    flag: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", [f"recipes/{recipe}.py"])
    page = help_page(capsys, monkeypatch, 80, flag, config_type)
    assert max(map(len, page.splitlines())) <= 80
    assert sum(line.startswith("  --") for line in page.splitlines()) <= (24 if flag == "--help" else 99)


def test_a_recipe_with_few_flags_has_them_all_in_either_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for config_type in (ShowConfig, PrepareConfig):
        short, long = (help_page(capsys, monkeypatch, 100, flag, config_type) for flag in ("--help", "--help-all"))
        assert short == long
