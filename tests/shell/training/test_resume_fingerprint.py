"""What may not differ when a run goes on: that a change of it shows, and nothing else does."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from kernel.errors import InputError
from kernel.renderers.qwen3 import QWEN3_INSTRUCT
from shell.data.load_dataset import SAMPLE
from shell.fingerprints import ROOT, STEPS, code_digest, deciding_modules
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
    schedule_line,
)

DATA = SAMPLE / "test.jsonl"
ELSEWHERE = {
    "train_on_what": "all_tokens", "learning_rate": 0.5, "seed": 1, "batch_size": 3, "max_length": 99,
    "truncation": "drop", "cut_answers": "skip", "zero_loss": "send", "split_turns": "never", "reduction": "none",
    "tail": "keep", "order": "cipher", "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_eps": 0.5, "weight_decay": 0.5,
    "grad_clip_norm": 0.5, "lora_rank": 3, "train_mlp": False, "train_attn": False, "train_unembed": False,
    "model_name": "tinsmith/other",
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
    also = {"rows"} if name == "seed" else set()  # the builder's order
    assert changed(**{name: ELSEWHERE[name]}) - {"schedule"} == {name} | also


def test_the_settings_above_are_all_that_there_are():
    assert set(SETTINGS) - {"dataset_column", "dataset_format"} <= set(ELSEWHERE)


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
    rest = {"shell/datums/open_run_data.py", "shell/datums/check_rows.py", "shell/run_dir/atomic_files.py"}
    assert alone <= building | rest


def test_a_schedule_depends_on_the_length_of_the_run_only_where_the_rate_decays():
    assert schedule_line(Config(log_path="x", warmup_steps=5), 60) == "linear to step 60, 5 steps of warmup"
    assert schedule_line(Config(log_path="x", lr_schedule="constant"), 60) == "constant"
