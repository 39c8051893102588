"""The settings of a run: one flat struct, every field with its limits and its line of `--help` beside it.

Flat, because a name is then a flag, a key of a file and a column of `config.json` at once; the reference nests its
builders and cannot reach the batch size from the command line. An annotation is the only place where a limit is
written: msgspec checks it, `--help` prints it, and `conform` turns what breaks it into one sentence. Values that follow
from a choice (a service, a dataset) are data in `PRESETS`, below what a file or a flag says.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from kernel.errors import expected, unknown
from shell.data.mixture_spec import read_shares
from shell.settings.fields import conform, doc, fields_of
from shell.settings.service_choice import ServiceChoice

Text = Annotated[str, Meta(min_length=1)]
Size = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Length = Annotated[int, Meta(ge=2)]
Rate = Annotated[float, Meta(gt=0)]
Amount = Annotated[float, Meta(ge=0)]
Beta = Annotated[float, Meta(ge=0, lt=1)]
TrainOnWhat = Literal[
    "last_assistant_message",
    "last_assistant_turn",
    "all_assistant_messages",
    "all_messages",
    "all_tokens",
    "all_user_and_system_messages",
    "customized",
]
Reduction = Literal["mean", "none"]
HowTruncated = Literal["right", "drop", "error", "keep_answer"]
CutAnswers = Literal["train", "skip"]
DatasetFormat = Literal["auto", "messages", "sharegpt", "alpaca", "prompt_completion", "text"]
MixStopping = Literal["all_exhausted", "first_exhausted", "all_exhausted_without_replacement"]

PATHS = ("log_path", "dataset", "tokenizer", "load_checkpoint_path", "prepared_dir")
DATASETS = ("no_robots", "tulu3", "sample")
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "embedded": {"model_name": "tinsmith/tiny", "dataset": "sample", "learning_rate": 1e-2},
    "tinker": {"model_name": "Qwen/Qwen3.5-9B-Base", "dataset": "no_robots"},
    "sample": {"batch_size": 16, "num_epochs": 3, "max_length": 2048, "eval_every": 10, "save_every": 25},
    "no_robots": {"train_on_what": "all_assistant_messages"},
    "tulu3": {"train_on_what": "last_assistant_message", "test_size": 1024},
}


class Written(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conversations, and what they are written with: what every recipe asks that looks at rows and trains nothing."""

    dataset: Annotated[Text, doc("no_robots, tulu3, sample, FILE, URL or hf:REPO", "DATA")] = "sample"
    dataset_config: Annotated[Text | None, doc("configuration of an hf: dataset", "NAME")] = None
    dataset_split: Annotated[Text, doc("split of an hf: dataset", "NAME")] = "train"
    dataset_column: Annotated[Text, doc("column that holds the messages", "NAME")] = "messages"
    dataset_format: Annotated[DatasetFormat, doc("shape of the rows; auto: each says", "SHAPE")] = "auto"
    max_bad_rows: Annotated[Count, doc("rows of a source that may be unreadable")] = 0
    train_on_what: Annotated[TrainOnWhat | None, doc("by default the dataset's own; or", "WHAT")] = None
    split_turns: Annotated[Literal["auto", "never"], doc("an example a turn, where needed")] = "auto"
    model_name: Annotated[Text, doc("model whose renderer and tokenizer to use", "NAME")] = "tinsmith/tiny"
    renderer_name: Annotated[Text | None, doc("how a conversation is written", "NAME")] = None
    template_variables: Annotated[Text | None, doc("what hf_template reads besides, as JSON", "JSON")] = None
    tokenizer: Annotated[Text | None, doc("name, or path of a tokenizer.json", "NAME")] = None


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fine-tune a model on conversations."""

    headings: ClassVar[dict[str, str]] = {
        "log_path": "Run",
        "dataset": "Data",
        "model_name": "Model",
        "learning_rate": "Optimisation",
        "eval_every": "Evaluation and saving",
    }
    examples: ClassVar[tuple[str, ...]] = (
        "--log-path /tmp/run",
        "--log-path /tmp/run --dataset chats.jsonl --batch-size 32",
        "--log-path /tmp/run --dataset a.jsonl=0.7,b.jsonl=0.3",
        "--log-path /tmp/run --dataset a.jsonl=5000rows,b.jsonl",
        "--log-path /tmp/run --config run.toml learning_rate=1e-4",
    )

    log_path: Annotated[Text, doc("folder of the run: metrics, checkpoints, logs", "FOLDER")]
    behavior_if_log_dir_exists: Annotated[
        Literal["ask", "resume", "delete", "raise"], doc("if a run is there", "HOW")
    ] = "ask"
    accept_changes: Annotated[
        Text | None, doc("resume though these differ, a new length: schedule", "all|NAME,...")
    ] = None
    service: Annotated[Text, doc("auto, tinker, embedded, or the URL of one like Tinker", "WHICH")] = "auto"
    api_key: Annotated[Text | None, doc("key of the service; TINKER_API_KEY hides it better", "KEY", secret=True)] = (
        None
    )
    recipe_name: Annotated[Text, doc("what the service calls the run", "NAME")] = "sl_basic"
    seed: Annotated[Count, doc("seed of the row order and of the adapter")] = 0
    max_steps: Annotated[Size | None, doc("stop after N steps, where the schedule ends too")] = None
    submit_ahead: Annotated[Count, doc("steps queued beyond the one awaited")] = 1
    silence_limit: Annotated[Size, doc("seconds without any answer before the run stops")] = 600

    dataset: Annotated[Text | None, doc("no_robots, tulu3, sample, FILE, hf:REPO, or A=0.7,B=0.3", "DATA")] = None
    mix_stopping: Annotated[MixStopping | None, doc("when a mixture ends, by default the first", "HOW")] = None
    dataset_config: Annotated[Text | None, doc("configuration of an hf: dataset", "NAME")] = None
    dataset_split: Annotated[Text, doc("split of an hf: dataset to train on", "NAME")] = "train"
    dataset_column: Annotated[Text, doc("column that holds the messages", "NAME")] = "messages"
    dataset_format: Annotated[DatasetFormat, doc("shape of the rows; auto: each says", "SHAPE")] = "auto"
    streaming: Annotated[bool, doc("read an hf: dataset as it arrives, never whole")] = False
    shuffle_buffer: Annotated[Size, doc("rows a stream is shuffled within")] = 10_000
    streaming_length: Annotated[Size | None, doc("rows of an epoch, where the data is streamed")] = None
    test_size: Annotated[Count | None, doc("rows held out; by default the dataset's own")] = None
    batch_size: Annotated[Size, doc("rows per step")] = 128
    max_length: Annotated[Length, doc("tokens after which an example is cut")] = 32768
    truncation: Annotated[HowTruncated, doc("of longer ones", "HOW")] = "right"
    cut_answers: Annotated[CutAnswers, doc("an answer without its end")] = "train"
    zero_loss: Annotated[Literal["skip", "send"], doc("rows in which nothing is trained")] = "skip"
    max_bad_rows: Annotated[Count, doc("rows that may be unusable; they are listed in the ledger")] = 0
    train_on_what: Annotated[TrainOnWhat | None, doc("by default the dataset's own; or", "WHAT")] = None
    split_turns: Annotated[Literal["auto", "never"], doc("an example a turn, where needed")] = "auto"
    reduction: Annotated[Reduction, doc("each example weighs 1 (mean), or each token (none)")] = "mean"
    tail: Annotated[Literal["drop", "keep"], doc("an epoch's last, short batch")] = "drop"
    prepare: Annotated[
        Literal["always", "auto", "never"], doc("keep rows as tokens: all before training, or beside it", "WHEN")
    ] = "auto"
    prepared_dir: Annotated[Text | None, doc("where they are kept; by default ~/.cache/tinsmith", "FOLDER")] = None
    order: Annotated[Literal["hf", "cipher"], doc("of rows: as datasets shuffles, or in O(1) memory")] = "hf"

    model_name: Annotated[Text | None, doc("model to train; by default the service's own", "NAME")] = None
    tokenizer: Annotated[Text | None, doc("name or tokenizer.json; by default the model's", "NAME")] = None
    encoder: Annotated[Literal["auto", "fast", "tokenizers"], doc("what makes ids of text, all the same")] = "auto"
    renderer_name: Annotated[Text | None, doc("how a conversation is written; by default the model's", "NAME")] = None
    template_variables: Annotated[Text | None, doc("what hf_template reads besides, as JSON", "JSON")] = None
    load_checkpoint_path: Annotated[Text | None, doc("begin with the weights of a tinker:// path or a run", "PATH")] = (
        None
    )
    lora_rank: Annotated[Size, doc("rank of the adapter")] = 32
    train_mlp: Annotated[bool, doc("adapt the MLP layers")] = True
    train_attn: Annotated[bool, doc("adapt the attention layers")] = True
    train_unembed: Annotated[bool, doc("adapt the unembedding")] = True

    learning_rate: Annotated[Rate | Literal["auto"], doc("highest rate; auto: as advised for the model")] = 2e-4
    lr_schedule: Annotated[Literal["linear", "cosine", "constant"], doc("how the rate falls", "HOW")] = "linear"
    warmup_steps: Annotated[Count, doc("steps in which the rate rises to its highest")] = 0
    min_learning_rate: Annotated[Amount, doc("lowest rate")] = 0.0
    num_epochs: Annotated[Size, doc("times the data is seen")] = 1
    adam_beta1: Annotated[Beta, doc("decay of the mean of gradients")] = 0.9
    adam_beta2: Annotated[Beta, doc("decay of the mean of their squares")] = 0.95
    adam_eps: Annotated[Rate, doc("added to the denominator")] = 1e-8
    weight_decay: Annotated[Amount, doc("decay of weights, apart from the gradient")] = 0.0
    grad_clip_norm: Annotated[Amount, doc("longest gradient; 0: any length")] = 0.0

    eval_every: Annotated[Count, doc("steps between evaluations, the end one more; 0: none")] = 8
    eval_dataset: Annotated[Text | None, doc("more sets to evaluate: NAME=DATA,NAME=DATA", "SETS")] = None
    infrequent_eval_every: Annotated[Count, doc("steps between rarer evaluations, the end one more")] = 100
    infrequent_eval_dataset: Annotated[Text | None, doc("sets to evaluate then: NAME=DATA,NAME=DATA", "SETS")] = None
    sample_prompts: Annotated[Text | None, doc("FILE.jsonl, a text file of lines, or one prompt", "PROMPTS")] = None
    sample_every: Annotated[Count | None, doc("steps between samples; by default each evaluation")] = None
    sample_max_tokens: Annotated[Size, doc("longest sample")] = 64
    sample_temperature: Annotated[Amount, doc("of samples; 0: the likeliest")] = 0.0
    save_every: Annotated[Count, doc("steps between checkpoints; 0: only the last")] = 20
    save_every_tokens: Annotated[Count, doc("trained tokens between checkpoints; 0: as the others say")] = 0
    save_every_seconds: Annotated[Count, doc("seconds between checkpoints; 0: as the others say")] = 0
    rolling_save_every: Annotated[Count, doc("steps between short-lived saves to resume from; 0: none")] = 0
    rolling_ttl_seconds: Annotated[Size, doc("life of those, should deleting them fail")] = 7200
    ttl_seconds: Annotated[Size | None, doc("life of checkpoints but the last; none: for good")] = 604800

    def __post_init__(self) -> None:
        """Checks every field also where the struct is built in code, and expands `~` in paths."""
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Every field but the key, which is never shown."""
        return [(name, getattr(self, name)) for name, field in fields_of(type(self)).items() if not field.secret]


def presets_of(endpoint: ServiceChoice, dataset: str | None) -> list[str]:
    """Which presets hold for a service and a dataset (None: the service's own), the weaker first.

    >>> from shell.settings.service_choice import choose_service
    >>> presets_of(choose_service("embedded"), None)
    ['embedded', 'sample']
    """
    service = "embedded" if endpoint.kind == "embedded" else "tinker"
    dataset = dataset or PRESETS[service]["dataset"]
    return [service, dataset] if dataset in DATASETS else [service]


def check_dataset(dataset: str, at: str = "--dataset") -> None:
    """Refuses shares that cannot be read, and a bare word that names no dataset and no file, with the nearest name.

    All else is for the reader of data.

    Touches: the file system, to see whether there is a file of that name.

    Raises:
        InputError: the word is unknown, or a share is none.
    """
    for share in read_shares(dataset):
        name = share.dataset
        is_word = not any(mark in name for mark in "./\\:~")
        if is_word and name not in DATASETS and not os.path.exists(name):
            raise unknown("dataset", name, DATASETS, at)
