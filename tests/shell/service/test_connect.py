import os
import socket
import sqlite3
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
import tinker

from kernel.errors import InputError
from shell.run_dir.run_files import Checkpoint, record_checkpoint
from shell.service import connect
from shell.service.connect import ServiceOffer, Weights, check_service, choose_weights, connected, open_model
from shell.service.sdk import takes
from shell.settings.choose_service import ServiceChoice
from shell.settings.config import Config
from tests.shell.recording import datums

EMBEDDED = ServiceChoice("embedded", None, "tml-local", at_home=False, reason="--service embedded")
CONFIG = Config(log_path="run", model_name="tinsmith/tiny", lora_rank=4)
CHECKPOINT = Checkpoint(name="000002", cursor=2, epoch=0, batch=2, n_steps=9, state_path="tinker://r/weights/000002")


def asking(path):
    return msgspec.structs.replace(CONFIG, load_checkpoint_path=str(path))


@pytest.fixture
def other(tmp_path):
    """The folder of a run that saved one checkpoint, on a service elsewhere."""
    folder = tmp_path / "other"
    folder.mkdir()
    record_checkpoint(folder, CHECKPOINT)
    return folder


def test_a_resumed_run_starts_from_its_own_checkpoint_with_its_optimizer(tmp_path, other):
    weights = choose_weights(asking(other), CHECKPOINT, tmp_path / "run", is_local=False)
    assert (weights.path, weights.with_optimizer) == (CHECKPOINT.state_path, True)


def test_a_new_run_takes_weights_alone_from_a_path_or_a_folder(tmp_path, other):
    for asked in (other, CHECKPOINT.state_path):
        weights = choose_weights(asking(asked), None, tmp_path / "run", is_local=False)
        assert weights == Weights(CHECKPOINT.state_path, named_by="--load-checkpoint-path")
    assert choose_weights(CONFIG, None, tmp_path / "run", is_local=True) == Weights()


def test_what_cannot_be_loaded_is_refused_before_anything_is_touched(tmp_path, other):
    for asked, folder, sentence in (
        (other, other, "expected the folder of another run"),
        (tmp_path / "none", tmp_path / "run", "no such folder"),
        (other, tmp_path / "run", "expected the folder of a run on the local service"),
    ):
        with pytest.raises(InputError, match=rf"{sentence}.* - at --load-checkpoint-path"):
            choose_weights(asking(asked), None, folder, is_local=True)
    assert not (tmp_path / "run").exists()


def test_the_machines_credentials_are_hidden_while_connected_to_another_service(tmp_path, monkeypatch):
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", "cat /secret")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with connected(EMBEDDED, tmp_path, Weights(), {}, print) as connection:
        assert "TINKER_CREDENTIAL_CMD" not in os.environ
        assert open_model(connection, CONFIG, Weights(), {"recipe_name": "x"}).forward(datums(5)).result().shape == (5,)
    assert os.environ["TINKER_CREDENTIAL_CMD"] == "cat /secret"
    assert "NO_PROXY" not in os.environ


@pytest.mark.skipif(not takes(tinker.ServiceClient, "display_name"), reason="before 0.34 sessions have no names")
def test_a_session_has_the_name_of_its_run(tmp_path):
    with connected(EMBEDDED, tmp_path, Weights(), {}, print, session_name="mine") as opened:
        open_model(opened, CONFIG, Weights(), {})
    with sqlite3.connect(tmp_path / "service" / "state.sqlite3") as state:
        assert state.execute("SELECT display_name FROM sessions").fetchall() == [("mine",)]


@pytest.mark.skipif(not hasattr(tinker.ServiceClient, "get_console_url"), reason="before 0.28 there is no link")
def test_a_console_link_is_logged_for_tinkers_own_service_alone(connection, tmp_path, monkeypatch):
    own, lines = ServiceChoice("url", connection.url, "tml-local", at_home=False, reason=""), []
    for home in ("https://tinker.example", connection.url):
        monkeypatch.setattr(connect, "TINKER_URL", home)
        with connected(own, tmp_path, Weights(), {}, lines.append) as opened:
            open_model(opened, CONFIG, Weights(), {})
    (line,) = lines
    assert line.startswith("console   https://")
    assert "/sessions/" in line


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("no.such.module", "expected a module that can be imported"), ("json", "expected a module of the same shape")],
)
def test_a_client_module_that_cannot_be_used_is_refused(name, sentence, tmp_path):
    with (
        pytest.raises(InputError, match=f"{sentence}.* - at --sdk"),
        connected(EMBEDDED, tmp_path, Weights(), {}, print, sdk_name=name),
    ):
        pass


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    with connected(EMBEDDED, tmp_path_factory.mktemp("run"), Weights(), {}, print) as opened:
        yield opened


