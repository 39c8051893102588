"""The settings of a run: one flat struct, each field with its limits and its line of `--help`.

A name is a flag, a key of a file and a key of `config.json` at once. Values that follow from a service or a dataset
are in `PRESETS`; a file or a flag overrides them.
"""

import math
import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from kernel.enums import (
    DatasetFormat,
    Follow,
    MixStopping,
    Order,
    Reduction,
    Tail,
    TrainOnWhat,
    Truncation,
    UnknownKeys,
)
from kernel.errors import expected, problem, unknown
from shell.settings.choose_service import ServiceChoice
from shell.settings.flags import conform, doc, fields_of

Text = Annotated[str, Meta(min_length=1)]
Size = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Length = Annotated[int, Meta(ge=2)]
Rate = Annotated[float, Meta(gt=0)]
Amount = Annotated[float, Meta(ge=0)]
Beta = Annotated[float, Meta(ge=0, lt=1)]
Fraction = Annotated[float, Meta(gt=0, lt=1)]
CutAnswers = Literal["train", "skip"]

N_SHOWN = 10
PATHS = ("log_path", "dataset", "tokenizer", "load_checkpoint_path", "prepared_dir")
CODE = ("renderer_name", "evaluator", "loss", "logger", "schedule")
"""settings that may name code of the user's, FILE.py:NAME"""
DATASETS = ("no_robots", "tulu3", "sample")
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "embedded": {"model_name": "tinsmith/tiny", "dataset": "sample", "learning_rate": 1e-2},
    "tinker": {"model_name": "Qwen/Qwen3.5-9B-Base", "dataset": "no_robots"},
    "sample": {"batch_size": 16, "num_epochs": 3, "max_length": 2048, "eval_every": 10, "save_every": 25},
    "no_robots": {"train_on_what": "all_assistant_messages"},
    "tulu3": {"train_on_what": "last_assistant_message", "test_size": 1024},
}


class DataConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows and the format they are rendered in: the settings of recipes that look at data and train nothing."""

    dataset: Annotated[Text, doc("no_robots, tulu3, sample, PATH, URL or hf:REPO", "DATA")] = "sample"
    dataset_config: Annotated[Text | None, doc("configuration of an hf: dataset", "NAME")] = None
    dataset_split: Annotated[Text, doc("split of an hf: dataset, a file or a folder", "NAME")] = "train"
    dataset_column: Annotated[Text, doc("column that holds the messages", "NAME")] = "messages"
    dataset_format: Annotated[DatasetFormat, doc("row format; auto: seen in each row", "FORMAT")] = DatasetFormat.AUTO
    dataset_map: Annotated[Text | None, doc("your columns: user=question,assistant=answer,...", "MAP")] = None
    unknown_keys: Annotated[UnknownKeys, doc("keys of rows that nothing reads", "HOW")] = UnknownKeys.REFUSE
    max_bad_rows: Annotated[Count, doc("unreadable rows of a source that are skipped")] = 0
    train_on_what: Annotated[TrainOnWhat | None, doc("default: the dataset's own; or", "WHAT")] = None
    split_turns: Annotated[Literal["auto", "never"], doc("auto: one example per turn where needed")] = "auto"
    model_name: Annotated[Text, doc("model whose renderer and tokenizer to use", "NAME")] = "tinsmith/tiny"
    renderer_name: Annotated[Text | None, doc("chat format; by default the model's", "NAME")] = None
    follow: Annotated[Follow, doc("whose format where two differ", "WHICH")] = Follow.REFERENCE
    template_variables: Annotated[Text | None, doc("variables for hf_template, as JSON", "JSON")] = None
    tokenizer: Annotated[Text | None, doc("name, or path of a tokenizer.json", "NAME")] = None
    allow_code: Annotated[bool, doc("run FILE.py:NAME that a --config file names elsewhere")] = False


class ShowConfig(DataConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Show conversations as the model will see them."""

    headings: ClassVar[dict[str, str]] = {"dataset": "Data", "model_name": "Model", "max_length": "Output"}
    examples: ClassVar[tuple[str, ...]] = (
        "--dataset chats.jsonl --model-name Qwen/Qwen3-8B",
        "--dataset chats.jsonl --tokenizer t.json --format json",
    )

    max_length: Annotated[Length | None, doc("max tokens per example")] = None
    truncation: Annotated[Truncation, doc("what to do with longer examples", "HOW")] = Truncation.RIGHT
    cut_answers: Annotated[CutAnswers, doc("whether to train answers that were cut")] = "train"
    reduction: Annotated[Reduction, doc("weight 1 per example (mean) or per token (none)")] = Reduction.MEAN
    limit: Annotated[Count | None, doc(f"rows to show; by default {N_SHOWN}, or all as json")] = None
    format: Annotated[Literal["text", "json"], doc("text for people, or json: one object per datum")] = "text"


