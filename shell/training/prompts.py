"""Prompts to sample at evaluations: what `--sample-prompts` says, read and written in the run's chat format.

prompts.jsonl        rows as in the data, each a conversation that the user (or a tool) spoke last in
prompts.txt          a line a prompt: what the user says
"What is 2 and 2?"   one prompt of several words, where there is no file of that name
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernel.conversation import Conversation, Message, text_of
from kernel.errors import expected
from kernel.render.assemble import assemble
from kernel.row_reader import read_conversation
from shell.data.file_rows import open_rows
from shell.data.mixture_spec import exists
from shell.data.validation import RowValidation
from shell.text.formats import Format, batch_renderer_of
from shell.text.tokenizer import Tokenizer

FLAG = "--sample-prompts"


class Prompt(NamedTuple):
    """A prompt as it will be sent."""

    messages: tuple[dict[str, str], ...]
    """role and text of each message"""
    tokens: NDArray[np.int32]
    """int32[T]"""


def open_prompts(text: str, chat_format: Format, tokenizer: Tokenizer, column: str = "messages") -> tuple[Prompt, ...]:
    """The prompts that a text names, in their order.

    Args:
        text: a path, or a prompt.
        chat_format: how they are written.
        tokenizer: the model's.
        column: the key of messages in rows of JSONL.

    Raises:
        InputError: there is no such file, it holds no prompts, or a prompt that cannot be written.

    Touches: the file.
    """
    talks = _read(text, column)
    if not talks:
        raise expected("at least one prompt", "an empty file", at=f"{FLAG} {text}")
    for talk, at in talks:
        if talk[-1].role in ("assistant", "system", "developer"):
            raise expected("a conversation that the user or a tool spoke last in", f"the {talk[-1].role}", at=at)
    batch_renderer = batch_renderer_of(chat_format)
    script = batch_renderer.prompts([talk for talk, _ in talks])
    if script.images:
        raise expected("prompts of text", "one with an image", at=f"{FLAG} {text}")
    examples = assemble(
        script, tokenizer.encode_constants(batch_renderer.constant_texts), tokenizer.encode(script.texts)
    )
    tokens = [examples.tokens[start:stop] for start, stop in pairwise(examples.offsets.tolist())]
    return tuple(Prompt(_plain(talk), ids) for (talk, _), ids in zip(talks, tokens, strict=True))


def stops_of(chat_format: Format, tokenizer: Tokenizer) -> list[int] | list[str]:
    """What ends a sampled turn: ids of control tokens, or texts where the format has none."""
    if all(stop in tokenizer.controls for stop in chat_format.stops):
        return [tokenizer.controls[stop] for stop in chat_format.stops]
    return list(chat_format.stops)


def _read(text: str, column: str) -> list[tuple[Conversation, str]]:
    """Conversations, and where each stands."""
    if not exists(text):
        if " " not in text.strip():
            raise expected("a file of prompts, or a prompt of several words", f"no file {text}", at=FLAG)
        return [((Message("user", text),), FLAG)]
    path = Path(text).expanduser()
    if path.suffix == ".jsonl":
        rows = open_rows(path, RowValidation(column=column))
        places = [rows.place(i) for i in range(len(rows))]
        taken = rows.take(np.arange(len(rows)))
        return [(read_conversation(row, at, column), at) for row, at in zip(taken, places, strict=True)]
    return [((Message("user", line),), f"{path}:{i}") for i, line in enumerate(_lines(path), 1) if line.strip()]


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise expected("a file of text", str(getattr(error, "strerror", None) or error).lower(), at=str(path)) from None


def _plain(talk: Conversation) -> tuple[dict[str, Any], ...]:
    return tuple({"role": message.role, "content": text_of(message)} for message in talk)
