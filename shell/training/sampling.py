"""Samples during training: prompts from `--sample-prompts`, answers in `samples.jsonl`.

    prompts.jsonl        rows as in the data, each a conversation whose last message is the user's (or a tool's)
    prompts.txt          one prompt per line
    "What is 2 and 2?"   one prompt of several words, if there is no file of that name

A line of `samples.jsonl` is one prompt at one step, answered with the weights before that step's update.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernel.conversation import Conversation, Message, parts_of, text_of
from kernel.errors import expected
from kernel.parse_response.common import Parsed, Segment
from kernel.render.token_program import assemble
from kernel.renderers.inline_markup import read_own_markup
from kernel.row_to_conversation import read_conversation
from shell.data.open_rows import exists, open_rows
from shell.data.rows import RowValidation
from shell.run_dir.atomic_files import append_lines
from shell.run_dir.run_files import SAMPLES
from shell.service.protocol import SamplingParams
from shell.text.renderer_by_name import Format, batch_renderer_of, markup_of
from shell.text.tokenizer import Tokenizer

FLAG = "--sample-prompts"
WIDTH = 60
PICTURES = {code: chr(0x2400 + code) for code in range(32)} | dict.fromkeys(range(127, 160), "\ufffd")


class Prompt(NamedTuple):
    """A prompt as it will be sent."""

    messages: tuple[dict[str, str], ...]
    tokens: NDArray[np.int32]  # int32[T]


class Samples(NamedTuple):
    """Prompts, how they are sampled, and how an answer is parsed."""

    prompts: tuple[Prompt, ...]
    params: SamplingParams
    tokenizer: Tokenizer
    parse: Callable[[Sequence[Segment]], Parsed]


def open_prompts(text: str, chat_format: Format, tokenizer: Tokenizer, column: str = "messages") -> tuple[Prompt, ...]:
    """The prompts of a path, or the text itself as one; raises for a file without prompts or a bad prompt."""
    conversations = _read(text, column)
    if not conversations:
        raise expected("at least one prompt", "an empty file", at=f"{FLAG} {text}")
    for conversation, at in conversations:
        if conversation[-1].role in ("assistant", "system", "developer"):
            raise expected(
                "a conversation whose last message is from the user or a tool", f"the {conversation[-1].role}", at=at
            )
    batch_renderer = batch_renderer_of(chat_format)
    markup = markup_of(chat_format)
    program = batch_renderer.prompts([read_own_markup(markup, conversation) for conversation, _ in conversations])
    if program.images:
        raise expected("prompts of text", "one with an image", at=f"{FLAG} {text}")
    examples = assemble(
        program, tokenizer.encode_constants(batch_renderer.constant_texts), tokenizer.encode(program.texts)
    )
    tokens = [examples.tokens[start:stop] for start, stop in pairwise(examples.offsets.tolist())]
    return tuple(
        Prompt(_plain(conversation), ids) for (conversation, _), ids in zip(conversations, tokens, strict=True)
    )


def stops_of(chat_format: Format, tokenizer: Tokenizer) -> list[int] | list[str]:
    """Stop sequences of a sampled turn: ids of control tokens, or texts where the format has none."""
    if all(stop in tokenizer.controls for stop in chat_format.stops):
        return [tokenizer.controls[stop] for stop in chat_format.stops]
    return list(chat_format.stops)


def _read(text: str, column: str) -> list[tuple[Conversation, str]]:
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


def _plain(conversation: Conversation) -> tuple[dict[str, Any], ...]:
    return tuple({"role": message.role, "content": text_of(message)} for message in conversation)


def sample_lines(samples: Samples, step: int, answers: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The lines of a step, one per prompt: `step`, `prompt`, `text`, `message`, `termination`, `num_tokens`."""
    lines = []
    for i, (prompt, ids) in enumerate(zip(samples.prompts, answers, strict=True)):
        parsed = samples.parse(samples.tokenizer.segments(ids))
        lines.append(
            {
                "step": step,
                "number": i,
                "prompt": list(prompt.messages),
                "text": samples.tokenizer.decode(ids),
                "message": plain(parsed.message),
                "termination": parsed.termination.value,
                "num_tokens": len(ids),
            }
        )
    return lines


def append_samples(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Appends lines to `samples.jsonl`, if there are any; they are on disk when the call returns."""
    if lines:
        append_lines(folder / SAMPLES, lines)


def shown(line: dict[str, Any]) -> str:
    """A sample in one line for people."""
    return f"{_short(line['prompt'][-1]['content'])} -> {_short(line['text'])}"


def plain(message: Message) -> dict[str, Any]:
    """A message as in a row."""
    row: dict[str, Any] = {"role": message.role, "content": text_of(message)}
    if reasoning := "".join(part.text for part in parts_of(message) if part.kind == "thinking"):
        row["reasoning_content"] = reasoning
    if message.tool_calls:
        row["tool_calls"] = [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return row


def _short(text: str) -> str:
    text = text.translate(PICTURES)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
