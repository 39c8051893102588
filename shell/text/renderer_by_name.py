"""Chat formats by name: a built-in renderer, one of the user's own, or the tokenizer's chat template.

qwen3                  a built-in renderer
my_format.py:MINE      a `kernel.Renderer` in a Python file of the user's
hf_template            the Jinja template beside the tokenizer, masked by proof (`shell.text.chat_template`)
"""

from __future__ import annotations  # the template's types are not imported before one is opened

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from kernel.enums import Follow
from kernel.errors import InputError, expected, unknown
from kernel.render.batch_renderer import BatchRenderer
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.renderers.follow_template import following_template
from kernel.renderers.inline_markup import OwnMarkup, own_markup, pattern_of
from shell.process.plugs import is_plug, load_plug
from shell.text.encoder import Choice
from shell.text.tokenizer import Tokenizer, open_tokenizer

if TYPE_CHECKING:
    from shell.text.chat_template.open_template import ChatTemplate
    from shell.text.chat_template.template_renderer import TemplateRenderer

TEMPLATE = "hf_template"
Format: TypeAlias = "Renderer | ChatTemplate"


class NamesFormat(Protocol):
    """Settings that name a format and its tokenizer, or the model whose own they are."""

    @property
    def model_name(self) -> str | None: ...
    @property
    def renderer_name(self) -> str | None: ...
    @property
    def tokenizer(self) -> str | None: ...
    @property
    def template_variables(self) -> str | None: ...
    @property
    def follow(self) -> Follow: ...


class FormatNames(msgspec.Struct, frozen=True):
    """The names of a format and its tokenizer, as plain data: another process opens the same."""

    renderer: str
    tokenizer: str
    revision: str | None = None
    variables: str | None = None  # what a template reads besides, as JSON
    encoder: Choice = "auto"  # tokenizer backend; both give the same ids
    follow: Follow = Follow.REFERENCE

    def open(self, log: Callable[[str], object] | None = None) -> tuple[Format, Tokenizer]:
        """The format and the tokenizer, whose lines are logged by `log`; InputError where one cannot be used."""
        check_name(self.renderer)
        variables = read_variables(self.variables)
        tokenizer = open_tokenizer(self.tokenizer, self.revision, self.encoder)
        tokenizer.log = log or tokenizer.log
        chat_format = open_format(self.renderer, tokenizer, self.tokenizer, self.revision, variables)
        return followed(chat_format, self.follow), tokenizer


def format_names(config: NamesFormat, encoder: Choice = "auto") -> FormatNames:
    """The names that settings give, or that follow from the model's."""
    from shell.text.known_models import MODELS, find  # only names: what they lead to decides tokens, not this table

    assert config.model_name is not None
    model, renderer, tokenizer = find(config.model_name), config.renderer_name, config.tokenizer
    if model is None and not (renderer and tokenizer):
        hint = unknown("model", config.model_name, MODELS)
        raise InputError(f"{hint} (any other works with its --tokenizer and --renderer-name) - at --model-name")
    revision = model.revision if model and not tokenizer else None
    renderer = renderer or (model.renderers[0] if model else "")
    return FormatNames(
        renderer,
        tokenizer or (model.tokenizer if model else ""),
        revision,
        config.template_variables,
        encoder,
        config.follow,
    )


def check_name(name: str, at: str = "--renderer-name") -> None:
    """Raises InputError, with the nearest names, for a name that no format can have."""
    if name not in RENDERERS and name != TEMPLATE and not is_plug(name):
        raise unknown("renderer", name, [*RENDERERS, TEMPLATE], at)


def open_format(
    name: str,
    tokenizer: Tokenizer,
    spec: str,
    revision: str | None = None,
    variables: Mapping[str, Any] | None = None,
    at: str = "--renderer-name",
) -> Format:
    """The format of that name: a renderer's, `FILE.py:NAME`, or "hf_template"."""
    check_name(name, at)
    if variables and name != TEMPLATE:
        raise expected(f"{TEMPLATE}, which reads the variables that are given", name, at)
    if name in RENDERERS:
        return RENDERERS[name]
    if name != TEMPLATE:
        return _own(name, at)
    try:
        from shell.text.chat_template.open_template import open_template
    except ModuleNotFoundError as error:
        if error.name != "jinja2":
            raise
        message = f"{TEMPLATE} needs jinja2, which is not installed: pip install 'tinsmith[templates]' - at {at}"
        raise InputError(message) from None
    return open_template(tokenizer, spec, revision, variables)


def followed(chat_format: Format, follow: Follow) -> Format:
    """The format as it follows the reference, or the model's public template; a chat template is one already."""
    if follow is Follow.REFERENCE or not isinstance(chat_format, Renderer):
        return chat_format
    return following_template(chat_format)


def read_variables(text: str | None, at: str = "--template-variables") -> Mapping[str, Any] | None:
    """Variables of a chat template from a JSON object; InputError for other text."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise expected('a JSON object, say {"enable_thinking": false}', repr(text[:60]), at) from None


def _own(name: str, at: str) -> Renderer:
    """The renderer that a Python file of the user's defines."""
    found = load_plug(name, at, "a Renderer").found
    if not isinstance(found, Renderer):
        raise expected(f"a Renderer under {name}", f"{type(found).__name__}", at)
    return found


def markup_of(chat_format: Format) -> OwnMarkup:
    """What a format reads of its own markup in text."""
    if isinstance(chat_format, Renderer):
        return own_markup(chat_format)
    reads = chat_format.habits
    calls = reads.arguments != "none"
    return OwnMarkup(pattern_of(chat_format.controls), chat_format.stops, bool(reads.reasoning), calls)


def batch_renderer_of(chat_format: Format, split_turns: bool = True) -> BatchRenderer | TemplateRenderer:
    """What renders batches in a format."""
    if isinstance(chat_format, Renderer):
        return BatchRenderer(chat_format, split_turns)
    from shell.text.chat_template.template_renderer import TemplateRenderer

    return TemplateRenderer(chat_format, split_turns)
