"""The key of a service goes to the service and nowhere else, however a run is given it and however it ends."""

import io
import json
import signal
from contextlib import redirect_stderr, redirect_stdout

import pytest

from shell.run_dir.progress_display import Screen
from shell.settings.cli import main
from shell.train import train
from tests.shell.faults.proxy import POLL, Fault, Refuse, Says, through
from tests.shell.faults.runs import FLAGS

KEY = "tml-5ecret0fTheTests"
ECHO = json.dumps({"error": f"no account has the key {KEY}", "category": "user", "detail": KEY}).encode()
ENDINGS = {
    "it trains to its end": ([], 0),
    "the key is refused at once": ([Fault("client/config", 1, Says(401, ECHO), 99)], 2),
    "the key is refused when the model is asked for": ([Fault("create_model", 1, Says(401, ECHO))], 2),
    "the key is refused in the middle": ([Fault("optim_step", 2, Says(403, ECHO), 99)], 1),
    "a request fails in words with the key in them": ([Fault(POLL + "OptimStep", 2, Says(200, ECHO))], 1),
    "a promise is refused": ([Fault(POLL + "ForwardBackward", 2, Says(404, ECHO))], 1),
    "an answer is nonsense": ([Fault(POLL + "OptimStep", 2, Says(200, ECHO[3:]))], 1),
    "the service has gone": ([Fault("optim_step", 2, Refuse(999))], 1),
    "its account cannot be billed": ([Fault("client/config", 1, Says(402, ECHO))], 2),
    "Ctrl-C": ([], 130),
    "Ctrl-C twice": ([], 130),
}

REPEATED = {
    "the key is refused when the model is asked for",
    "the key is refused in the middle",
    "a request fails in words with the key in them",
    "a promise is refused",
}
"""endings told in the service's words, which repeat the key"""


@pytest.fixture(params=["cookbook's spelling", "environment", "file", "file of settings"])
def given(request, monkeypatch, tmp_path):
    """The key, given in one of the ways there are; what must be typed for it."""
    for name in ("TINKER_API_KEY", "TINKER_CREDENTIAL_CMD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    match request.param:
        case "cookbook's spelling":
            return [f"api_key={KEY}"]
        case "environment":
            monkeypatch.setenv("TINKER_API_KEY", KEY)
        case "file of settings":
            (tmp_path / "settings.json").write_text(json.dumps({"api_key": KEY}))
            return ["--config", str(tmp_path / "settings.json")]
        case "file":
            (tmp_path / "home" / ".tinker").mkdir(parents=True)
            stored = {"default": "a", "keys": {"a": {"key": KEY}}}
            (tmp_path / "home" / ".tinker" / "credentials.json").write_text(json.dumps(stored))
    return []


def check(ending, given, rows, service, tmp_path, monkeypatch, impatient):
    """Runs, and looks for the key in all that is left of it."""
    script, expected = ENDINGS[ending]
    folder, said, errors = tmp_path / "run", io.StringIO(), io.StringIO()
    n_signals = {"Ctrl-C": 1, "Ctrl-C twice": 2}.get(ending, 0)
    shown = Screen.step

    def interrupt(screen, row, n_steps):
        shown(screen, row, n_steps)
        for _ in range(n_signals if row["step"] == 2 else 0):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Screen, "step", interrupt)
    with through(service.url, *script) as proxy, redirect_stdout(said), redirect_stderr(errors):
        impatient(proxy)
        monkeypatch.setenv("TINKER_BASE_URL", proxy.url)  # so that what the machine has belongs to it
        told = ["--service", "tinker", "--model-name", "tinsmith/tiny", "--tokenizer", "sample", "--dataset", str(rows),
                "--renderer-name", "role_colon", "--log-path", str(folder)]  # fmt: skip
        assert main(train, [*told, *FLAGS, *given]) == expected
    assert "Traceback" not in errors.getvalue()
    assert ("***" in errors.getvalue()) == (ending in REPEATED)
    for text in (said.getvalue(), errors.getvalue()):
        assert KEY not in text
    for path in folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    return proxy


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_ending_of_a_run_leaves_the_key_anywhere(ending, rows, service, tmp_path, monkeypatch, impatient):
    check(ending, ["--api-key", KEY], rows, service, tmp_path, monkeypatch, impatient)


def test_no_way_to_give_the_key_leaves_it_anywhere(given, rows, service, tmp_path, monkeypatch, impatient):
    proxy = check("the key is refused in the middle", given, rows, service, tmp_path, monkeypatch, impatient)
    assert proxy.keys == {KEY}  # and so it was there to be left


@pytest.mark.parametrize("wrong", ["dev", KEY.removeprefix("tml-"), "tml-a b", "tml-\u00e9", f"{KEY}\n"])
def test_a_key_that_cannot_be_one_is_not_repeated(wrong, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    told = ["--service", "https://tinker.invalid", "--dataset", str(rows), "--log-path", str(tmp_path / "run")]
    assert main(train, [*told, "--api-key", wrong]) == 2
    assert wrong.strip() not in capsys.readouterr().err.replace("--api-key", "").replace("tinker.invalid", "")
