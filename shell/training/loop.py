"""Training loop: queues what `kernel.training_steps` requests, a few steps ahead of the answers, and writes what comes.

Only the oldest step in flight is awaited. Evaluations and saves are in the same queue as the updates, so they see
exactly the weights of their position. A step is finished when its answers are here and its line of `metrics.jsonl` is
on disk. When the service fails, what is finished stays, and nothing queued after the failure is used.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field

import numpy as np

from kernel.loss import sum_loss
from kernel.training_steps import CheckpointRef, Request, StepContext, checkpoint_mark, requests
from shell.datums.prefetch import Batch, batches, not_reached, prefetched
from shell.process.plugs import PlugError
from shell.process.signals import Stop
from shell.run_dir.run_files import append_entries, append_metrics
from shell.service.protocol import CROSS_ENTROPY, Logprobs, Loss, ServiceFault, T
from shell.training import evaluate
from shell.training.checkpoint_queue import CheckpointQueue, PendingCheckpoint
from shell.training.evaluate import HOLDOUT
from shell.training.open_run import Progress, TrainingRun
from shell.training.sampling import append_samples, sample_lines, shown


@dataclass
class StepInFlight:
    """A step whose requests are queued; what was not requested is None."""

    step: int
    batch: Batch | None
    progress: Progress  # of the run, once this step is finished
    times: dict[str, float] = field(default_factory=dict)
    evaluations: dict[str, Future[Logprobs]] = field(default_factory=dict)
    scores: dict[str, Future[dict[str, float]]] = field(default_factory=dict)
    samples: Future[list[list[int]]] | None = None
    logprobs: Future[Logprobs] | None = None
    loss: Loss = CROSS_ENTROPY
    update: Future[Mapping[str, float]] | None = None
    checkpoint: PendingCheckpoint | None = None


def run_loop(run: TrainingRun, begin: Progress, stop: Stop) -> Progress:
    """Trains from `begin`, whose weights the client holds, to the end (`n_finished`: `n_steps + 1`) or until `stop`."""
    now = run.clock()
    progress = queued = begin._replace(time=now, saved=now)
    in_flight: deque[StepInFlight] = deque()
    checkpoints = CheckpointQueue(run)
    last = None
    with closing(prefetched(batches(run.dataset, range(begin.n_finished, run.plan.n_steps), run.clock))) as rows:
        try:
            for step in range(begin.n_finished, run.plan.n_steps + 1):
                if stop:
                    break
                last = _submit(run, step, rows, queued, checkpoints)
                queued = last.progress
                in_flight.append(last)
                if len(in_flight) > run.submit_ahead:
                    progress = _finish(run, in_flight.popleft(), progress)
                    checkpoints.record(progress)
            while in_flight:
                progress = _finish(run, in_flight.popleft(), progress)
                checkpoints.record(progress)
            if last and (last.checkpoint is None or last.checkpoint.ref.rolling):  # stopped between two saves
                checkpoints.save(CheckpointRef(progress.n_finished), progress)
            checkpoints.record(progress, wait=True)
        except (ServiceFault, PlugError) as error:
            with suppress(ServiceFault):  # what was saved before code of the user's failed will be there
                checkpoints.record(progress, wait=isinstance(error, PlugError))
            raise
    return progress


def _submit(
    run: TrainingRun, step: int, rows: Iterator[Batch], queued: Progress, checkpoints: CheckpointQueue
) -> StepInFlight:
    """Queues the requests of a step in the plan's order."""
    began = run.clock()
    batch = next(rows) if step < run.plan.n_steps else None
    taken = run.clock()
    has_loss = batch is not None and (
        bool(batch.datums.weights.any()) or (run.sends_zero_loss and batch.datums.n_examples > 0)
    )
    this = StepInFlight(step, batch, _counted(queued, batch if has_loss else None))
    context = StepContext(has_loss, queued.n_tokens, this.progress.n_tokens, taken - queued.saved)
    for request in requests(run.plan, step, context):
        match request:
            case Request.EVALUATE:
                this.evaluations |= evaluate.queue_evaluations(run.client, run.held_out)
                this.scores = _start_evaluators(run)
            case Request.EVALUATE_RARELY:
                this.evaluations |= evaluate.queue_evaluations(run.client, run.rare)
            case Request.SAMPLE if run.samples:
                this.samples = run.client.sample([one.tokens for one in run.samples.prompts], run.samples.params)
            case Request.FORWARD_BACKWARD if batch:
                this.loss = run.loss.fresh()
                this.logprobs = run.client.forward_backward(batch.datums, this.loss)
            case Request.OPTIM_STEP:
                this.update = run.client.optim_step(run.adam(step))
            case Request.SAVE_STATE:
                this.progress = this.progress._replace(saved=taken)
                this.checkpoint = checkpoints.save(checkpoint_mark(run.plan, step), this.progress)
            case Request.SAVE_ROLLING:
                this.checkpoint = checkpoints.save(checkpoint_mark(run.plan, step, rolling=True), this.progress)
            case Request.SAVE_SAMPLER if this.checkpoint:
                checkpoints.export(this.checkpoint)
    if batch:
        this.times = {"time/get_batch": batch.seconds, "time/wait_batch": taken - began}
    this.times["time/submit_batch"] = run.clock() - taken
    return this


