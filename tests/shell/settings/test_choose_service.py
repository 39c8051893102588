"""Which service is chosen, and that a key goes only where it was given for."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.errors import InputError
from shell.settings.choose_service import (
    LOCAL_KEY,
    TINKER_URL,
    Key,
    ServiceChoice,
    ServiceEnvironment,
    choose_service,
    is_loopback,
    read_environment,
    read_url,
)

KEY = Key("tml-env", "TINKER_API_KEY")


def where(endpoint: ServiceChoice) -> tuple[str, str | None, str | None]:
    return endpoint.kind, endpoint.url, endpoint.api_key


def test_auto_uses_tinker_with_the_key_that_was_found() -> None:
    assert where(choose_service(environment=ServiceEnvironment(KEY))) == ("tinker", TINKER_URL, "tml-env")
    assert where(choose_service(model_name="Qwen/Qwen3-8B", api_key="tml-arg")) == ("tinker", TINKER_URL, "tml-arg")
    assert choose_service(environment=ServiceEnvironment(KEY)).reason == "Tinker, with the key of TINKER_API_KEY"


def test_auto_without_a_key_is_the_service_in_the_box_unless_a_model_was_named() -> None:
    assert choose_service().kind == "embedded"
    assert choose_service(model_name="tinsmith/tiny").kind == "embedded"
    assert choose_service(model_name="tinsmith/tiny", environment=ServiceEnvironment(KEY)).kind == "embedded"
    with pytest.raises(InputError, match=r"expected a key for Qwen/Qwen3-8B on Tinker, got none: .*--service embedded"):
        choose_service(model_name="Qwen/Qwen3-8B")


def test_a_key_given_outright_goes_before_the_one_found() -> None:
    for service in ("auto", "tinker", "https://other.example"):
        assert choose_service(service, api_key="tml-arg", environment=ServiceEnvironment(KEY)).api_key == "tml-arg"


def test_tinker_without_a_key_is_an_error_that_says_how_to_give_one() -> None:
    with pytest.raises(InputError, match="set TINKER_API_KEY, give --api-key, or"):
        choose_service("tinker")


def test_the_base_url_of_the_environment_is_honoured() -> None:
    environment = ServiceEnvironment(KEY, "https://staging.example/tinker/")
    for service in ("auto", "tinker"):
        assert where(choose_service(service, environment=environment)) == (
            "tinker",
            "https://staging.example/tinker",
            "tml-env",
        )
    assert where(choose_service("auto", environment=ServiceEnvironment(None, "http://127.0.0.1:9"))) == (
        "tinker",
        "http://127.0.0.1:9",
        LOCAL_KEY,
    )
    with pytest.raises(InputError, match=r"expected a key for https://staging\.example"):
        choose_service("auto", environment=ServiceEnvironment(None, "https://staging.example"))
    with pytest.raises(InputError, match=r"- at TINKER_BASE_URL$"):
        choose_service("tinker", environment=ServiceEnvironment(KEY, "staging"))


HOSTS = ("https://a.example", "https://b.example", "https://a.example:444", "https://a.example/x", "http://a.example")
LOOPBACKS = ("http://127.0.0.1:8765", "http://localhost:8765", "http://[::1]:8765")


@pytest.mark.parametrize(("home", "url"), list(itertools.product([None, *HOSTS, *LOOPBACKS], [*HOSTS, *LOOPBACKS])))
def test_a_key_of_the_environment_goes_only_to_its_own_address(home: str | None, url: str) -> None:
    environment = ServiceEnvironment(KEY, home)
    if url == home:
        endpoint = choose_service(url, environment=environment)
        assert (where(endpoint), endpoint.at_home) == (("url", url, "tml-env"), True)
    elif url in LOOPBACKS:
        endpoint = choose_service(url, environment=environment)
        assert (where(endpoint), endpoint.at_home) == (("url", url, LOCAL_KEY), False)
    else:
        with pytest.raises(InputError, match=r"expected --api-key for .*keys found on this machine are not for that"):
            choose_service(url, environment=environment)
    given_outright = choose_service(url, api_key="tml-arg", environment=environment)
    assert (where(given_outright), given_outright.at_home) == (("url", url, "tml-arg"), url == home)


def test_an_address_written_otherwise_is_the_same_address() -> None:
    environment = ServiceEnvironment(KEY, "https://a.example/x/")
    for url in ("HTTPS://A.example/x", "https://a.example:443/x"):
        assert choose_service(url, environment=environment).api_key == "tml-env"
    assert choose_service(TINKER_URL + "/", environment=ServiceEnvironment(KEY)).api_key == "tml-env"


def test_the_embedded_service_never_gets_a_key() -> None:
    assert choose_service("embedded", "Qwen/Qwen3-8B", "tml-arg", ServiceEnvironment(KEY)).api_key == LOCAL_KEY


def test_a_key_in_no_usable_form_is_named_by_its_source_only_where_it_is_needed() -> None:
    bad = ServiceEnvironment(Key("hunter2", "TINKER_API_KEY"))
    for service in ("auto", "tinker"):
        with pytest.raises(InputError) as caught:
            choose_service(service, environment=bad)
        assert str(caught.value).endswith("- at TINKER_API_KEY")
        assert "hunter2" not in str(caught.value)
    assert choose_service("embedded", environment=bad).kind == "embedded"
    assert choose_service("http://localhost:1", environment=bad).api_key == LOCAL_KEY
    assert choose_service("tinker", api_key="tml-arg", environment=bad).api_key == "tml-arg"


def test_no_representation_shows_a_key() -> None:
    assert "tml-env" not in repr(KEY) + repr(ServiceEnvironment(KEY)) + repr(
        choose_service(environment=ServiceEnvironment(KEY))
    )


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example",
        "localhost:8000",
        "http://",
        "http:///x",
        "http://a.example:99999",
        "http://a.example:x",
        "http://a b",
        "http://a.example/\n",
        "http://[::1",
        "http://a.example/?key=1",
        "http://a.example/#x",
        "http://ä.example",
        "a.example",
        "/tmp/socket",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"^expected an address such as .* - at --service$"):
        choose_service(url)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        read_url("http://me:hunter2@a.example", at="--service")
    assert "hunter2" not in str(caught.value)


@settings(deadline=None)
@given(st.text())
def test_any_service_is_chosen_or_refused(service: str) -> None:
    sentence = ""
    try:
        assert choose_service(service, api_key="tml-arg").kind in ("embedded", "tinker", "url")
    except InputError as error:
        sentence = str(error)
    assert "\n" not in sentence


def stored(folder: Path, document: object) -> Path:
    path = folder / ".tinker" / "credentials.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    return path


RECORD = {"type": "manual", "key": "tml-stored", "name": "mine"}
ENVIRONMENTS = [
    {"TINKER_API_KEY": key, "TINKER_CREDENTIAL_CMD": command}
    for key in ("", "tml-env", "wrong")
    for command in ("", "echo tml-command")
]
FILES = [
    None,
    {"version": 1, "default": "a", "keys": {"a": RECORD}},
    {"version": 1, "default": "b", "keys": {"a": RECORD}},
    {"version": 1, "default": None, "keys": {}},
    {"keys": 3},
]


@pytest.mark.parametrize(("environ", "document"), list(itertools.product(ENVIRONMENTS, FILES)))
def test_keys_are_found_where_the_sdk_finds_them(
    environ: dict[str, str], document: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinker._exceptions import TinkerError
    from tinker.lib._auth_token_provider import ApiKeyAuthProvider, CredentialCmdAuthProvider, resolve_auth_provider

    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    if document is not None:
        stored(tmp_path, document)
    try:
        provider = resolve_auth_provider(None, enforce_cmd=False)
    except (TinkerError, ValueError):
        with pytest.raises(InputError):
            choose_service("tinker", environment=read_environment())
    else:
        endpoint = choose_service("tinker", environment=read_environment())
        assert endpoint.api_key == (provider.api_key if isinstance(provider, ApiKeyAuthProvider) else None)
        assert isinstance(provider, ApiKeyAuthProvider | CredentialCmdAuthProvider)


def test_tinkers_address_is_the_sdks() -> None:
    from tinker.lib.base_url import DEFAULT_BASE_URL

    assert TINKER_URL == DEFAULT_BASE_URL


def test_a_machine_without_credentials_offers_none(tmp_path: Path) -> None:
    assert read_environment({"TINKER_BASE_URL": ""}, tmp_path / "none.json") == ServiceEnvironment(None, None)
    assert read_environment({}, tmp_path / "file" / "none.json") == ServiceEnvironment(None, None)


def test_broken_credentials_matter_only_where_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text("{")
    environment = read_environment({}, path)
    assert choose_service("embedded", environment=environment).kind == "embedded"
    with pytest.raises(InputError, match=rf"got a file that cannot be read .* - at {path}$"):
        choose_service("tinker", environment=environment)
    assert read_environment({"TINKER_API_KEY": "tml-env"}, path).key == KEY


@pytest.mark.parametrize("url", LOOPBACKS)
def test_an_address_of_this_machine_is_known_by_its_host(url):
    assert is_loopback(url)
    assert read_url(f"{url}/", at="--service") == url
    assert not is_loopback("https://localhost.example")
