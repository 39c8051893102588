"""`samples.jsonl`: what the model says to fixed prompts at evaluations, by the weights before the step's update.

A line is one prompt at one step. Lines at and past the cursor are taken back when a run goes on, as in `metrics.jsonl`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kernel.conversation import Message, parts_of, text_of
from kernel.parsing.segments import Parsed, Segment
from shell.run_dir.files import append_lines
from shell.run_dir.logs import SAMPLES
from shell.service.client import SamplingParams
from shell.text.tokenizer import Tokenizer
from shell.training.prompts import Prompt

WIDTH = 60
PICTURES = {code: chr(0x2400 + code) for code in range(32)} | dict.fromkeys(range(127, 160), "�")


class Samples(NamedTuple):
    """Prompts, how they are answered, and how an answer is read."""

    prompts: tuple[Prompt, ...]
    drawing: SamplingParams
    tokenizer: Tokenizer
    parse: Callable[[Sequence[Segment]], Parsed]


def sample_lines(samples: Samples, step: int, answers: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """What was sampled, a line a prompt: `step`, `prompt`, `text`, `message`, `termination`, `num_tokens`.

    Args:
        samples: what was asked.
        step: whose update the weights have not had yet; the number of steps at the end of a run.
        answers: the ids sampled for each prompt.
    """
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
    """Writes down what was sampled; it is on disk when the call returns.

    Touches: `samples.jsonl` in the folder.

    Raises:
        InputError: the disk refuses.
    """
    append_lines(folder / SAMPLES, lines)


def shown(line: dict[str, Any]) -> str:
    """A sample in one line for people.

    >>> shown({"prompt": [{"role": "user", "content": "2+2?"}], "text": "4\\n<|im_end|>"})
    '2+2? -> 4␊<|im_end|>'
    """
    return f"{_short(line['prompt'][-1]['content'])} -> {_short(line['text'])}"


def plain(message: Message) -> dict[str, Any]:
    """A message as a row would hold it.

    >>> plain(Message("assistant", "4"))
    {'role': 'assistant', 'content': '4'}
    """
    row: dict[str, Any] = {"role": message.role, "content": text_of(message)}
    if reasoning := "".join(part.text for part in parts_of(message) if part.kind == "thinking"):
        row["reasoning_content"] = reasoning
    if message.tool_calls:
        row["tool_calls"] = [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return row


def _short(text: str) -> str:
    text = text.translate(PICTURES)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
