"""Lists of what is known: models, renderers, and all settings as a JSON schema."""

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Struct

from shell.settings.config import COMMAND_CONFIGS, Text
from shell.settings.flags import doc


class CatalogConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List what is known, and with --service what that service offers."""

    headings: ClassVar[dict[str, str]] = {"service": "Service"}

    service: Annotated[Text | None, doc("tinker, or a URL: list what it trains", "WHICH")] = None
    api_key: Annotated[Text | None, doc("key of the service; better in TINKER_API_KEY", "KEY", secret=True)] = None


def models(config: CatalogConfig) -> None:
    """Prints the known models with their renderers, or the models that a service trains."""
    from shell.text.known_models import MODELS, find

    names: Sequence[str] = tuple(MODELS)
    if config.service is not None:
        from shell.service.connect import check_service
        from shell.settings.choose_service import choose_service, read_environment

        names = check_service(choose_service(config.service, None, config.api_key, read_environment())).models
    for name in names:
        model = find(name)
        print(f"{name:<48}{', '.join(model.renderers) if model else 'give --renderer-name and --tokenizer'}")


def renderers(_config: CatalogConfig) -> None:
    """Prints the built-in renderers with the models that use them, and how to bring others."""
    from kernel.renderers import RENDERERS
    from shell.text.known_models import MODELS

    columns = shutil.get_terminal_size().columns
    for name in RENDERERS:
        line = f"{name:<32}{', '.join(model.name for model in MODELS.values() if name in model.renderers)}".rstrip()
        print(textwrap.fill(line, columns, subsequent_indent=" " * 32, break_on_hyphens=False, break_long_words=False))
    print("\nothers: --renderer-name hf_template (the tokenizer's chat template), or FILE.py:NAME (your own)")


def schema(argv: Sequence[str]) -> int:
    """Prints the JSON schema of the settings of a command (train by default), or of all of them."""
    names = [*argv] or ["train"]
    for name in names:
        if name not in COMMAND_CONFIGS:
            print(f"usage: tinsmith schema [{'|'.join(COMMAND_CONFIGS)}]")
            return 0 if name in ("-h", "--help") else 2
    schemas = {name: msgspec.json.schema(COMMAND_CONFIGS[name]) for name in names}
    document = schemas[names[0]] if len(names) == 1 else schemas
    print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    return 0


def agents(_argv: Sequence[str]) -> int:
    """Prints the page for coding agents that ships with the package."""
    print((Path(__file__).parent / "AGENTS.md").read_text(encoding="utf-8"), end="")
    return 0
