"""Lines about a run for people: before it starts, when it stops, and at its end, with row totals that must add up."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kernel.row_keys import ignored_keys
from kernel.row_outcomes import OUTSIDE, Intake, Outcome, RowOutcome, missing, totals
from shell.data.load_dataset import Source
from shell.data.mixture_spec import intake, intakes
from shell.process.command_line import program, serve_program
from shell.run_dir.folder import FLAG
from shell.run_dir.progress_display import HELD_OUT_LOSSES, set_name, training_on
from shell.run_dir.run_files import CONFIG, Checkpoint, read_checkpoints, read_entries, read_metrics
from shell.service.connect import SERVICE_FOLDER
from shell.service.protocol import CROSS_ENTROPY
from shell.settings.choose_service import ServiceChoice
from shell.settings.config import Config
from shell.text.known_models import find
from shell.text.renderer_by_name import TEMPLATE
from shell.token_cache.shard import RowCounts
from shell.training.open_run import OpenRun
from shell.training.resume import Resumption
from shell.training.users_code import UsersCode

Row = Mapping[str, Any]
WORDS = {
    Outcome.WHOLE: "trained whole",
    Outcome.TRUNCATED: "trained truncated",
    Outcome.ZERO_LOSS: "zero loss",
    Outcome.TOO_LONG: "too long",
    Outcome.REJECTED: "rejected",
    Outcome.LEFT_OVER: "left over in the tail",
    Outcome.NOT_REACHED: "not reached",
    Outcome.HELD_OUT: "held out",
    Outcome.DUPLICATE: "held out but also in training (not evaluated)",
    Outcome.NOT_DRAWN: "not drawn",
}


def start_lines(config: Config, endpoint: ServiceChoice, opened: OpenRun) -> list[str]:
    """The first lines of a run: service and reason, model, data, steps."""
    data, n_steps = opened.data, opened.plan.n_steps
    which = "local" if endpoint.url is None else endpoint.url
    n_batches, at_most = len(data.train), "at most " if config.tail == "keep" else ""
    batches = f"{n_batches} {'batch' if n_batches == 1 else 'batches'} of {at_most}{config.batch_size} rows"
    left_over = f", {data.n_left_over} left over in each epoch" if data.n_left_over else ""
    return [
        f"service   {which} ({endpoint.reason})",
        f"model     {config.model_name}, LoRA rank {config.lora_rank}, renderer {opened.renderer_name}",
        *foreign_line(config.model_name or "", opened.renderer_name),
        f"data      {data.source.description}; {training_on(data.renderer.settings.train_on_what.value)}",
        *mixture_lines(data.source),
        *([f"ignored   {ignored_keys(data.ignored)}"] if data.ignored else []),
        *split_line(data.row_counts, data.split_factor),
        *_headed("notes", data.notes),
        *evaluation_lines(opened),
        *loss_line(opened.code),
        *([f"prepared  {data.preparation.description}"] if data.preparation else []),
        f"steps     {n_steps}, an epoch is {batches}{left_over}",
        f"log       {config.log_path}",
    ]


def resumed_lines(resumption: Resumption, n_steps: int) -> list[str]:
    """The checkpoint that a run resumes from, and what has changed since."""
    checkpoint = resumption.checkpoint
    lines = [f"resumed   from checkpoint {checkpoint.name}, at step {checkpoint.cursor}", *resumption.accepted]
    if checkpoint.n_steps != n_steps:
        lines += [f"          planned for {checkpoint.n_steps} steps then, {n_steps} now"]
    return lines


def foreign_line(model_name: str, renderer_name: str) -> list[str]:
    """A warning if the model was not trained with a renderer; the tokenizer's own template is always right."""
    model = find(model_name)
    if model is None or renderer_name in (*model.renderers, TEMPLATE):
        return []
    return [f"warning   {model_name} was trained with {' or '.join(model.renderers)}, not with {renderer_name}"]


