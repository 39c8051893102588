"""Opens a model on a service: checks its address and key, starts a local one if needed, loads weights.

The SDK reads the machine's credentials whatever address it is given, and a server may make it run
TINKER_CREDENTIAL_CMD, so those are removed from the environment while it talks to an address they are not for.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import httpx

from kernel.errors import InputError, expected
from shell.datums.tinker_datums import constructors_of
from shell.run_dir.run_files import Checkpoint, last_checkpoint
from shell.service.local_process import LocalProcess, check_importable, import_checkpoint
from shell.service.protocol import SILENCE_LIMIT, Liveness, ServiceFault, ServiceHealth, answer, listening
from shell.service.sdk import is_users, load_sdk, root_of, settled, status_of, takes, version_of
from shell.service.tinker_client import TinkerClient, error_text, resolve
from shell.settings.choose_service import TINKER_URL, ServiceChoice, is_loopback
from shell.settings.config import Config

SERVICE_FOLDER = "service"
PREFLIGHT_SECONDS = 6.0
MACHINE_CREDENTIALS = ("TINKER_CREDENTIAL_CMD", "CLOUDFLARE_ACCESS_CLIENT_ID", "CLOUDFLARE_ACCESS_CLIENT_SECRET")


class Connection(NamedTuple):
    """An open service; `answered` is called when a request is done, `opening` is set while the SDK is being opened."""

    module: ModuleType
    sdk: Any
    url: str
    check: Callable[[], ServiceHealth]
    answered: Callable[[], None]
    opening: threading.Event
    secret: str | None
    log: Callable[[str], None]


class Weights(NamedTuple):
    """What a model starts from: fresh adapters (no path), a checkpoint's weights, or those and its optimizer."""

    path: str | None = None
    with_optimizer: bool = False
    named_by: str = "--model-name"
    import_from: Path | None = None  # the state directory of another local service


def choose_weights(config: Config, resumed: Checkpoint | None, folder: Path, is_local: bool) -> Weights:
    """What the model of a run starts from: its own last checkpoint, else --load-checkpoint-path, else nothing."""
    asked, flag = config.load_checkpoint_path, "--load-checkpoint-path"
    if resumed is not None:
        return Weights(resumed.state_path, with_optimizer=True, named_by=f"{folder}/checkpoints.jsonl")
    if asked is None:
        return Weights()
    if asked.startswith("tinker://"):
        if is_local:
            raise expected("the folder of the run that saved it (each run has a local service of its own)", asked, flag)
        return Weights(asked, named_by=flag)
    other = Path(asked)
    if other.resolve() == folder.resolve():
        raise expected("the folder of another run", f"{other}, the run's own", at=flag)
    path = last_checkpoint(other, at=flag).state_path
    if not is_local:
        return Weights(path, named_by=flag)
    check_importable(path, other / SERVICE_FOLDER, at=flag)
    return Weights(path, named_by=flag, import_from=other / SERVICE_FOLDER)


@contextmanager
def connected(
    endpoint: ServiceChoice,
    folder: Path,
    weights: Weights,
    metadata: Mapping[str, str],
    log: Callable[[str], None],
    silence_limit: float = SILENCE_LIMIT,
    sdk_name: str = "tinker",
    session_name: str | None = None,
) -> Iterator[Connection]:
    """A connection to the service; a local one is started first, with its state in `folder`/service."""
    module = load_sdk(sdk_name)
    with ExitStack() as stack:
        url, local = endpoint.url, None
        if url is None:
            if weights.path and weights.import_from:
                import_checkpoint(weights.path, weights.import_from, folder / SERVICE_FOLDER)
            local = stack.enter_context(closing(LocalProcess(folder / SERVICE_FOLDER, log)))
            url = local.service.url
        opening = threading.Event()
        stack.enter_context(_environment(url, endpoint.at_home, opening))
        liveness = Liveness(url, silence_limit)
        stack.enter_context(listening(liveness))

        def check() -> ServiceHealth:
            if local is not None:
                local.check()
            return liveness.check()

        options: dict[str, Any] = {"base_url": url, "api_key": endpoint.api_key, "user_metadata": dict(metadata)}
        if session_name is not None and takes(module.ServiceClient, "display_name"):
            options["display_name"] = session_name
        sdk = module.ServiceClient(**options)
        connection = Connection(module, sdk, url, check, liveness.note_answer, opening, endpoint.api_key, log)
        try:
            yield connection
        except BaseException:
            if not opening.is_set():  # closing would wait for it
                with suppress(Exception):
                    sdk.close("errored").result(timeout=1)
            raise
        with suppress(Exception):  # the session would end by itself too
            sdk.close("success").result(timeout=10)


