"""Before anything is sent: is there a Tinker service at the address, and does it take the key?

The SDK itself tries for five minutes before it says that nobody answers. These are its own first requests, made once
and bounded together, so that a wrong address or key is said within ten seconds. Nothing is created by them.
"""

import threading
from concurrent.futures import Future
from typing import Any, NoReturn

import httpx

from kernel.errors import InputError, expected
from shell.settings.service_choice import ServiceChoice, is_loopback

LIMIT_SECONDS = 6.0


def check_service(endpoint: ServiceChoice, limit_seconds: float = LIMIT_SECONDS) -> tuple[str, ...]:
    """Asks a service who it is, in at most `limit_seconds`.

    Args:
        endpoint: where it is, and the key it should take; without a key (the SDK has one made) that is not checked.
        limit_seconds: for all of it.

    Returns:
        The names of the models that it trains; none where it does not say.

    Touches: the network, at the endpoint's address.

    Raises:
        InputError: nobody answers, somebody else does, or the key is refused.
    """
    found: Future[tuple[str, ...]] = Future()
    # a daemon, since looking up a name cannot be interrupted: an answer that comes too late is not waited for
    threading.Thread(target=_settle, args=(found, endpoint, limit_seconds), daemon=True).start()
    try:
        return found.result(timeout=limit_seconds)
    except (TimeoutError, httpx.TimeoutException):
        _refuse(endpoint, f"no answer in {limit_seconds:g} s")
    except httpx.HTTPError as error:
        _refuse(endpoint, str(error) or type(error).__name__)


def _settle(found: "Future[tuple[str, ...]]", endpoint: ServiceChoice, limit_seconds: float) -> None:
    try:
        found.set_result(_ask(endpoint, limit_seconds))
    except BaseException as error:
        found.set_exception(error)


def _ask(endpoint: ServiceChoice, limit_seconds: float) -> tuple[str, ...]:
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
        raise expected(f"a key that {endpoint.url} takes", f"one that it refuses (HTTP {status})", endpoint.reason)
    if status == 402:
        raise expected(f"an account that {endpoint.url} can bill", "HTTP 402", endpoint.reason)
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
    raise InputError(str(expected(f"a Tinker service at {endpoint.url}", got, endpoint.reason))) from None