def split_line(row_counts: RowCounts, factor: float = 1.0) -> list[str]:
    """The number of conversations that became several examples, if any did, and what that costs."""
    if not row_counts.n_split:
        return []
    n = row_counts.n_examples - (row_counts.n_rows - row_counts.n_bad - row_counts.n_split)
    counts = f"{row_counts.n_split:,} of {row_counts.n_rows:,} rows become {n:,} examples"
    return [f"splitting {counts}: {factor:.1f} times the tokens in the first batch (--split-turns never keeps one)"]


def end_lines(last: Checkpoint, endpoint: ServiceChoice, folder: Path, source: Source) -> list[str]:
    """The last lines of a finished run: losses, row totals, checkpoint paths, and the next commands."""
    first, *others = account(folder, intake(source), intakes(source))
    lines = [
        f"learned   {loss_summary(read_metrics(folder))}",
        f"rows      {first}",
        *(f"          {line}" for line in others),
        *share_lines(read_metrics(folder), list(intakes(source))),
        f"saved     {last.state_path} (weights and optimizer)",
        f"          {last.sampler_path} (for sampling)",
    ]
    again = f"--config {shlex.quote(str(folder / CONFIG))} --load-checkpoint-path {shlex.quote(str(folder))}"
    again += f" --log-path {shlex.quote(f'{folder}-next')}"
    lines += [f"next      {program()} {again} trains on from these weights"]
    if endpoint.url is None:
        state = shlex.quote(str(folder / SERVICE_FOLDER))
        lines += [f"          {serve_program()} --state-dir {state} serves them to any program"]
    return lines


def loss_line(code: UsersCode) -> list[str]:
    """The loss, unless it is the usual one, and what it costs."""
    if code.loss is CROSS_ENTROPY:
        return []
    return [f"loss      {code.loss_mark}{', which costs one more forward pass a step' if code.loss.function else ''}"]


def mixture_lines(source: Source) -> list[str]:
    """The share of each source of a mixture in an epoch."""
    of = intakes(source)
    n = sum(part.n_drawn for part in of.values())
    lines = []
    for name, (n_drawn, n_again) in of.items():
        again = f", {n_again:,} of them again" if n_again else ""
        lines.append(f"{n_drawn / n:.1%} {name}: {n_drawn:,} rows of an epoch{again}")
    return _headed("mixture", lines)


