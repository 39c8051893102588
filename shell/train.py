"""The train command: opens and checks what a config names, and only then writes or requests anything.

In order: look (folder, service, data, checkpoints), check, enter the folder, open the service, run the loop. So bad
input leaves everything as it was.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from msgspec import to_builtins
from msgspec.structs import replace

from kernel.errors import InputError, expected, unknown
from kernel.training_steps import start
from shell.local_service.model.learner import MAX_RANK
from shell.process.gc_and_cpus import loaded_spared
from shell.process.plugs import PlugError
from shell.process.signals import stop_on_signals
from shell.run_dir.folder import Verdict, check_room, decide, empty, enter, terminal_question
from shell.run_dir.progress_display import Screen, row_progress
from shell.run_dir.run_files import (
    METRICS,
    Checkpoint,
    begin_ledger,
    keep_checkpoints,
    read_checkpoints,
    read_config,
    rewind,
    sdk_warnings_to,
    write_config,
)
from shell.service.abilities import careful, check_needs, probe
from shell.service.connect import Connection, Weights, check_service, choose_weights, connected, open_model
from shell.service.protocol import Client, ServiceFault
from shell.service.tinker_client import redacting
from shell.settings.choose_service import ServiceChoice
from shell.settings.cli import Resolved, describe
from shell.settings.config import Config
from shell.training.checkpoint_queue import deleting
from shell.training.loop import run_loop
from shell.training.open_run import OpenRun, Progress, TrainingRun, adam_at, open_run
from shell.training.resume import Resumption, check_accepted, fingerprint, first_available, package_version, resumptions
from shell.training.sampler import Sampler
from shell.training.summary import end_lines, resume_hint, resumed_lines, start_lines
from shell.training.users_code import FromPython

ROOM_MB, LOCAL_ROOM_MB = 1, 64  # free disk that a run needs; with the local service, whose models are there too


class CheckedRun(NamedTuple):
    """A run that was opened and checked before anything was written."""

    config: Config
    document: Mapping[str, object]
    endpoint: ServiceChoice
    folder: Path
    verdict: Verdict
    opened: OpenRun
    fingerprint: Mapping[str, str]
    resumptions: Iterator[Resumption] | None  # its checkpoints to resume from; None: it starts
    weights: Weights

    @property
    def replaces(self) -> bool:
        """Whether an old run stays in the folder until the service has accepted the model of this one."""
        return self.verdict == "delete" and self.endpoint.url is not None


def train(resolved: Resolved[Config], given: FromPython = FromPython()) -> int:  # noqa: B008 - immutable
    """Trains from the beginning, or resumes the run in the config's folder; `given` is code from Python.

    Returns:
        The exit code: 0, also where the run was already finished; 128 + the signal that stopped it.

    Raises:
        InputError: something cannot be used; nothing was overwritten.
        ServiceFault: the service failed; what was finished is on disk.

    >>> from shell.settings.cli import resolve
    >>> train(resolve(["--log-path", "/tmp/run", "--service", "embedded"]))  # doctest: +SKIP
    0
    """
    config, endpoint, folder = resolved.config, resolved.endpoint, Path(resolved.config.log_path)
    assert endpoint is not None
    verdict = decide(folder, config.behavior_if_log_dir_exists, terminal_question())
    _check_service(config, endpoint)
    opened = open_run(config, print, row_progress(), given)
    checkpoints = read_checkpoints(folder) if verdict == "resume" else []
    if start(opened.plan, [checkpoint.mark for checkpoint in checkpoints]).finished:
        lines = end_lines(checkpoints[-1], endpoint, folder, opened.data.source)
        _log(Screen(folder), f"finished  all {opened.plan.n_steps} steps are done", *lines)
        return 0
    now = fingerprint(config, opened)
    check_accepted(config.accept_changes, [*now])
    others = resumptions(checkpoints, now, config.accept_changes)
    best = next(others, None)
    weights = choose_weights(config, best and best.checkpoint, folder, is_local=endpoint.url is None)
    check_room(folder, LOCAL_ROOM_MB if endpoint.url is None else ROOM_MB)
    once = replace(config, accept_changes=None, allow_code=False)  # both are for this command only
    recorded = resolved._replace(config=once)
    document = {"tinsmith": package_version(), **describe(recorded)}
    candidates = best and chain([best], others)
    checked = CheckedRun(config, document, endpoint, folder, verdict, opened, now, candidates, weights)
    with enter(folder, verdict):
        if verdict == "resume" and read_checkpoints(folder) != checkpoints:
            raise InputError(f"another run has changed {folder} since this one looked - at --log-path")
        if verdict == "delete" and not checked.replaces:
            empty(folder)
        if verdict != "resume" and not checked.replaces:  # first the mark that the folder is ours
            write_config(folder, document)
        try:
            return _train(checked)
        except ServiceFault as fault:
            check_room(folder, ROOM_MB)
            is_old = checked.replaces and read_config(folder) != to_builtins(document)
            way = f"The run in {folder} was left as it is" if is_old else resume_hint(folder)
            raise ServiceFault(f"{fault}. {way}") from fault
        except PlugError as error:  # the user's code, which they will change
            if not (folder / METRICS).exists():  # as before the run
                raise
            raise PlugError(f"{error}. {resume_hint(folder, error.at.startswith('--'))}") from error


def _check_service(config: Config, endpoint: ServiceChoice) -> None:
    """Raises if the service cannot be reached or lacks the model; the local one has any, up to a rank."""
    assert config.model_name is not None
    if endpoint.url is None:
        if config.lora_rank > MAX_RANK:
            raise expected(f"a rank of at most {MAX_RANK} (local service)", f"{config.lora_rank}", at="--lora-rank")
        return
    if config.sdk != "tinker":  # its module reaches the service in its own way
        return
    offer = check_service(endpoint)
    if config.sample_prompts and config.model_name in offer.unsampled:
        raise expected("a model that the service samples", f"{config.model_name}", at="--sample-prompts")
    names = offer.models
    if names and not {config.model_name, config.model_name.split(":")[0]} & set(names):
        raise unknown("model", config.model_name, names, at="--model-name")


def _train(checked: CheckedRun) -> int:
    """Opens the service, trains, and reports; the folder is entered."""
    config, endpoint, folder, opened = checked.config, checked.endpoint, checked.folder, checked.opened
    screen, n_steps = Screen(folder, logs=not checked.replaces), opened.plan.n_steps
    metadata = {"recipe_name": config.recipe_name, "renderer_name": opened.renderer_name}
    _log(screen, *start_lines(config, endpoint, opened))
    opened.code.log_with(screen.log)
    limit, weights = config.silence_limit, checked.weights
    log = opened.data.renderer.tokenizer.log = redacting(screen.log, endpoint.api_key)
    name = config.session_name or folder.resolve().name
    opening = connected(endpoint, folder, weights, metadata, log, limit, config.sdk, name)
    with sdk_warnings_to(log), opening as connection:
        client, resumed = _open_model(checked, connection, metadata, screen, log)
        # files of an old run change only now that the service has accepted the model
        begin, n_kept = (resumed.progress, resumed.n_kept) if resumed else (Progress(0), 0)
        if checked.replaces:
            empty(folder)
            write_config(folder, checked.document)
            screen.begin_log()
        keep_checkpoints(folder, n_kept)  # first: a record never exists without the lines below it
        rewind(folder, begin.n_finished)
        begin_ledger(folder, opened.outside, begin.n_finished)
        write_config(folder, checked.document)
        opened.code.loggers.open(folder)
        showing = screen.progress(begin.n_finished, n_steps)
        preparing = opened.data.preparation.background_build(log) if opened.data.preparation else nullcontext()
        encoding = closing(opened.data.renderer.tokenizer)
        logging = closing(opened.code.loggers)
        with (
            loaded_spared(),
            stop_on_signals() as stop,
            showing,
            preparing,
            deleting(connection) as delete,
            encoding,
            logging,
        ):
            progress = run_loop(_training_run(checked, client, delete, screen), begin, stop)
    if progress.n_finished <= n_steps:
        _log(screen, f"stopped   after {progress.n_finished} of {n_steps} steps. {resume_hint(folder)}")
        return stop.exit_code
    recorded = read_checkpoints(folder)
    saved = (
        end_lines(recorded[-1], endpoint, folder, opened.data.source) if recorded else ["finished  nothing was saved"]
    )
    _log(screen, *saved)
    return 0


def _open_model(
    checked: CheckedRun, connection: Connection, metadata: Mapping[str, str], screen: Screen, log: Callable[[str], None]
) -> tuple[Client, Resumption | None]:
    """The model to train, and what its run resumes from if it does not start."""
    config, folder, plan = checked.config, checked.folder, checked.opened.plan
    is_known = checked.endpoint.is_known and config.sdk == "tinker"
    evaluates = bool(plan.eval_every or plan.rare_eval_every)
    can = probe(connection, config) if config.probe else None
    if can is not None:
        check_needs(can, config, evaluates)

    def open_client(weights: Weights) -> Client:
        client = open_model(connection, config, weights, metadata)
        return client if is_known and can is None else careful(client, can, config, evaluates, log)

    if checked.resumptions is None:
        if checked.verdict == "resume":
            _log(
                screen, "resumed   there was no checkpoint yet: the run starts again, with the settings of this command"
            )
        return open_client(checked.weights), None

    def load(checkpoint: Checkpoint) -> Client:
        weights = choose_weights(config, checkpoint, folder, is_local=checked.endpoint.url is None)
        return open_client(weights)

    client, resumed = first_available(checked.resumptions, load, screen.log, folder, connection.secret)
    _log(screen, *resumed_lines(resumed, checked.opened.plan.n_steps))
    return client, resumed


def _training_run(checked: CheckedRun, client: Client, delete: Callable[[str], object], screen: Screen) -> TrainingRun:
    config, opened = checked.config, checked.opened
    renderer = opened.data.renderer
    return TrainingRun(
        plan=opened.plan,
        submit_ahead=config.submit_ahead,
        dataset=opened.data.train,
        held_out=opened.held_out,
        test_sources=opened.data.test_sources,
        rare={one.name: one.datums for one in opened.rare_sets},
        samples=opened.samples,
        evaluators=opened.code.evaluators,
        open_sampler=partial(Sampler, chat_format=renderer.chat_format, tokenizer=renderer.tokenizer),
        loss=opened.code.loss,
        on_line=opened.code.loggers.write,
        n_bytes=renderer.tokenizer.n_bytes,
        adam=partial(adam_at, config, opened),
        ttl_seconds=config.ttl_seconds,
        sends_zero_loss=config.zero_loss == "send",
        rolling_ttl_seconds=config.rolling_ttl_seconds,
        fingerprint=checked.fingerprint,
        client=client,
        folder=checked.folder,
        screen=screen,
        clock=time.perf_counter,
        delete_checkpoint=delete,
    )


def _log(screen: Screen, *lines: str) -> None:
    for line in lines:
        screen.log(line)
