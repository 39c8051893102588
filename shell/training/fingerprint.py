"""Fingerprint of a run: what decides its datums and schedule, by name, stored with each checkpoint.

A run resumes with the same steps only if all of this is unchanged. Rows, tokenizer, renderer and code are digests. The
length of a run is part of it as far as the learning rate follows it.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from kernel.errors import InputError, unknown
from shell.data.rows import content_digest
from shell.data.stream import Stream
from shell.provenance import code_digest, format_digest
from shell.settings.config import Config
from shell.text.formats import Format
from shell.training.open_run import OpenRun

FLAG, ALL = "--accept-changes", "all"
OF_THE_MODEL = ("model_name", "lora_rank", "train_mlp", "train_attn", "train_unembed")
"""settings that are part of a checkpoint, so no change of them can be accepted"""
SETTINGS = (
    *OF_THE_MODEL, "seed", "batch_size", "max_length", "truncation", "cut_answers", "zero_loss", "dataset_column",
    "dataset_format", "split_turns", "reduction", "tail", "order", "adam_beta1", "adam_beta2", "adam_eps",
    "weight_decay", "grad_clip_norm",
)  # fmt: skip
"""settings that decide the steps by their own value"""
ORDERS_ROWS = ("shell/datums/supervised_dataset.py", "shell/datums/tinker_datums.py", "shell/service/sdk.py")
"""modules that decide which rows make a step and how they are sent, and no token"""


def fingerprint(config: Config, opened: OpenRun) -> dict[str, str]:
    """What decides the datums and the schedule of a run; equal fingerprints, equal steps."""
    row_renderer = opened.data.maker
    return {
        "rows": _rows(config, opened),
        "tokenizer": _short(row_renderer.tokenizer.json),
        "encoder": f"tokenizers {package_version('tokenizers')}",
        "renderer": f"{opened.renderer_name} {_short(*_renderer(row_renderer.chat_format, config.renderer_name))}",
        "code": f"{package_version()} {code_digest(ORDERS_ROWS)[:16]}",
        "train_on_what": row_renderer.settings.train_on_what.value,
        **{name: str(getattr(config, name)) for name in SETTINGS},
        "learning_rate": str(opened.learning_rate),
        "schedule": schedule_line(config, opened.plan.n_steps),
    }


def schedule_line(config: Config, n_steps: int) -> str:
    """A schedule in words, with the length of the run if it depends on it.

    >>> schedule_line(Config(log_path="x", warmup_steps=5), 60)
    'linear to step 60, 5 steps of warmup'
    >>> schedule_line(Config(log_path="x", lr_schedule="constant"), 60)
    'constant'
    """
    follows = config.lr_schedule != "constant"
    parts = [f"{config.lr_schedule} to step {n_steps}" if follows else "constant"]
    parts += [f"no lower than {config.min_learning_rate:g}"] if follows and config.min_learning_rate else []
    parts += [f"{config.warmup_steps} steps of warmup"] if config.warmup_steps else []
    return ", ".join(parts)


def check_accepted(accepted: str | None, names: Sequence[str]) -> None:
    """Raises, with the nearest name, if `--accept-changes` has a name that no fingerprint has."""
    for name in _names(accepted):
        if name != ALL and name not in names:
            raise unknown("part of a run", name, [*names, ALL], at=FLAG)


def check_unchanged(before: Mapping[str, str], now: Mapping[str, str], accepted: str | None, where: str) -> list[str]:
    """Raises if a run would not take the steps of the checkpoint it resumes from.

    Args:
        before: the fingerprint of the checkpoint. What only one of the two has is not compared.
        accepted: `--accept-changes`: names, or "all".
        where: the checkpoint, for the message.

    Returns:
        A line for each change that was accepted.

    >>> check_unchanged({"batch_size": "4"}, {"batch_size": "2"}, "batch_size", "checkpoint 000004")
    ['accepted  batch_size was 4 and is 2 now']
    """
    changed = {
        name: f"{name} was {before[name]} and is {now[name]} now"
        for name in now
        if name in before and before[name] != now[name]
    }
    taken = _names(accepted)
    fixed = [name for name in changed if name in OF_THE_MODEL]
    refused = [name for name in changed if name in fixed or not {name, ALL} & set(taken)]
    if refused:
        changes = ". ".join(changed[name] for name in refused)
        flag = f"{FLAG} {','.join(dict.fromkeys([*taken, *refused]))}"
        way = f" ({', '.join(fixed)} cannot change in a run)" if fixed else f", or resume anyway with {flag}"
        raise InputError(
            f"since {where}: {changes}. The steps would not be those of an uninterrupted run: change it back{way}"
        )
    return [f"accepted  {text}" for text in changed.values()]


def package_version(package: str = "tinsmith") -> str:
    """The version of a package, or "unknown" if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _names(accepted: str | None) -> list[str]:
    return [name.strip().replace("-", "_") for name in (accepted or "").split(",") if name.strip()]


def _short(*chunks: bytes) -> str:
    return content_digest(chunks)[:16]


def _rows(config: Config, opened: OpenRun) -> str:
    """The rows to train on, in order; of a stream only its source."""
    train = opened.data.source.train
    if isinstance(train, Stream):
        names = (config.dataset, config.dataset_config, config.dataset_split, config.test_size, config.shuffle_buffer)
        return f"{len(train)} of a stream {_short(msgspec.json.encode(names))}"
    return f"{len(train)} {_short(train.rows.fingerprint.encode(), train.indices.astype('<i8').tobytes())}"


def _renderer(chat_format: Format, name: str | None) -> list[bytes]:
    own = Path((name or "").rpartition(":")[0]).expanduser()
    return [format_digest(chat_format).encode(), *([own.read_bytes()] if own.suffix == ".py" else [])]
