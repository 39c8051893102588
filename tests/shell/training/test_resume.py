"""What a run resumes from, and what may not differ then: that a change of it shows, and nothing else does."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import httpx
import pytest
import tinker
from tinker.types import RequestErrorCategory

from kernel.errors import InputError
from kernel.renderers.qwen3 import QWEN3_INSTRUCT
from shell.data.load_dataset import SAMPLE
from shell.fingerprints import ROOT, STEPS, code_digest, deciding_modules
from shell.run_dir.run_files import Checkpoint
from shell.service.protocol import ServiceFault
from shell.settings.config import Config
from shell.text.tokenizer import SAMPLE as TOKENIZER
from shell.training import resume as module
from shell.training.open_run import open_run
from shell.training.resume import (
    OF_THE_MODEL,
    SETTINGS,
    check_accepted,
    check_unchanged,
    fingerprint,
    first_available,
    gone,
    resumptions,
    schedule_line,
)

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


DATA = SAMPLE / "test.jsonl"
ELSEWHERE = {
    "train_on_what": "all_tokens", "learning_rate": 0.5, "seed": 1, "batch_size": 3, "max_length": 99,
    "truncation": "drop", "cut_answers": "skip", "zero_loss": "send", "split_turns": "never", "reduction": "none",
    "tail": "keep", "order": "cipher", "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_eps": 0.5, "weight_decay": 0.5,
    "grad_clip_norm": 0.5, "lora_rank": 3, "train_mlp": False, "train_attn": False, "train_unembed": False,
    "model_name": "tinsmith/other", "unknown_keys": "ignore", "follow": "template",
}  # fmt: skip
FREE = {
    "log_path": "elsewhere", "submit_ahead": 4, "eval_every": 1, "save_every": 1, "save_every_tokens": 1,
    "save_every_seconds": 1, "rolling_save_every": 1, "rolling_ttl_seconds": 1, "ttl_seconds": 1, "recipe_name": "x",
    "accept_changes": "all", "max_bad_rows": 2, "load_checkpoint_path": "tinker://x", "silence_limit": 99,
}  # fmt: skip


def of(**settings):
    given = {"log_path": "run", "model_name": "tinsmith/tiny", "dataset": str(DATA), "renderer_name": "qwen3_instruct"}
    config = Config(**{**given, "tokenizer": "sample", "batch_size": 4, **settings})
    return fingerprint(config, open_run(config))


def changed(**settings):
    before, now = of(), of(**settings)
    return {name for name in before if before[name] != now[name]}


def test_a_fingerprint_is_the_same_wherever_and_whenever_it_is_taken(tmp_path):
    shutil.copy(DATA, tmp_path / "copy.jsonl")
    shutil.copy(TOKENIZER, tmp_path / "tokenizer.json")
    assert of() == of(dataset=str(tmp_path / "copy.jsonl"), tokenizer=str(tmp_path / "tokenizer.json"))
    assert all(isinstance(value, str) and value for value in of().values())
    assert json.loads(json.dumps(of())) == of()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_each_setting_that_decides_shows_by_its_name(name):
    also = {"seed": {"rows"}, "follow": {"renderer"}}.get(name, set())  # the builder's order; the format followed
    assert changed(**{name: ELSEWHERE[name]}) - {"schedule"} == {name} | also


def test_the_settings_above_are_all_that_there_are():
    assert set(SETTINGS) - {"dataset_column", "dataset_format", "dataset_map"} <= set(ELSEWHERE)


@pytest.mark.parametrize("name", FREE)
def test_what_decides_no_step_does_not_show(name):
    assert changed(**{name: FREE[name]}) == set()


def test_rows_show_by_their_bytes_and_by_what_is_held_out(tmp_path):
    (tmp_path / "other.jsonl").write_bytes(DATA.read_bytes() + b" ")
    assert changed(dataset=str(tmp_path / "other.jsonl")) == {"rows"}
    assert "rows" in changed(test_size=3)


def test_a_tokenizer_shows_by_its_bytes(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER.read_bytes() + b"\n")
    assert changed(tokenizer=str(tmp_path / "tokenizer.json")) == {"tokenizer"}


def test_a_renderer_shows_by_its_name_and_by_its_data(tmp_path):
    assert changed(renderer_name="qwen3") == {"renderer"}
    own = tmp_path / "mine.py"
    own.write_text("from kernel.renderers.qwen3 import QWEN3_INSTRUCT as MINE\n")
    before = of(renderer_name=f"{own}:MINE")
    own.write_text("from kernel.renderers.qwen3 import QWEN3_INSTRUCT as MINE  # another\n")
    assert of(renderer_name=f"{own}:MINE")["renderer"] != before["renderer"]
    other = replace(QWEN3_INSTRUCT, bos="<|im_start|>")
    assert module._renderer(other, None) != module._renderer(QWEN3_INSTRUCT, None)


@pytest.mark.parametrize("source", ["kernel/datum.py", "kernel/renderers/qwen3.py", "shell/text/tokenizer.py"])
def test_code_shows_by_its_bytes_and_by_its_version(source, tmp_path):
    for name in ("kernel", "shell"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    before = code_digest(STEPS)
    code_digest.cache_clear()
    assert code_digest(STEPS, tmp_path) == before
    assert f"tinsmith {of()['code']}".endswith(before[:16])
    for free in ("kernel/training_steps.py", "kernel/loss.py", "shell/training/loop.py"):
        (tmp_path / free).write_text("")
    code_digest.cache_clear()
    assert code_digest(STEPS, tmp_path) == before
    (tmp_path / source).write_bytes((tmp_path / source).read_bytes() + b"\n")
    code_digest.cache_clear()
    assert code_digest(STEPS, tmp_path) != before


def test_a_run_of_an_older_version_resumes_after_one_confirmation():
    now = of()
    before = now | {"code": f"0.1.0 {'0' * 16}", "renderer": f"qwen3_instruct {'0' * 16}"}
    with pytest.raises(InputError, match=r"resume anyway with --accept-changes renderer,code$"):
        check_unchanged(before, now, None, "checkpoint 000004")
    assert len(check_unchanged(before, now, "renderer,code", "checkpoint 000004")) == 2


def test_the_length_of_a_run_shows_where_the_learning_rate_follows_it():
    assert changed(num_epochs=2) == {"schedule"}
    constant = {"lr_schedule": "constant", "warmup_steps": 2}
    assert of(**constant) == of(**constant, num_epochs=2) == of(**constant, max_steps=3)
    assert changed(warmup_steps=2) == changed(min_learning_rate=1e-5) == {"schedule"}


def test_changes_are_told_one_by_one_with_the_flag_that_accepts_them():
    before, now = {"batch_size": "4", "rows": "8 ab", "seed": "0"}, {"batch_size": "2", "rows": "8 cd", "seed": "0"}
    with pytest.raises(InputError) as error:
        check_unchanged(before, now, None, "checkpoint 000004")
    assert str(error.value) == (
        "since checkpoint 000004: batch_size was 4 and is 2 now. rows was 8 ab and is 8 cd now. The steps would not be "
        "those of an uninterrupted run: change it back, or resume anyway with --accept-changes batch_size,rows"
    )
    for accepted in ("all", "batch_size,rows", " rows , batch-size"):
        lines = ["accepted  batch_size was 4 and is 2 now", "accepted  rows was 8 ab and is 8 cd now"]
        assert check_unchanged(before, now, accepted, "x") == lines
    with pytest.raises(InputError, match="since x: rows was"):
        check_unchanged(before, now, "batch_size", "x")
    assert check_unchanged(before, before, None, "x") == []


@pytest.mark.parametrize("name", OF_THE_MODEL)
def test_what_a_checkpoint_brings_with_it_cannot_be_accepted_otherwise(name):
    with pytest.raises(InputError, match=rf"change it back \({name} cannot change in a run\)"):
        check_unchanged({name: "a"}, {name: "b"}, "all", "x")


def test_a_part_that_only_one_of_the_two_knows_is_not_compared():
    assert check_unchanged({"gone": "1"}, {"new": "2"}, None, "x") == []


def test_a_name_that_no_fingerprint_has_is_refused_with_the_nearest():
    check_accepted("all", [*of()])
    check_accepted("rows,batch-size", [*of()])
    check_accepted(None, [])
    with pytest.raises(InputError, match="unknown part of a run 'row', did you mean 'rows'"):
        check_accepted("row", [*of()])


TEMPLATE = (
    "{% if loud %}<|im_start|>system\nLoud.<|im_end|>\n{% endif %}{% for message in messages %}<|im_start|>"
    "{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_template_shows_by_its_text_and_by_what_it_is_given(tmp_path):
    shutil.copy(TOKENIZER, tmp_path / "tokenizer.json")
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    of_template = {"renderer_name": "hf_template", "tokenizer": str(tmp_path)}
    before, loud = of(**of_template), of(**of_template, template_variables='{"loud": true}')
    assert {name for name in before if before[name] != loud[name]} == {"renderer"}
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE.replace("Loud", "Lour"))
    assert of(**of_template)["renderer"] != before["renderer"]


def test_every_module_that_a_dataset_is_built_with_is_part_of_the_code():
    names = "import sys, shell.datums.open_run_data, shell.text.chat_template.open_template\n"
    names += "print(*(name for name, m in sys.modules.items() if 'shell.' in name and not hasattr(m, '__path__')))"
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True)
    used = {name.replace(".", "/") for name in done.stdout.split() if name.startswith("shell.")}
    alone = {f"{name}.py" for name in used} - set(deciding_modules(STEPS))
    # what calls the others, counts, waits, locks or builds the cache decides no step
    building = {f"shell/token_cache/{name}.py" for name in ("build", "open_cache", "workers")}
    rest = {f"shell/datums/{name}.py" for name in ("open_run_data", "check_rows", "note_counts")}
    rest.add("shell/run_dir/atomic_files.py")
    assert alone <= building | rest


def test_a_schedule_depends_on_the_length_of_the_run_only_where_the_rate_decays():
    assert schedule_line(Config(log_path="x", warmup_steps=5), 60) == "linear to step 60, 5 steps of warmup"
    assert schedule_line(Config(log_path="x", lr_schedule="constant"), 60) == "constant"


def test_a_run_from_before_there_were_losses_had_the_cross_entropy():
    assert [one.accepted for one in resumptions([checkpoint(2)], {**NOW, "loss": "cross_entropy"}, None)] == [[]]
    with pytest.raises(InputError, match=r"loss was cross_entropy and is mine\.py:f 12 now"):
        next(resumptions([checkpoint(2)], {**NOW, "loss": "mine.py:f 12"}, None))