def _counted(queued: Progress, trained: Batch | None) -> Progress:
    """The progress after one more step and what it trains on."""
    counted = queued._replace(n_finished=queued.n_finished + 1)
    if trained is None:
        return counted
    n_sequences = queued.n_sequences + trained.datums.n_examples
    return counted._replace(n_sequences=n_sequences, n_tokens=queued.n_tokens + len(trained.datums.inputs))


def _finish(run: TrainingRun, this: StepInFlight, progress: Progress) -> Progress:
    """Waits for a step's answers and writes its line of metrics."""
    where = f"step {this.step}" if this.batch else "the end"
    began = run.clock()
    evaluations = {
        name: run.wait_for(logprobs, f"the {Request.EVALUATE.value} ({name}) of {where}")
        for name, logprobs in this.evaluations.items()
    }
    sampled = run.wait_for(this.samples, f"the {Request.SAMPLE.value} at {where}") if this.samples else []
    scores = [_wait_for_code(run, future) for future in this.scores.values()]
    evaluated = run.clock()
    row: dict[str, object] = {
        "step": this.step,
        "epoch": this.step // len(run.dataset),
        "progress": this.step / run.plan.n_steps,
        **(_trained(run, this, this.batch) if this.batch else {}),
        **_evaluated(run, evaluations),
        **{key: value for one in scores for key, value in one.items()},
        **this.times,
    }
    now = run.clock()
    if evaluations or sampled or scores:
        row["time/evals"] = evaluated - began
    row["time/finish_batch"] = now - evaluated
    row["time/step"] = now - progress.time
    append_entries(run.folder, this.batch.outcomes if this.batch else not_reached(run.dataset, run.plan.n_steps))
    samples = sample_lines(run.samples, this.step, sampled) if run.samples and sampled else []
    append_samples(run.folder, samples)
    if this.batch or evaluations or scores:
        append_metrics(run.folder, row)
    for line in samples:
        run.screen.log(f"step {min(this.step + 1, run.plan.n_steps)}/{run.plan.n_steps}  {shown(line)}")
    if this.batch:
        run.screen.step(row, run.plan.n_steps)
    if this.batch or evaluations or scores:
        run.on_line(row)
        run.client.note_pause()
    return this.progress._replace(time=now)


def _start_evaluators(run: TrainingRun) -> dict[str, Future[dict[str, float]]]:
    """Calls the user's evaluators with a sampler of the weights at this place of the queue."""
    if not run.evaluators:
        return {}

    def wait(answers: Future[T]) -> T:
        run.client.note_pause()
        return run.wait_for(answers, "the answers to an evaluator")

    sampler = run.open_sampler(run.client.snapshot(), wait=wait)
    return {one.name: one.start(sampler) for one in run.evaluators}


def _wait_for_code(run: TrainingRun, future: Future[T]) -> T:
    """What code of the user's returns, which may take its time without any answer of the service."""
    while True:
        try:
            scores = future.result(timeout=1)  # in between, signals are handled
        except TimeoutError:
            continue
        run.client.note_pause()
        return scores


def _evaluated(run: TrainingRun, evaluations: Mapping[str, Logprobs]) -> dict[str, float]:
    sets = {name: datums for name, datums in {**run.held_out, **run.rare}.items() if name in evaluations}
    prefix = run.client.nll_prefix
    metrics = evaluate.score(sets, evaluations, run.n_bytes, prefix)
    if HOLDOUT in sets and run.test_sources:
        metrics |= evaluate.score_sources(sets[HOLDOUT], evaluations[HOLDOUT], run.test_sources, f"test_{prefix}nll")
    return metrics


def _trained(run: TrainingRun, this: StepInFlight, batch: Batch) -> dict[str, object]:
    """The metrics of a step's rows; without loss where none of them had any."""
    datums = batch.datums
    metrics: dict[str, object] = {
        "learning_rate": run.adam(this.step).learning_rate,
        "num_sequences": datums.n_examples,
        "num_tokens": len(datums.inputs),
        "num_loss_tokens": int((datums.weights > 0).sum()),
        "num_rows": batch.n_rows,
        "num_rows_whole": batch.n_whole,
    }
    lengths = np.diff(datums.offsets)
    for part in batch.parts:
        n_tokens = int(lengths[part.examples].sum())
        counts = {"num_rows": part.n_rows, "num_rows_whole": part.n_whole, "num_tokens": n_tokens}
        metrics |= {f"source/{part.name}/{key}": value for key, value in counts.items()}
    if this.logprobs is None or this.update is None:
        return metrics
    logprobs = run.wait_for(this.logprobs, f"the {Request.FORWARD_BACKWARD.value} of step {this.step}")
    sums = sum_loss(logprobs, datums.targets, datums.weights, run.n_bytes)
    metrics |= {"train_mean_nll": sums.nll} if sums.weight else {}
    metrics |= {"train_mean_bpb": sums.bpb} if sums.n_text_bytes else {}
    sources = {part.name: part.examples for part in batch.parts}
    metrics |= evaluate.score_sources(datums, logprobs, sources, "train_mean_nll")
    updated = run.wait_for(this.update, f"the {Request.OPTIM_STEP.value} of step {this.step}")
    own = {f"loss/{key.removeprefix('loss:')}": value for key, value in this.loss.metrics.items()}
    return {**metrics, **own, **updated}
