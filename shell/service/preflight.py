"""Checks a service's address and key by the SDK's own first requests, once and bounded; they create nothing."""

import threading
from concurrent.futures import Future
from typing import Any, NoReturn

import httpx

from kernel.errors import InputError
from shell.settings.service_choice import ServiceChoice, is_loopback

LIMIT_SECONDS = 6.0


def check_service(endpoint: ServiceChoice, limit_seconds: float = LIMIT_SECONDS) -> tuple[str, ...]:
    """Checks a service in at most `limit_seconds`; the names of the models that it trains, if it lists them.

    Without a key (the SDK gets one by itself), only the address is checked. An InputError says what is wrong.
    """
    found: Future[tuple[str, ...]] = Future()

    def resolve() -> None:
        try:
            found.set_result(_fetch_models(endpoint, limit_seconds))
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=resolve, daemon=True).start()  # a daemon: looking up a host cannot be interrupted
    try:
        return found.result(timeout=limit_seconds)
    except (TimeoutError, httpx.TimeoutException):
        _refuse(endpoint, f"no answer in {limit_seconds:g} s")
    except httpx.HTTPError as error:
        _refuse(endpoint, str(error) or type(error).__name__)


def _fetch_models(endpoint: ServiceChoice, limit_seconds: float) -> tuple[str, ...]:
    from tinker._version import __version__ as sdk_version

    assert endpoint.url is not None
    by_proxy = not is_loopback(endpoint.url)
    with httpx.Client(base_url=f"{endpoint.url}/api/v1/", timeout=limit_seconds, trust_env=by_proxy) as http:
        if endpoint.api_key is not None:
            http.headers["X-API-Key"] = endpoint.api_key
        flags = _read(endpoint, http.post("client/config", json={"sdk_version": sdk_version}))
        if endpoint.api_key is None:
            return ()
        if flags.get("pjwt_auth_enabled") and not endpoint.api_key.startswith("eyJ"):
            http.headers["X-API-Key"] = str(_read(endpoint, http.post("auth/token", json={})).get("jwt"))
        capabilities = http.get("get_server_capabilities")
    if capabilities.status_code in (404, 405, 501):
        return ()
    models = _read(endpoint, capabilities).get("supported_models") or ()
    names = (model.get("model_name") for model in models if model.get("trainable") is not False)
    return tuple(name for name in names if name)


def _read(endpoint: ServiceChoice, response: httpx.Response) -> dict[str, Any]:
    status = response.status_code
    if status in (401, 403) and endpoint.api_key is not None:
        raise InputError(f"{endpoint.url} refuses the key (HTTP {status}) - at {endpoint.reason}")
    if status == 402:
        raise InputError(f"{endpoint.url} cannot bill the account (HTTP 402) - at {endpoint.reason}")
    try:
        answer = response.json() if response.is_success else None
    except ValueError:
        answer = None
    if status in (401, 403):
        return {}
    if not isinstance(answer, dict):
        _refuse(endpoint, f"HTTP {status}" if not response.is_success else "an answer of another kind")
    return answer


def _refuse(endpoint: ServiceChoice, got: str) -> NoReturn:
    raise InputError(f"there is no Tinker service at {endpoint.url}: {got} - at {endpoint.reason}") from None