class PrepareConfig(DataConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Render conversations to tokens once, for all runs that train on them."""

    headings: ClassVar[dict[str, str]] = {"dataset": "Data", "model_name": "Model", "truncation": "Token cache"}
    examples: ClassVar[tuple[str, ...]] = (
        "--dataset chats.jsonl --model-name Qwen/Qwen3-8B",
        "--dataset s3://b/a.parquet --ray auto",
    )

    truncation: Annotated[Truncation, doc("keep_answer alone cuts before rows are kept", "HOW")] = Truncation.RIGHT
    max_length: Annotated[Length, doc("tokens that keep_answer cuts to")] = 32768
    prepared_dir: Annotated[Text | None, doc("where token caches are; by default ~/.cache/tinsmith", "FOLDER")] = None
    workers: Annotated[Size | None, doc("processes; by default one a core")] = None
    ray: Annotated[Text | None, doc("a Ray cluster: local, auto, or its address", "WHERE")] = None


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fine-tune a model on conversations."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    common: ClassVar[tuple[str, ...]] = (
        "log_path", "behavior_if_log_dir_exists", "service", "seed", "max_steps",
        "dataset", "test_size", "batch_size", "max_length", "train_on_what",
        "model_name", "tokenizer", "renderer_name", "load_checkpoint_path", "lora_rank",
        "learning_rate", "lr_schedule", "num_epochs", "eval_every", "save_every",
    )  # fmt: skip
    """the flags of `--help`; `--help-all` shows all"""
    headings: ClassVar[dict[str, str]] = {
        "log_path": "Run",
        "dataset": "Data",
        "model_name": "Model",
        "learning_rate": "Optimisation",
        "eval_every": "Evaluation and saving",
    }
    examples: ClassVar[tuple[str, ...]] = (
        "--log-path run",
        "--log-path run --dataset chats.jsonl --seed 1",
        "--log-path run --dataset a.jsonl=0.7,b.jsonl=0.3",
        "--log-path run --dataset a.jsonl=5000rows,b.jsonl",
        "--log-path run --config run.toml learning_rate=1e-4",
    )

    log_path: Annotated[Text, doc("folder of the run: metrics, checkpoints, logs", "FOLDER")]
    behavior_if_log_dir_exists: Annotated[
        Literal["ask", "resume", "delete", "raise"], doc("if the folder holds a run", "HOW")
    ] = "ask"
    accept_changes: Annotated[Text | None, doc("resume although these settings have changed", "all|NAME,...")] = None
    service: Annotated[Text, doc("auto, tinker, embedded (local), or a URL", "WHICH")] = "auto"
    api_key: Annotated[Text | None, doc("key of the service; better in TINKER_API_KEY", "KEY", secret=True)] = None
    recipe_name: Annotated[Text, doc("name of the recipe at the service", "NAME")] = "sl_basic"
    session_name: Annotated[Text | None, doc("name of the run in Tinker's console [the folder's]", "NAME")] = None
    sdk: Annotated[Text, doc("client module of the same shape as tinker", "MODULE")] = "tinker"
    probe: Annotated[bool, doc("try what the service can do on a throwaway model first")] = False
    seed: Annotated[Count, doc("seed of the row order and the adapter")] = 0
    max_steps: Annotated[Size | None, doc("stop after N steps; the schedule ends there too")] = None
    submit_ahead: Annotated[Count, doc("steps queued ahead of the one awaited")] = 1
    silence_limit: Annotated[Size, doc("seconds without an answer after which the run stops")] = 600
    allow_code: Annotated[bool, doc("run FILE.py:NAME that a --config file names elsewhere")] = False
    logger: Annotated[Text | None, doc("code that gets each line of metrics", "FILE.py:NAME,...")] = None

    dataset: Annotated[Text | None, doc("no_robots, tulu3, sample, PATH, hf:REPO, or A=0.7,B=0.3", "DATA")] = None
    mix_stopping: Annotated[MixStopping | None, doc("when a mixture ends; by default the first", "HOW")] = None
    dataset_config: Annotated[Text | None, doc("configuration of an hf: dataset", "NAME")] = None
    dataset_split: Annotated[Text, doc("split to train on, of an hf: dataset, file or folder", "NAME")] = "train"
    dataset_column: Annotated[Text, doc("column that holds the messages", "NAME")] = "messages"
    dataset_format: Annotated[DatasetFormat, doc("row format; auto: seen in each row", "FORMAT")] = DatasetFormat.AUTO
    dataset_map: Annotated[Text | None, doc("your columns: user=question,assistant=answer,...", "MAP")] = None
    unknown_keys: Annotated[UnknownKeys, doc("keys of rows that nothing reads", "HOW")] = UnknownKeys.REFUSE
    streaming: Annotated[bool, doc("read an hf: dataset as it arrives, never whole")] = False
    shuffle_buffer: Annotated[Size, doc("rows in the shuffle buffer of a stream")] = 10_000
    streaming_length: Annotated[Size | None, doc("rows per epoch of a stream")] = None
    test_size: Annotated[Count | Fraction | None, doc("rows held out, or a fraction; by default the dataset's own")] = (
        None
    )
    batch_size: Annotated[Size, doc("rows per step")] = 128
    max_length: Annotated[Length, doc("max tokens per example")] = 32768
    truncation: Annotated[Truncation, doc("what to do with longer examples", "HOW")] = Truncation.RIGHT
    cut_answers: Annotated[CutAnswers, doc("whether to train answers that were cut")] = "train"
    zero_loss: Annotated[Literal["skip", "send"], doc("rows in which nothing is trained")] = "skip"
    max_bad_rows: Annotated[Count, doc("unreadable rows to skip before the run fails")] = 0
    train_on_what: Annotated[TrainOnWhat | None, doc("default: the dataset's own; or", "WHAT")] = None
    split_turns: Annotated[Literal["auto", "never"], doc("auto: one example per turn where needed")] = "auto"
    reduction: Annotated[Reduction, doc("weight 1 per example (mean) or per token (none)")] = Reduction.MEAN
    tail: Annotated[Tail, doc("the last, short batch of an epoch")] = Tail.DROP
    prepare: Annotated[
        Literal["always", "auto", "never"], doc("cache tokens: before training or beside it (auto)", "WHEN")
    ] = "auto"
    prepared_dir: Annotated[Text | None, doc("folder of the token cache [~/.cache/tinsmith]", "FOLDER")] = None
    order: Annotated[Order, doc("as datasets shuffles, in O(1) memory, or as in the file")] = Order.HF

    model_name: Annotated[Text | None, doc("model to train; by default the service's own", "NAME")] = None
    tokenizer: Annotated[Text | None, doc("name or tokenizer.json; by default the model's", "NAME")] = None
    encoder: Annotated[Literal["auto", "fast", "tokenizers"], doc("tokenizer backend; both give the same ids")] = "auto"
    renderer_name: Annotated[Text | None, doc("chat format; by default the model's", "NAME")] = None
    follow: Annotated[Follow, doc("whose format where two differ", "WHICH")] = Follow.REFERENCE
    template_variables: Annotated[Text | None, doc("variables for hf_template, as JSON", "JSON")] = None
    load_checkpoint_path: Annotated[Text | None, doc("start from the weights of a tinker:// path or a run", "PATH")] = (
        None
    )
    lora_rank: Annotated[Size, doc("LoRA rank")] = 32
    train_mlp: Annotated[bool, doc("adapt the MLP layers")] = True
    train_attn: Annotated[bool, doc("adapt the attention layers")] = True
    train_unembed: Annotated[bool, doc("adapt the unembedding")] = True

    learning_rate: Annotated[Rate | Literal["auto"], doc("peak rate; auto: as advised for the model")] = 2e-4
    lr_schedule: Annotated[Literal["linear", "cosine", "constant"], doc("decay after warmup", "HOW")] = "linear"
    loss: Annotated[Text, doc("a loss of the service, or your own", "NAME|FILE.py:NAME")] = "cross_entropy"
    schedule: Annotated[Text | None, doc("a decay of your own", "FILE.py:NAME")] = None
    warmup_steps: Annotated[Count, doc("steps of linear warmup")] = 0
    warmup_ratio: Annotated[Beta, doc("the same as a fraction of the run")] = 0.0
    min_learning_rate: Annotated[Amount, doc("floor of the decay")] = 0.0
    num_epochs: Annotated[Size | Rate, doc("passes over the data; 0.5 is half of one")] = 1
    adam_beta1: Annotated[Beta, doc("decay of Adam's first moment")] = 0.9
    adam_beta2: Annotated[Beta, doc("decay of Adam's second moment")] = 0.95
    adam_eps: Annotated[Rate, doc("epsilon in Adam's denominator")] = 1e-8
    weight_decay: Annotated[Amount, doc("decoupled weight decay")] = 0.0
    grad_clip_norm: Annotated[Amount, doc("max gradient norm; 0 disables clipping")] = 0.0

    eval_every: Annotated[Count, doc("steps between evaluations; 0: none")] = 8
    eval_dataset: Annotated[Text | None, doc("more sets to evaluate: NAME=DATA,NAME=DATA", "SETS")] = None
    evaluator: Annotated[Text | None, doc("code that scores the weights", "[NAME=]FILE.py:NAME")] = None
    infrequent_eval_every: Annotated[Count, doc("steps between infrequent evaluations")] = 100
    infrequent_eval_dataset: Annotated[Text | None, doc("sets to evaluate then: NAME=DATA,NAME=DATA", "SETS")] = None
    sample_prompts: Annotated[Text | None, doc("FILE.jsonl, a text file of lines, or one prompt", "PROMPTS")] = None
    sample_every: Annotated[Count | None, doc("steps between samples; by default each evaluation")] = None
    sample_max_tokens: Annotated[Size, doc("max tokens per sample")] = 64
    sample_temperature: Annotated[Amount, doc("sampling temperature; 0: greedy")] = 0.0
    save_every: Annotated[Count, doc("steps between checkpoints; 0: only at the end")] = 20
    save_every_tokens: Annotated[Count, doc("trained tokens between checkpoints; 0: off")] = 0
    save_every_seconds: Annotated[Count, doc("seconds between checkpoints; 0: off")] = 0
    rolling_save_every: Annotated[Count, doc("steps between rolling checkpoints; 0: none")] = 0
    rolling_ttl_seconds: Annotated[Size, doc("seconds a rolling checkpoint lives, if not deleted")] = 7200
    ttl_seconds: Annotated[Size | None, doc("seconds a checkpoint lives, but the last; none: forever")] = 604800

    def __post_init__(self) -> None:
        """Checks every field, as the struct may be built in code, and expands `~` in paths."""
        for field in fields_of(type(self)).values():
            value = conform(field, getattr(self, field.name), at=f"$.{field.name}")
            if field.name in PATHS and value is not None:
                if "\0" in value:
                    raise expected("a path", "text with a NUL in it, which no path has", at=field.flag)
                value = os.path.expanduser(value)
            msgspec.structs.force_setattr(self, field.name, value)
        if not (self.train_mlp or self.train_attn or self.train_unembed):
            raise expected("at least one kind of layer to adapt", "none", at="--no-train-mlp")
        if self.learning_rate != "auto" and self.min_learning_rate > self.learning_rate:
            floor, peak = f"{self.min_learning_rate:g}", f"{self.learning_rate:g}"
            raise expected(f"a floor of at most the learning rate {peak}", floor, at="--min-learning-rate")

        if self.warmup_steps and self.warmup_ratio:
            raise problem("--warmup-steps and --warmup-ratio are two ways to say the same; give one")

    def n_warmup(self, n_steps: int) -> int:
        """Steps of warmup in a run of `n_steps`."""
        return math.ceil(self.warmup_ratio * n_steps - 1e-9) or self.warmup_steps

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Every field but the key, which is never shown."""
        values = msgspec.to_builtins(self)
        return [(name, values[name]) for name, field in fields_of(type(self)).items() if not field.secret]


def presets_of(endpoint: ServiceChoice, dataset: str | None) -> list[str]:
    """Which presets apply to a service and a dataset (None: the service's own), the weaker first."""
    service = "embedded" if endpoint.kind == "embedded" else "tinker"
    dataset = dataset or PRESETS[service]["dataset"]
    return [service, dataset] if dataset in DATASETS else [service]


def check_dataset(dataset: str, at: str = "--dataset") -> None:
    """Raises where shares cannot be read, or a bare word names neither a dataset nor a file, with the nearest name."""
    from shell.data.mixture_spec import read_shares  # with what reads data, which `--help` needs not

    for share in read_shares(dataset):
        name = share.dataset
        is_word = not any(mark in name for mark in "./\\:~")
        if is_word and name not in DATASETS and not os.path.exists(name):
            raise unknown("dataset", name, DATASETS, at)


COMMAND_CONFIGS: Mapping[str, type[Struct]] = {"train": Config, "show": ShowConfig, "prepare": PrepareConfig}
"""the settings of each command; a file may hold those of all"""
