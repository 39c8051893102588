"""A whole run: the parts that a config names are opened and checked, and only then is anything written or asked for.

The order is the point. What is only looked at comes first (the folder, the service, the data, the checkpoints), so that
bad input leaves everything as it was; then the folder is entered, the service opened, and the loop run.
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

from kernel.errors import expected, unknown
from kernel.train_plan import start
from shell.local_service.lora import MAX_RANK
from shell.process.gc_pause import loaded_spared
from shell.process.signals import stop_on_signals
from shell.run_dir.folder import Verdict, check_room, decide, empty, enter, terminal_question
from shell.run_dir.logs import read_config, rewind, sdk_warnings_to, write_config
from shell.run_dir.report import end_lines, resume_hint, resumed_lines, start_lines
from shell.run_dir.screen import Screen, row_progress
from shell.service.client import Client, ServiceFault
from shell.service.connection import Connection, Weights, choose_weights, connected, open_model
from shell.service.preflight import check_service
from shell.service.sdk import redacting
from shell.settings.cli import Resolved, describe
from shell.settings.config import Config
from shell.settings.service_choice import ServiceChoice
from shell.training.checkpoints import Checkpoint, keep_checkpoints, read_checkpoints
from shell.training.deletion import deleting
from shell.training.fingerprint import check_accepted, fingerprint, package_version
from shell.training.loop import run_loop
from shell.training.open_run import OpenRun, adam_at, open_run
from shell.training.resume import Resumption, first_available, resumptions
from shell.training.row_log import begin_ledger
from shell.training.run_state import Progress, TrainingRun

ROOM_MB, ROOM_IN_THE_BOX_MB = 1, 64
"""what a run's files take at least; with the service in the box, its models too"""


class Found(NamedTuple):
    """All that was looked up before anything was touched."""

    config: Config
    document: Mapping[str, object]
    """the config as it is recorded"""
    endpoint: ServiceChoice
    folder: Path
    verdict: Verdict
    parts: OpenRun
    fingerprint: Mapping[str, str]
    offered: Iterator[Resumption] | None
    """the checkpoints of this run to go on from; None: it begins"""
    weights: Weights

    @property
    def replaces(self) -> bool:
        """Whether an old run stands in the folder until the service has accepted the model of this one."""
        return self.verdict == "delete" and self.endpoint.url is not None


def train(resolved: Resolved[Config]) -> int:
    """Trains as the config says, from the beginning or from where its folder stands.

    Returns:
        The exit code: 0, also where the run was finished already; 128 + the signal where one stopped it.

    Touches: everything: the run's folder, the data's files, the network, the terminal.

    Raises:
        InputError: something that was given cannot be used; nothing was written over.
        ServiceFault: the service failed; what was finished is on disk.
    """
    config, endpoint, folder = resolved.config, resolved.endpoint, Path(resolved.config.log_path)
    assert endpoint is not None
    verdict = decide(folder, config.behavior_if_log_dir_exists, terminal_question())
    _check_service(config, endpoint)
    parts = open_run(config, print, row_progress())
    checkpoints = read_checkpoints(folder) if verdict == "resume" else []
    if start(parts.plan, [checkpoint.mark for checkpoint in checkpoints]).finished:
        _say(
            Screen(folder),
            f"finished  all {parts.plan.n_steps} steps are done",
            *end_lines(checkpoints[-1], endpoint, folder, parts.data.source),
        )
        return 0
    now = fingerprint(config, parts)
    check_accepted(config.accept_changes, [*now])
    others = resumptions(checkpoints, now, config.accept_changes)
    best = next(others, None)
    weights = choose_weights(config, best and best.checkpoint, folder, in_the_box=endpoint.url is None)
    check_room(folder, ROOM_IN_THE_BOX_MB if endpoint.url is None else ROOM_MB)
    recorded = resolved._replace(config=replace(config, accept_changes=None))  # what was accepted once is not for good
    document = {"tinsmith": package_version(), **describe(recorded)}
    offered = best and chain([best], others)
    found = Found(config, document, endpoint, folder, verdict, parts, now, offered, weights)
    with enter(folder, verdict):
        if verdict == "resume" and read_checkpoints(folder) != checkpoints:
            raise expected("the run as it was when this one looked", f"{folder}, where one has just run", "--log-path")
        if verdict == "delete" and not found.replaces:
            empty(folder)
        if verdict != "resume" and not found.replaces:  # the mark that the folder is ours comes first
            write_config(folder, document)
        try:
            return _train(found)
        except ServiceFault as fault:
            check_room(folder, ROOM_MB)
            is_old = found.replaces and read_config(folder) != to_builtins(document)
            way = f"The run in {folder} was left as it is" if is_old else resume_hint(folder)
            raise ServiceFault(f"{fault}. {way}") from fault


