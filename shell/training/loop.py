"""The training loop: it queues what `kernel.train_plan` says, a few steps ahead of the answers, and writes down what
comes.

Nothing is waited for but the oldest step in flight. Evaluations and saves stand in the same queue as the updates, so
they see exactly the weights of their place, and a save drains nothing. A step is finished when its answers are here and
its line of `metrics.jsonl` is on disk; a checkpoint counts when its save has resolved and all steps below it are
finished. When the service fails, what is finished stands, and nothing that was queued behind the failure is believed.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field

import numpy as np

from kernel.loss import sum_loss
from kernel.train_plan import CheckpointRef, Request, StepContext, checkpoint_mark, requests
from shell.datums.prefetch import Batch, batches, not_reached, prefetched
from shell.process.signals import Stop
from shell.run_dir.logs import append_metrics
from shell.service.client import Logprobs, ServiceFault
from shell.training import evaluate
from shell.training.checkpoint_queue import PendingCheckpoint, queue_checkpoint, record_checkpoints, with_sampler
from shell.training.evaluate import HOLDOUT
from shell.training.row_log import append_entries
from shell.training.run_state import Progress, TrainingRun
from shell.training.samples import append_samples, sample_lines, shown


@dataclass
class Flight:
    """A step whose requests are queued. What it did not ask for is None."""

    step: int
    batch: Batch | None
    progress: Progress
    """of the run, once this step is finished"""
    times: dict[str, float] = field(default_factory=dict)
    evaluations: dict[str, Future[Logprobs]] = field(default_factory=dict)
    samples: Future[list[list[int]]] | None = None
    logprobs: Future[Logprobs] | None = None
    update: Future[Mapping[str, float]] | None = None
    save: PendingCheckpoint | None = None


def run_loop(job: TrainingRun, begin: Progress, stop: Stop) -> Progress:
    """Runs a job from where it stands to its end, or until it is asked to stop.

    Args:
        job: the run.
        begin: where it stands. The client must hold the weights of that place.
        stop: looked up before each step.

    Returns:
        Where it stands now; at its end `n_finished` is `plan.n_steps + 1`. All checkpoints are recorded.

    Touches: the network, through the client; `metrics.jsonl`, `checkpoints.jsonl`, `logs.log`; the screen.

    Raises:
        ServiceFault: the service failed. What was finished before is on disk.
        InputError: a row cannot be used, or the disk refuses.
    """
    now = job.clock()
    progress = queued = begin._replace(time=now, saved=now)
    flights: deque[Flight] = deque()
    saves: deque[PendingCheckpoint] = deque()
    flight = None
    with closing(prefetched(batches(job.dataset, range(begin.n_finished, job.plan.n_steps), job.clock))) as rows:
        try:
            for step in range(begin.n_finished, job.plan.n_steps + 1):
                if stop:
                    break
                flight = _submit(job, step, rows, queued)
                queued = flight.progress
                flights.append(flight)
                if flight.save:
                    saves.append(flight.save)
                if len(flights) > job.submit_ahead:
                    progress = _finish(job, flights.popleft(), progress)
                    record_checkpoints(job, saves, progress)
            while flights:
                progress = _finish(job, flights.popleft(), progress)
                record_checkpoints(job, saves, progress)
            if flight and (flight.save is None or flight.save.mark.rolling):  # a stop between two saves that last
                saves.append(queue_checkpoint(job, CheckpointRef(progress.n_finished), progress))
            record_checkpoints(job, saves, progress, wait=True)
        except ServiceFault:
            with suppress(ServiceFault):
                record_checkpoints(job, saves, progress)
            raise
    return progress


def _submit(job: TrainingRun, step: int, rows: Iterator[Batch], queued: Progress) -> Flight:
    """Queues the requests of a step in the plan's order."""
    began = job.clock()
    batch = next(rows) if step < job.plan.n_steps else None
    taken = job.clock()
    has_loss = batch is not None and (
        bool(batch.datums.weights.any()) or (job.sends_zero_loss and batch.datums.n_examples > 0)
    )
    flight = Flight(step, batch, _counted(queued, batch if has_loss else None))
    moment = StepContext(has_loss, queued.n_tokens, flight.progress.n_tokens, taken - queued.saved)
    for request in requests(job.plan, step, moment):
        match request:
            case Request.EVALUATE:
                flight.evaluations |= evaluate.queue_evaluations(job.client, job.held_out)
            case Request.EVALUATE_RARELY:
                flight.evaluations |= evaluate.queue_evaluations(job.client, job.rare)
            case Request.SAMPLE if job.samples:
                prompts = [prompt.tokens for prompt in job.samples.prompts]
                flight.samples = job.client.sample(prompts, job.samples.drawing)
            case Request.FORWARD_BACKWARD if batch:
                flight.logprobs = job.client.forward_backward(batch.datums)
            case Request.OPTIM_STEP:
                flight.update = job.client.optim_step(job.adam(step))
            case Request.SAVE_STATE:
                flight.progress = flight.progress._replace(saved=taken)
                flight.save = queue_checkpoint(job, checkpoint_mark(job.plan, step), flight.progress)
            case Request.SAVE_ROLLING:
                flight.save = queue_checkpoint(job, checkpoint_mark(job.plan, step, rolling=True), flight.progress)
            case Request.SAVE_SAMPLER if flight.save:
                flight.save = with_sampler(job, flight.save)
    if batch:
        flight.times = {"time/get_batch": batch.seconds, "time/wait_batch": taken - began}
    flight.times["time/submit_batch"] = job.clock() - taken
    return flight


