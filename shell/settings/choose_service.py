"""Choice of the Tinker service for a run, and of the key: made from plain values.

`read_environment` looks where the SDK looks for credentials. Those found on the machine are for one address,
`TINKER_BASE_URL` or Tinker's own, and are sent nowhere else.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from kernel.errors import InputError, expected, unknown

TINKER_URL = "https://tinker.thinkingmachines.dev/services/tinker-prod"  # the SDK's own default
EMBEDDED_MODELS = "tinsmith/"  # models under this prefix exist only in the local service
LOCAL_KEY = "tml-local"  # the SDK requires a key; a loopback service gets this one
SERVICES = ("auto", "tinker", "embedded")
HOW_TO_GIVE_A_KEY = "set TINKER_API_KEY, give --api-key, or train on this machine with --service embedded"


class Key(NamedTuple):
    """A credential and where it was found; `flaw` is why it cannot be used, raised only if it is needed."""

    text: str | None  # None: the SDK gets it by running the credential command
    source: str
    flaw: str = ""

    def __repr__(self) -> str:
        return f"Key(source={self.source!r})"


class ServiceEnvironment(NamedTuple):
    """The machine's own credentials: a key, and the address it is for (None: Tinker's own)."""

    key: Key | None = None
    base_url: str | None = None


@dataclass(frozen=True)
class ServiceChoice:
    """Where to connect; its repr does not show the key."""

    kind: Literal["embedded", "tinker", "url"]
    url: str | None  # the address without a trailing slash; None for the local service, which is not started yet
    api_key: str | None = field(repr=False)  # None: the SDK runs TINKER_CREDENTIAL_CMD (only where `at_home`)
    at_home: bool  # whether the machine's own credentials are for this service; if not, the SDK must not read them
    reason: str  # shown in the first line of a run

    @property
    def is_known(self) -> bool:
        """Whether it is Tinker's own service or the local one, whose abilities are known."""
        return self.url in (None, TINKER_URL)


def choose_service(
    service: str = "auto",
    model_name: str | None = None,
    api_key: str | None = None,
    environment: ServiceEnvironment | None = None,
) -> ServiceChoice:
    """The service a run talks to."""
    environment = environment or ServiceEnvironment()
    key = Key(api_key, "--api-key") if api_key else environment.key
    if service == "auto":
        if model_name is not None and model_name.startswith(EMBEDDED_MODELS):
            return _embedded(f"{model_name} is a local model")
        if key is None and environment.base_url is None:
            if model_name is None:
                return _embedded("no TINKER_API_KEY")
            raise InputError(f"expected a key for {model_name} on Tinker, got none: {HOW_TO_GIVE_A_KEY}")
    if service == "embedded":
        return _embedded("--service embedded")

    home = read_url(environment.base_url or TINKER_URL, at="TINKER_BASE_URL")
    if service in SERVICES:
        why = "TINKER_BASE_URL" if environment.base_url else "Tinker"
        return _reach("tinker", home, key, at_home=True, reason=why)
    if not re.search(r"[:/.]", service):
        raise unknown("service", service, [*SERVICES, "http://HOST:PORT"], at="--service")
    url = read_url(service, at="--service")
    at_home = _address(url) == _address(home)
    own_key = key if api_key or at_home else None
    return _reach("url", url, own_key, at_home=at_home, reason=f"--service {url}")


def read_environment(environ: Mapping[str, str] = os.environ, credentials: Path | None = None) -> ServiceEnvironment:
    """The key and the address of this machine: from the environment, and `~/.tinker/credentials.json`."""
    key = None
    if text := environ.get("TINKER_API_KEY"):
        key = Key(text.strip(), "TINKER_API_KEY")
    command = environ.get("TINKER_CREDENTIAL_CMD")
    if command and (key is None or _flaw(key)):
        key = Key(None, "TINKER_CREDENTIAL_CMD")
    return ServiceEnvironment(key or _stored_key(credentials), environ.get("TINKER_BASE_URL") or None)


def read_url(text: str, at: str) -> str:
    """An http(s) address without its trailing slash; raises for anything else, and never repeats a password."""
    try:
        parts = urlsplit(text)
        if parts.username is not None or parts.password is not None:
            raise expected("an address without a user name and password (use --api-key)", "one with them", at)
        whole = parts.scheme in ("http", "https") and re.fullmatch(r"[\w.-]+|[\da-f:.]+", parts.hostname or "", re.A)
        plain = re.fullmatch(r"[!-~]+", text) and not parts.query and not parts.fragment and parts.port != 0
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        whole = plain = None
    if not (whole and plain):
        raise expected("an address such as http://localhost:8000 or https://host/path", repr(text[:80]), at)
    return text.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own: it needs no key and no proxy."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _embedded(reason: str) -> ServiceChoice:
    return ServiceChoice("embedded", None, LOCAL_KEY, at_home=False, reason=reason)


def _reach(kind: Literal["tinker", "url"], url: str, key: Key | None, *, at_home: bool, reason: str) -> ServiceChoice:
    if key is not None:
        if flaw := _flaw(key):
            raise expected("a key that begins with 'tml-'", flaw, at=key.source)
        return ServiceChoice(kind, url, key.text, at_home, f"{reason}, with the key of {key.source}")
    if is_loopback(url):
        return ServiceChoice(kind, url, LOCAL_KEY, at_home, f"{reason}, with no key")
    if at_home:
        raise InputError(f"expected a key for {url}, got none: {HOW_TO_GIVE_A_KEY}")
    raise InputError(f"expected --api-key for {url}, got none: keys found on this machine are not for that address")


def _flaw(key: Key) -> str:
    if key.flaw or key.text is None or re.fullmatch(r"(tml-|eyJ)[!-~]*", key.text):
        return key.flaw
    return "one that does not, or that holds blanks"


def _stored_key(path: Path | None) -> Key | None:
    class Record(msgspec.Struct):
        key: str

    class Stored(msgspec.Struct):
        default: str | None = None
        keys: dict[str, Record] = {}

    path = path or Path(os.path.expanduser("~/.tinker/credentials.json"))
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=Stored)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, msgspec.MsgspecError):
        return Key(None, str(path), flaw="a file that cannot be read as the SDK's credentials")
    record = stored.keys.get(stored.default or "")
    return Key(record.key, str(path)) if record else None


def _address(url: str) -> tuple[str, str | None, int, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme], parts.path
