"""The service as a process: killed at any moment it has lost nothing, and it ends when and only when it should."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tinker
from tinker import types

from shell.local_service.__main__ import main
from shell.service.local_process import ServiceFault, ServiceProcess, start
from tests.shell.local_service.serving import API_KEY, RawClient, data, some_rows

ROOT = Path(__file__).parents[3]
STEPS = [some_rows(seed, n=16, length=40) for seed in range(6)]


def port_of(service: ServiceProcess) -> int:
    return int(service.url.rpartition(":")[2])


@contextmanager
def killed(service: ServiceProcess, state_dir: Path) -> Iterator[ServiceProcess]:
    """The service after a SIGKILL and a restart at the same address."""
    service.process.kill()
    service.close()
    with start(state_dir, port=port_of(service)) as again:
        assert again.url == service.url
        yield again


def ended(pid: int, within_s: float = 20) -> bool:
    """Whether a process ends in time."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], within_s)[0])
    finally:
        os.close(process)


def submit(client: RawClient, model_id: str) -> list[str]:
    """Six steps and a save, sent without waiting for anything."""
    sent = []
    for k, rows in enumerate(STEPS):
        sent += [client.forward_backward(model_id, 2 * k + 1, rows), client.optim_step(model_id, 2 * k + 2)]
    return [*sent, client.save(model_id, 13, "end")]


def summary(client: RawClient, model_id: str, sent: list[str]) -> list[Any]:
    """All that a client can learn: every result, and what the model and its checkpoint compute then."""
    path = f"tinker://{model_id}/weights/end"
    results = [client.result(request_id) for request_id in sent]
    found: list[Any] = [each.tolist() if isinstance(each, np.ndarray) else each.get("metrics") for each in results]
    found.append(client.logprobs(model_id, 14, STEPS[0]).tolist())
    for number, optimizer in ((1, True), (2, False)):
        loaded = client.load(path, number, optimizer=optimizer)["model_id"]
        client.forward_backward(loaded, 1, STEPS[1])
        client.optim_step(loaded, 2)
        found.append(client.logprobs(loaded, 3, STEPS[0]).tolist())
    assert found[-1] != found[-2]
    return found


@pytest.fixture(scope="module")
def undisturbed(service: ServiceProcess) -> list[Any]:
    client = RawClient(service.url)
    model_id = client.new_model()
    return summary(client, model_id, submit(client, model_id))


@pytest.mark.parametrize(
    "n_answers", [pytest.param(0, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow), 13]
)
def test_a_killed_service_continues_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: list[Any], n_answers: int
) -> None:
    service = start(tmp_path)
    client = RawClient(service.url)
    model_id = client.new_model()
    sent = submit(client, model_id)
    for request_id in sent[:n_answers]:
        client.result(request_id)
    with killed(service, tmp_path):
        assert submit(client, model_id) == sent
        assert summary(client, model_id, sent) == undisturbed


@pytest.mark.slow
def test_two_services_give_the_same_bits(tmp_path: Path, undisturbed: list[Any]) -> None:
    with start(tmp_path) as other:
        client = RawClient(other.url)
        model_id = client.new_model()
        assert summary(client, model_id, submit(client, model_id)) == undisturbed


@pytest.mark.slow
def test_the_sdk_trains_through_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    service = start(tmp_path)
    sdk = tinker.ServiceClient(base_url=service.url, api_key=API_KEY)
    model = sdk.create_lora_training_client("tinsmith/tiny", rank=4).result()
    waiting: list[Any] = []
    for seed in range(4):
        waiting.append(model.forward_backward(data(seed, n=100, length=100), "cross_entropy"))
        waiting.append(model.optim_step(types.AdamParams(learning_rate=0.01)))
    waiting[0].result()
    with killed(service, tmp_path):
        for future in waiting:
            future.result(timeout=60)
        path = model.save_state("after").result().path
        assert sdk.create_training_client_from_state(path).result().get_info().lora_rank == 4
        sdk.close("success").result()


def test_files_of_the_current_folder_are_no_modules_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numpy", "shell", "queue"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a stray file')\n")
    monkeypatch.chdir(tmp_path)
    start(tmp_path / "state").close()


@pytest.mark.slow
def test_a_state_directory_belongs_to_one_service(tmp_path: Path) -> None:
    with start(tmp_path), pytest.raises(ServiceFault, match=r"state directory .* is in use by another service"):
        start(tmp_path)
    start(tmp_path).close()


@pytest.mark.parametrize("state_dir", ["a-file", "a-file/below", "text"])
def test_a_state_directory_that_cannot_be_used_is_reported_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state_dir: str
) -> None:
    (tmp_path / "a-file").write_text("")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "state.sqlite3").write_text("this is no database" * 100)
    monkeypatch.setattr(sys, "argv", ["local_service", "--port", "0", "--state-dir", str(tmp_path / state_dir)])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert main() == 2
    sentence = capsys.readouterr().err.strip()
    assert len(sentence.splitlines()) == 1
    assert sentence.endswith("at --state-dir")


def test_a_taken_port_is_reported_in_a_sentence(service: ServiceProcess, tmp_path: Path) -> None:
    with pytest.raises(ServiceFault, match=f"cannot listen on port {port_of(service)} of 127.0.0.1"):
        start(tmp_path, port=port_of(service))


def test_it_listens_on_this_machine_alone(service: ServiceProcess) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    addresses = {line.split()[1] for line in listening if line.split()[1].endswith(f":{port_of(service):04X}")}
    assert f"0100007F:{port_of(service):04X}" in addresses
    assert not any(address.startswith("00000000") for address in addresses)


def test_the_terminals_signals_do_not_reach_it(service: ServiceProcess) -> None:
    assert os.getsid(service.process.pid) == service.process.pid != os.getsid(0)


PARENT = """
import os, sys
from pathlib import Path
from shell.service.local_process import start
service = start(Path(sys.argv[1]))
if sys.argv[2] == "fork" and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print(service.process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", [pytest.param("plain", marks=pytest.mark.slow), "fork"])
def test_it_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), how]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        assert ended(pid)
    start(tmp_path).close()


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[ServiceProcess] = []
    thread = threading.Thread(target=lambda: started.append(start(tmp_path)))
    thread.start()
    thread.join()
    with started[0] as service:
        assert not ended(service.process.pid, within_s=1)
        assert httpx.get(f"{service.url}/api/v1/healthz").json() == {"status": "ok"}


def test_alone_it_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shell.local_service", "--port", "0", "--state-dir", str(tmp_path / "new" / "dir")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"url": "http://127.0.0.1:')
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert not (tmp_path / "new" / "dir" / "state.sqlite3-wal").exists()
