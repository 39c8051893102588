"""What decides the datums and the schedule of a run, by name: stored with a checkpoint, compared when it is taken up.

A run that goes on where another left off takes the steps that run would have taken only if all of this is as it was.
Short values stand as they are, so that a difference can be read; what is long (rows, a tokenizer, a renderer, the code)
stands as a digest. What decides no step (the log's place, cadences, `submit_ahead`) is not here. The length of a run
is here as far as the learning rate follows it: a constant schedule may be lengthened freely.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from kernel.errors import InputError, unknown
from shell.data.rows import content_digest
from shell.data.stream import Stream
from shell.provenance import HOUSE, format_digest
from shell.settings.config import Config
from shell.text.formats import Format
from shell.training.open_run import OpenRun

FLAG, ALL = "--accept-changes", "all"
OF_THE_MODEL = ("model_name", "lora_rank", "train_mlp", "train_attn", "train_unembed")
"""settings that a checkpoint brings with it, so that none can be accepted otherwise"""
SETTINGS = (
    *OF_THE_MODEL, "seed", "batch_size", "max_length", "truncation", "cut_answers", "zero_loss", "dataset_column",
    "dataset_format", "split_turns", "reduction", "tail", "order", "adam_beta1", "adam_beta2", "adam_eps",
    "weight_decay", "grad_clip_norm",
)  # fmt: skip
"""settings that decide by their own value"""
_CODE = (
    "kernel",
    "shell/data",
    "shell/datums/supervised_dataset.py",
    "shell/datums/images.py",
    "shell/datums/render_rows.py",
    "shell/datums/tinker_datums.py",
    "shell/token_cache",
    "shell/service/sdk.py",
    "shell/text/encoder.py",
    "shell/text/encoder_check.py",
    "shell/text/formats.py",
    "shell/text/jinja",
    "shell/text/tokenizer.py",
)  # fmt: skip
"""sources that make datums of rows, and put these in order"""
_NO_CODE = ("errors.py", "imitation.py", "ledger.py", "metrics.py", "parse.py", "parsers", "plan.py")
"""parts of the kernel that do neither"""


def fingerprint(config: Config, parts: OpenRun) -> dict[str, str]:
    """What decides the datums and the schedule of a run.

    Args:
        config: the run.
        parts: what its names led to.

    Returns:
        A value for each name; equal fingerprints, equal steps.

    Touches: the files of the rows, of the code, and of a renderer of the user's.
    """
    maker = parts.data.maker
    return {
        "rows": _rows(config, parts),
        "tokenizer": _short(maker.tokenizer.json),
        "encoder": f"tokenizers {package_version('tokenizers')}",
        "renderer": f"{parts.renderer_name} {_short(*_renderer(maker.chat_format, config.renderer_name))}",
        "code": f"{package_version()} {_code()}",
        "train_on_what": maker.settings.train_on_what.value,
        **{name: str(getattr(config, name)) for name in SETTINGS},
        "learning_rate": str(parts.learning_rate),
        "schedule": schedule_line(config, parts.plan.n_steps),
    }


def schedule_line(config: Config, n_steps: int) -> str:
    """A schedule in words, with the length of the run where it depends on that.

    >>> schedule_line(Config(log_path="x", warmup_steps=5), 60)
    'linear to step 60, 5 steps of warmup'
    >>> schedule_line(Config(log_path="x", lr_schedule="constant"), 60)
    'constant'
    """
    follows = config.lr_schedule != "constant"
    told = [f"{config.lr_schedule} to step {n_steps}" if follows else "constant"]
    told += [f"no lower than {config.min_learning_rate:g}"] if follows and config.min_learning_rate else []
    told += [f"{config.warmup_steps} steps of warmup"] if config.warmup_steps else []
    return ", ".join(told)


def check_accepted(accepted: str | None, names: Sequence[str]) -> None:
    """Refuses `--accept-changes` where it names what no fingerprint has.

    Raises:
        InputError: with the nearest name.
    """
    for name in _names(accepted):
        if name != ALL and name not in names:
            raise unknown("part of a run", name, [*names, ALL], at=FLAG)


def check_unchanged(before: Mapping[str, str], now: Mapping[str, str], accepted: str | None, where: str) -> list[str]:
    """Refuses to go on with a run whose steps would not be those that it would have taken.

    Args:
        before: the fingerprint of the checkpoint to go on from. What is in one of the two alone is not compared.
        now: that of the run as it is asked for.
        accepted: `--accept-changes`: names, or "all".
        where: the checkpoint, for the message.

    Returns:
        A line for each change that was accepted.

    Raises:
        InputError: a sentence for each change that was not.

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
        told = ". ".join(changed[name] for name in refused)
        flag = f"{FLAG} {','.join(dict.fromkeys([*taken, *refused]))}"
        way = f" ({', '.join(fixed)} cannot change in a run)" if fixed else f", or go on all the same with {flag}"
        raise InputError(
            f"since {where}: {told}. These are not the steps that the run would have taken: put it back{way}"
        )
    return [f"accepted  {text}" for text in changed.values()]


def package_version(package: str = "tinsmith") -> str:
    """The version of a package, Tinsmith's own by default; "unknown" where it is not installed.

    Touches: the metadata of what is installed.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _names(accepted: str | None) -> list[str]:
    return [name.strip().replace("-", "_") for name in (accepted or "").split(",") if name.strip()]


def _short(*chunks: bytes) -> str:
    return content_digest(chunks)[:16]


def _rows(config: Config, parts: OpenRun) -> str:
    """The rows to train on in the builder's order; of a stream, which cannot be looked through, where it comes from."""
    train = parts.data.source.train
    if isinstance(train, Stream):
        names = (config.dataset, config.dataset_config, config.dataset_split, config.test_size, config.shuffle_buffer)
        return f"{len(train)} of a stream {_short(msgspec.json.encode(names))}"
    return f"{len(train)} {_short(train.rows.fingerprint.encode(), train.indices.astype('<i8').tobytes())}"


def _renderer(chat_format: Format, name: str | None) -> list[bytes]:
    own = Path((name or "").rpartition(":")[0]).expanduser()
    return [format_digest(chat_format).encode(), *([own.read_bytes()] if own.suffix == ".py" else [])]


def _code() -> str:
    """A digest of the sources that make datums of rows."""
    paths = [path for name in _CODE for path in sorted((HOUSE / name).rglob("*.py")) or [HOUSE / name]]
    deciding = [path for path in paths if not set(path.relative_to(HOUSE).parts) & set(_NO_CODE)]
    return _short(*(part for path in deciding for part in (path.name.encode(), path.read_bytes())))
