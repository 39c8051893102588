"""Other projects' way from rows to datums: run by the Python of an environment that has them, never by ours.

    PYTHON peers_worker.py        one JSON object a line in, one out

{"open": "cookbook" | "tml" | "tml datums", "renderer", "tokenizer"} -> {"peer": number, "versions": {...}}
{"peer": number, "rows": [...]} -> {"seconds", "n_tokens", "digests"}; what goes wrong is {"error": "..."}, and
{"error": "...", "cannot": true} where the project does not do what is asked.
What a user of the project would have ready (renderer, table of rows) is ready before the clock starts; logging is off.
"""

import json
import logging
import os
import sys
from hashlib import blake2b
from importlib.metadata import version
from time import perf_counter

import numpy as np
import tinker

MAX_LENGTH = 32768
MODE = "all_assistant_messages"


class Cookbook:
    """tinker-cookbook's `SupervisedDatasetFromHFDataset.get_batch`."""

    packages = ("tinker-cookbook", "tinker", "tokenizers", "transformers", "torch", "pydantic", "numpy")

    def __init__(self, renderer, tokenizer):
        from tinker_cookbook.renderers import TrainOnWhat, get_renderer
        from transformers import PreTrainedTokenizerFast

        self.renderer = get_renderer(renderer, PreTrainedTokenizerFast(tokenizer_file=tokenizer))
        self.mode = TrainOnWhat(MODE)

    def ready(self, rows):
        import datasets
        from tinker_cookbook.supervised.data import SupervisedDatasetFromHFDataset, conversation_to_datum

        def datum(row):
            return conversation_to_datum(row["messages"], self.renderer, MAX_LENGTH, self.mode)

        table = datasets.Dataset.from_list([{"messages": row["messages"]} for row in rows])
        return SupervisedDatasetFromHFDataset(table, len(rows), map_fn=datum)

    def run(self, dataset):
        return dataset.get_batch(0)

    def examples(self, datums):
        for datum in datums:
            yield (
                datum.model_input.to_ints(),
                datum.loss_fn_inputs["target_tokens"].to_numpy(),
                datum.loss_fn_inputs["weights"].to_numpy(),
            )


TML_CLASSES = {"qwen3": "Qwen3", "qwen3_5": "Qwen35"}
TML = {}  # their vocabularies come with them and take seconds to load


class Tml:
    """tml-renderers' `render_for_sft` from OpenAI-style rows, one example a conversation: its tokens and weights."""

    packages = ("tml-renderers", "tinker", "torch", "pydantic", "numpy")

    def __init__(self, renderer, tokenizer):
        from tml_renderers import chat, renderers

        if renderer not in TML_CLASSES:
            raise NotImplementedError(f"it has no {renderer}")
        if renderer not in TML:
            TML[renderer] = getattr(renderers, TML_CLASSES[renderer])(strip_thinking_from_history=False)
        self.renderer, self.read = TML[renderer], chat.OpenAIMessage.from_oss_messages
        self._check_vocabulary(tokenizer)

    def _check_vocabulary(self, tokenizer):
        with open(tokenizer, encoding="utf-8") as file:
            vocabulary = json.load(file)["model"]["vocab"]
        ids = self.renderer.tokenizer.encode_ordinary("Hello")
        if ids != [vocabulary.get("Hello")]:
            raise NotImplementedError(f"its {type(self.renderer).__name__} has another vocabulary than this")

    def ready(self, rows):
        return [row["messages"] for row in rows]

    def run(self, talks):
        return [self.renderer.render_for_sft(self.read(talk)) for talk in talks]

    def examples(self, rendered):
        for (example,) in rendered:
            yield arrays(example)


class TmlDatums(Tml):
    """The same, on into `tinker.Datum` the cheap way: arrays, weights divided by their sum."""

    def run(self, talks):
        return [tinker_datum(*arrays(*self.renderer.render_for_sft(self.read(talk)))) for talk in talks]

    def examples(self, datums):
        for datum in datums:
            (chunk,) = datum.model_input.chunks
            inputs = datum.loss_fn_inputs
            yield chunk.tokens, inputs["target_tokens"].to_numpy(), inputs["weights"].to_numpy()


def arrays(example):
    tokens = np.array([token for span in example.input_token_spans for token in span.span.tokens], np.int64)
    weights = np.array(example.per_token_loss_weight_unshifted, np.float32)[1:]
    tokens, weights = tokens[:MAX_LENGTH], weights[: MAX_LENGTH - 1]
    total = weights.sum()
    return tokens[:-1].astype(np.int32), tokens[1:], weights / total if total > 0 else weights


def tinker_datum(tokens, targets, weights):
    chunk = tinker.EncodedTextChunk.model_construct(tokens=tokens)
    return tinker.Datum(
        model_input=tinker.ModelInput.model_construct(chunks=[chunk]),
        loss_fn_inputs={
            "target_tokens": tinker.TensorData.from_numpy(targets),
            "weights": tinker.TensorData.from_numpy(weights),
        },
    )


def digest(inputs, targets, weights):
    types = zip((inputs, targets, weights), (np.int64, np.int64, np.float32), strict=True)
    return blake2b(b"".join(np.asarray(values, kind).tobytes() for values, kind in types), digest_size=8).hexdigest()


def lap(peer, rows):
    given = peer.ready(rows)
    began = perf_counter()
    result = peer.run(given)
    seconds = perf_counter() - began
    examples = list(peer.examples(result))
    return {
        "seconds": seconds,
        "n_tokens": sum(len(inputs) for inputs, _, _ in examples),
        "digests": [digest(*example) for example in examples],
    }


def answer(question, peers):
    if "open" not in question:
        return lap(peers[question["peer"]], question["rows"])
    peer = KINDS[question["open"]](question["renderer"], question["tokenizer"])
    peers.append(peer)
    return {"peer": len(peers) - 1, "versions": {name: version(name) for name in peer.packages}}


KINDS = {"cookbook": Cookbook, "tml": Tml, "tml datums": TmlDatums}


def main():
    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is no answer
    peers = []
    for line in sys.stdin:
        try:
            said = answer(json.loads(line), peers)
        except NotImplementedError as error:
            said = {"error": str(error), "cannot": True}
        except Exception as error:  # whatever it is, it is why this contender is missing
            said = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(said), file=out, flush=True)


if __name__ == "__main__":
    main()
