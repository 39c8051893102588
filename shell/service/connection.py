"""From an endpoint to a model in training: the service started if it is in the box, the SDK opened, the weights loaded.

The SDK would read credentials of the machine whatever address it is given, and a server may even ask it to run
TINKER_CREDENTIAL_CMD and send what it prints. So while it talks to an address that those credentials are not for, they
are out of its sight.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

import tinker
from tinker.types import RequestErrorCategory

from kernel.errors import expected
from shell.local_service.import_checkpoint import adopt_checkpoint, check_adoptable
from shell.run_dir.checkpoints import Checkpoint, last_checkpoint
from shell.service.client import ServiceFault, ServiceHealth, answer
from shell.service.liveness import SILENCE_LIMIT, Liveness, listening
from shell.service.local_process import LocalProcess
from shell.service.sdk import TinkerClient, error_text, settle
from shell.settings.config import Config
from shell.settings.service_choice import ServiceChoice, is_loopback

SERVICE_FOLDER = "service"
MACHINE_CREDENTIALS = ("TINKER_CREDENTIAL_CMD", "CLOUDFLARE_ACCESS_CLIENT_ID", "CLOUDFLARE_ACCESS_CLIENT_SECRET")


class Connection(NamedTuple):
    """A service that can be asked for models."""

    sdk: tinker.ServiceClient
    url: str
    check: Callable[[], ServiceHealth]
    """tells how the service is; raises a ServiceFault if it is gone or has been silent too long"""
    answered: Callable[[], None]
    """to be called when the service has done something"""
    opening: threading.Event
    """set while the SDK is being opened on a thread"""
    secret: str | None
    say: Callable[[str], None]


class Weights(NamedTuple):
    """What a model starts from: fresh adapters (no path), a checkpoint's weights, or those and its optimizer."""

    path: str | None = None
    with_optimizer: bool = False
    named_by: str = "--model-name"
    adopt_from: Path | None = None
    """state of another service in the box, from which the checkpoint is brought over to this run's"""


def choose_weights(config: Config, resumed: Checkpoint | None, folder: Path, in_the_box: bool) -> Weights:
    """What the model of a run starts from: its own last checkpoint, else what was asked for, else nothing.

    Args:
        config: the run.
        resumed: its own checkpoint to go on from.
        folder: the run's.
        in_the_box: whether its service is the embedded one.

    Touches: the folder that `load_checkpoint_path` names, reading only.

    Raises:
        InputError: there is no such checkpoint.
    """
    asked, flag = config.load_checkpoint_path, "--load-checkpoint-path"
    if resumed is not None:
        return Weights(resumed.state_path, with_optimizer=True, named_by=f"{folder}/checkpoints.jsonl")
    if asked is None:
        return Weights()
    if asked.startswith("tinker://"):
        if in_the_box:
            raise expected("the folder of the run that saved it (in the box each run keeps its own)", asked, at=flag)
        return Weights(asked, named_by=flag)
    other = Path(asked)
    if other.resolve() == folder.resolve():
        raise expected("the folder of another run", f"{other}, the run's own", at=flag)
    path = last_checkpoint(other, at=flag).state_path
    if not in_the_box:
        return Weights(path, named_by=flag)
    check_adoptable(path, other / SERVICE_FOLDER, at=flag)
    return Weights(path, named_by=flag, adopt_from=other / SERVICE_FOLDER)


@contextmanager
def connected(
    endpoint: ServiceChoice,
    folder: Path,
    weights: Weights,
    metadata: Mapping[str, str],
    say: Callable[[str], None],
    silence_limit: float = SILENCE_LIMIT,
) -> Iterator[Connection]:
    """A connection to the service, which is started first if it is the one in the box, and closed at the end.

    Args:
        endpoint: where it is.
        folder: the run's; the service in the box keeps its state in `service` under it.
        weights: what the model will start from.
        metadata: what the service shows about the session.
        say: shows a line.
        silence_limit: seconds without any answer after which a wait is given up.

    Touches: the network; the environment while it is open; for the service in the box a child process and its state.

    Raises:
        InputError: the service refuses the session.
        ServiceFault: the service in the box does not start.
    """
    with ExitStack() as stack:
        url, keep_running = endpoint.url, _nothing_to_do
        if url is None:
            if weights.path and weights.adopt_from:
                adopt_checkpoint(weights.path, weights.adopt_from, folder / SERVICE_FOLDER)
            supervisor = stack.enter_context(LocalProcess(folder / SERVICE_FOLDER, say))
            url, keep_running = supervisor.url, supervisor.check
        opening = threading.Event()
        stack.enter_context(_environment(url, endpoint.at_home, opening))
        pulse = Liveness(url, silence_limit)
        stack.enter_context(listening(pulse))

        def check() -> ServiceHealth:
            keep_running()
            return pulse.check()

        sdk = tinker.ServiceClient(user_metadata=dict(metadata), base_url=url, api_key=endpoint.api_key)
        connection = Connection(sdk, url, check, pulse.answered, opening, endpoint.api_key, say)
        try:
            yield connection
        except BaseException:
            if not opening.is_set():  # closing would wait for it
                _close(sdk, "errored", limit_seconds=1)
            raise
        _close(sdk, "success", limit_seconds=10)


