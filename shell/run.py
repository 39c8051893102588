"""A whole run: the parts that a config names are opened and checked, and only then is anything written or asked for.

The order is the point. What is only looked at comes first (the folder, the service, the data, the checkpoints), so that
bad input leaves everything as it was; then the folder is entered, the service opened, and the loop run.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from kernel.errors import expected, unknown
from kernel.plan import start
from shell.checkpoints import Checkpoint, keep_checkpoints, read_checkpoints
from shell.cli import Resolved, describe
from shell.client import Client, ServiceFault
from shell.config import Config
from shell.connection import Weights, choose_weights, connected, open_model
from shell.deletion import deleting
from shell.embedded.lora import MAX_RANK
from shell.endpoint import Endpoint
from shell.interrupt import stop_on_signals
from shell.job import Job, Progress
from shell.ledger import begin_ledger
from shell.logs import read_config, rewind, sdk_warnings_to, write_config
from shell.parts import Parts, adam_at, open_parts
from shell.preflight import check_service
from shell.report import changed_lines, ending, how_to_go_on, opening
from shell.rundir import check_room, decide, enter, terminal_question
from shell.screen import Screen
from shell.train import train

ROOM_MB, ROOM_IN_THE_BOX_MB = 1, 64
"""what a run's files take at least; with the service in the box, its models too"""


class Found(NamedTuple):
    """All that was looked up before anything was touched."""

    config: Config
    document: Mapping[str, object]
    """the config as it is recorded"""
    endpoint: Endpoint
    folder: Path
    parts: Parts
    resumed: Checkpoint | None
    """the checkpoint of this run to go on from"""
    weights: Weights

    @property
    def begin(self) -> Progress:
        if self.resumed is None:
            return Progress(0)
        return Progress(self.resumed.cursor, self.resumed.n_sequences, self.resumed.n_tokens)


def run(resolved: Resolved[Config]) -> int:
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
    parts = open_parts(config)
    checkpoints = read_checkpoints(folder) if verdict == "resume" else []
    begin = start(parts.plan, [checkpoint.mark for checkpoint in checkpoints])
    resumed = None if begin.mark is None else checkpoints[begin.mark]
    if resumed is not None and begin.finished:
        _say(
            Screen(folder),
            f"finished  all {parts.plan.n_steps} steps are done",
            *ending(resumed, endpoint, folder, parts.data.source),
        )
        return 0
    weights = choose_weights(config, resumed, folder, in_the_box=endpoint.url is None)
    check_room(folder, ROOM_IN_THE_BOX_MB if endpoint.url is None else ROOM_MB)
    document = {"tinsmith": _version(), **describe(resolved)}
    with enter(folder, verdict):
        if verdict != "resume":  # the mark by which the folder is ours comes before anything else in it
            write_config(folder, document)
        try:
            return _train(Found(config, document, endpoint, folder, parts, resumed, weights))
        except ServiceFault as fault:
            check_room(folder, ROOM_MB)
            raise ServiceFault(f"{fault}. {how_to_go_on(folder)}") from fault


def _check_service(config: Config, endpoint: Endpoint) -> None:
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
    config, document, endpoint, folder, parts, resumed, weights = found
    screen, n_steps = Screen(folder), parts.plan.n_steps
    metadata = {"recipe_name": config.recipe_name, "renderer_name": parts.renderer_name}
    _say(screen, *opening(config, endpoint, parts, resumed))
    if resumed is not None:
        _say(screen, *changed_lines(read_config(folder), document))
    limit = config.silence_limit
    with sdk_warnings_to(screen.say), connected(endpoint, folder, weights, metadata, screen.say, limit) as connection:
        client = open_model(connection, config, weights, metadata)
        # only now, where a run goes on: what it goes on with has been accepted
        rewind(folder, found.begin.n_finished)
        begin_ledger(folder, parts.data.outside, found.begin.n_finished)
        keep_checkpoints(folder, len(read_checkpoints(folder)))
        write_config(folder, document)
        showing = screen.progress(found.begin.n_finished, n_steps)
        with stop_on_signals() as stop, showing, deleting(connection) as forget:
            progress = train(_job(found, client, forget, screen), found.begin, stop)
    if progress.n_finished <= n_steps:
        _say(screen, f"stopped   after {progress.n_finished} of {n_steps} steps. {how_to_go_on(folder)}")
        return stop.exit_code
    _say(screen, *ending(read_checkpoints(folder)[-1], endpoint, folder, parts.data.source))
    return 0


def _job(found: Found, client: Client, forget: Callable[[str], object], screen: Screen) -> Job:
    config, parts = found.config, found.parts
    return Job(
        plan=parts.plan,
        submit_ahead=config.submit_ahead,
        dataset=parts.data.train,
        held_out={} if parts.data.test is None else {"test": parts.data.test},
        n_bytes=parts.data.maker.tokenizer.n_bytes,
        adam=partial(adam_at, config, parts),
        ttl_seconds=config.ttl_seconds,
        sends_zero_loss=config.zero_loss == "send",
        rolling_ttl_seconds=config.rolling_ttl_seconds,
        fingerprint={},
        client=client,
        folder=found.folder,
        screen=screen,
        clock=time.perf_counter,
        forget=forget,
    )


def _say(screen: Screen, *lines: str) -> None:
    for line in lines:
        screen.say(line)


def _version() -> str:
    try:
        return version("tinsmith")
    except PackageNotFoundError:
        return "unknown"