def test_a_path_that_the_service_does_not_have_is_the_users_error(connection):
    weights = Weights("tinker://nobody/weights/000002", named_by="--load-checkpoint-path")
    with pytest.raises(
        InputError, match=r"expected tinker://nobody/weights/000002, got .* - at --load-checkpoint-path"
    ):
        open_model(connection, CONFIG, weights, {})


def test_a_checkpoint_of_another_model_is_refused(connection):
    path = open_model(connection, CONFIG, Weights(), {}).save_state("a", None).result()
    other = msgspec.structs.replace(CONFIG, model_name="tinsmith/other")
    with pytest.raises(InputError, match=r"expected a checkpoint of tinsmith/other, got one of tinsmith/tiny"):
        open_model(connection, other, Weights(path, named_by="--load-checkpoint-path"), {})


CAPABILITIES = '{"supported_models": [{"model_name": "a/b"}, {"model_name": "c/d", "trainable": false}, {}]}'


@contextmanager
def service(**answers):
    """A server that answers each path of /api/v1 with (status, body), and everything else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            asked.append((self.path.removeprefix("/api/v1/"), self.headers.get("X-API-Key")))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answers.get(asked[-1][0].replace("/", "_"), (404, ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_):
            pass

    asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def endpoint(url, key="tml-secret"):
    return ServiceChoice("url", url, key, at_home=False, reason=f"--service {url}, with the key of --api-key")


def refusal(url, **more):
    with pytest.raises(InputError) as error:
        check_service(endpoint(url), **more)
    assert "tml-secret" not in str(error.value)
    return str(error.value).replace(url, "URL")


def test_a_service_that_takes_the_key_lists_the_models_it_trains():
    with service(client_config=(200, "{}"), get_server_capabilities=(200, CAPABILITIES)) as (url, asked):
        assert check_service(endpoint(url)).models == ("a/b",)
    assert asked == [("client/config", "tml-secret"), ("get_server_capabilities", "tml-secret")]


def test_a_service_that_does_not_list_its_models_is_accepted():
    with service(client_config=(200, "{}")) as (url, _):
        assert check_service(endpoint(url)) == ServiceOffer()


def test_a_token_is_requested_from_a_service_that_exchanges_keys():
    answers = {
        "client_config": (200, '{"pjwt_auth_enabled": true}'),
        "auth_token": (200, '{"jwt": "eyJ.x"}'),
        "get_server_capabilities": (200, CAPABILITIES),
    }
    with service(**answers) as (url, asked):
        assert check_service(endpoint(url)).models == ("a/b",)
    assert asked[1:] == [("auth/token", "tml-secret"), ("get_server_capabilities", "eyJ.x")]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("at", ["client_config", "get_server_capabilities"])
def test_a_refused_key_is_one_sentence_that_names_its_source(status, at):
    answers = {"client_config": (200, "{}"), "get_server_capabilities": (200, CAPABILITIES)} | {at: (status, "no")}
    with service(**answers) as (url, _):
        expected = f"URL refuses the key (HTTP {status}) - at --service URL, with the key of --api-key"
        assert refusal(url) == expected


def test_without_a_key_only_the_address_is_checked():
    with service(client_config=(401, "")) as (url, asked):
        assert check_service(endpoint(url, key=None)) == ServiceOffer()
    assert asked == [("client/config", None)]


def test_another_kind_of_server_is_named_as_such():
    with service(client_config=(200, "<html>")) as (url, _):
        assert refusal(url).startswith("there is no Tinker service at URL: an answer of another kind - at ")
    with service() as (url, _):
        assert refusal(url).startswith("there is no Tinker service at URL: HTTP 404 - at ")


def test_an_address_without_a_service_is_reported_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert ": [Errno 111] Connection refused" in refusal(url)


def test_a_server_that_never_answers_is_given_up_within_the_limit():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert ": no answer in 0.1 s" in refusal(f"http://127.0.0.1:{silent.getsockname()[1]}", limit_seconds=0.1)
