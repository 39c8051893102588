"""Golden renders as text: one file per renderer, which a reviewer reads and a diff shows line by line.

    == two turns                                 the case, then the example, a message of it per line
      0 ⟨|im_start|⟩user\\n⟦“2+2?”⟨|im_end|⟩⟧      ⟨control token⟩, template text, “text of the data”, ⟦sampled⟧
      prompt as 0 to 1, then                     the prompt, what it has in common with the example left out
      all_assistant_messages: 1 | 48 8f3a...     messages whose sampled spans weigh 1, the rest weighs 0; then the
                                                 tokens of each example, and a digest of ids, weights and offsets

A control token loses its < and >; data that spells one keeps them. `·` parts spans of one kind, `-` is no message.
Where the tokens of a mode do not read and weigh as the example above, they follow, ⟦trained⟧.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden.cases import CASES
from tests.golden.engine import (
    MODES,
    Encoded,
    InputError,
    Renderer,
    Span,
    Tokenizer,
    control_runs,
    encoded,
    example_spans,
    prompt_spans,
)

HERE = Path(__file__).parent
MARKS = "⟨⟩⟦⟧“”·␣\\"
QUOTES = {"template": ("", ""), "message": ("“", "”"), "image": ("⟨image ", "⟩")}

Marked = tuple[str, bool]
"""text in readable form, and whether it is in ⟦⟧"""


def golden(renderer: Renderer, tokenizer: Tokenizer) -> Iterator[str]:
    """The lines of a golden file."""
    yield f"{renderer.name}, stops at {' '.join(map(repr, renderer.stops)) or 'nothing'}"
    yield from ["prompt of no messages", *message_lines(prompt_spans(renderer, None))]
    for (name, row), examples in zip(CASES.items(), encoded(renderer, tokenizer), strict=True):
        yield f"== {name}"
        for line in case_lines(renderer, row, examples, tokenizer):
            yield from ("  " + part for part in line.split("\n"))


def case_lines(
    renderer: Renderer, row: dict[str, Any], examples: Sequence[Encoded | str], tokenizer: Tokenizer
) -> Iterator[str]:
    refused: dict[str, list[str]] = {}
    spans: list[Span] = []
    weights: dict[str, list[float]] = {}
    try:
        spans, weights = example_spans(renderer, row)
    except InputError as error:
        refused.setdefault(str(error), []).append("example")
    lines = message_lines(spans)
    yield from lines
    try:
        yield from prompt_lines(message_lines(prompt_spans(renderer, row)), lines)
    except InputError as error:
        refused.setdefault(str(error), []).append("prompt")
    heads = line_heads(lines)
    trained: dict[str, list[str]] = {}
    for mode, one in zip(MODES, examples, strict=True):
        own = weights.get(mode, [])
        said = f"{weight_line(spans, own)} | " if weights else ""
        if isinstance(one, str):
            refused.setdefault(f"{said}{one}", []).append(mode)
        else:
            trained.setdefault(said + ids_lines(one, spans, own, heads, tokenizer), []).append(mode)
    yield from (f"{', '.join(modes)}: {what}" for what, modes in trained.items())
    for sentence, names in refused.items():
        yield f"refused ({'all' if len(names) == len(MODES) + 2 else ', '.join(names)}): {sentence}"


def prompt_lines(prompt: Sequence[str], lines: Sequence[str]) -> list[str]:
    """The lines of a prompt, without those it begins with that are the example's."""
    pairs = zip(prompt, lines, strict=False)
    n = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(lines)))
    head = f"prompt as {lines[0].split()[0]} to {lines[n - 1].split()[0]}, then" if n else "prompt"
    return [head, *prompt[n:]]


def message_lines(spans: Sequence[Span]) -> list[str]:
    """A line per message: its number, and its spans."""
    out = []
    for message, own in groupby(spans, lambda span: span.message):
        number = "-" if message < 0 else message
        out.append(f"{number:>3} {bracketed(marked(own))}")
    return out


def marked(spans: Iterable[Span]) -> Iterator[Marked]:
    before = ("", False)
    for span in spans:
        if span.kind == "control":
            yield control(span.text), span.sampled
        else:
            begin, end = QUOTES[span.kind]
            part = "·" if (span.kind, span.sampled) == before and span.kind == "template" else ""
            yield f"{part}{begin}{readable(span.text)}{end}", span.sampled
        before = span.kind, span.sampled