def open_model(connection: Connection, config: Config, weights: Weights, metadata: Mapping[str, str]) -> TinkerClient:
    """Opens the model to train and waits for it; an InputError if the service refuses it, or loads another."""
    assert config.model_name is not None
    if not constructors_of(connection.module).is_fast:
        version = version_of(connection.module)
        connection.log(f"sdk       {version}: rows are sent through its public constructors, which is slower")
    model: Future[Any] = Future()

    def open_sdk() -> None:
        create = partial(_create_model, connection.sdk, config, weights, dict(metadata))
        resolve(model, create, connection.secret)
        connection.opening.clear()

    connection.opening.set()
    threading.Thread(target=open_sdk, daemon=True).start()  # the SDK's first requests wait, and cannot be bounded
    try:
        training = answer(model, f"the opening of {config.model_name}", connection.check, connection.log)
    except ServiceFault as fault:
        reason = root_of(fault)
        if _is_refusal(reason):
            what = weights.path or f"a model that {connection.url} trains"
            raise expected(what, f"a refusal ({error_text(reason, connection.secret)})", at=weights.named_by) from fault
        raise
    trained = training.get_info().model_data.model_name
    if trained is not None and trained.split(":")[0] != config.model_name.split(":")[0]:
        raise expected(f"a checkpoint of {config.model_name}", f"one of {trained}", at=weights.named_by)
    if connection.url == TINKER_URL and hasattr(connection.sdk, "get_console_url"):
        with suppress(Exception):  # a link is worth no failure
            connection.log(f"console   {connection.sdk.get_console_url()}")
    return TinkerClient(training, connection.check, connection.secret, connection.answered, connection.module)


def _create_model(sdk: Any, config: Config, weights: Weights, metadata: dict[str, str]) -> Any:
    if weights.path is None:
        assert config.model_name is not None
        options = {name: getattr(config, name) for name in ("seed", "train_mlp", "train_attn", "train_unembed")}
        options |= {"rank": config.lora_rank, "user_metadata": metadata}
        return settled(sdk.create_lora_training_client(config.model_name, **options))
    if weights.with_optimizer:
        return settled(sdk.create_training_client_from_state_with_optimizer(weights.path, user_metadata=metadata))
    return settled(sdk.create_training_client_from_state(weights.path, user_metadata=metadata))


def _is_refusal(error: BaseException) -> bool:
    """Whether the request itself is at fault, so that repeating it cannot help."""
    return is_users(error) or status_of(error) in (400, 401, 402, 403, 404, 422)


@contextmanager
def _environment(url: str, at_home: bool, opening: threading.Event) -> Iterator[None]:
    """Changes the process's environment while the SDK talks to an address, and for as long as it is opening."""
    changes: dict[str, str | None] = {} if at_home else dict.fromkeys(MACHINE_CREDENTIALS)
    if is_loopback(url):  # never through a proxy
        changes |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1")
    previous = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        if not opening.is_set():
            _set_environment(previous)


def _set_environment(changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class ServiceOffer(NamedTuple):
    """The models that a service trains, if it lists them, and those that it does not sample."""

    models: tuple[str, ...] = ()
    unsampled: tuple[str, ...] = ()


def check_service(endpoint: ServiceChoice, limit_seconds: float = PREFLIGHT_SECONDS) -> ServiceOffer:
    """Checks a service (without a key only its address) and reads what it offers, before anything is paid."""
    found: Future[ServiceOffer] = Future()

    def fetch() -> None:
        try:
            found.set_result(_fetch_offer(endpoint, limit_seconds))
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=fetch, daemon=True).start()  # a daemon: looking up a host cannot be interrupted
    try:
        return found.result(timeout=limit_seconds)
    except (TimeoutError, httpx.TimeoutException):
        _refuse(endpoint, f"no answer in {limit_seconds:g} s")
    except httpx.HTTPError as error:
        _refuse(endpoint, str(error) or type(error).__name__)


def _fetch_offer(endpoint: ServiceChoice, limit_seconds: float) -> ServiceOffer:
    sdk_version = version_of(load_sdk("tinker"))
    assert endpoint.url is not None
    by_proxy = not is_loopback(endpoint.url)
    with httpx.Client(base_url=f"{endpoint.url}/api/v1/", timeout=limit_seconds, trust_env=by_proxy) as http:
        if endpoint.api_key is not None:
            http.headers["X-API-Key"] = endpoint.api_key
        flags = _read_answer(endpoint, http.post("client/config", json={"sdk_version": sdk_version}))
        if endpoint.api_key is None:
            return ServiceOffer()
        if flags.get("pjwt_auth_enabled") and not endpoint.api_key.startswith("eyJ"):
            http.headers["X-API-Key"] = str(_read_answer(endpoint, http.post("auth/token", json={})).get("jwt"))
        capabilities = http.get("get_server_capabilities")
    if capabilities.status_code in (404, 405, 501):
        return ServiceOffer()
    models = [
        one for one in _read_answer(endpoint, capabilities).get("supported_models") or () if one.get("model_name")
    ]
    return ServiceOffer(
        tuple(one["model_name"] for one in models if one.get("trainable") is not False),
        tuple(one["model_name"] for one in models if one.get("sampleable") is False),
    )


def _read_answer(endpoint: ServiceChoice, response: httpx.Response) -> dict[str, Any]:
    status = response.status_code
    if status in (401, 403) and endpoint.api_key is not None:
        raise InputError(f"{endpoint.url} refuses the key (HTTP {status}) - at {endpoint.reason}")
    if status == 402:
        raise InputError(f"{endpoint.url} cannot bill the account (HTTP 402) - at {endpoint.reason}")
    if status in (401, 403):
        return {}
    try:
        answer = response.json() if response.is_success else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        _refuse(endpoint, f"HTTP {status}" if not response.is_success else "an answer of another kind")
    return answer


def _refuse(endpoint: ServiceChoice, got: str) -> NoReturn:
    raise InputError(f"there is no Tinker service at {endpoint.url}: {got} - at {endpoint.reason}") from None