def share_lines(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """The totals of each source of a mixture: its share of the rows and the tokens, and its losses."""
    sums = {
        name: [sum(row.get(f"source/{name}/{key}", 0) for row in rows) for key in ("num_rows", "num_tokens")]
        for name in names
    }
    n_rows, n_tokens = (max(sum(column), 1) for column in zip(*sums.values(), strict=True)) if sums else (1, 1)
    lines = []
    for name, (rows_of, tokens_of) in sums.items():
        parts = [f"{rows_of:,} rows ({rows_of / n_rows:.1%})", f"{tokens_of:,} tokens ({tokens_of / n_tokens:.1%})"]
        for kind, which in (("train_mean_nll", "training"), ("test_nll", "held-out")):
            losses = [row[key] for row in rows if (key := f"source/{name}/{kind}") in row]
            parts += [f"{which} loss {losses[0]:.4f} -> {losses[-1]:.4f}"] if losses else []
        lines.append(f"{name}: {', '.join(parts)}")
    return _headed("sources", lines)


def _headed(word: str, lines: Sequence[str]) -> list[str]:
    return [f"{word if i == 0 else '':<10}{line}" for i, line in enumerate(lines)]


def resume_hint(folder: Path, with_code: bool | None = None) -> str:
    """The last checkpoint of a stopped run, and the command that resumes it (without a key).

    `with_code`: where code of the user's has failed, whether it is named on the command line or given in Python.
    """
    checkpoints = read_checkpoints(folder)
    where = f"The last checkpoint is {checkpoints[-1].name}" if checkpoints else "There is no checkpoint yet"
    config = shlex.quote(str(folder / CONFIG))
    if with_code is False:
        return f"{where}; resume with behavior_if_log_dir_exists='resume'"
    return f"{where}; resume with: {program()} --config {config} {FLAG} resume{' --allow-code' if with_code else ''}"


def _losses(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The losses that were measured, and their names for people."""
    sets = dict.fromkeys(key for row in rows for key in row if key.endswith(HELD_OUT_LOSSES))
    return [("train_mean_nll", "training"), *((key, set_name(key)) for key in sorted(sets, key="test/nll".__ne__))]


def evaluation_lines(opened: OpenRun) -> list[str]:
    """Sets to evaluate and prompts to sample, with their cadences."""
    plan, lines = opened.plan, []
    for every, sets in ((plan.eval_every, opened.sets), (plan.rare_eval_every, opened.rare_sets)):
        if sets and every:
            lines.append(f"{', '.join(map(str, sets))}; every {every} steps and at the end")
    if opened.code.evaluators:
        named = ", ".join(f"{one.name} ({one.plug.spec})" for one in opened.code.evaluators)
        lines.append(f"{named}; every {plan.eval_every} steps and at the end")
    if opened.samples and plan.sample_every:
        n = len(opened.samples.prompts)
        lines.append(f"{n} {'prompt' if n == 1 else 'prompts'} sampled every {plan.sample_every} steps")
    if opened.data.source.held_out is None and not (opened.sets or opened.rare_sets):
        lines.append("nothing is held out; --test-size 0.1 holds out a tenth of the rows, and evaluates them")
    return _headed("evaluates", lines)


def loss_summary(rows: Sequence[Row]) -> str:
    """The first and the last loss of a run, in training and held out."""
    parts = []
    for key, name in _losses(rows):
        values = [row[key] for row in rows if row.get(key) is not None]
        parts += [f"{name} loss {values[0]:.4f} -> {values[-1]:.4f}"] if values else []
    return ", ".join(parts) + " nats per token" if parts else "nothing"


def account(folder: Path, intake: Intake, sources: Mapping[str, Intake] = MappingProxyType({})) -> list[str]:
    """The totals of all rows as lines: of rows outside, of each epoch that was begun, and a warning on a mismatch."""
    metrics, entries = read_metrics(folder), read_entries(folder)
    lines = _account(entries, metrics, "num_rows_whole", intake)
    for name, part in sources.items():
        own = [entry for entry in entries if entry.source == name]
        lines += [f"{name}: {line}" for line in _account(own, metrics, f"source/{name}/num_rows_whole", part)]
    return lines


def _account(
    entries: Sequence[RowOutcome], metrics: Sequence[Mapping[str, Any]], key: str, intake: Intake
) -> list[str]:
    n_whole: dict[int, int] = {}
    for row in metrics:
        if key in row:
            n_whole[row["epoch"]] = n_whole.get(row["epoch"], 0) + row[key]
    counts = totals(entries, n_whole)
    lines, n = total_lines(counts, *intake), intake.n_drawn
    for epoch, gap in missing(counts, n).items():
        question = "was the run resumed with other batches?"
        lines.append(f"warning: epoch {epoch} has {n - gap:,} outcomes for {n:,} rows; {question}")
    return lines


def total_lines(counts: dict[int | None, dict[Outcome, int]], n_drawn: int, n_again: int = 0) -> list[str]:
    """The totals as lines; epochs with equal totals share one. The arguments are those of an `Intake`."""
    outside = counts.get(None, {})
    n_outside = sum(outside.values())
    parts = [f"{outside[o]:,} {WORDS[o]}" for o in OUTSIDE if outside.get(o)]
    n_train = n_drawn - n_again
    parts += [f"{n_train:,} to train on", *([f"{n_again:,} more draws of them in an epoch"] if n_again else [])]
    lines = [f"{n_train + n_outside:,} rows: {', '.join(parts)}"]
    alike: dict[str, list[int]] = {}
    for epoch, of in counts.items():
        if epoch is not None:
            alike.setdefault(", ".join(f"{of[o]:,} {WORDS[o]}" for o in Outcome if of.get(o)), []).append(epoch)
    return lines + [f"{_epochs(epochs)}: {text}" for text, epochs in alike.items()]


def _epochs(epochs: list[int]) -> str:
    if len(epochs) == 1:
        return f"epoch {epochs[0]}"
    if epochs == list(range(epochs[0], epochs[-1] + 1)) and len(epochs) > 2:
        return f"epochs {epochs[0]} to {epochs[-1]}"
    return f"epochs {', '.join(map(str, epochs[:-1]))} and {epochs[-1]}"
