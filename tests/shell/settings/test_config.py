"""The settings of a run as a value: limits, presets, and that the key is never shown."""

import msgspec
import pytest

from kernel.errors import InputError
from shell.settings.choose_service import choose_service
from shell.settings.config import DATASETS, PRESETS, Config, check_dataset, presets_of
from shell.settings.flags import conform, fields_of


def test_defaults_are_the_references() -> None:
    config = Config(log_path="/tmp/run")
    assert (config.batch_size, config.max_length, config.num_epochs, config.lora_rank) == (128, 32768, 1, 32)
    assert (config.learning_rate, config.lr_schedule, config.warmup_steps) == (2e-4, "linear", 0)
    assert (config.adam_beta1, config.adam_beta2, config.adam_eps) == (0.9, 0.95, 1e-8)
    assert (config.eval_every, config.save_every, config.ttl_seconds, config.submit_ahead) == (8, 20, 604800, 1)
    assert (config.reduction, config.tail, config.order, config.seed) == ("mean", "drop", "hf", 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_path", ""),
        ("batch_size", 0),
        ("max_length", 1),
        ("num_epochs", -1),
        ("max_steps", 0),
        ("test_size", -1),
        ("learning_rate", 0.0),
        ("learning_rate", "fast"),
        ("min_learning_rate", -1e-4),
        ("adam_beta1", 1.0),
        ("adam_eps", 0.0),
        ("eval_every", -1),
        ("ttl_seconds", 0),
        ("reduction", "sum"),
        ("lr_schedule", "linaer"),
        ("train_on_what", "everything"),
        ("behavior_if_log_dir_exists", "overwrite"),
        ("seed", 2**40),
    ],
)
def test_limits_hold_also_for_a_config_built_in_code(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"- at \$\.{name}$"):
        Config(**{"log_path": "/tmp/run", name: value})


def test_unknown_fields_are_refused_and_fields_cannot_be_changed() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `batch`"):
        msgspec.convert({"log_path": "/tmp/run", "batch": 1}, Config)
    with pytest.raises(AttributeError):
        Config(log_path="/tmp/run").batch_size = 1  # type: ignore[misc]


def test_the_floor_of_the_rate_is_not_above_its_peak() -> None:
    with pytest.raises(InputError, match=r"expected a floor of at most the learning rate 0\.001, got 0\.01"):
        Config(log_path="/tmp/run", learning_rate=1e-3, min_learning_rate=1e-2)
    assert Config(log_path="/tmp/run", learning_rate="auto", min_learning_rate=1e-2).min_learning_rate == 1e-2


def test_home_is_expanded_in_paths_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = Config(log_path="~/run", dataset="~/chats.jsonl", tokenizer="~/t.json", recipe_name="~/x")
    assert (config.log_path, config.dataset, config.tokenizer, config.recipe_name) == (
        "/home/me/run",
        "/home/me/chats.jsonl",
        "/home/me/t.json",
        "~/x",
    )
    assert Config(log_path="/tmp/run", load_checkpoint_path="tinker://a/b").load_checkpoint_path == "tinker://a/b"


def test_the_key_is_in_no_representation() -> None:
    config = Config(log_path="/tmp/run", api_key="tml-secret")
    assert config.api_key == "tml-secret"
    assert "secret" not in repr(config) + str(config) + repr(config.__rich_repr__())
    assert "log_path='/tmp/run'" in repr(config)


def test_every_field_has_its_line_of_help_in_ascii() -> None:
    for name, field in fields_of(Config).items():
        assert field.text, name
        assert field.text.isascii()
        assert len(field.text) <= 60, name


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_hold_values_that_their_fields_accept(preset: str) -> None:
    for name, value in PRESETS[preset].items():
        assert conform(fields_of(Config)[name], value, at=preset) == value


def test_a_service_brings_a_dataset_and_a_dataset_its_own_preset() -> None:
    embedded, tinker = choose_service("embedded"), choose_service("tinker", api_key="tml-x")
    assert presets_of(embedded, None) == ["embedded", "sample"]
    assert presets_of(embedded, "tulu3") == ["embedded", "tulu3"]
    assert presets_of(tinker, None) == ["tinker", "no_robots"]
    assert presets_of(tinker, "sample") == ["tinker", "sample"]
    assert presets_of(tinker, "chats.jsonl") == ["tinker"]
    assert "learning_rate" not in PRESETS["sample"], "the embedded model's rate would ruin a large one"


def test_a_bare_word_that_names_no_dataset_is_refused_with_the_nearest_name(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(InputError, match=r"^unknown dataset 'no_robot', did you mean 'no_robots'\? - at --dataset$"):
        check_dataset("no_robot")
    with pytest.raises(InputError, match=r"expected one of 'no_robots', 'tulu3', 'sample'"):
        check_dataset("zoo")
    with open("zoo", "w"):
        check_dataset("zoo")
    for name in (*DATASETS, "hf:allenai/tulu", "missing.jsonl", "a/b", "~/x"):
        check_dataset(name)


@pytest.mark.parametrize(("ratio", "n"), [(0.1, 10), (0.001, 1), (0.0, 0), (0.07, 7)])
def test_a_ratio_of_warmup_is_rounded_up_to_steps(ratio: float, n: int) -> None:
    assert Config(log_path="x", warmup_ratio=ratio).n_warmup(100) == n


def test_warmup_is_given_once() -> None:
    with pytest.raises(InputError, match="two ways to say the same"):
        Config(log_path="x", warmup_ratio=0.1, warmup_steps=3)
