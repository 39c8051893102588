"""Where a chat template is found: beside the tokenizer.json, in `chat_template.jinja` or `tokenizer_config.json`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kernel.errors import InputError, expected, unknown
from shell.text.jinja.chat_template import DATE, ChatTemplate
from shell.text.jinja.turns import Control
from shell.text.tokenizer import Tokenizer

_TEMPLATE, _CONFIG = "chat_template.jinja", "tokenizer_config.json"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def open_template(
    tokenizer: Tokenizer,
    spec: str,
    revision: str | None = None,
    variables: Mapping[str, Any] | None = None,
    date: str = DATE,
) -> ChatTemplate:
    """The chat template of a model, ready to train with.

    Args:
        tokenizer: the model's.
        spec: where its files are: the tokenizer.json, its folder, or a repository.
        revision: of the repository.
        variables: what the template reads beside the conversation: enable_thinking, reasoning_effort, ...
        date: today's date, for a template that writes it.

    Raises:
        InputError: there is no template, one that cannot be used, or one that does not read a variable that is given;
            in one sentence.

    Touches: the files; for a repository, the network and the hub's cache through `huggingface_hub`.
    """
    text, config = _file(spec, _TEMPLATE, revision), _config(_file(spec, _CONFIG, revision), spec)
    try:
        source = text.decode() if text is not None else _named(config.get("chat_template"))
    except UnicodeDecodeError as error:
        raise expected(f"UTF-8 text in {_TEMPLATE}", str(error), at=f"--tokenizer {spec}") from None
    if source is None:
        raise expected(f"a chat template in {_TEMPLATE} or {_CONFIG}", "none", at=f"--tokenizer {spec}")
    if _adds_a_space(tokenizer):
        raise expected("a tokenizer that puts nothing in front of a text", "one that does", at=f"--tokenizer {spec}")
    special = {key: _text(config[key]) for key in _SPECIAL if config.get(key) is not None}
    at = f"{spec}'s template"
    template = ChatTemplate(source, _controls(tokenizer), {**special, **(variables or {})}, date, at)
    for name in variables or ():
        if name not in template.variables:
            raise unknown("variable", name, sorted(template.variables) or ["none"], at)
    return template


def _controls(tokenizer: Tokenizer) -> list[Control]:
    added = msgspec.json.decode(tokenizer.json).get("added_tokens") or []
    flags = {token["content"]: (bool(token.get("lstrip")), bool(token.get("rstrip"))) for token in added}
    return [Control(name, *flags[name]) for name in tokenizer.controls]


def _adds_a_space(tokenizer: Tokenizer) -> bool:
    """Whether a text encodes to more than its own bytes (SentencePiece's leading space)."""
    return int(tokenizer.n_bytes[tokenizer.encode(["a\nb"]).ids].sum()) != 3


def _config(text: bytes | None, spec: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or b"{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise expected("a JSON object", str(error), at=f"{spec} {_CONFIG}") from None


def _named(template: Any) -> str | None:
    """The template of that key: text, or a list of named ones of which it is "default"."""
    if isinstance(template, list):
        return next((one.get("template") for one in template if one.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _text(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _file(spec: str, name: str, revision: str | None) -> bytes | None:
    """A file of the tokenizer's, None where there is none."""
    path = Path(spec).expanduser()
    folder = path.parent if path.is_file() else path
    if folder.is_dir():
        return (folder / name).read_bytes() if (folder / name).is_file() else None
    if spec == "sample" or spec.count("/") != 1:
        return None
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(spec, name, revision=revision)).read_bytes()
    except EntryNotFoundError:
        return None
    except Exception as error:  # the hub's client raises a dozen kinds; all mean that the file is not here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"expected {name} of {spec}, could not fetch it ({reason}) - at --tokenizer") from None
