import os

import msgspec
import pytest

from kernel.errors import InputError
from shell.run_dir.records import Checkpoint, record_checkpoint
from shell.service.connection import Weights, choose_weights, connected, open_model
from shell.settings.config import Config
from shell.settings.service_choice import ServiceChoice
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


def test_credentials_of_the_machine_are_out_of_sight_while_another_service_is_spoken_to(tmp_path, monkeypatch):
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", "cat /secret")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with connected(EMBEDDED, tmp_path, Weights(), {}, print) as connection:
        assert "TINKER_CREDENTIAL_CMD" not in os.environ
        assert open_model(connection, CONFIG, Weights(), {"recipe_name": "x"}).forward(datums(5)).result().shape == (5,)
    assert os.environ["TINKER_CREDENTIAL_CMD"] == "cat /secret"
    assert "NO_PROXY" not in os.environ


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
