"""Whatever is typed or stands in a file of settings: a config, or one sentence. Nothing else comes out."""

import contextlib
import io
import json

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kernel.errors import InputError
from shell.settings.cli import Resolved, describe, resolve
from shell.settings.config import Config
from shell.settings.flags import fields_of

pytestmark = pytest.mark.slow  # test_cli.py draws words and files too

NAMES = sorted(fields_of(Config))
WORDS = st.sampled_from(
    ["", "0", "1", "-1", "1e9", "1e999", "nan", "inf", "none", "null", "true", "off", "auto", "embedded", "tinker",
     "hf", "http://[", "http://h:99999", "http://u:p@h", "tinker://", "~", "a/b.jsonl", "\x00", "\ud800", "=", "--",
     "9" * 400]
)  # fmt: skip
TEXTS = WORDS | st.text(max_size=12)
FLAGS = st.sampled_from(["--" + name.replace("_", "-") for name in NAMES] + ["--no-streaming", "--config", "-h", "-x"])
TOKENS = (
    FLAGS
    | TEXTS
    | st.builds("{}={}".format, FLAGS, TEXTS)
    | st.builds("{}={}".format, st.sampled_from([*NAMES, "config", "dataset_builder.batch_size", "...seed"]), TEXTS)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
TABLES = st.dictionaries(st.sampled_from(NAMES) | TEXTS, VALUES, max_size=4)


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path_factory):
    """A machine without credentials or settings, in an empty folder."""
    for name in ("TINKER_API_KEY", "TINKER_BASE_URL", "TINKER_CREDENTIAL_CMD"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)


def settle(argv):
    """What comes of what was typed: settings, which can be recorded, or a sentence."""
    found: object = None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = resolve(argv)
    except InputError as error:
        found = str(error)
    except SystemExit as end:
        found = "help" if end.code == 0 else None
    assert found
    if isinstance(found, Resolved):
        msgspec.json.encode(describe(found))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TOKENS, max_size=5))
@example(["--log-path", "run", "--service", "http://[::1"])
@example(["--log-path=run", "--learning-rate=nan"])
@example(["--log-path=a\0b"])
@example(["--adam-beta1=\ud800"])
@example(["--batch-size=" + "9" * 400])
def test_no_command_line_does_more_than_say_what_is_wrong(argv):
    settle(["--log-path=run", *argv])
    settle(argv)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TABLES, st.sampled_from(["json", "yaml", "toml"]), st.booleans())
def test_no_table_of_settings_does_either(tmp_path_factory, table, form, wrapped):
    path = tmp_path_factory.getbasetemp() / f"table.{form}"
    try:
        if form == "toml":
            path.write_text("\n".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in table.items()))
        else:
            module = msgspec.json if form == "json" else msgspec.yaml
            path.write_bytes(module.encode({"config": table, "sources": {}} if wrapped else table))
    except (TypeError, ValueError):  # a value that the form cannot hold
        return
    settle(["--log-path=run", "--config", str(path)])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
       st.sampled_from(["json", "yaml", "yml", "toml", "txt"]))  # fmt: skip
@example(b"a: !!python/object/apply:os.system ['true']", "yaml")
@example(b"&a [*a]", "yaml")
@example(b"? [a]\n: b", "yaml")
@example(b"2026-01-01: 3", "yaml")
@example(b"seed: 2026-01-01", "yaml")
@example(b"seed = 2026-01-01T00:00:00Z", "toml")
@example(b"[" * 5000, "json")
@example(b"[" * 5000, "yaml")
@example(b"a = " + b"[" * 5000, "toml")
@example(b"1", "json")
def test_no_file_does_either(tmp_path_factory, content, form):
    path = tmp_path_factory.getbasetemp() / f"file.{form}"
    path.write_bytes(content)
    settle(["--log-path=run", f"--config={path}"])