def _check_service(config: Config, endpoint: ServiceChoice) -> None:
    """Is the service there, and does it have the model? The one in the box has any, up to a rank."""
    assert config.model_name is not None
    if endpoint.url is None:
        if config.lora_rank > MAX_RANK:
            raise expected(f"a rank of at most {MAX_RANK} in the box", f"{config.lora_rank}", at="--lora-rank")
        return
    names = check_service(endpoint)
    if names and not {config.model_name, config.model_name.split(":")[0]} & set(names):
        raise unknown("model", config.model_name, names, at="--model-name")


def _train(found: Found) -> int:
    """From the folder being entered to the last line on the screen."""
    config, endpoint, folder, parts = found.config, found.endpoint, found.folder, found.parts
    screen, n_steps = Screen(folder, logs=not found.replaces), parts.plan.n_steps
    metadata = {"recipe_name": config.recipe_name, "renderer_name": parts.renderer_name}
    _say(screen, *start_lines(config, endpoint, parts))
    limit, weights = config.silence_limit, found.weights
    say = parts.data.maker.tokenizer.say = redacting(screen.say, endpoint.api_key)
    with sdk_warnings_to(say), connected(endpoint, folder, weights, metadata, say, limit) as connection:
        client, resumed = _model(found, connection, metadata, screen)
        # only now, where a run goes on or is replaced: what follows it has been accepted
        begin, n_kept = (resumed.progress, resumed.n_kept) if resumed else (Progress(0), 0)
        if found.replaces:
            empty(folder)
            write_config(folder, found.document)
            screen.begin_log()
        keep_checkpoints(folder, n_kept)  # first: a record must never stand above the lines it promises
        rewind(folder, begin.n_finished)
        begin_ledger(folder, parts.outside, begin.n_finished)
        write_config(folder, found.document)
        showing = screen.progress(begin.n_finished, n_steps)
        preparing = parts.data.preparation.beside(say) if parts.data.preparation else nullcontext()
        encoding = closing(parts.data.maker.tokenizer)
        with loaded_spared(), stop_on_signals() as stop, showing, preparing, deleting(connection) as forget, encoding:
            progress = run_loop(_job(found, client, forget, screen), begin, stop)
    if progress.n_finished <= n_steps:
        _say(screen, f"stopped   after {progress.n_finished} of {n_steps} steps. {resume_hint(folder)}")
        return stop.exit_code
    _say(screen, *end_lines(read_checkpoints(folder)[-1], endpoint, folder, parts.data.source))
    return 0


def _model(
    found: Found, connection: Connection, metadata: Mapping[str, str], screen: Screen
) -> tuple[Client, Resumption | None]:
    """The model to train, and where its run goes on if it does not begin."""
    config, folder = found.config, found.folder
    if found.offered is None:
        if found.verdict == "resume":
            _say(screen, "resumed   there was no checkpoint yet: the run begins anew, with the settings given now")
        return open_model(connection, config, found.weights, metadata), None

    def load(checkpoint: Checkpoint) -> Client:
        weights = choose_weights(config, checkpoint, folder, in_the_box=found.endpoint.url is None)
        return open_model(connection, config, weights, metadata)

    client, resumed = first_available(found.offered, load, screen.say, folder, connection.secret)
    _say(screen, *resumed_lines(resumed, found.parts.plan.n_steps))
    return client, resumed


def _job(found: Found, client: Client, forget: Callable[[str], object], screen: Screen) -> TrainingRun:
    config, parts = found.config, found.parts
    return TrainingRun(
        plan=parts.plan,
        submit_ahead=config.submit_ahead,
        dataset=parts.data.train,
        held_out=parts.held_out,
        test_sources=parts.data.test_sources,
        rare={one.name: one.datums for one in parts.rare_sets},
        samples=parts.samples,
        n_bytes=parts.data.maker.tokenizer.n_bytes,
        adam=partial(adam_at, config, parts),
        ttl_seconds=config.ttl_seconds,
        sends_zero_loss=config.zero_loss == "send",
        rolling_ttl_seconds=config.rolling_ttl_seconds,
        fingerprint=found.fingerprint,
        client=client,
        folder=found.folder,
        screen=screen,
        clock=time.perf_counter,
        forget=forget,
    )


def _say(screen: Screen, *lines: str) -> None:
    for line in lines:
        screen.say(line)
