"""A format by its name, and that the package of templates stays out of the way of who does not use it."""

import subprocess
import sys
from pathlib import Path

import pytest

from kernel.conversation import Message
from kernel.enums import Follow, TrainOnWhat
from kernel.errors import InputError
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.renderers.follow_template import follows_template
from kernel.renderers.llama3 import LLAMA3
from shell.text.renderer_by_name import FormatNames, batch_renderer_of, open_format, read_variables
from shell.text.tokenizer import SAMPLE, open_tokenizer
from tests.shell.text.chat_template import samples

TALK = (Message("user", "q"), Message("assistant", "a"))


def test_a_renderer_of_pieces_is_found_by_its_name() -> None:
    assert open_format("llama3", open_tokenizer("sample"), "sample") is LLAMA3


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"unknown renderer 'hf_templat', did you mean 'hf_template'.* - at --renderer-name"
    ):
        open_format("hf_templat", open_tokenizer("sample"), "sample")


def test_either_format_composes_scripts(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(samples.PLAIN, encoding="utf-8")
    for name in ("qwen3_instruct", "hf_template"):
        chat_format = open_format(name, open_tokenizer(str(tmp_path)), str(tmp_path))
        script = batch_renderer_of(chat_format).render([TALK], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
        assert (script.texts, script.weights.tolist()) == (["q", "a"], [0, 0, 0, 0, 0, 0, 0, 1, 1])


def test_a_template_reads_the_variables_that_are_given(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{% if loud %}LOUD {% endif %}" + samples.PLAIN, encoding="utf-8")
    tokenizer, spec = open_tokenizer(str(tmp_path)), str(tmp_path)
    plain = open_format("hf_template", tokenizer, spec)
    given = open_format("hf_template", tokenizer, spec, variables=read_variables('{"loud": true}'))
    prompts = [batch_renderer_of(one).prompts([TALK[:1]]).ops for one in (plain, given)]
    assert len(prompts[1]) > len(prompts[0])
    for name in ("lout", "messages"):
        with pytest.raises(InputError, match=rf"unknown variable '{name}', .*'loud'"):
            open_format("hf_template", tokenizer, spec, variables={name: 1})


def test_only_a_template_reads_variables() -> None:
    with pytest.raises(InputError, match=r"^expected hf_template, which reads .*, got llama3 - at --renderer-name$"):
        open_format("llama3", open_tokenizer("sample"), "sample", variables={"enable_thinking": False})


@pytest.mark.parametrize("text", ["", "enable_thinking", "[1]", '{"a": 1} 2', '"a"'])
def test_variables_are_a_json_object(text: str) -> None:
    with pytest.raises(InputError, match=r"^expected a JSON object, .* - at --template-variables$"):
        read_variables(text)


BLOCKED = """
import sys
sys.modules["jinja2"] = None
from shell.text.renderer_by_name import open_format
from shell.text.tokenizer import open_tokenizer
from kernel.errors import InputError
open_format("llama3", open_tokenizer("sample"), "sample")
try:
    open_format("hf_template", open_tokenizer("sample"), "sample")
except InputError as error:
    print(error)
"""


def test_without_jinja2_only_the_template_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True)
    assert "hf_template needs jinja2, which is not installed: pip install 'tinsmith[templates]'" in done.stdout


def test_a_format_follows_the_public_template_where_it_is_asked_to() -> None:
    for name in ("qwen3", "llama3", "qwen3_5"):
        renderer, _ = FormatNames(name, "sample", follow=Follow.TEMPLATE).open()
        assert isinstance(renderer, Renderer)
        assert follows_template(renderer)
        assert FormatNames(name, "sample").open()[0] is RENDERERS[name]
    for name in ("role_colon", "kimi_k2", "glm5_3_low_reasoning"):
        with pytest.raises(InputError, match=f"got {name} - at --follow"):
            FormatNames(name, "sample", follow=Follow.TEMPLATE).open()