def bracketed(runs: Iterable[Marked]) -> str:
    """Runs one after another, those that are on in ⟦⟧; a blank at the end of the line made visible."""
    text = ""
    for on, own in groupby(runs, lambda run: run[1]):
        joined = "".join(run[0] for run in own)
        text += f"⟦{joined}⟧" if on else joined
    return text[:-1] + "␣" if text.endswith(" ") else text


def control(name: str) -> str:
    return f"⟨{name[1:-1] if name[:1] == '<' and name[-1:] == '>' else '=' + name}⟩"


@cache
def readable(text: str) -> str:
    """Text in one line, in which no mark is the text's own."""
    if text.isprintable() and not any(mark in text for mark in MARKS):
        return text
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
    return "".join(named.get(c) or (c if c.isprintable() and c not in MARKS else f"\\u{{{ord(c):x}}}") for c in text)


def weight_line(spans: Sequence[Span], weights: Sequence[float]) -> str:
    """The messages all of whose sampled spans weigh 1 and whose others weigh 0; where that says less, run lengths."""
    numbers = sorted({span.message for span, weight in zip(spans, weights, strict=True) if weight})
    if list(weights) == [float(span.sampled and span.message in numbers) for span in spans]:
        return " ".join(map(str, numbers)) or "nothing"
    if list(weights) == [float(span.message >= 0) for span in spans]:
        return "everything"
    return " ".join(f"{weight:g}x{len(list(own))}" for weight, own in groupby(weights))


def line_heads(lines: Sequence[str]) -> list[str]:
    """What the lines of messages begin with before anything of the data: where the text of tokens is broken up."""
    heads = {re.split("[“⟦]", line[4:])[0] for line in lines}
    return sorted((head for head in heads if "⟨" in head), key=len, reverse=True)


def ids_lines(
    one: Encoded, spans: Sequence[Span], weights: Sequence[float], heads: Sequence[str], tokenizer: Tokenizer
) -> str:
    """How many tokens, their digest, and how they read, unless that is how the spans read."""
    bounds = list(zip(one.offsets[:-1].tolist(), one.offsets[1:].tolist(), strict=True))
    head = f"{' + '.join(str(b - a) for a, b in bounds)} {digest(one)}"
    texts = [token_text(one.tokens[a:b], one.weights[a:b], tokenizer) for a, b in bounds]
    if texts == [plain(spans, weights)]:
        return head
    broken = "|".join(map(re.escape, heads))
    lines = [re.sub(f"(?<=[^⟦])({broken})", r"\n     \1", text) if broken else text for text in texts]
    return "\n".join([head, *(f"  {i}: {line}" for i, line in enumerate(lines))])


def token_text(tokens: np.ndarray, weights: np.ndarray, tokenizer: Tokenizer) -> str:
    runs: list[Marked] = []
    for weight, own in groupby(zip(tokens.tolist(), weights.tolist(), strict=True), lambda pair: pair[1]):
        for is_control, text in _runs(tokenizer, tuple(token for token, _ in own)):
            runs.append((control(text) if is_control else readable(text), weight != 0))
        if weight not in (0, 1):
            runs.append((f"×{weight:g}", True))
    return bracketed(runs)


@lru_cache(maxsize=4096)  # the modes share most of their runs
def _runs(tokenizer: Tokenizer, ids: tuple[int, ...]) -> list[tuple[bool, str]]:
    return control_runs(tokenizer, ids)


def plain(spans: Sequence[Span], weights: Sequence[float]) -> str:
    """Spans as `token_text` writes them."""
    return bracketed(
        (control(span.text) if span.kind == "control" else readable(span.text), weight != 0)
        for span, weight in zip(spans, weights, strict=False)
        if span.kind != "image"
    )


def digest(one: Encoded) -> str:
    """16 characters that change with any id, weight or end of an example."""
    arrays = one.tokens.astype("<i4"), one.weights.astype("<f4"), one.offsets.astype("<i8")
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def path_of(name: str) -> Path:
    return HERE / f"{name}.txt"


def read(name: str) -> list[str]:
    return path_of(name).read_text(encoding="utf-8").split("\n")[:-1]


def save(renderer: Renderer, tokenizer: Tokenizer) -> None:
    text = "".join(line + "\n" for line in golden(renderer, tokenizer))
    path_of(renderer.name).write_text(text, encoding="utf-8", newline="\n")
