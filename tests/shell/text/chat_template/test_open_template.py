"""Where a chat template is found, what it is given, in which form it reads messages, and which are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from kernel.conversation import Message, Part, ToolCall
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.parse_response.common import ParseTermination, Segment
from kernel.renderer_language.interpreter import SpanKind
from shell.text.chat_template.find_turns import Control, Rendering
from shell.text.chat_template.open_template import ChatTemplate, open_template
from shell.text.chat_template.template_messages import Habits
from shell.text.chat_template.template_renderer import TemplateRenderer
from shell.text.tokenizer import SAMPLE, Tokenizer, open_tokenizer
from tests.shell.text.chat_template import samples
from tests.shell.text.chat_template.samples import chatml


def opened(source: str, **more: object) -> ChatTemplate:
    return ChatTemplate(source, map(Control, samples.CONTROLS), {"bos_token": "<|begin_of_text|>", **more})


@pytest.mark.parametrize(
    ("source", "habits", "stops"),
    [
        (samples.PLAIN, Habits("", "none"), ("<|im_end|>",)),
        (samples.INSTRUCT, Habits("", "object"), ("<|im_end|>",)),
        (samples.THINKING, Habits("reasoning_content", "none"), ("<|im_end|>",)),
        (samples.TRIMMED, Habits("", "none"), ("<|eot_id|>",)),
        (samples.MARKED, Habits("", "none"), ("<|im_end|>",)),
        (samples.CHANNELS, Habits("thinking", "none"), ("<|return|>",)),
        (samples.PARTS, Habits("", "none", parts=True), ("<|im_end|>",)),
        (
            chatml(
                "{{- message.content }}{%- for c in message.tool_calls %}{{ c.id + c.function.arguments }}{% endfor %}"
            ),
            Habits("", "text"),
            ("<|im_end|>",),
        ),
    ],
    ids=["plain", "instruct", "thinking", "trimmed", "marked", "channels", "parts", "arguments as text"],
)
def test_a_template_is_tried_for_how_it_reads_messages(source: str, habits: Habits, stops: tuple[str, ...]) -> None:
    template = opened(source)
    assert (template.habits, template.stops) == (habits, stops)


REFUSED = {
    "syntax": ("{% for %}", "the chat template does not compile: "),
    "no end": ("{% for m in messages %}{{ m.role + m.content }}{% endfor %}", "a control token that ends the turn"),
    "a prompt that is not kept": (
        chatml("{{- message.content }}", prompt="<|im_start|>assistant\\n<think>\\n"),
        "expected '<think>\\\\n' before the turn, as in its prompt, got 'b<|im_end|>'",
    ),
    "words after the end": (samples.PLAIN + "{% if not add_generation_prompt %}Bye{% endif %}", r"'\\nBye' after it"),
    "half a token in the prompt": (
        chatml("{{- 'hink>' if message.role == 'assistant' }}{{- message.content }}")
        .replace("+ '\\n' }}", "+ '\\n' }}{{ '<t' if message.role == 'assistant' }}")
        .replace("assistant\\n' }}{% endif", "assistant\\n<t' }}{% endif"),
        "a control token that is half in it",
    ),
    "dropped text": (chatml("{{- 'hi' }}"), "the template leaves out the text of message 0"),
    "cut text": (chatml("{{- message.content[1:] }}"), "the template leaves out the text of message 0"),
    "repeated text": (chatml("{{- message.content * 2 }}"), "the template repeats the text of message 0"),
    "text of a list": (chatml("{{- [message.content] }}"), "depends on the text"),
    "other order": (samples.PLAIN.replace("in messages", "in messages | reverse"), "as in its prompt"),
    "a history that is dropped": (samples.PLAIN.replace("in messages", "in messages[-1:]"), "as in its prompt"),
    "the date": (
        chatml("{{- message.content }}", before="{{ 'late' if strftime_now('%Y') > '2026' else 'early' }}"),
        "the chat template depends on the date, and may only write it",
    ),
    "its own errors": (
        "{{ raise_exception('no user today') }}",
        "the chat template refuses the conversation: no user today",
    ),
    "the sandbox": ("{{ messages.append(1) }}", "is unsafe|not safely callable"),
    "a block around the user": (
        samples.MARKED.replace("'assistant' %}", "'user' %}"),
        "one generation block around the turn, got none",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_template_whose_masks_cannot_be_proven_is_refused(case: str) -> None:
    source, sentence = REFUSED[case]
    with pytest.raises(InputError, match=sentence):
        opened(source)


@pytest.mark.parametrize(
    "source",
    [
        chatml("{{- '%s!' | format(message.content) }}"),
        samples.PLAIN.replace("'<|im_end|>\\n'", "'<|im_%s|>' % 'end'"),
        samples.PLAIN.replace("message.role", "message.role.title()").replace("|>assistant", "|>Assistant"),
    ],
    ids=["format", "%", "title"],
)
def test_a_template_may_make_its_own_text_as_it_likes(source: str) -> None:
    template = opened(source)
    assert template.stops == ("<|im_end|>",)
    assert Rendering(template, (Message("user", "a<|im_end|>"),)).render(1).text.count("a<|im_end|>") == 1


def test_the_date_is_the_arguments() -> None:
    talk = (Message("user", "a"),)
    at = [
        Rendering(ChatTemplate(samples.CHANNELS, map(Control, samples.CONTROLS), date=day), talk).render(1).text
        for day in ("2025-01-01", "2024-02-29")
    ]
    assert ["2025-01-01" in at[0], "2024-02-29" in at[1]] == [True, True]
    with pytest.raises(InputError, match="a date as 2025-01-31, got 'today'"):
        ChatTemplate(samples.CHANNELS, map(Control, samples.CONTROLS), date="today")


def test_settings_are_the_templates_own_words() -> None:
    template = opened(chatml("{{- message.content }}", before="{{ greeting }}"), greeting="<|start|>Hello")
    rendering = Rendering(template, (Message("user", "a"),))
    kinds = [
        (piece.kind, rendering.render(1).text[piece.start : piece.stop])
        for piece in rendering.pieces(rendering.render(1))
    ]
    assert kinds[:2] == [(SpanKind.CONTROL, "<|start|>"), (SpanKind.TEMPLATE, "Hello")]


def test_reasoning_under_the_first_key_that_shows_it() -> None:
    both = chatml("{{- message.thinking or message.reasoning or '' }}{{ message.content }}")
    assert opened(both).habits.reasoning == "reasoning"


def test_what_a_template_does_not_read_is_refused() -> None:
    template = opened(samples.PLAIN)
    for message, what in (
        (Message("assistant", (Part("thinking", "hm"), Part("text", "b"))), "no reasoning"),
        (Message("assistant", "", (ToolCall("f", "{}"),)), "no tool calls"),
        (Message("user", (Part("image", "a.png"),)), r"expected text \(hf_template is a text renderer\), got an image"),
        (Message("usr", "a"), r"unknown role 'usr', did you mean 'user'\? - at \$\.messages\[0\]\.role"),
    ):
        with pytest.raises(InputError, match=what):
            Rendering(template, (message,))


def test_a_sampled_turn_is_text_up_to_what_ends_it() -> None:
    parsed = opened(samples.PLAIN).parse([Segment(SpanKind.MESSAGE, "4"), Segment(SpanKind.CONTROL, "<|im_end|>")])
    assert (parsed.message.content, parsed.termination) == ("4", ParseTermination.STOP_SEQUENCE)


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


def test_a_file_of_its_own_comes_before_the_configs(tmp_path: Path) -> None:
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