def _counted(queued: Progress, trained: Batch | None) -> Progress:
    """The progress with one more step, and what it trains on."""
    counted = queued._replace(n_finished=queued.n_finished + 1)
    if trained is None:
        return counted
    n_sequences = queued.n_sequences + trained.datums.n_examples
    return counted._replace(n_sequences=n_sequences, n_tokens=queued.n_tokens + len(trained.datums.inputs))


def _finish(job: TrainingRun, flight: Flight, progress: Progress) -> Progress:
    """Waits for a step's answers and writes its line of metrics."""
    where = f"step {flight.step}" if flight.batch else "the end"
    began = job.clock()
    evaluations = {
        name: job.answer(logprobs, f"the {Request.EVALUATE.value} ({name}) of {where}")
        for name, logprobs in flight.evaluations.items()
    }
    drawn = job.answer(flight.samples, f"the {Request.SAMPLE.value} at {where}") if flight.samples else []
    evaluated = job.clock()
    row: dict[str, object] = {
        "step": flight.step,
        "epoch": flight.step // len(job.dataset),
        "progress": flight.step / job.plan.n_steps,
        **(_trained(job, flight, flight.batch) if flight.batch else {}),
        **_evaluated(job, evaluations),
        **flight.times,
    }
    now = job.clock()
    if evaluations or drawn:
        row["time/evals"] = evaluated - began
    row["time/finish_batch"] = now - evaluated
    row["time/step"] = now - progress.time
    append_entries(job.folder, flight.batch.entries if flight.batch else not_reached(job.dataset, job.plan.n_steps))
    said = sample_lines(job.samples, flight.step, drawn) if job.samples and drawn else []
    if said:
        append_samples(job.folder, said)
    if flight.batch or evaluations:
        append_metrics(job.folder, row)
    for line in said:
        job.screen.say(f"step {min(flight.step + 1, job.plan.n_steps)}/{job.plan.n_steps}  {shown(line)}")
    if flight.batch:
        job.screen.step(row, job.plan.n_steps)
    return flight.progress._replace(time=now)


def _evaluated(job: TrainingRun, evaluations: Mapping[str, Logprobs]) -> dict[str, float]:
    sets = {name: datums for name, datums in {**job.held_out, **job.rare}.items() if name in evaluations}
    told = evaluate.score(sets, evaluations, job.n_bytes)
    if HOLDOUT in sets and job.test_sources:
        told |= evaluate.score_sources(sets[HOLDOUT], evaluations[HOLDOUT], job.test_sources, "test_nll")
    return told


def _trained(job: TrainingRun, flight: Flight, batch: Batch) -> dict[str, object]:
    """The metrics of a step's rows; without loss where none of them had any."""
    datums = batch.datums
    metrics: dict[str, object] = {
        "learning_rate": job.adam(flight.step).learning_rate,
        "num_sequences": datums.n_examples,
        "num_tokens": len(datums.inputs),
        "num_loss_tokens": int((datums.weights > 0).sum()),
        "num_rows": batch.n_rows,
        "num_rows_whole": batch.n_whole,
    }
    lengths = np.diff(datums.offsets)
    for part in batch.parts:
        n_tokens = int(lengths[part.examples].sum())
        told = {"num_rows": part.n_rows, "num_rows_whole": part.n_whole, "num_tokens": n_tokens}
        metrics |= {f"source/{part.name}/{key}": value for key, value in told.items()}
    if flight.logprobs is None or flight.update is None:
        return metrics
    logprobs = job.answer(flight.logprobs, f"the {Request.FORWARD_BACKWARD.value} of step {flight.step}")
    sums = sum_loss(logprobs, datums.targets, datums.weights, job.n_bytes)
    metrics |= {"train_mean_nll": sums.nll} if sums.weight else {}
    metrics |= {"train_mean_bpb": sums.bpb} if sums.n_text_bytes else {}
    sources = {part.name: part.examples for part in batch.parts}
    metrics |= evaluate.score_sources(datums, logprobs, sources, "train_mean_nll")
    updated = job.answer(flight.update, f"the {Request.OPTIM_STEP.value} of step {flight.step}")
    return {**metrics, **updated}
