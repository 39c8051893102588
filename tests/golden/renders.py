"""What is kept of a renderer's work on a case: spans with their kinds, weights in every mode, the prompt, and ids."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from kernel.compositor import Compositor
from kernel.conversation import Conversation
from kernel.errors import InputError
from kernel.example import TrainOnWhat, weigh
from kernel.pieces import Renderer
from kernel.reading import read_conversation
from kernel.renderer import Span, write, write_prompt
from kernel.script import assemble
from shell.text.tokenizer import Tokenizer
from tests.golden.cases import CASES

HERE = Path(__file__).parent
LAST = (TrainOnWhat.LAST_ASSISTANT_MESSAGE, TrainOnWhat.LAST_ASSISTANT_TURN)
WITH_IDS = (*LAST, TrainOnWhat.ALL_ASSISTANT_MESSAGES)
LETTERS = {"control": "C", "template": "T", "message": "M", "image": "I"}
IMAGE_LENGTH = 3

Golden = dict[str, Any]


def spelled(spans: list[Span]) -> list[list[Any]]:
    """Spans as JSON: [kind, text, message], the kind in capitals where the model would sample the span."""
    return [[LETTERS[s.kind] if s.sampled else LETTERS[s.kind].lower(), s.text, s.message] for s in spans]


def spans_of(renderer: Renderer, case: str) -> Golden:
    """Spans and weights of a case, or the refusal."""
    talk = read_conversation(CASES[case], at=case)
    golden: Golden = {}
    try:
        golden["prompt"] = spelled(write_prompt(renderer, talk))
    except InputError as error:
        golden["prompt"] = str(error)
    try:
        spans = write(renderer, talk)
    except InputError as error:
        return golden | {"example": str(error)}
    golden["example"] = spelled(spans)
    golden["weights"] = {
        str(mode): "".join(f"{weight:.0f}" for weight in weights(renderer, talk, spans, mode)) for mode in TrainOnWhat
    }
    return golden


def weights(renderer: Renderer, talk: Conversation, spans: list[Span], mode: TrainOnWhat) -> list[float]:
    if mode is TrainOnWhat.CUSTOMIZED:  # every other message
        talk = tuple(message._replace(trainable=i % 2 == 1) for i, message in enumerate(talk))
    return weigh(renderer, talk, spans, mode)


def ids_of(renderer: Renderer, case: str, tokenizer: Tokenizer) -> Golden:
    """Tokens and weights of the examples that a case becomes, in the modes whose weights are found among ids."""
    talk = read_conversation(CASES[case], at=case)
    return {str(mode): _examples(renderer, talk, mode, tokenizer) for mode in WITH_IDS}


def _examples(renderer: Renderer, talk: Conversation, mode: TrainOnWhat, tokenizer: Tokenizer) -> Any:
    compositor = Compositor(renderer)
    try:
        script = compositor.compose([talk], mode)
        lengths = np.full(len(script.images), IMAGE_LENGTH)
        ids = tokenizer.encode_statics(compositor.statics), tokenizer.encode(script.texts)
        examples = assemble(script, *ids, lengths)
    except InputError as error:
        return str(error)
    ends = zip(examples.offsets, examples.offsets[1:], strict=False)
    return [
        [" ".join(map(str, examples.tokens[a:b])), "".join(f"{w:.0f}" for w in examples.weights[a:b])] for a, b in ends
    ]


def path_of(name: str) -> Path:
    return HERE / f"{name}.json"


def read(name: str) -> dict[str, Golden]:
    golden: dict[str, Golden] = json.loads(path_of(name).read_text(encoding="utf-8"))
    return golden


def save(renderer: Renderer, tokenizer: Tokenizer) -> None:
    lines = []
    for case in CASES:
        golden = {"spans": spans_of(renderer, case), "ids": ids_of(renderer, case, tokenizer)}
        lines.append(f"{json.dumps(case)}: {json.dumps(golden, ensure_ascii=False)}")
    path_of(renderer.name).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
