"""Which checkpoint a run goes on from: what gives way to the one before, and what does not."""

import httpx
import pytest
import tinker
from tinker.types import RequestErrorCategory

from kernel.errors import InputError
from shell.run_dir.run_files import Checkpoint
from shell.service.protocol import ServiceFault
from shell.training.resume import first_available, gone, resumptions

NOW = {"rows": "8 ab", "seed": "0"}


def checkpoint(cursor, rolling=False, fingerprint=NOW):
    name, path = f"{'rolling-' * rolling}{cursor:06d}", f"tinker://r/{cursor}"
    about = {"epoch": 0, "batch": cursor, "n_steps": 9, "n_tokens": 10 * cursor, "fingerprint": fingerprint}
    return Checkpoint(name=name, cursor=cursor, state_path=path, rolling=rolling, **about)


def status(code):
    response = httpx.Response(code, request=httpx.Request("POST", "http://service"))
    return tinker.APIStatusError(f"status {code}, key tml-secret", response=response, body=None)


def failed(category):
    return tinker.RequestFailedError("no such path", request_id="1", category=category)


def refused(cause):
    """As `open_model` raises: one sentence, the cause behind a fault behind it."""
    fault = ServiceFault("the opening failed")
    fault.__cause__ = cause
    error = InputError("expected tinker://r/4, got a refusal")
    error.__cause__ = fault
    return error


def go_on(checkpoints, errors, tmp_path, accepted=None):
    said, tried = [], []

    def load(one):
        tried.append(one.name)
        if one.name in errors:
            raise errors[one.name]
        return f"model of {one.name}"

    offered = resumptions(checkpoints, NOW, accepted)
    try:
        return first_available(offered, load, said.append, tmp_path, "tml-secret"), tried, said
    except (InputError, ServiceFault) as error:
        return error, tried, said


GONE = {"404": status(404), "410": status(410), "a user's error": failed(RequestErrorCategory.User)}
NOT_GONE = {
    **{str(code): status(code) for code in (400, 401, 402, 403, 429, 500, 503)},
    "a server's error": failed(RequestErrorCategory.Server),
    "no connection": tinker.APIConnectionError(request=httpx.Request("POST", "http://service")),
    "nothing": None,
}


@pytest.mark.parametrize("cause", GONE)
@pytest.mark.parametrize("wrap", [refused, lambda cause: refused(cause).__cause__], ids=["refusal", "fault"])
def test_a_checkpoint_that_is_gone_gives_way_to_the_one_before_with_a_line_that_says_so(cause, wrap, tmp_path):
    run = [checkpoint(2), checkpoint(3, rolling=True), checkpoint(4), checkpoint(5, rolling=True)]
    errors = {name: wrap(GONE[cause]) for name in ("rolling-000005", "000004")}
    (model, taken), tried, said = go_on(run, errors, tmp_path)
    assert tried == ["rolling-000005", "000004", "000002"]
    assert (model, taken.n_kept, taken.progress[:3]) == ("model of 000002", 1, (2, 0, 20))
    assert [line.split(" (")[0] for line in said] == [
        "gone      checkpoint rolling-000005",
        "gone      checkpoint 000004",
    ]
    assert all(line.endswith("): trying the one before") and "secret" not in line for line in said)


@pytest.mark.parametrize("cause", NOT_GONE)
def test_a_fault_of_another_kind_is_no_reason_to_give_a_checkpoint_up(cause, tmp_path):
    error = refused(NOT_GONE[cause])
    assert go_on([checkpoint(2), checkpoint(4)], {"000004": error}, tmp_path) == (error, ["000004"], [])
    assert gone(error) is None


def test_where_none_is_left_the_ways_on_are_named(tmp_path):
    error, tried, said = go_on([checkpoint(2)], {"000002": refused(status(404))}, tmp_path)
    assert (tried, len(said)) == (["000002"], 1)
    assert str(error) == (
        f"the service has none of the checkpoints of {tmp_path}: use the --service that saved them, or start again "
        "with --behavior-if-log-dir-exists delete"
    )


def test_each_checkpoint_is_compared_when_its_turn_comes(tmp_path):
    run = [checkpoint(2, fingerprint={**NOW, "seed": "7"}), checkpoint(4)]
    errors = {"000004": refused(status(404))}
    assert go_on(run, {}, tmp_path)[0][1].accepted == []
    error, tried, _ = go_on(run, errors, tmp_path)
    assert tried == ["000004"]
    assert str(error).startswith("since checkpoint 000002: seed was 7 and is 0 now. ")
    assert go_on(run, errors, tmp_path, "seed")[0][1].accepted == ["accepted  seed was 7 and is 0 now"]


def test_a_checkpoint_without_a_fingerprint_is_taken_up_and_that_is_said(tmp_path):
    (_, taken), _, _ = go_on([checkpoint(2, fingerprint={})], {}, tmp_path)
    assert [line.split()[0] for line in taken.accepted] == ["warning"]
