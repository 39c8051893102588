import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kernel.errors import InputError
from shell.service.preflight import check_service
from shell.settings.service_choice import ServiceChoice

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
        assert check_service(endpoint(url)) == ("a/b",)
    assert asked == [("client/config", "tml-secret"), ("get_server_capabilities", "tml-secret")]


def test_a_service_that_does_not_list_its_models_is_accepted():
    with service(client_config=(200, "{}")) as (url, _):
        assert check_service(endpoint(url)) == ()


def test_a_service_that_trades_keys_for_tokens_is_asked_for_one():
    answers = {
        "client_config": (200, '{"pjwt_auth_enabled": true}'),
        "auth_token": (200, '{"jwt": "eyJ.x"}'),
        "get_server_capabilities": (200, CAPABILITIES),
    }
    with service(**answers) as (url, asked):
        assert check_service(endpoint(url)) == ("a/b",)
    assert asked[1:] == [("auth/token", "tml-secret"), ("get_server_capabilities", "eyJ.x")]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("at", ["client_config", "get_server_capabilities"])
def test_a_refused_key_is_one_sentence_that_names_its_source(status, at):
    answers = {"client_config": (200, "{}"), "get_server_capabilities": (200, CAPABILITIES)} | {at: (status, "no")}
    with service(**answers) as (url, _):
        expected = f"URL refuses the key (HTTP {status}) - at --service URL, with the key of --api-key"
        assert refusal(url) == expected


def test_without_a_key_of_ours_only_the_address_is_checked():
    with service(client_config=(401, "")) as (url, asked):
        assert check_service(endpoint(url, key=None)) == ()
    assert asked == [("client/config", None)]


def test_another_kind_of_server_is_named_as_such():
    with service(client_config=(200, "<html>")) as (url, _):
        assert refusal(url).startswith("there is no Tinker service at URL: an answer of another kind - at ")
    with service() as (url, _):
        assert refusal(url).startswith("there is no Tinker service at URL: HTTP 404 - at ")


def test_nobody_at_the_address_is_reported_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert ": [Errno 111] Connection refused" in refusal(url)


def test_a_server_that_never_answers_is_given_up_within_the_limit():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert ": no answer in 0.1 s" in refusal(f"http://127.0.0.1:{silent.getsockname()[1]}", limit_seconds=0.1)
