"""Where a chat template is found, and which variables it reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from kernel.conversation import Message
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from shell.text.chat_template.open_template import open_template
from shell.text.chat_template.template_renderer import TemplateRenderer
from shell.text.tokenizer import SAMPLE, Tokenizer, open_tokenizer
from tests.shell.text.chat_template import samples

TOKENIZER = open_tokenizer("sample")
TALK = (Message("user", " q "), Message("assistant", "a"))


def folder(path: Path, template: str | None = None, **config: Any) -> Path:
    (path / "tokenizer.json").write_bytes(SAMPLE.read_bytes())
    if config:
        (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if template is not None:
        (path / "chat_template.jinja").write_text(template, encoding="utf-8")
    return path


def text(path: Path, **variables: Any) -> str:
    template = open_template(TOKENIZER, str(path), variables=variables)
    (example,) = TemplateRenderer(template).masked(TALK, TrainOnWhat.ALL_ASSISTANT_MESSAGES)
    return "".join(span.text for span, _ in example)


def test_a_template_file_comes_before_the_configs_template(tmp_path: Path) -> None:
    folder(tmp_path, samples.PLAIN, chat_template=samples.TRIMMED)
    assert text(tmp_path).startswith("<|im_start|>user\n q ")
    assert text(tmp_path / "tokenizer.json").startswith("<|im_start|>user\n q ")


@pytest.mark.parametrize("bos", ["<|begin_of_text|>", {"content": "<|begin_of_text|>", "lstrip": False}])
def test_the_configs_template_knows_its_special_tokens(tmp_path: Path, bos: object) -> None:
    folder(tmp_path, chat_template=samples.TRIMMED, bos_token=bos, add_bos_token=True)
    assert text(tmp_path).startswith("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>")


def test_of_several_templates_it_is_the_default(tmp_path: Path) -> None:
    several = [{"name": "rag", "template": "x"}, {"name": "default", "template": samples.PLAIN}]
    assert text(folder(tmp_path, chat_template=several)).startswith("<|im_start|>user")


def test_variables_reach_the_template(tmp_path: Path) -> None:
    folder(tmp_path, samples.chatml("{{- message.content }}", before="{{ 'think ' if enable_thinking else 'speak ' }}"))
    assert text(tmp_path, enable_thinking=False).startswith("speak <|im_start|>")


def test_no_template_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"a chat template in chat_template\.jinja or tokenizer_config\.json, got none"
    ):
        open_template(TOKENIZER, str(folder(tmp_path, bos_token="<|begin_of_text|>")))
    with pytest.raises(InputError, match="got none - at --tokenizer sample"):
        open_template(TOKENIZER, "sample")


def test_a_broken_config_is_an_error(tmp_path: Path) -> None:
    (folder(tmp_path) / "tokenizer_config.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(InputError, match=r"expected a JSON object, .*tokenizer_config\.json"):
        open_template(TOKENIZER, str(tmp_path))


def test_a_tokenizer_that_starts_every_text_with_a_space_is_refused(tmp_path: Path) -> None:
    spec = json.loads(SAMPLE.read_bytes())
    vocabulary = {"▁": 0, "a": 1, "b": 2, "\n": 3, "<unk>": 4}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>"}
    spec |= {"model": model, "added_tokens": [], "pre_tokenizer": None, "decoder": None, "post_processor": None}
    spec["normalizer"] = {"type": "Prepend", "prepend": "▁"}
    folder(tmp_path, samples.PLAIN)
    with pytest.raises(InputError, match="the tokenizer puts a space in front of every text"):
        open_template(Tokenizer(json.dumps(spec).encode()), str(tmp_path))


def test_hub_files_are_fetched_or_the_reason_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    folder(tmp_path, samples.PLAIN)
    asked: list[tuple[str, str, str | None]] = []

    def download(repository: str, name: str, revision: str | None) -> str:
        asked.append((repository, name, revision))
        if repository == "org/missing":
            raise OSError("no network\nat all")
        if name == "tokenizer_config.json":
            raise EntryNotFoundError("404")
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert open_template(TOKENIZER, "org/model", "v1").stops == ("<|im_end|>",)
    assert asked == [("org/model", "chat_template.jinja", "v1"), ("org/model", "tokenizer_config.json", "v1")]
    with pytest.raises(InputError, match=r"could not fetch chat_template\.jinja of org/missing: no network"):
        open_template(TOKENIZER, "org/missing")
