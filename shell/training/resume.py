"""Resumption of a run: from the last checkpoint that still exists, if nothing that decides its steps has changed.

The fingerprint (what decides datums and schedule, by name) is stored with each checkpoint and compared; rows,
tokenizer, renderer and code are digests in it, and the length of the run counts as far as the learning rate follows it.
A checkpoint that the service reports as gone gives way to the one before; no answer proves nothing about checkpoints.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import msgspec

from kernel.errors import InputError, unknown
from kernel.training_steps import candidates
from shell.data.dataset import Stream
from shell.data.rows import content_digest
from shell.fingerprints import STEPS, code_digest, format_digest
from shell.run_dir.run_files import Checkpoint
from shell.service.protocol import CROSS_ENTROPY, Client, ServiceFault
from shell.service.sdk import is_users, status_of
from shell.service.tinker_client import error_text
from shell.settings.config import Config
from shell.text.renderer_by_name import Format
from shell.training.open_run import OpenRun, Progress

GONE = (404, 410)  # HTTP: not found, gone
FLAG, ALL = "--accept-changes", "all"
OF_THE_MODEL = ("model_name", "lora_rank", "train_mlp", "train_attn", "train_unembed")
"""settings that are part of a checkpoint, so no change of them can be accepted"""
SETTINGS = (
    *OF_THE_MODEL, "seed", "batch_size", "max_length", "truncation", "cut_answers", "zero_loss", "dataset_column",
    "dataset_format", "dataset_map", "unknown_keys", "follow", "split_turns", "reduction", "tail", "order",
    "adam_beta1", "adam_beta2", "adam_eps", "weight_decay", "grad_clip_norm",
)  # fmt: skip
"""settings that decide the steps by their own value"""


def fingerprint(config: Config, opened: OpenRun) -> dict[str, str]:
    """What decides the datums and the schedule of a run; equal fingerprints, equal steps."""
    row_renderer = opened.data.renderer
    return {
        "rows": _rows(config, opened),
        "tokenizer": _short(row_renderer.tokenizer.json),
        "encoder": f"tokenizers {package_version('tokenizers')}",
        "renderer": f"{opened.renderer_name} {_short(*_renderer(row_renderer.chat_format, config.renderer_name))}",
        "code": f"{package_version()} {code_digest(STEPS)[:16]}",
        "train_on_what": row_renderer.settings.train_on_what.value,
        **{name: str(getattr(config, name)) for name in SETTINGS},
        "learning_rate": str(opened.learning_rate),
        "schedule": schedule_line(config, opened.plan.n_steps, opened.code.decay.mark if opened.code.decay else None),
        "loss": opened.code.loss_mark,
    }


def schedule_line(config: Config, n_steps: int, own: str | None = None) -> str:
    """A schedule in words (`own`: the mark of the user's), with the length of the run if it depends on it."""
    follows = own or config.lr_schedule != "constant"
    parts = [f"{own or config.lr_schedule} to step {n_steps}" if follows else "constant"]
    parts += [f"no lower than {config.min_learning_rate:g}"] if follows and config.min_learning_rate else []
    parts += [f"{config.n_warmup(n_steps)} steps of warmup"] if config.n_warmup(n_steps) else []
    return ", ".join(parts)


def check_accepted(accepted: str | None, names: Sequence[str]) -> None:
    """Raises, with the nearest name, if `--accept-changes` has a name that no fingerprint has."""
    for name in _names(accepted):
        if name != ALL and name not in names:
            raise unknown("part of a run", name, [*names, ALL], at=FLAG)


def check_unchanged(before: Mapping[str, str], now: Mapping[str, str], accepted: str | None, where: str) -> list[str]:
    """A line for each change since a checkpoint that was accepted; raises for one that was not."""
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


class Resumption(NamedTuple):
    """A checkpoint that a run may resume from."""

    checkpoint: Checkpoint
    n_kept: int  # records up to and including its own
    accepted: Sequence[str]

    @property
    def progress(self) -> Progress:
        return Progress(self.checkpoint.cursor, self.checkpoint.n_sequences, self.checkpoint.n_tokens)


def resumptions(
    checkpoints: Sequence[Checkpoint], fingerprint: Mapping[str, str], accepted: str | None
) -> Iterator[Resumption]:
    """The checkpoints that a run may resume from, the best first, each compared to the fingerprint as it is reached."""
    for i in candidates([checkpoint.mark for checkpoint in checkpoints]):
        one = checkpoints[i]
        before = {"loss": CROSS_ENTROPY.name, **one.fingerprint} if one.fingerprint else {}  # older runs had no other
        lines = check_unchanged(before, fingerprint, accepted, f"checkpoint {one.name}")
        if not one.fingerprint:
            lines = ["warning   the checkpoint has no fingerprint, so nothing was compared"]
        yield Resumption(one, i + 1, lines)


def first_available(
    resumptions: Iterator[Resumption],
    load: Callable[[Checkpoint], Client],
    log: Callable[[str], None],
    folder: Path,
    secret: str | None = None,
) -> tuple[Client, Resumption]:
    """The model of the first checkpoint that still exists; raises if there is none, or the service fails otherwise."""
    for one in resumptions:
        try:
            return load(one.checkpoint), one
        except (InputError, ServiceFault) as error:
            reason = gone(error)
            if reason is None:
                raise
            log(f"gone      checkpoint {one.checkpoint.name} ({error_text(reason, secret)}): trying the one before")
    raise InputError(
        f"the service has none of the checkpoints of {folder}: use the --service that saved them, or start again with "
        "--behavior-if-log-dir-exists delete"
    )


def gone(error: BaseException | None) -> BaseException | None:
    """The cause that reports that what was to be loaded does not exist (any more), or None."""
    while error is not None:
        if is_users(error) or status_of(error) in GONE:
            return error
        error = error.__cause__
    return None