def open_model(connection: Connection, config: Config, weights: Weights, metadata: Mapping[str, str]) -> TinkerClient:
    """Asks a service for a model to train, and waits for it.

    Args:
        connection: the service.
        config: names the model and its adapters; what is loaded brings its own.
        weights: what to start from.
        metadata: what the service shows about the model.

    Touches: the network.

    Raises:
        InputError: the service refuses the model or the path, or what it loaded is another model.
        ServiceFault: the service failed.
    """
    assert config.model_name is not None
    try:
        training = answer(
            _opened(connection, lambda: _ask_for_model(connection.sdk, config, weights, dict(metadata))),
            f"the opening of {config.model_name}",
            connection.check,
            connection.say,
        )
    except ServiceFault as fault:
        reason = _root(fault)
        if _is_refusal(reason):
            what = weights.path or f"a model that {connection.url} trains"
            raise expected(what, f"a refusal ({error_text(reason, connection.secret)})", at=weights.named_by) from fault
        raise
    trained = training.get_info().model_data.model_name
    if trained is not None and trained.split(":")[0] != config.model_name.split(":")[0]:
        raise expected(f"a checkpoint of {config.model_name}", f"one of {trained}", at=weights.named_by)
    return TinkerClient(training, connection.check, connection.secret, connection.answered)


def _opened(connection: Connection, ask: Callable[[], tinker.TrainingClient]) -> "Future[tinker.TrainingClient]":
    """What a question to the SDK comes to, asked on a thread: the SDK's first requests wait, and cannot be bounded."""
    model: Future[tinker.TrainingClient] = Future()

    def open_sdk() -> None:
        settle(model, ask, connection.secret)
        connection.opening.clear()

    connection.opening.set()
    threading.Thread(target=open_sdk, daemon=True).start()
    return model


def _ask_for_model(
    sdk: tinker.ServiceClient, config: Config, weights: Weights, about: dict[str, str]
) -> tinker.TrainingClient:
    assert config.model_name is not None
    if weights.path is None:
        return sdk.create_lora_training_client(
            config.model_name,
            rank=config.lora_rank,
            seed=config.seed,
            train_mlp=config.train_mlp,
            train_attn=config.train_attn,
            train_unembed=config.train_unembed,
            user_metadata=about,
        ).result()
    if weights.with_optimizer:
        return sdk.create_training_client_from_state_with_optimizer(weights.path, user_metadata=about).result()
    return sdk.create_training_client_from_state(weights.path, user_metadata=about).result()


def _is_refusal(error: BaseException) -> bool:
    """Whether it is what was asked for that is at fault, so that asking again cannot help."""
    if isinstance(error, tinker.RequestFailedError):
        return error.category is RequestErrorCategory.User
    return isinstance(error, tinker.APIStatusError) and error.status_code in (400, 401, 402, 403, 404, 422)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _nothing_to_do() -> None: ...


def _close(sdk: tinker.ServiceClient, status: Literal["success", "errored"], limit_seconds: float) -> None:
    """Ends the session if the service is there to hear of it; its own clock would end it too."""
    with suppress(Exception):
        sdk.close(status).result(timeout=limit_seconds)


@contextmanager
def _environment(url: str, at_home: bool, opening: threading.Event) -> Iterator[None]:
    """The process's environment as it should be while the SDK talks to an address, and for as long as it is opening."""
    changes: dict[str, str | None] = {} if at_home else dict.fromkeys(MACHINE_CREDENTIALS)
    if is_loopback(url):  # never through a proxy
        changes |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1")
    before = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        if not opening.is_set():
            _set_environment(before)


def _set_environment(changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
